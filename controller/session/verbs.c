// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * THE dispatch table, and the way through it: role, names, sites, handler, record. Nothing else calls a handler.
 */
#include "controller/session/verbs.h"
#include "common/cleanup.h"
#include "controller/session/audit.h"
#include "controller/session/operator_link.h"
#include "controller/session/verb_checks.h"
#include <stdio.h>
#include <string.h>

#define SUBJECT(verb, member, field)                                                                                   \
        static const char *subject_##verb(const struct verb_call *call) {                                              \
                return call->request->member->field;                                                                   \
        }
SUBJECT(site_create, site_create, name)
SUBJECT(site_set, site_set, name)
SUBJECT(site_remove, site_remove, name)
SUBJECT(host_show, host_show, host)
SUBJECT(host_invite, host_invite, site)
SUBJECT(host_remove, host_remove, host)
SUBJECT(vm_xml, vm_xml, vm)
SUBJECT(vm_power, vm_power, vm)
SUBJECT(vm_move, vm_move, vm)
SUBJECT(vm_purge, vm_purge, vm)
SUBJECT(job_show, job_show, id)
SUBJECT(job_follow, job_follow, id)
SUBJECT(job_set, job_set, id)
SUBJECT(job_cancel, job_cancel, id)
SUBJECT(job_retry, job_retry, id)
SUBJECT(job_undo, job_undo, id)
SUBJECT(user_invite, user_invite, name)
SUBJECT(user_remove, user_remove, name)

// A request may come without its inner message: it then names nothing, and its check says so.
static const char *subject_vm_clone(const struct verb_call *call) {
        const Drover__VmMove *move = call->request->vm_clone->move;
        return move ? move->vm : "";
}

static const char *target_vm_clone(const struct verb_call *call) {
        return call->request->vm_clone->move->host;
}

// Where to; which VMs, the handler finds.
static const char *subject_vm_move_many(const struct verb_call *call) {
        const Drover__VmMove *move = call->request->vm_move_many->move;
        return move ? move->host : "";
}

static const char *target_vm_move(const struct verb_call *call) {
        return call->request->vm_move->host;
}

#define CASE(MEMBER) .verb_case = DROVER__OPERATOR_REQUEST__VERB_##MEMBER
#define RUN(verb)    .run = verb_##verb
#define ABOUT(verb)  .check = verb_check_##verb, .subject = subject_##verb, RUN(verb)
#define LISTS(verb)  .check = verb_check_##verb, RUN(verb)

static const struct verb table[] = {
        {CASE(STATUS_GET), "status", ROLE_VIEWER, VERB_FLEET, RUN(status_get)},
        {CASE(SITE_LIST), "site list", ROLE_VIEWER, VERB_FLEET, LISTS(site_list)},
        {CASE(SITE_CREATE), "site create", ROLE_ADMIN, VERB_SITE, true, ABOUT(site_create)},
        {CASE(SITE_SET), "site set", ROLE_ADMIN, VERB_SITE, true, ABOUT(site_set)},
        {CASE(SITE_REMOVE), "site rm", ROLE_ADMIN, VERB_SITE, true, ABOUT(site_remove)},
        {CASE(HOST_LIST), "host list", ROLE_VIEWER, VERB_FLEET, LISTS(host_list)},
        {CASE(HOST_SHOW), "host show", ROLE_VIEWER, VERB_HOST, ABOUT(host_show)},
        {CASE(HOST_INVITE), "host invite", ROLE_ADMIN, VERB_SITE, true, ABOUT(host_invite)},
        {CASE(HOST_REMOVE), "host rm", ROLE_ADMIN, VERB_HOST, true, ABOUT(host_remove)},
        {CASE(VM_LIST), "vm list", ROLE_VIEWER, VERB_FLEET, LISTS(vm_list)},
        {CASE(VM_XML), "vm xml", ROLE_VIEWER, VERB_VM, ABOUT(vm_xml)},
        {CASE(VM_POWER), "vm power", ROLE_OPERATOR, VERB_VM, true, .label = verb_power_label, ABOUT(vm_power)},
        {CASE(VM_MOVE), "vm move", ROLE_OPERATOR, VERB_VM_HOST, true, .target = target_vm_move, ABOUT(vm_move)},
        {CASE(VM_CLONE), "vm clone", ROLE_OPERATOR, VERB_VM_HOST, true, .target = target_vm_clone, ABOUT(vm_clone)},
        {CASE(VM_MOVE_MANY), "vm move", ROLE_OPERATOR, VERB_HOST, true, ABOUT(vm_move_many)},
        {CASE(VM_PURGE), "vm purge", ROLE_OPERATOR, VERB_FLEET, true, ABOUT(vm_purge)},
        {CASE(RETIRED_LIST), "vm list --retired", ROLE_VIEWER, VERB_FLEET, LISTS(retired_list)},
        {CASE(JOB_LIST), "job list", ROLE_VIEWER, VERB_FLEET, LISTS(job_list)},
        {CASE(JOB_SHOW), "job show", ROLE_VIEWER, VERB_JOB, ABOUT(job_show)},
        {CASE(JOB_FOLLOW), "job follow", ROLE_VIEWER, VERB_JOB, ABOUT(job_follow)},
        {CASE(JOB_SET), "job set", ROLE_OPERATOR, VERB_JOB, true, ABOUT(job_set)},
        {CASE(JOB_CANCEL), "job cancel", ROLE_OPERATOR, VERB_JOB, true, ABOUT(job_cancel)},
        {CASE(JOB_RETRY), "job retry", ROLE_OPERATOR, VERB_JOB, true, ABOUT(job_retry)},
        {CASE(JOB_UNDO), "job undo", ROLE_OPERATOR, VERB_JOB, true, ABOUT(job_undo)},
        {CASE(USER_INVITE), "user invite", ROLE_ADMIN, VERB_ALL, true, ABOUT(user_invite)},
        {CASE(USER_LIST), "user list", ROLE_ADMIN, VERB_ALL, RUN(user_list)},
        {CASE(USER_REMOVE), "user rm", ROLE_ADMIN, VERB_ALL, true, ABOUT(user_remove)},
        {CASE(AUDIT_LIST), "audit list", ROLE_ADMIN, VERB_ALL, RUN(audit_list)},
        {CASE(CERTIFICATE_RENEW), "certificate renew", ROLE_VIEWER, VERB_ONE_SELF, true, RUN(certificate_renew)},
};

const struct verb *verbs_table(size_t *ret_n) {
        *ret_n = ARRAY_SIZE(table);
        return table;
}

const struct verb *verbs_find(Drover__OperatorRequest__VerbCase verb_case) {
        for (size_t i = 0; i < ARRAY_SIZE(table); i++)
                if (table[i].verb_case == verb_case)
                        return &table[i];
        return NULL;
}

const char *verbs_label(const struct verb_call *call) {
        return call->verb->label ? call->verb->label(call) : call->verb->name;
}

// ---- sites

bool verb_sites_allow(const char *sites, const char *site) {
        size_t length = strlen(site);
        if (sites[0] == '\0' || length == 0)
                return sites[0] == '\0';
        for (const char *at = sites; (at = strstr(at, site)); at += length)
                if ((at == sites || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
                        return true;
        return false;
}

bool verb_may_see(const struct verb_call *call, const char *site) {
        return verb_sites_allow(call->sites, site);
}

bool verb_may_see_host(const struct verb_call *call, const char *name) {
        char site[NAME_SITE_MAX + 1];
        size_t length = strcspn(name, "/");
        snprintf(site, sizeof(site), "%.*s", (int) (length < sizeof(site) ? length : 0), name);
        return verb_may_see(call, site);
}

int verb_refuse_site(const struct verb_call *call, const char *what, struct error *err) {
        error_set(err, ERROR_DENIED, "%s may act at %s only; `%s` is about %s", call->user, call->sites,
                  verbs_label(call), what);
        return -1;
}

static int check_host(const struct verb_call *call, const struct fleet_host *host, struct error *err) {
        char name[NAME_SITE_MAX + NAME_HOST_MAX + 2];
        snprintf(name, sizeof(name), "%s/%s", host->site, host->name);
        return verb_may_see(call, host->site) ? 0 : verb_refuse_site(call, name, err);
}

// A batch begins at all the sites that its parts are at.
bool verb_may_see_source(const struct verb_call *call, const Drover__JobRecord *job, bool all) {
        size_t n = 0;
        for (size_t i = 0; i < job->n_parts; i++)
                n += verb_may_see_host(call, job->parts[i]->vm);
        return job->n_parts == 0 ? verb_may_see_host(call, job->source) : all ? n == job->n_parts : n > 0;
}

// To act on a job one must be allowed both its ends; to look at it, one of them.
static int check_job(const struct verb_call *call, const Drover__JobRecord *job, struct error *err) {
        bool source = verb_may_see_source(call, job, call->verb->changes),
             target = verb_may_see_host(call, job->target);
        bool looks = source || (job->target[0] && target);
        bool acts = source && (!job->target[0] || target);
        if (call->verb->changes ? acts : looks)
                return 0;
        return verb_refuse_site(call, source ? job->target : job->source, err);
}

// ---- from names to objects

static int find_host(struct verb_call *call, const char *name, struct error *err) {
        if (fleet_resolve_host(call->session->fleet, name, &call->host, err) < 0)
                return -1;
        return check_host(call, call->host, err);
}

static bool is_named(const struct store_token *token, const char *text) {
        char whole[NAME_SITE_MAX + NAME_USER_MAX + 2];
        snprintf(whole, sizeof(whole), "%s/%s", token->site, token->name);
        return !token->operator&&(strcmp(whole, text) == 0 || strcmp(token->name, text) == 0);
}

// The open invitation of a host; found when there is exactly one of that name.
static int find_invited(struct verb_call *call, const char *text, struct error *err) {
        _cleanup_(free_p) struct store_token *tokens = NULL;
        const struct store_token *found = NULL;
        unsigned n, n_found = 0;
        if (store_tokens_open(call->session->store, clock_wall(call->session->clock), &tokens, &n, err) < 0)
                return -1;
        for (unsigned i = 0; i < n; i++)
                if (is_named(&tokens[i], text)) {
                        found = &tokens[i];
                        n_found++;
                }
        if (n_found != 1)
                return 0;
        call->invited = *found;
        snprintf(call->object, sizeof(call->object), "%s/%s", found->site, found->name);
        return 1;
}

static int find_host_or_invited(struct verb_call *call, struct error *err) {
        const char *text = call->verb->subject(call);
        struct error why = ERROR_INIT;
        if (fleet_resolve_host(call->session->fleet, text, &call->host, &why) == 0) {
                snprintf(call->object, sizeof(call->object), "%s/%s", call->host->site, call->host->name);
                return check_host(call, call->host, err);
        }
        int found = why.code == ERROR_NOT_FOUND ? find_invited(call, text, &why) : 0;
        if (found > 0)
                return verb_may_see(call, call->invited.site) ? 0 : verb_refuse_site(call, call->object, err);
        if (err)
                *err = why;
        return -1;
}

static int find_vm(struct verb_call *call, struct error *err) {
        if (fleet_resolve_vm(call->session->fleet, call->verb->subject(call), &call->vm, err) < 0)
                return -1;
        const struct fleet_host *host = call->vm->host;
        snprintf(call->object, sizeof(call->object), "%s/%s/%s", host->site, host->name, call->vm->domain->name);
        return check_host(call, host, err);
}

static int find_vm_and_host(struct verb_call *call, struct error *err) {
        if (find_vm(call, err) < 0 || find_host(call, call->verb->target(call), err) < 0)
                return -1;
        size_t used = strlen(call->object);
        snprintf(call->object + used, sizeof(call->object) - used, " to %s/%s", call->host->site, call->host->name);
        return 0;
}

static int find_job(struct verb_call *call, struct error *err) {
        const char *beginning = call->verb->subject(call);
        Drover__JobRecord *job;
        int found = store_job_find(call->session->store, beginning, call->job_id, err);
        if (found == 0) {
                error_set(err, ERROR_NOT_FOUND, "no job %s", beginning);
                error_hint(err, "drover job list");
        }
        if (found <= 0 || runner_job(call->session->runner, call->job_id, &job, err) < 0)
                return -1;
        snprintf(call->object, sizeof(call->object), "%s", job->id);
        int r = check_job(call, job, err);
        proto_free(&job->base);
        return r;
}

static int find_object(struct verb_call *call, struct error *err) {
        switch (call->verb->object) {
        case VERB_SITE:
                return verb_may_see(call, call->object) ? 0 : verb_refuse_site(call, call->object, err);
        case VERB_HOST:
                return find_host_or_invited(call, err);
        case VERB_VM:
                return find_vm(call, err);
        case VERB_VM_HOST:
                return find_vm_and_host(call, err);
        case VERB_JOB:
                return find_job(call, err);
        case VERB_ALL:
                return call->sites[0] ? verb_refuse_site(call, "the whole fleet", err) : 0;
        case VERB_FLEET:
        case VERB_ONE_SELF:
                break;
        }
        return 0;
}

// ---- the way

static int check_role(const struct verb_call *call, struct error *err) {
        if (call->role >= call->verb->role && call->role != ROLE_NONE)
                return 0;
        const char *role = role_word(call->role);
        return error_set(err, ERROR_DENIED, "%s is %s %s; `%s` needs %s", call->user,
                         strchr("aeiou", role[0]) ? "an" : "a", role, verbs_label(call), role_word(call->verb->role));
}

static int pass(struct verb_call *call, struct error *err) {
        const struct verb *verb = call->verb;
        if (check_role(call, err) < 0 || (verb->check && verb->check(call, err) < 0) || find_object(call, err) < 0 ||
            verb->run(call, err) < 0)
                return -1;
        Drover__OperatorReply done = DROVER__OPERATOR_REPLY__INIT;
        return call->answered ? 0 : verb_reply(call, &done, true, err);
}

static void record(const struct verb_call *call, const struct error *why) {
        const struct audit_entry entry = {.user = call->user,
                                          .role = role_word(call->role),
                                          .address = call->address,
                                          .verb = verbs_label(call),
                                          .object = call->object,
                                          .job = call->job,
                                          .starts = call->starts,
                                          .why = why};
        bool denied = why->code == ERROR_DENIED;
        if (denied || (call->verb->changes && !call->unrecorded))
                audit_add(call->session, &entry);
}

int verbs_run(struct verb_call *call, struct error *err) {
        struct error why = ERROR_INIT;
        const char *subject = call->verb->subject ? call->verb->subject(call) : "";
        snprintf(call->object, sizeof(call->object), "%s", subject);
        int r = pass(call, &why);
        record(call, &why);
        if (r < 0 && err)
                *err = why;
        return r;
}

// ---- for the handlers

int verb_reply(struct verb_call *call, Drover__OperatorReply *reply, bool last, struct error *err) {
        reply->id = call->request->id;
        reply->last = last;
        call->answered = true;
        return operator_link_reply(call->link, reply, err);
}

struct runner_caller verb_caller(const struct verb_call *call) {
        return (struct runner_caller){.user = call->user, .role = role_word(call->role), .address = call->address};
}

int verb_reply_job(struct verb_call *call, const char *id, struct error *err) {
        Drover__OperatorReply reply = DROVER__OPERATOR_REPLY__INIT;
        Drover__JobRecords records = DROVER__JOB_RECORDS__INIT;
        Drover__JobRecord *job;
        if (runner_job(call->session->runner, id, &job, err) < 0)
                return -1;
        records.jobs = &job;
        records.n_jobs = 1;
        reply.value_case = DROVER__OPERATOR_REPLY__VALUE_JOBS;
        reply.jobs = &records;
        int r = verb_reply(call, &reply, true, err);
        proto_free(&job->base);
        return r;
}

int verb_reply_plan(struct verb_call *call, Drover__MovePlan *plan, struct error *err) {
        Drover__OperatorReply reply = DROVER__OPERATOR_REPLY__INIT;
        reply.value_case = DROVER__OPERATOR_REPLY__VALUE_PLAN;
        reply.plan = plan;
        call->unrecorded = true;
        return verb_reply(call, &reply, true, err);
}

int verb_reply_started(struct verb_call *call, const char *id, struct error *err) {
        snprintf(call->job, sizeof(call->job), "%s", id);
        call->starts = true;
        return verb_reply_job(call, id, err);
}

const struct store_site *verb_site(const struct verb_call *call, const char *name, struct error *err) {
        size_t n;
        const struct store_site *sites = fleet_sites(call->session->fleet, &n);
        char *names[256];
        size_t n_names = 0;
        for (size_t i = 0; i < n; i++) {
                if (!verb_may_see(call, sites[i].name))
                        continue;
                if (strcmp(sites[i].name, name) == 0)
                        return &sites[i];
                if (n_names < ARRAY_SIZE(names))
                        names[n_names++] = (char *) sites[i].name;
        }
        int nearest = name_nearest(name, names, n_names);
        error_set(err, ERROR_NOT_FOUND, "no site %.63s", name);
        if (nearest >= 0)
                error_hint(err, "did you mean %s?", names[nearest]);
        else
                error_hint(err, "drover site list");
        return NULL;
}
