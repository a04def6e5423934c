// SPDX-License-Identifier: LGPL-2.1-or-later
/* Verbs about what moves left behind: the list of it, and its removal for good. Loop thread. */
#include "common/memory.h"
#include "controller/session/audit.h"
#include "controller/session/batch.h"
#include <stdio.h>
#include <string.h>

#define PURGES_MAX 1000u // jobs that one request may begin

BATCH_FILL(fill, RETIRED, retired, retired, retired_records, RetiredRecords, RetiredRecord)
BATCH_FILL(fill_jobs, JOBS, jobs, jobs, job_records, JobRecords, JobRecord)

static bool is_listed(const struct verb_call *call, const struct fleet_host *host, const char *host_uuid) {
        const char *site = call->request->retired_list->site;
        return verb_may_see(call, host->site) && (!site[0] || strcmp(site, host->site) == 0) &&
               (!host_uuid[0] || strcmp(host_uuid, host->uuid) == 0);
}

int verb_retired_list(struct verb_call *call, struct error *err) {
        const Drover__RetiredList *list = call->request->retired_list;
        char host_uuid[NAME_UUID_LENGTH + 1];
        struct batch batch;
        size_t n;
        int r = 0;
        if (verb_list_place(call, list->site, list->host, host_uuid, err) < 0)
                return -1;
        struct fleet_host *const *hosts = fleet_hosts(call->session->fleet, &n);
        batch_init(&batch, call, fill);
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; r == 0 && k < hosts[i]->n_retired && is_listed(call, hosts[i], host_uuid); k++) {
                        if (list->search[0] && !strcasestr(hosts[i]->retired[k]->vm_name, list->search))
                                continue;
                        Drover__RetiredRecord *record = new (Drover__RetiredRecord);
                        drover__retired_record__init(record);
                        record->site = memory_string(hosts[i]->site);
                        record->host = memory_string(hosts[i]->name);
                        record->retired = (Drover__Retired *) proto_copy(&hosts[i]->retired[k]->base);
                        r = batch_add(&batch, &record->base, err);
                }
        if (r == 0)
                r = batch_end(&batch, err);
        batch_fini(&batch);
        return r;
}

// ---- which copy is meant: by the VM's name or UUID, or by the job that left it behind

struct found {
        struct fleet_host *host;
        const Drover__Retired *retired;
        size_t n;
        char names[ERROR_HINTS_MAX][ERROR_HINT_MAX];
};

static bool is_meant(const struct fleet_host *host, const Drover__Retired *retired, const char *text) {
        char whole[NAME_SITE_MAX + NAME_HOST_MAX + NAME_VM_MAX + 3];
        snprintf(whole, sizeof(whole), "%s/%s/%s", host->site, host->name, retired->vm_name);
        size_t length = strlen(whole), typed = strlen(text);
        bool ends = typed <= length && strcmp(whole + length - typed, text) == 0 &&
                    (typed == length || whole[length - typed - 1] == '/');
        return ends || strcmp(text, retired->vm_uuid) == 0 || strcmp(text, retired->job) == 0;
}

static void find(const struct verb_call *call, const char *text, struct found *found) {
        size_t n;
        struct fleet_host *const *hosts = fleet_hosts(call->session->fleet, &n);
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < hosts[i]->n_retired && verb_may_see(call, hosts[i]->site); k++) {
                        const Drover__Retired *retired = hosts[i]->retired[k];
                        if (!is_meant(hosts[i], retired, text))
                                continue;
                        found->host = hosts[i];
                        found->retired = retired;
                        if (found->n < ERROR_HINTS_MAX)
                                snprintf(found->names[found->n], ERROR_HINT_MAX, "drover vm purge %.40s  (%.60s/%.60s)",
                                         retired->job, hosts[i]->site, hosts[i]->name);
                        found->n++;
                }
}

static int find_one(const struct verb_call *call, const char *text, struct found *found, struct error *err) {
        find(call, text, found);
        if (found->n == 1)
                return 0;
        if (found->n == 0) {
                error_set(err, ERROR_NOT_FOUND, "no retired copy of \"%.200s\"", text);
                error_hint(err, "drover vm list --retired");
                return -1;
        }
        error_set(err, ERROR_CONFLICT, "there are %zu retired copies of \"%.200s\"", found->n, text);
        for (size_t i = 0; i < found->n && i < ERROR_HINTS_MAX; i++)
                error_hint(err, "%s", found->names[i]);
        return -1;
}

static int purge_one(struct verb_call *call, struct error *err) {
        const struct runner_caller caller = verb_caller(call);
        struct found found = {0};
        char job[33];
        if (find_one(call, call->request->vm_purge->vm, &found, err) < 0)
                return -1;
        snprintf(call->object, sizeof(call->object), "%s/%s/%s", found.host->site, found.host->name,
                 found.retired->vm_name);
        if (runner_purge(call->session->runner, found.host, found.retired->job, found.retired->vm_name, &caller, job,
                         err) < 0)
                return -1;
        return verb_reply_started(call, job, err);
}

// ---- all of them: a job for each host

struct purges {
        struct batch batch;
        unsigned n;
        struct error why; // the first that could not begin
};

static void record(const struct verb_call *call, const struct fleet_host *host, const char *job) {
        char object[NAME_SITE_MAX + NAME_HOST_MAX + 2];
        snprintf(object, sizeof(object), "%s/%s", host->site, host->name);
        const struct audit_entry entry = {.user = call->user,
                                          .role = role_word(call->role),
                                          .address = call->address,
                                          .verb = "vm purge --all",
                                          .object = object,
                                          .job = job,
                                          .starts = true};
        audit_add(call->session, &entry);
}

static int purge_host(struct verb_call *call, struct fleet_host *host, struct purges *purges, struct error *err) {
        const struct runner_caller caller = verb_caller(call);
        struct error why = ERROR_INIT;
        Drover__JobRecord *job;
        char id[33];
        if (runner_purge(call->session->runner, host, "", "all", &caller, id, &why) < 0) {
                if (purges->why.code == ERROR_NONE)
                        purges->why = why;
                return 0;
        }
        record(call, host, id);
        purges->n++;
        return runner_job(call->session->runner, id, &job, err) < 0 ? -1 : batch_add(&purges->batch, &job->base, err);
}

// A host that is offline keeps what it holds; the list says so.
static int purge_all(struct verb_call *call, struct error *err) {
        struct purges purges = {.why = ERROR_INIT};
        size_t n;
        int r = 0;
        struct fleet_host *const *hosts = fleet_hosts(call->session->fleet, &n);
        batch_init(&purges.batch, call, fill_jobs);
        for (size_t i = 0; r == 0 && i < n && purges.n < PURGES_MAX; i++)
                if (hosts[i]->n_retired > 0 && verb_may_see(call, hosts[i]->site))
                        r = purge_host(call, hosts[i], &purges, err);
        call->unrecorded = purges.n > 0; // each of its own
        if (r == 0 && purges.n == 0) {
                if (purges.why.code == ERROR_NONE)
                        error_set(&purges.why, ERROR_NOT_FOUND, "there are no retired copies");
                *err = purges.why;
                r = -1;
        }
        if (r == 0)
                r = batch_end(&purges.batch, err);
        batch_fini(&purges.batch);
        return r;
}

int verb_vm_purge(struct verb_call *call, struct error *err) {
        return call->request->vm_purge->all ? purge_all(call, err) : purge_one(call, err);
}
