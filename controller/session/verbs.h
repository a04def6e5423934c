// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What operators may ask for: one table, one row a member of OperatorRequest's oneof, and the one way to a handler,
 * which passes role, names and sites first and the audit record last (fault 42). A new verb is a new row. Loop thread.
 */
#include "controller/session/context.h"

#define VERB_OBJECT_MAX 400
#define VERB_SITES_MAX  1024

struct operator_link;
struct verb_call;

// What a verb is about, and so which sites an operator who is limited to some must be allowed.
enum verb_object {
        VERB_FLEET,    // whatever the operator may see: the handler leaves out the rest
        VERB_ALL,      // the installation as a whole: for operators who are not limited
        VERB_SITE,     // named in the request
        VERB_HOST,     // resolved into call->host, or, for one that has not joined yet, into call->invited
        VERB_VM,       // resolved into call->vm
        VERB_VM_HOST,  // both of them: a VM and where it is to go
        VERB_JOB,      // resolved into call->job_id: its source and target; to look at it, one of them
        VERB_ONE_SELF, // the operator's own affairs
};

struct verb {
        Drover__OperatorRequest__VerbCase verb_case;
        const char *name; // as it is typed: "vm move"
        enum role role;   // at least
        enum verb_object object;
        bool changes; // goes into the audit record
        // Every name in the request, in form only (fault 48), before any of them is looked up. NULL: there is none.
        int (*check)(const struct verb_call *call, struct error *err);
        const char *(*subject)(const struct verb_call *call); // the object as named in the request; NULL: there is none
        const char *(*target)(const struct verb_call *call);  // VERB_VM_HOST only
        const char *(*label)(const struct verb_call *call);   // a name closer than `name`; NULL: name
        // Answers with verb_reply(), a batch or a stream; if it does neither, an empty reply says that it is done.
        int (*run)(struct verb_call *call, struct error *err);
};

struct verb_call {
        struct session *session;
        const Drover__OperatorRequest *request;
        const struct verb *verb;
        const struct identity *peer;
        const char *user, *address;
        enum role role;
        char sites[VERB_SITES_MAX]; // separated by blanks; empty: all
        struct operator_link *link; // where answers go
        // found on the way to the handler
        struct fleet_host *host;
        struct store_token invited; // id "": none
        struct fleet_vm *vm;
        char job_id[33];
        // for the record; the handler may say more
        char object[VERB_OBJECT_MAX], job[33];
        bool starts;     // `job` was begun by this call: its end will complete the record
        bool unrecorded; // it turned out to change nothing
        bool answered;
};

const struct verb *verbs_table(size_t *ret_n);
const struct verb *verbs_find(Drover__OperatorRequest__VerbCase verb_case); // NULL: unknown
const char *verbs_label(const struct verb_call *call);
// session, request, verb, peer, user, address, role, sites and link are filled in. A failure has been recorded, and is
// for the caller to send.
int verbs_run(struct verb_call *call, struct error *err);

bool verb_sites_allow(const char *sites, const char *site);
bool verb_may_see(const struct verb_call *call, const char *site);
int verb_refuse_site(const struct verb_call *call, const char *what, struct error *err); // -1, ERROR_DENIED
// "SITE/HOST" as records name hosts.
bool verb_may_see_host(const struct verb_call *call, const char *name);
// Where a job begins; of a batch all such places, or at least one.
bool verb_may_see_source(const struct verb_call *call, const Drover__JobRecord *job, bool all);
int verb_reply(struct verb_call *call, Drover__OperatorReply *reply, bool last, struct error *err);
struct runner_caller verb_caller(const struct verb_call *call);
int verb_reply_job(struct verb_call *call, const char *id, struct error *err);
int verb_reply_plan(struct verb_call *call, Drover__MovePlan *plan,
                    struct error *err);                                            // what would be done; not recorded
int verb_reply_started(struct verb_call *call, const char *id, struct error *err); // the same for a job begun here
const struct store_site *verb_site(const struct verb_call *call, const char *name, struct error *err); // or not found
// The site and the host that a list is limited to; either may be "", and then so is what is given.
int verb_list_place(const struct verb_call *call, const char *site, const char *name,
                    char ret_host_uuid[NAME_UUID_LENGTH + 1], struct error *err);

// The handlers, by file.
#define VERB_HANDLERS(X)                                                                                               \
        X(status_get)                                                                                                  \
        X(site_list)                                                                                                   \
        X(site_create)                                                                                                 \
        X(site_set)                                                                                                    \
        X(site_remove)                                                                                                 \
        X(host_list)                                                                                                   \
        X(host_show)                                                                                                   \
        X(host_invite)                                                                                                 \
        X(host_remove)                                                                                                 \
        X(vm_list)                                                                                                     \
        X(vm_xml)                                                                                                      \
        X(vm_power)                                                                                                    \
        X(vm_move)                                                                                                     \
        X(vm_clone)                                                                                                    \
        X(vm_move_many)                                                                                                \
        X(vm_purge)                                                                                                    \
        X(retired_list)                                                                                                \
        X(job_list)                                                                                                    \
        X(job_show)                                                                                                    \
        X(job_follow)                                                                                                  \
        X(job_set)                                                                                                     \
        X(job_cancel)                                                                                                  \
        X(job_undo)                                                                                                    \
        X(job_retry)                                                                                                   \
        X(user_invite)                                                                                                 \
        X(user_list)                                                                                                   \
        X(user_remove)                                                                                                 \
        X(audit_list)                                                                                                  \
        X(certificate_renew)
#define X(name) int verb_##name(struct verb_call *call, struct error *err);
VERB_HANDLERS(X)
#undef X
// For verb_job_retry(): plans and begins, or only plans, what the request says, under this name.
int verb_move_many(struct verb_call *call, const Drover__VmMoveMany *many, const char *what, struct error *err);
const char *verb_power_label(const struct verb_call *call);
