// SPDX-License-Identifier: LGPL-2.1-or-later
/* Batches and their parts; see parts.h. */
#include "controller/job/parts.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "controller/job/engine.h"
#include "controller/job/plan.h"

#include <stdio.h>
#include <string.h>

#define REFUSED     "refused" // of a part only: no job was made for it
#define HINTS_PARTS 12u       // as many parts are named when a batch ends

// ---- the recipe: a plan, and no steps

static Drover__Failure *refusal_of(const Drover__MovePlan *plan) {
        struct error err = ERROR_INIT;
        plan_refused(plan, &err);
        return proto_failure(&err);
}

static int load(struct job *job, struct error *err) {
        if (PROTO_UNPACK(batch_plan, job->row.spec, job->row.spec_length, &job->batch, err) < 0)
                return -1;
        job->parts = new_array(struct job_part, job->batch->n_plans + 1);
        for (size_t i = 0; i < job->batch->n_plans; i++) {
                const Drover__MovePlan *plan = job->batch->plans[i];
                struct job_part *part = &job->parts[i];
                snprintf(part->vm, sizeof(part->vm), "%s/%s", plan->source_name, plan->vm_name);
                snprintf(part->state, sizeof(part->state), "%s", plan->n_refusals ? REFUSED : "queued");
                part->error = plan->n_refusals ? refusal_of(plan) : NULL;
                for (size_t k = 0; k < plan->n_disks; k++)
                        part->bytes_total += plan->disks[k]->file_bytes;
        }
        return 0;
}

static void no_steps(struct job *job) {
        (void) job;
}

static const char *no_host(const struct job *job, enum recipe_place place) {
        (void) job;
        (void) place;
        return "";
}

static const struct recipe_step *const none[] = {NULL};
const struct recipe recipe_batch = {.kind = "vm.move", .load = load, .steps = no_steps, .host = no_host, .all = none};

void parts_free(struct job *batch) {
        for (size_t i = 0; batch->batch && i < batch->batch->n_plans; i++)
                if (batch->parts[i].error)
                        proto_free(&batch->parts[i].error->base);
        free(batch->parts);
        if (batch->batch)
                proto_free(&batch->batch->base);
}

// ---- how far a part is

static void set_error(struct job_part *part, const struct error *error) {
        if (part->error)
                proto_free(&part->error->base);
        part->error = error->code != ERROR_NONE ? proto_failure(error) : NULL;
}

static void count_bytes(struct job_part *part, const Drover__MovePlan *plan, const struct job *job) {
        uint64_t total = 0, done = 0;
        for (size_t i = 0; i < plan->n_disks; i++) {
                const Drover__TransferState *state = NULL;
                for (unsigned k = 0; k < job->n_transfers && !state; k++)
                        if (strcmp(job->transfers[k].disk, plan->disks[i]->target) == 0)
                                state = &job->transfers[k].state;
                total += state && state->bytes_total ? state->bytes_total : plan->disks[i]->file_bytes;
                done += state ? state->bytes_done : 0;
        }
        part->bytes_total = total;
        part->bytes_done = done;
}

// True when there is news.
static bool update(struct job_part *part, const Drover__MovePlan *plan, const struct job *job) {
        const struct job_part before = *part;
        const char *state = sm_name(&job->sm);
        memcpy(part->id, job->row.id, sizeof(part->id));
        memcpy(part->note, job->note, sizeof(part->note));
        if (strcmp(part->state, state) != 0) {
                snprintf(part->state, sizeof(part->state), "%s", state);
                set_error(part, &job->error);
        }
        count_bytes(part, plan, job);
        return before.bytes_done != part->bytes_done || strcmp(before.state, part->state) != 0 ||
               strcmp(before.note, part->note) != 0;
}

static bool is_part(const struct job *job, const struct job *batch) {
        return job != batch && strcmp(job->row.batch, batch->row.id) == 0;
}

static struct job *live_part(const struct job *batch, size_t i) {
        for (struct job *job = batch->runner->jobs; job; job = job->next)
                if (is_part(job, batch) && strcmp(job->row.vm_uuid, batch->batch->plans[i]->vm_uuid) == 0)
                        return job;
        return NULL;
}

static bool part_is(const struct job_part *part, const char *state) {
        return strcmp(part->state, state) == 0;
}

static bool part_has_ended(const struct job_part *part) {
        return part_is(part, REFUSED) || part_is(part, "done") || part_is(part, "failed") || part_is(part, "cancelled");
}

int parts_load(struct store *store, struct job *batch, struct error *err) {
        struct store_job *rows = NULL;
        unsigned n = 0;
        int r = store_jobs_of(store, batch->row.id, &rows, &n, err);
        for (unsigned i = 0; i < n; i++) {
                struct job *job = NULL;
                for (size_t k = 0; r == 0 && k < batch->batch->n_plans; k++) {
                        if (part_is(&batch->parts[k], REFUSED) ||
                            strcmp(batch->batch->plans[k]->vm_uuid, rows[i].vm_uuid) != 0)
                                continue;
                        r = job_load(store, &rows[i], &job, err);
                        if (r == 0)
                                update(&batch->parts[k], batch->batch->plans[k], job);
                        break;
                }
                job_free(job);
                store_job_fini(&rows[i]);
        }
        free(rows);
        return r;
}

// ---- how far the batch is

struct counts {
        unsigned all, done, failed, cancelled, stuck, open;
};

static struct counts count(const struct job *batch) {
        struct counts counts = {.all = (unsigned) batch->batch->n_plans};
        for (unsigned i = 0; i < counts.all; i++) {
                const struct job_part *part = &batch->parts[i];
                counts.done += part_is(part, "done");
                counts.failed += part_is(part, "failed") || part_is(part, REFUSED);
                counts.cancelled += part_is(part, "cancelled");
                counts.stuck += part_is(part, "needs-operator");
        }
        counts.open = counts.all - counts.done - counts.failed - counts.cancelled - counts.stuck;
        return counts;
}

// A part whose job could not be read again after a restart would keep its batch waiting for ever.
static void look_at_parts(struct job *batch) {
        for (size_t i = 0; i < batch->batch->n_plans; i++) {
                struct job_part *part = &batch->parts[i];
                if (part_has_ended(part))
                        continue;
                struct job *job = live_part(batch, i);
                if (job) {
                        batch->changed |= update(part, batch->batch->plans[i], job);
                        continue;
                }
                struct error lost = ERROR_INIT;
                error_set(&lost, ERROR_FAILED, "job %s cannot be read", part->id);
                snprintf(part->state, sizeof(part->state), "failed");
                set_error(part, &lost);
                batch->changed = true;
        }
}

static void say_counts(struct job *batch, const struct counts *counts) {
        char failed[32] = "", stuck[48] = "";
        if (counts->failed)
                snprintf(failed, sizeof(failed), ", %u failed", counts->failed);
        if (counts->stuck)
                snprintf(stuck, sizeof(stuck), ", %u waiting for an operator", counts->stuck);
        engine_note(batch, "%u of %u moved%s%s", counts->done, counts->all, failed, stuck);
}

static void explain(struct job *batch, const struct counts *counts) {
        if (counts->done == counts->all)
                return;
        if (counts->done > 0)
                error_set(&batch->error, ERROR_PARTLY, "%u of %u VMs were moved", counts->done, counts->all);
        else if (batch->row.cancel_requested)
                error_set(&batch->error, ERROR_CANCELLED, "cancelled");
        else
                error_set(&batch->error, ERROR_FAILED, "none of %u VMs was moved", counts->all);
        unsigned named = 0;
        for (unsigned i = 0; i < counts->all && named < HINTS_PARTS; i++) {
                const struct job_part *part = &batch->parts[i];
                if (part_is(part, "done") || part_is(part, "cancelled"))
                        continue;
                error_hint(&batch->error, "%s: %s", part->vm, part->error ? part->error->message : part->state);
                named++;
        }
        error_hint(&batch->error, "when that is mended: drover job retry %s", batch->row.id);
}

static void begin(struct job *batch) {
        struct error err = ERROR_INIT;
        engine_set_state(batch, JOB_RUNNING);
        batch->row.started_ms = clock_wall_ms();
        if (job_store(batch, batch->runner->store, &err) < 0)
                engine_log(batch, NULL, "cannot record the start", &err);
}

static void set_stuck(struct job *batch, const struct counts *counts) {
        struct error err = ERROR_INIT;
        engine_set_state(batch, JOB_NEEDS_OPERATOR);
        say_counts(batch, counts);
        if (job_store(batch, batch->runner->store, &err) < 0)
                engine_log(batch, NULL, "cannot record the batch", &err);
}

static void tick(struct job *batch) {
        if (batch->sm.current == JOB_QUEUED)
                begin(batch);
        look_at_parts(batch);
        struct counts counts = count(batch);
        if (batch->sm.current == JOB_NEEDS_OPERATOR && (counts.open > 0 || counts.stuck == 0))
                engine_set_state(batch, JOB_RUNNING);
        if (counts.open == 0 && counts.stuck == 0) {
                explain(batch, &counts);
                finish_end(batch);
        } else if (counts.open == 0 && batch->sm.current != JOB_NEEDS_OPERATOR) {
                set_stuck(batch, &counts);
        } else {
                say_counts(batch, &counts);
        }
}

void parts_tick(struct runner *runner) {
        for (struct job *job = runner->jobs; job; job = job->next)
                if (job->batch && !job_states[job->sm.current].final)
                        tick(job);
}

void parts_record(const struct job *batch, Drover__JobRecord *record) {
        record->rate_bytes_per_second = batch->batch->request->move->rate_bytes_per_second;
        record->n_parts = batch->batch->n_plans;
        record->parts = new_array(Drover__JobPart *, record->n_parts + 1);
        for (size_t i = 0; i < record->n_parts; i++) {
                const struct job_part *part = &batch->parts[i];
                Drover__JobPart *shown = new (Drover__JobPart);
                drover__job_part__init(shown);
                shown->id = memory_string(part->id);
                shown->vm = memory_string(part->vm);
                shown->state = memory_string(part->state);
                shown->note = memory_string(part->note);
                shown->bytes_total = part->bytes_total;
                shown->bytes_done = part->bytes_done;
                shown->wave = batch->batch->plans[i]->wave;
                if (part->error)
                        shown->error = (Drover__Failure *) proto_copy(&part->error->base);
                record->parts[i] = shown;
        }
}

// ---- beginning

static const struct job *batch_of(const struct job *part) {
        for (const struct job *job = part->runner->jobs; job; job = job->next)
                if (job->batch && strcmp(job->row.id, part->row.batch) == 0)
                        return job;
        return NULL;
}

static bool same_site(const char *one, const char *other) { // of "SITE/HOST"
        size_t length = strcspn(one, "/") + 1;
        return strncmp(one, other, length) == 0;
}

static unsigned running_between(const struct runner *runner, const Drover__MovePlan *plan) {
        unsigned n = 0;
        for (const struct job *job = runner->jobs; job; job = job->next)
                n += job->plan && job->sm.current != JOB_QUEUED &&
                     same_site(job->plan->source_name, plan->source_name) &&
                     same_site(job->plan->target_name, plan->target_name);
        return n;
}

bool parts_may_start(const struct job *part) {
        if (!part->row.batch[0])
                return true;
        const struct job *batch = batch_of(part);
        if (batch && batch->row.cancel_requested)
                return false;
        return same_site(part->plan->source_name, part->plan->target_name) ||
               running_between(part->runner, part->plan) < BOUNDS_MOVES_PER_LINK;
}

// ---- taking on

// "lyon/kvm1" when all are from there, else "lyon/*", else "*".
static void name_source(struct job *batch, const Drover__BatchPlan *plan) {
        const char *first = plan->plans[0]->source_name;
        bool host = true, site = true;
        for (size_t i = 1; i < plan->n_plans; i++) {
                host &= strcmp(plan->plans[i]->source_name, first) == 0;
                site &= same_site(first, plan->plans[i]->source_name);
        }
        if (host)
                snprintf(batch->row.source, sizeof(batch->row.source), "%s", first);
        else if (site)
                snprintf(batch->row.source, sizeof(batch->row.source), "%.*s/*", (int) strcspn(first, "/"), first);
        else
                snprintf(batch->row.source, sizeof(batch->row.source), "*");
}

static void free_jobs(struct job **jobs, size_t n) {
        for (size_t i = 0; i < n; i++)
                job_free(jobs[i]);
}

static int store_rows(struct job *job, struct store *store, struct error *err) {
        int r = job_store(job, store, err);
        for (unsigned i = 0; r == 0 && i < job->n_steps; i++)
                r = job_store_step(job, &job->steps[i], store, err);
        return r;
}

// The batch and all its parts, or nothing.
static int make(struct runner *runner, const Drover__BatchPlan *plan, const struct runner_caller *caller,
                struct job **jobs, size_t *n, struct error *err) {
        struct job *batch = jobs[0];
        if (taking_fill(runner, batch, &plan->base, err) < 0 || store_rows(batch, runner->store, err) < 0)
                return -1;
        for (size_t i = 0; i < plan->n_plans; i++) {
                struct job *part;
                if (plan->plans[i]->n_refusals > 0)
                        continue;
                if (planned_new(runner, &recipe_move, plan->plans[i], caller, &part, err) < 0)
                        return -1;
                jobs[(*n)++] = part;
                memcpy(part->row.batch, batch->row.id, sizeof(part->row.batch));
                memcpy(batch->parts[i].id, part->row.id, sizeof(batch->parts[i].id));
                if (taking_fill(runner, part, &plan->plans[i]->base, err) < 0 ||
                    store_rows(part, runner->store, err) < 0)
                        return error_prefix(err, "%s", plan->plans[i]->vm_name);
        }
        return 0;
}

int runner_batch(struct runner *runner, const Drover__BatchPlan *plan, const char *what,
                 const struct runner_caller *caller, char ret_job[33], struct error *err) {
        _cleanup_(free_p) struct job **jobs = new_array(struct job *, plan->n_plans + 1);
        size_t n = 1;
        struct job *batch = jobs[0] = taking_new(recipe_batch.kind, what, "", caller);
        memcpy(batch->row.batch, batch->row.id, sizeof(batch->row.batch));
        batch->recipe = &recipe_batch;
        name_source(batch, plan);
        snprintf(batch->row.target, sizeof(batch->row.target), "%s", plan->plans[0]->target_name);
        if (store_begin(runner->store, err) < 0) {
                free_jobs(jobs, n);
                return -1;
        }
        int r = make(runner, plan, caller, jobs, &n, err);
        if (r == 0)
                r = store_commit(runner->store, err);
        else
                store_rollback(runner->store);
        if (r < 0) {
                free_jobs(jobs, n);
                return -1;
        }
        memcpy(ret_job, batch->row.id, 33);
        for (size_t i = 0; i < n; i++)
                taking_adopt(runner, jobs[i]);
        return 0;
}

// ---- cancelling, and again

// Backwards, so that none begins because one before it has made room.
int parts_cancel(struct job *batch, struct error *err) {
        struct runner *runner = batch->runner;
        size_t n = batch->batch->n_plans, cancelled = 0;
        _cleanup_(free_p) struct job_part *parts = new_array(struct job_part, n + 1);
        char id[33];
        memcpy(parts, batch->parts, n * sizeof(*parts)); // the batch may end, and be gone, with the last of them
        memcpy(id, batch->row.id, sizeof(id));
        batch->row.cancel_requested = true;
        if (job_store(batch, runner->store, err) < 0)
                return -1;
        for (size_t i = n; i > 0; i--)
                if (!part_has_ended(&parts[i - 1]))
                        cancelled += runner_cancel(runner, parts[i - 1].id, NULL) == 0;
        if (cancelled > 0)
                return 0;
        error_set(err, ERROR_CONFLICT, "no part of job %s can be cancelled any more", id);
        error_hint(err, "drover job follow %s", id);
        return -1;
}

int parts_retry(struct job *batch, struct error *err) {
        struct runner *runner = batch->runner;
        size_t n = batch->batch->n_plans;
        _cleanup_(free_p) struct job_part *parts = new_array(struct job_part, n + 1);
        unsigned stuck = count(batch).stuck;
        if (stuck == 0)
                return error_set(err, ERROR_CONFLICT, "job %s is %s: it goes on by itself", batch->row.id,
                                 sm_name(&batch->sm));
        memcpy(parts, batch->parts, n * sizeof(*parts));
        for (size_t i = 0; i < n; i++)
                if (part_is(&parts[i], "needs-operator") && runner_retry(runner, parts[i].id, err) < 0)
                        return -1;
        return 0;
}

int parts_set_rate(struct job *batch, uint64_t rate, struct error *err) {
        batch->batch->request->move->rate_bytes_per_second = rate;
        for (size_t i = 0; i < batch->batch->n_plans; i++) {
                struct job *job = part_has_ended(&batch->parts[i]) ? NULL : live_part(batch, i);
                if (job && shape_set_rate(job, rate, err) < 0)
                        return -1;
        }
        return 0;
}

// By UUID: it may have another name or host by now. What is gone is no longer to be moved.
static void ask_again(struct fleet *fleet, const struct job *batch, Drover__VmMoveMany *request) {
        for (size_t i = 0; i < batch->batch->n_plans; i++) {
                const char *uuid = batch->batch->plans[i]->vm_uuid;
                struct fleet_vm *vm;
                if (!part_is(&batch->parts[i], "done") && fleet_resolve_vm(fleet, uuid, &vm, NULL) == 0)
                        request->vms[request->n_vms++] = memory_string(uuid);
        }
}

int runner_batch_again(struct runner *runner, const char *id, Drover__VmMoveMany **ret, char ret_what[320],
                       struct error *err) {
        struct store_job row = {0};
        struct job *batch = NULL;
        if (runner_has(runner, id))
                return 0;
        int r = store_job_get(runner->store, id, &row, err);
        if (r > 0 && strcmp(row.batch, row.id) == 0)
                r = job_load(runner->store, &row, &batch, err) < 0 ? -1 : 1;
        else if (r > 0)
                r = 0;
        if (batch) {
                Drover__VmMoveMany *request = new (Drover__VmMoveMany);
                drover__vm_move_many__init(request);
                request->move = (Drover__VmMove *) proto_copy(&batch->batch->request->move->base);
                request->vms = new_array(char *, batch->batch->n_plans + 1);
                ask_again(runner->fleet, batch, request);
                snprintf(ret_what, sizeof(batch->row.vm), "%s", batch->row.vm);
                *ret = request;
                if (request->n_vms == 0) {
                        proto_free(&request->base);
                        r = error_set(err, ERROR_CONFLICT, "job %s has nothing left to move", id);
                }
        }
        job_free(batch);
        store_job_fini(&row);
        return r;
}
