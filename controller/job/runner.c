// SPDX-License-Identifier: LGPL-2.1-or-later
/* The runner's public calls: recovery, cancelling, answers from hosts, and what it knows. Loop thread. */
#include "controller/job/engine.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/memory.h"

#include <stdio.h>
#include <string.h>

#define RUNNER_TIMER_MS       100u
#define RUNNER_TIMER_FAULT_MS 20u

static void on_timer(uv_timer_t *timer) {
        engine_tick(timer->data);
}

static void on_timer_closed(uv_handle_t *handle) {
        free(handle);
}

int runner_new(uv_loop_t *loop, struct store *store, struct fleet *fleet, struct authority *authority,
               const struct clock *clock, const struct runner_port *port, struct runner **ret, struct error *err) {
        (void) err;
        struct runner *runner = new (struct runner);
        runner->loop = loop;
        runner->store = store;
        runner->fleet = fleet;
        runner->authority = authority;
        runner->clock = clock;
        runner->port = *port;
        runner->stall_ms = ENGINE_STALL_MS;
        runner->timer = new (uv_timer_t);
        uv_timer_init(loop, runner->timer);
        runner->timer->data = runner;
        *ret = runner;
        return 0;
}

void runner_set_stall(struct runner *runner, unsigned seconds) {
        runner->stall_ms = seconds * 1000;
}

void runner_free(struct runner *runner) {
        if (!runner)
                return;
        while (runner->followers)
                runner_unfollow(runner, runner->followers);
        while (runner->jobs) {
                struct job *job = runner->jobs;
                runner->jobs = job->next;
                job_free(job);
        }
        shape_fini(&runner->shape);
        outlook_fini(&runner->outlook);
        uv_close((uv_handle_t *) runner->timer, on_timer_closed);
        free(runner);
}

// With no job there is nothing to look at, and the timer sleeps.
static void set_timer(struct runner *runner) {
        bool needed = runner->jobs != NULL;
        if (needed && !uv_is_active((uv_handle_t *) runner->timer)) {
                uint64_t every = fault_active() ? RUNNER_TIMER_FAULT_MS : RUNNER_TIMER_MS;
                uv_timer_start(runner->timer, on_timer, every, every);
        } else if (!needed) {
                uv_timer_stop(runner->timer);
        }
}

static void run(struct runner *runner) {
        engine_tick(runner);
        set_timer(runner);
}

void runner_adopt(struct runner *runner, struct job *job) {
        struct job **end = &runner->jobs;
        while (*end)
                end = &(*end)->next;
        *end = job;
        job->runner = runner;
        runner->n_jobs++;
        engine_hold(job);
        set_timer(runner);
}

static int recover_state(struct runner *runner, const char *state, struct error *err) {
        struct store_job *rows = NULL;
        unsigned n = 0;
        if (store_jobs(runner->store, state, state == NULL, ENGINE_UNFINISHED_MAX, &rows, &n, err) < 0)
                return -1;
        for (unsigned i = n; i > 0; i--) { // the store gives the newest first
                struct job *job = NULL;
                struct error why = ERROR_INIT;
                char id[33];
                snprintf(id, sizeof(id), "%s", rows[i - 1].id);
                if (runner_has(runner, id) || job_load(runner->store, &rows[i - 1], &job, &why) == 0) {
                        if (job) {
                                runner_adopt(runner, job);
                                finish_explain(job);
                                engine_log(job, NULL, "job goes on after a restart", NULL);
                        }
                } else {
                        log_failure(LOG_LEVEL_ERROR, "cannot go on with a job", &why, "job", id, NULL);
                }
                store_job_fini(&rows[i - 1]);
        }
        free(rows);
        return 0;
}

int runner_recover(struct runner *runner, struct error *err) {
        if (recover_state(runner, NULL, err) < 0 || recover_state(runner, job_state_word(JOB_NEEDS_OPERATOR), err) < 0)
                return -1;
        set_timer(runner);
        return 0;
}

bool runner_has(const struct runner *runner, const char *id) {
        for (const struct job *job = runner->jobs; job; job = job->next)
                if (strcmp(job->row.id, id) == 0)
                        return true;
        return false;
}

static int check_owner(struct runner *runner, const struct fleet_vm *vm, struct error *err) {
        const struct fleet_owner *owner = fleet_owner(runner->fleet, vm->domain->uuid);
        if (!owner || strcmp(owner->host_uuid, vm->host->uuid) == 0)
                return 0;
        const struct fleet_host *host = fleet_host_by_uuid(runner->fleet, owner->host_uuid);
        if (!host || !fleet_vm_on(runner->fleet, host, vm->domain->uuid)) // it was carried here by other means
                return fleet_grant(runner->fleet, vm->domain->uuid, vm->host->uuid,
                                   taking_epoch(runner, vm->domain->uuid), err);
        error_set(err, ERROR_CONFLICT, "%s belongs to %s/%s, which defines it too", vm->domain->name, host->site,
                  host->name);
        error_hint(err, "undefine the copy on %s/%s: virsh undefine %s", vm->host->site, vm->host->name,
                   vm->domain->name);
        return -1;
}

static int check_online(const struct fleet_host *host, struct error *err) {
        if (host->online)
                return 0;
        char at[CLOCK_RFC3339_MAX];
        error_set(err, ERROR_UNREACHABLE, "%s/%s is offline since %s", host->site, host->name,
                  clock_rfc3339(host->offline_since, at));
        error_hint(err, "systemctl status drover-agent, on that host");
        return -1;
}

// Images that linked clones lie over may not change any more.
static int check_not_backing(const struct fleet_vm *vm, struct error *err) {
        for (size_t i = 0; i < vm->domain->n_disks; i++) {
                if (!vm->domain->disks[i]->is_backing)
                        continue;
                error_set(err, ERROR_REFUSED, "%s cannot be started: linked clones lie over its disk %s",
                          vm->domain->name, vm->domain->disks[i]->target);
                error_hint(err, "clone it, and start the clone: drover vm clone %s %s/%s/NAME --linked --start",
                           vm->domain->name, vm->host->site, vm->host->name);
                return -1;
        }
        return 0;
}

static int single(struct runner *runner, const struct fleet_host *host, const char *kind, const char *vm_name,
                  const char *vm_uuid, Drover__AgentRequest *request, const struct runner_caller *caller,
                  char ret_job[33], struct error *err) {
        struct job *job = taking_new(kind, vm_name, vm_uuid, caller);
        snprintf(job->row.source, sizeof(job->row.source), "%s/%s", host->site, host->name);
        const struct fleet_owner *owner = vm_uuid[0] ? fleet_owner(runner->fleet, vm_uuid) : NULL;
        job->row.epoch = owner ? owner->epoch : 0;
        request->step = (char *) host->uuid; // see recipe_single.c
        return taking_on(runner, job, &request->base, ret_job, err);
}

int runner_power(struct runner *runner, struct fleet_vm *vm, Drover__PowerAction action, unsigned timeout_seconds,
                 const struct runner_caller *caller, char ret_job[33], struct error *err) {
        const char *kind = recipe_power_kind(action);
        char name[sizeof(((struct store_job *) NULL)->vm)];
        if (!kind)
                return error_set(err, ERROR_INVALID, "no such power action");
        if (taking_check_free(runner, vm->domain->uuid, vm->domain->name, err) < 0 || check_online(vm->host, err) < 0 ||
            check_owner(runner, vm, err) < 0)
                return -1;
        if (action == DROVER__POWER_ACTION__POWER_START && check_not_backing(vm, err) < 0)
                return -1;
        Drover__DomainPower power = DROVER__DOMAIN_POWER__INIT;
        Drover__AgentRequest request = DROVER__AGENT_REQUEST__INIT;
        power.action = action;
        power.timeout_seconds = timeout_seconds;
        request.verb_case = DROVER__AGENT_REQUEST__VERB_DOMAIN_POWER;
        request.domain_power = &power;
        snprintf(name, sizeof(name), "%s/%s/%s", vm->host->site, vm->host->name, vm->domain->name);
        return single(runner, vm->host, kind, name, vm->domain->uuid, &request, caller, ret_job, err);
}

int runner_purge(struct runner *runner, struct fleet_host *host, const char *retired_job, const char *vm_name,
                 const struct runner_caller *caller, char ret_job[33], struct error *err) {
        char name[sizeof(((struct store_job *) NULL)->vm)];
        if (check_online(host, err) < 0)
                return -1;
        Drover__RetiredPurge purge = DROVER__RETIRED_PURGE__INIT;
        Drover__AgentRequest request = DROVER__AGENT_REQUEST__INIT;
        purge.all = retired_job[0] == '\0';
        purge.retired_job = (char *) retired_job;
        request.verb_case = DROVER__AGENT_REQUEST__VERB_RETIRED_PURGE;
        request.retired_purge = &purge;
        snprintf(name, sizeof(name), "%s/%s/%s", host->site, host->name, vm_name);
        return single(runner, host, "vm.purge", name, "", &request, caller, ret_job, err);
}

static struct job *find(struct runner *runner, const char *id) {
        for (struct job *job = runner->jobs; job; job = job->next)
                if (strcmp(job->row.id, id) == 0)
                        return job;
        return NULL;
}

static int find_unfinished(struct runner *runner, const char *id, struct job **ret, struct error *err) {
        Drover__JobRecord *record = NULL;
        if (runner_job(runner, id, &record, err) < 0)
                return -1;
        *ret = find(runner, record->id);
        int r = *ret ? 0 : error_set(err, ERROR_CONFLICT, "job %s has ended: it is %s", record->id, record->state);
        proto_free(&record->base);
        return r;
}

static void cancel_single(struct job *job) {
        for (unsigned i = 0; i < job->n_steps; i++)
                if (job->steps[i].asked)
                        ask_cancel(job, &job->steps[i]);
}

int runner_cancel(struct runner *runner, const char *id, struct error *err) {
        struct job *job;
        if (find_unfinished(runner, id, &job, err) < 0)
                return -1;
        if (job->batch) {
                int r = parts_cancel(job, err);
                run(runner);
                return r;
        }
        if (job->row.committed) {
                error_set(err, ERROR_CONFLICT, "job %s is past its commit point and can only be finished", job->row.id);
                error_hint(err, "drover job follow %s", job->row.id);
                return -1;
        }
        if (job->row.undoing)
                return error_set(err, ERROR_CONFLICT, "job %s is being undone already", job->row.id);
        struct error why = ERROR_INIT;
        error_set(&why, ERROR_CANCELLED, "cancelled");
        job->row.cancel_requested = true;
        if (!job->recipe->undo && job->sm.current != JOB_QUEUED) {
                cancel_single(job); // its answer ends the job
        } else if (job->sm.current == JOB_QUEUED) {
                job->error = why;
                finish_end(job);
        } else {
                job->retry_at_ms = 0;
                finish_fail(job, &why);
        }
        run(runner);
        return 0;
}

int runner_retry(struct runner *runner, const char *id, struct error *err) {
        struct job *job;
        if (find_unfinished(runner, id, &job, err) < 0) {
                if (err->code == ERROR_CONFLICT)
                        error_hint(err, "give the command again: what the first try left behind has been taken away");
                return -1;
        }
        if (job->batch)
                return parts_retry(job, err);
        if (job->sm.current != JOB_NEEDS_OPERATOR)
                return error_set(err, ERROR_CONFLICT, "job %s is %s: it goes on by itself", job->row.id,
                                 sm_name(&job->sm));
        for (unsigned i = 0; i < job->n_steps; i++) {
                struct job_step *step = &job->steps[i];
                if (step->undo == job->row.undoing && step->state == STEP_FAILED) {
                        step->state = STEP_PENDING;
                        step->row.attempt++;
                        step->cancelling = false;
                }
        }
        if (!job->row.undoing)
                error_clear(&job->error);
        job->transient_failures = job->copy_faults = 0;
        job->retry_at_ms = 0;
        engine_set_state(job, JOB_RUNNING);
        if (job_store_all(job, runner->store, err) < 0)
                return -1;
        run(runner);
        return 0;
}

static struct job_step *asked_step(struct job *job, const char *host_uuid, uint64_t id) {
        for (unsigned i = 0; i < job->n_steps; i++)
                if (job->steps[i].asked && job->steps[i].request_id == id &&
                    strcmp(job->steps[i].host_uuid, host_uuid) == 0)
                        return &job->steps[i];
        return NULL;
}

void runner_on_progress(struct runner *runner, const char *host_uuid, const Drover__AgentProgress *progress) {
        for (struct job *job = runner->jobs; job; job = job->next) {
                struct job_step *step = asked_step(job, host_uuid, progress->id);
                if (step)
                        ask_progress(job, step, progress);
        }
}

void runner_on_result(struct runner *runner, const char *host_uuid, const Drover__AgentResult *result) {
        for (struct job *job = runner->jobs; job; job = job->next) {
                struct job_step *step = asked_step(job, host_uuid, result->id);
                if (!step)
                        continue;
                if (fault_active()) {
                        char name[96];
                        snprintf(name, sizeof(name), "controller.%s.answered", step->row.name);
                        fault_point(name, NULL);
                }
                ask_answer(job, step, result);
        }
        run(runner);
}

void runner_on_host(struct runner *runner, const char *host_uuid, bool online) {
        for (struct job *job = runner->jobs; job; job = job->next)
                for (unsigned i = 0; i < job->n_steps; i++) {
                        struct job_step *step = &job->steps[i];
                        if (strcmp(step->host_uuid, host_uuid) != 0)
                                continue;
                        if (!online)
                                step->asked = false; // it will be asked again when it is back
                        else if (job->sm.current == JOB_WAITING && step->state == STEP_RUNNING)
                                job->retry_at_ms = 0;
                }
        run(runner);
}

static int load_record(struct runner *runner, struct store_job *row, Drover__JobRecord **ret, struct error *err) {
        struct job *live = find(runner, row->id), *stored = NULL;
        if (live) {
                *ret = job_record(live);
                return 0;
        }
        if (job_load(runner->store, row, &stored, err) < 0)
                return -1;
        *ret = job_record(stored);
        job_free(stored);
        return 0;
}

int runner_job(struct runner *runner, const char *id, Drover__JobRecord **ret, struct error *err) {
        struct store_job row = {0};
        char whole[33];
        int r = store_job_find(runner->store, id, whole, err);
        if (r > 0)
                r = store_job_get(runner->store, whole, &row, err);
        if (r < 0)
                return -1;
        if (r == 0) {
                error_set(err, ERROR_NOT_FOUND, "no job %s", id);
                error_hint(err, "drover job list");
                return -1;
        }
        r = load_record(runner, &row, ret, err);
        store_job_fini(&row);
        return r;
}

int runner_jobs(struct runner *runner, const char *state, unsigned limit, Drover__JobRecords **ret, struct error *err) {
        struct store_job *rows = NULL;
        unsigned n = 0;
        if (store_jobs(runner->store, state && state[0] ? state : NULL, false, limit, &rows, &n, err) < 0)
                return -1;
        Drover__JobRecords *records = new (Drover__JobRecords);
        drover__job_records__init(records);
        records->jobs = new_array(Drover__JobRecord *, n + 1);
        for (unsigned i = 0; i < n; i++) {
                struct error ignored = ERROR_INIT;
                if (load_record(runner, &rows[i], &records->jobs[records->n_jobs], &ignored) == 0)
                        records->n_jobs++;
                store_job_fini(&rows[i]);
        }
        free(rows);
        *ret = records;
        return 0;
}

Drover__JobRecords *runner_unfinished(const struct runner *runner) {
        Drover__JobRecords *records = new (Drover__JobRecords);
        drover__job_records__init(records);
        records->jobs = new_array(Drover__JobRecord *, runner->n_jobs + 1);
        records->n_jobs = runner->n_jobs;
        size_t place = runner->n_jobs;
        for (const struct job *job = runner->jobs; job; job = job->next)
                records->jobs[--place] = job_record(job);
        return records;
}

unsigned runner_count(const struct runner *runner, const char *state) {
        unsigned n = 0;
        for (const struct job *job = runner->jobs; job; job = job->next)
                n += !job->batch && strcmp(sm_name(&job->sm), state) == 0; // a batch is what its parts are
        return n;
}
