// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The commit point, going back, and the end of a job. Before the commit a failure is undone; after it nothing is: what
 * cannot be finished then waits for an operator, with the VM safe at its new place.
 */
#include "controller/job/engine.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>

static uint64_t next_epoch(const struct job *job) {
        const struct fleet_owner *owner = fleet_owner(job->runner->fleet, job->row.vm_uuid);
        uint64_t epoch = job->row.epoch;
        if (owner && owner->epoch > epoch)
                epoch = owner->epoch;
        return epoch + 1;
}

static int store_commit_point(struct job *job, struct job_step *step, uint64_t epoch, struct error *err) {
        struct store *store = job->runner->store;
        if (store_begin(store, err) < 0)
                return -1;
        if (fleet_grant(job->runner->fleet, job->row.vm_uuid, job->plan->target_host, epoch, err) < 0 ||
            (job->plan->undoes[0] && job_mark_undone(store, job->plan->undoes, job->row.id, err) < 0) ||
            job_store(job, store, err) < 0 || job_store_step(job, step, store, err) < 0) {
                store_rollback(store);
                return -1;
        }
        return store_commit(store, err);
}

int finish_commit(struct job *job, struct job_step *step, struct error *err) {
        uint64_t before = job->row.epoch, epoch = next_epoch(job);
        job->row.committed = true;
        job->row.epoch = epoch;
        step->state = STEP_DONE;
        step->row.started_ms = step->row.finished_ms = clock_wall_ms();
        if (store_commit_point(job, step, epoch, err) < 0) {
                job->row.committed = false;
                job->row.epoch = before;
                step->state = STEP_PENDING;
                return -1;
        }
        job->changed = true;
        engine_log(job, step, "job committed", NULL);
        return 0;
}

// The original of a clone was stopped: what is still on its way to that end does not count any more either.
static int grant_original(const struct job *job, struct error *err) {
        struct fleet *fleet = job->runner->fleet;
        const struct fleet_owner *owner = fleet_owner(fleet, job->plan->vm_uuid);
        return fleet_grant(fleet, job->plan->vm_uuid, job->plan->source_host, owner ? owner->epoch + 1 : 1, err);
}

static int store_undo(struct job *job, uint64_t epoch, struct error *err) {
        struct store *store = job->runner->store;
        if (store_begin(store, err) < 0)
                return -1;
        // A clone has never been anywhere but at its target.
        const char *owner = job->plan->clone ? job->plan->target_host : job->plan->source_host;
        int r = fleet_grant(job->runner->fleet, job->row.vm_uuid, owner, epoch, err);
        if (r == 0 && job->plan->clone && job->plan->was_running)
                r = grant_original(job, err);
        if (r == 0)
                r = job_store(job, store, err);
        for (unsigned i = 0; r == 0 && i < job->n_steps; i++)
                r = job_store_step(job, &job->steps[i], store, err);
        if (r < 0) {
                store_rollback(store);
                return -1;
        }
        return store_commit(store, err);
}

// From here on only requests with the new epoch count, so that no forward step that is still on its way can be done
// after its undoing.
static void begin_undo(struct job *job) {
        struct error err = ERROR_INIT;
        uint64_t epoch = next_epoch(job);
        for (unsigned i = 0; i < job->n_steps; i++) {
                struct job_step *step = &job->steps[i];
                if (step->state == STEP_RUNNING) {
                        step->asked = false;
                        step->state = STEP_FAILED;
                        step->row.finished_ms = clock_wall_ms();
                        error_set(&step->error, ERROR_CANCELLED, "undone before it ended");
                }
        }
        job->row.undoing = true;
        job->row.epoch = epoch;
        job->transient_failures = 0;
        job->recipe->undo(job);
        engine_log(job, NULL, "undoing", &job->error);
        // If this cannot be stored, a crash from here repeats the failed step and comes here again: nothing is lost.
        if (store_undo(job, epoch, &err) < 0)
                engine_log(job, NULL, "cannot record the undoing", &err);
}

static void say_what_to_do(struct job *job, const char *why) {
        engine_note(job, "%s; when that is mended: drover job retry %s", why, job->row.id);
}

void finish_explain(struct job *job) {
        for (unsigned i = 0; job->sm.current == JOB_NEEDS_OPERATOR && i < job->n_steps; i++)
                if (job->steps[i].undo == job->row.undoing && job->steps[i].state == STEP_FAILED)
                        say_what_to_do(job, job->steps[i].error.message);
}

// Undoing or finishing has met something that waiting does not mend. The first cause stays the job's error.
static void need_operator(struct job *job, const struct error *why) {
        struct error err = ERROR_INIT;
        if (job->error.code == ERROR_NONE)
                job->error = *why;
        engine_set_state(job, JOB_NEEDS_OPERATOR);
        say_what_to_do(job, why->message);
        engine_log(job, NULL, "job needs an operator", why);
        if (job_store(job, job->runner->store, &err) < 0)
                engine_log(job, NULL, "cannot record the job", &err);
}

void finish_fail(struct job *job, const struct error *why) {
        if (job->row.undoing || job->row.committed) {
                need_operator(job, why);
                return;
        }
        job->error = *why;
        if (job->recipe->undo)
                begin_undo(job);
        else
                finish_end(job);
}

static void forget_results(struct job *job) {
        for (unsigned i = 0; i < job->n_steps; i++) { // definitions can hold passwords
                free(job->steps[i].row.result);
                job->steps[i].row.result = NULL;
                job->steps[i].row.result_length = 0;
        }
}

void finish_end(struct job *job) {
        struct runner *runner = job->runner;
        struct error err = ERROR_INIT;
        enum job_state state = job->error.code == ERROR_NONE ? JOB_DONE : JOB_FAILED;
        if (state == JOB_FAILED && (job->row.cancel_requested || job->error.code == ERROR_CANCELLED))
                state = JOB_CANCELLED;
        engine_set_state(job, state);
        job->row.finished_ms = clock_wall_ms();
        if (state == JOB_DONE && job->recipe->end)
                job->recipe->end(job);
        forget_results(job);
        if (job_store_all(job, runner->store, &err) < 0)
                engine_log(job, NULL, "cannot record the end of the job", &err);
        engine_let_go(job);
        if (store_audit_outcome(runner->store, job->row.id, job_state_word(state), job->error.message, &err) < 0)
                engine_log(job, NULL, "cannot record the outcome", &err);
        engine_log(job, NULL, state == JOB_DONE ? "job done" : "job ended", state == JOB_DONE ? NULL : &job->error);
}
