// SPDX-License-Identifier: LGPL-2.1-or-later
/* Names and words of requests, by the rules of common/name.h. Pure. */
#include "controller/session/verb_checks.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/units.h"
#include <string.h>

#define SEARCH_MAX 200u
#define SITES_MAX  64u
#define PARTS_MAX  3u

typedef int (*check_fn)(const char *name, struct error *err);

// The last part by the last check, and so on backwards.
static int check_parts(const char *text, const char *form, const check_fn *checks, unsigned n, struct error *err) {
        _cleanup_(free_p) char *copy = memory_string(text);
        char *parts[PARTS_MAX], *rest = copy;
        unsigned n_parts = 0;
        for (char *part; (part = strsep(&rest, "/"));) {
                if (n_parts == n) {
                        error_set(err, ERROR_INVALID, "\"%.200s\" has more parts than %s", text, form);
                        return -1;
                }
                parts[n_parts++] = part;
        }
        for (unsigned i = 0; i < n_parts; i++)
                if (checks[n - n_parts + i](parts[i], err) < 0)
                        return -1;
        return 0;
}

int verb_check_vm_name(const char *text, struct error *err) {
        static const check_fn checks[] = {name_check_site, name_check_host, name_check_vm};
        return check_parts(text, "SITE/HOST/VM", checks, ARRAY_SIZE(checks), err);
}

int verb_check_host_name(const char *text, struct error *err) {
        static const check_fn checks[] = {name_check_site, name_check_host};
        return check_parts(text, "SITE/HOST", checks, ARRAY_SIZE(checks), err);
}

static int optional(const char *text, check_fn check, struct error *err) {
        return text[0] ? check(text, err) : 0;
}

#define CHECK(verb, member, field, fn)                                                                                 \
        int verb_check_##verb(const struct verb_call *call, struct error *err) {                                       \
                return fn(call->request->member->field, err);                                                          \
        }
CHECK(site_create, site_create, name, name_check_site)
CHECK(site_set, site_set, name, name_check_site)
CHECK(site_remove, site_remove, name, name_check_site)
CHECK(host_show, host_show, host, verb_check_host_name)
CHECK(host_remove, host_remove, host, verb_check_host_name)
CHECK(vm_xml, vm_xml, vm, verb_check_vm_name)
CHECK(vm_power, vm_power, vm, verb_check_vm_name)
CHECK(job_show, job_show, id, name_check_job)
CHECK(job_follow, job_follow, id, name_check_job)
CHECK(job_cancel, job_cancel, id, name_check_job)
CHECK(job_retry, job_retry, id, name_check_job)
CHECK(user_remove, user_remove, name, name_check_user)

int verb_check_site_list(const struct verb_call *call, struct error *err) {
        return optional(call->request->site_list->name, name_check_site, err);
}

int verb_check_host_list(const struct verb_call *call, struct error *err) {
        return optional(call->request->host_list->site, name_check_site, err);
}

int verb_check_host_invite(const struct verb_call *call, struct error *err) {
        const Drover__HostInvite *invite = call->request->host_invite;
        return name_check_site(invite->site, err) < 0 ? -1 : name_check_host(invite->host, err);
}

// Compared and never looked up.
static int check_text(const char *what, const char *text, struct error *err) {
        if (strnlen(text, SEARCH_MAX + 1) <= SEARCH_MAX)
                return 0;
        return error_set(err, ERROR_INVALID, "%s is longer than %u bytes", what, SEARCH_MAX);
}

// In libvirt's words, as agents tell them.
static int check_vm_state(const char *state, struct error *err) {
        static const char *const words[] = {"running",  "idle",    "paused",      "in shutdown",
                                            "shut off", "crashed", "pmsuspended", "no state"};
        for (size_t i = 0; i < ARRAY_SIZE(words); i++)
                if (!state[0] || strcmp(state, words[i]) == 0)
                        return 0;
        error_set(err, ERROR_INVALID, "\"%.60s\" is not the state of a VM", state);
        error_hint(err, "running, idle, paused, \"in shutdown\", \"shut off\", crashed, pmsuspended or \"no state\"");
        return -1;
}

int verb_check_vm_list(const struct verb_call *call, struct error *err) {
        const Drover__VmList *list = call->request->vm_list;
        if (optional(list->site, name_check_site, err) < 0 || optional(list->host, verb_check_host_name, err) < 0 ||
            optional(list->vm, verb_check_vm_name, err) < 0 || check_vm_state(list->state, err) < 0)
                return -1;
        return check_text("what is searched for", list->search, err);
}

int verb_check_retired_list(const struct verb_call *call, struct error *err) {
        const Drover__RetiredList *list = call->request->retired_list;
        if (optional(list->site, name_check_site, err) < 0 || optional(list->host, verb_check_host_name, err) < 0)
                return -1;
        return check_text("what is searched for", list->search, err);
}

// Pool, bridges and the new name are checked by the plan, which words its refusals by their options.
int verb_check_vm_move(const struct verb_call *call, struct error *err) {
        const Drover__VmMove *move = call->request->vm_move;
        if (verb_check_vm_name(move->vm, err) < 0 || verb_check_host_name(move->host, err) < 0)
                return -1;
        return units_check_rate(move->rate_bytes_per_second, err);
}

int verb_check_vm_clone(const struct verb_call *call, struct error *err) {
        const Drover__VmMove *move = call->request->vm_clone->move;
        if (!move)
                return error_set(err, ERROR_INVALID, "a clone is asked for without saying of what");
        return verb_check_vm_name(move->vm, err) < 0 || verb_check_host_name(move->host, err) < 0 ||
                               name_check_vm(move->new_name, err) < 0 ||
                               units_check_rate(move->rate_bytes_per_second, err) < 0
                       ? -1
                       : 0;
}

// A pattern is compared with names and never looked up; what it is made of is bounded all the same.
static int check_pattern(const char *text, struct error *err) {
        unsigned slashes = 0;
        for (const char *c = text; *c; c++)
                slashes += *c == '/';
        if (slashes < PARTS_MAX)
                return check_text("a pattern", text, err);
        return error_set(err, ERROR_INVALID, "\"%.200s\" has more parts than SITE/HOST/VM", text);
}

int verb_check_vm_move_many(const struct verb_call *call, struct error *err) {
        const Drover__VmMoveMany *many = call->request->vm_move_many;
        if (!many->move || many->n_vms == 0)
                return error_set(err, ERROR_INVALID, "no VM is named");
        for (size_t i = 0; i < many->n_vms; i++)
                if ((strpbrk(many->vms[i], "*?[") ? check_pattern : verb_check_vm_name)(many->vms[i], err) < 0)
                        return -1;
        if (units_check_rate(many->move->rate_bytes_per_second, err) < 0)
                return -1;
        return verb_check_host_name(many->move->host, err);
}

int verb_check_vm_purge(const struct verb_call *call, struct error *err) {
        const Drover__VmPurge *purge = call->request->vm_purge;
        if (purge->all != (purge->vm[0] == '\0'))
                return error_set(err, ERROR_INVALID, "a purge is of one VM or of all retired copies");
        return optional(purge->vm, verb_check_vm_name, err);
}

int verb_check_job_list(const struct verb_call *call, struct error *err) {
        static const char *const words[] = {"queued", "running",   "waiting",       "done",
                                            "failed", "cancelled", "needs-operator"};
        const char *state = call->request->job_list->state;
        for (size_t i = 0; i < ARRAY_SIZE(words); i++)
                if (!state[0] || strcmp(state, words[i]) == 0)
                        return 0;
        error_set(err, ERROR_INVALID, "\"%.60s\" is not the state of a job", state);
        error_hint(err, "queued, running, waiting, done, failed, cancelled or needs-operator");
        return -1;
}

int verb_check_job_set(const struct verb_call *call, struct error *err) {
        const Drover__JobSet *set = call->request->job_set;
        return name_check_job(set->id, err) < 0 ? -1 : units_check_rate(set->rate_bytes_per_second, err);
}

int verb_check_job_undo(const struct verb_call *call, struct error *err) {
        const Drover__JobUndo *undo = call->request->job_undo;
        return name_check_job(undo->id, err) < 0 ? -1 : units_check_rate(undo->rate_bytes_per_second, err);
}

int verb_check_user_invite(const struct verb_call *call, struct error *err) {
        const Drover__UserInvite *invite = call->request->user_invite;
        if (name_check_user(invite->name, err) < 0)
                return -1;
        if (invite->n_sites > SITES_MAX)
                return error_set(err, ERROR_INVALID, "more than %u sites", SITES_MAX);
        for (size_t i = 0; i < invite->n_sites; i++)
                if (name_check_site(invite->sites[i], err) < 0)
                        return -1;
        if (role_parse(invite->role) != ROLE_NONE)
                return 0;
        error_set(err, ERROR_INVALID, "\"%.60s\" is not a role", invite->role);
        error_hint(err, "--role viewer, operator or admin");
        return -1;
}
