// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The tick: looks at each unfinished job, finds the first group of steps that is not done, and does the next thing
 * about it. Everything that happens (an answer, a host that comes back, a timer) only records what it is and calls the
 * tick, so there is one place that decides. Loop thread; never re-entered: a tick within a tick makes another round.
 */
#include "controller/job/engine.h"
#include "controller/job/stall.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void engine_note(struct job *job, const char *format, ...) {
        char note[sizeof(job->note)];
        va_list args;
        va_start(args, format);
        vsnprintf(note, sizeof(note), format, args);
        va_end(args);
        if (strcmp(note, job->note) == 0)
                return;
        memcpy(job->note, note, sizeof(note));
        job->changed = true;
}

void engine_log(const struct job *job, const struct job_step *step, const char *what, const struct error *err) {
        const char *name = step ? step->row.name : NULL, *host = step ? step->row.host : NULL;
        if (err && err->code != ERROR_NONE)
                log_failure(LOG_LEVEL_WARNING, what, err, "job", job->row.id, "kind", job->row.kind, "vm", job->row.vm,
                            "step", name, "host", host, NULL);
        else
                log_info(what, "job", job->row.id, "kind", job->row.kind, "vm", job->row.vm, "step", name, "host", host,
                         NULL);
}

void engine_wait(struct job *job, uint64_t delay_ms) {
        job->retry_at_ms = clock_ms(job->runner->clock) + delay_ms;
}

// Running and waiting differ for people only, so the store learns of it at the next thing that matters.
void engine_set_state(struct job *job, enum job_state state) {
        if (job->sm.current == state)
                return;
        if (job->sm.current == JOB_WAITING && state != JOB_RUNNING)
                sm_move(&job->sm, JOB_RUNNING);
        sm_move(&job->sm, state);
        if (state != JOB_WAITING)
                job->note[0] = '\0';
        job->changed = true;
}

// A clone of a VM that is off shares it with other clones; one that stops it first has it for itself.
void engine_hold(struct job *job) {
        struct fleet *fleet = job->runner->fleet;
        if (job->row.vm_uuid[0])
                fleet_hold(fleet, job->row.vm_uuid, job->row.id);
        if (!job->plan || !job->plan->clone)
                return;
        if (job->plan->was_running)
                fleet_hold(fleet, job->plan->vm_uuid, job->row.id);
        else
                fleet_clone_begin(fleet, job->plan->vm_uuid, job->row.id);
}

void engine_let_go(struct job *job) {
        struct fleet *fleet = job->runner->fleet;
        if (job->row.vm_uuid[0])
                fleet_hold(fleet, job->row.vm_uuid, "");
        if (!job->plan || !job->plan->clone)
                return;
        if (job->plan->was_running)
                fleet_hold(fleet, job->plan->vm_uuid, "");
        else
                fleet_clone_end(fleet, job->plan->vm_uuid);
}

bool engine_held(struct job *job, const struct job_step *step, const char *place) {
        char name[96];
        if (!fault_active())
                return false;
        snprintf(name, sizeof(name), "controller.%s.%s", step->row.name, place);
        if (fault_held(name)) {
                engine_wait(job, 20);
                return true;
        }
        fault_point(name, NULL);
        return false;
}

// The first group with a step that is not done; only steps of the direction the job goes in.
static bool current_group(const struct job *job, unsigned *ret_group) {
        for (unsigned i = 0; i < job->n_steps; i++) {
                const struct job_step *step = &job->steps[i];
                if (step->undo == job->row.undoing && step->state != STEP_DONE) {
                        *ret_group = step->group;
                        return true;
                }
        }
        return false;
}

static struct job_step *group_next(struct job *job, unsigned group, struct job_step *after) {
        unsigned i = after ? (unsigned) (after - job->steps) + 1 : 0;
        for (; i < job->n_steps; i++)
                if (job->steps[i].group == group && job->steps[i].undo == job->row.undoing)
                        return &job->steps[i];
        return NULL;
}
#define FOR_GROUP(step, job, group)                                                                                    \
        for (struct job_step *step = group_next(job, group, NULL); step; step = group_next(job, group, step))

static uint64_t retry_delay(unsigned failures) {
        uint64_t delay = ENGINE_RETRY_FIRST_MS;
        for (unsigned i = 1; i < failures && delay < ENGINE_RETRY_MOST_MS; i++)
                delay *= 2;
        return delay < ENGINE_RETRY_MOST_MS ? delay : ENGINE_RETRY_MOST_MS;
}

static int begin_again(struct job *job, struct job_step *step, struct error *err) {
        step->before[0] = '\0';
        if (step->state == STEP_FAILED && step->error.code != ERROR_CANCELLED) // which only echoes the other's
                snprintf(step->before, sizeof(step->before), "attempt %u: %.*s", step->row.attempt,
                         (int) utf8_cut(step->error.message, 140), step->error.message);
        step->state = STEP_PENDING;
        step->row.attempt++;
        step->cancelling = step->rate_told = false;
        step->stalled_seconds = 0;
        return job_store_step(job, step, job->runner->store, err);
}

// A step that can be tried again gets a new attempt, and with it the whole group when it copies: both ends need the
// new ticket.
static int retry_group(struct job *job, unsigned group, struct error *err) {
        FOR_GROUP(step, job, group)
        if ((step->state == STEP_FAILED || step->kind->copies) && begin_again(job, step, err) < 0)
                return -1;
        return 0;
}

// Reachability can be waited for, and so can a line that cuts, stops or garbles what a copy sends.
static bool will_pass(const struct job_step *failed) {
        return ask_is_transient(failed->error.code) ||
               (failed->kind->copies && (failed->error.code == ERROR_TIMEOUT || failed->error.code == ERROR_TLS));
}

// Anything else may happen to a copy a few times and to other steps never.
static bool may_retry(struct job *job, const struct job_step *failed) {
        if (will_pass(failed) || (failed->error.code == ERROR_CANCELLED && !job->row.cancel_requested))
                return true;
        return failed->kind->copies && failed->error.code != ERROR_NO_SPACE && failed->error.code != ERROR_IO &&
               failed->error.code != ERROR_REFUSED && ++job->copy_faults < ENGINE_COPY_FAULTS_MAX;
}

// A copy that was cut goes on at once where it was; after that its attempts themselves take the time that it takes to
// see that nobody is there.
static uint64_t delay_of(const struct job *job, const struct job_step *failed) {
        uint64_t delay = retry_delay(job->transient_failures);
        if (!failed->kind->copies)
                return delay;
        if (job->transient_failures < 3)
                return ENGINE_COPY_AGAIN_MS;
        return delay < ENGINE_COPY_MOST_MS ? delay : ENGINE_COPY_MOST_MS;
}

static struct job_step *worst_of(struct job *job, unsigned group) {
        struct job_step *worst = NULL;
        FOR_GROUP(step, job, group) {
                if (step->state != STEP_FAILED)
                        continue;
                // An end that was cancelled only echoes the other one, and so does one that lost it.
                bool echo = step->error.code == ERROR_CANCELLED;
                if (!worst || worst->error.code == ERROR_CANCELLED || (will_pass(worst) && !echo))
                        worst = step;
        }
        return worst;
}

static void wait_to_retry(struct job *job, const struct job_step *failed) {
        job->transient_failures++;
        engine_set_state(job, JOB_WAITING);
        engine_note(job, "%s: %s; trying again", failed->row.name, failed->error.message);
        engine_wait(job, delay_of(job, failed));
}

static void settle_failed_group(struct job *job, unsigned group) {
        struct job_step *failed = worst_of(job, group);
        struct error why = failed->error, err = ERROR_INIT;
        if (!may_retry(job, failed)) {
                finish_fail(job, &why);
                return;
        }
        wait_to_retry(job, failed);
        if (retry_group(job, group, &err) < 0)
                engine_log(job, failed, "cannot record a new attempt", &err);
}

// What failed and will pass is tried again, wherever the rest of the group is. False: there is none.
static bool retry_alone(struct job *job, unsigned group) {
        struct error err = ERROR_INIT;
        struct job_step *failed = NULL;
        FOR_GROUP(step, job, group) {
                if (step->state != STEP_FAILED || !will_pass(step))
                        continue;
                failed = step;
                if (begin_again(job, step, &err) < 0)
                        engine_log(job, step, "cannot record a new attempt", &err);
        }
        if (failed)
                wait_to_retry(job, failed);
        return failed;
}

static bool host_is_online(const struct job *job, const struct job_step *step) {
        const struct fleet_host *host = fleet_host_by_uuid(job->runner->fleet, step->host_uuid);
        return host && host->online;
}

static bool give_up_unanswered(struct job *job, struct job_step *step) {
        int64_t age_ms = clock_wall_ms() - step->row.started_ms;
        if (!job->recipe->needs_answer_soon || age_ms < (int64_t) ENGINE_ANSWER_SECONDS * 1000)
                return false;
        error_set(&step->error, ERROR_UNREACHABLE, "%s went away before it answered: it may have been done, or not",
                  step->row.host);
        error_hint(&step->error, "drover vm show %s", job->row.vm);
        step->state = STEP_FAILED;
        struct error why = step->error;
        finish_fail(job, &why);
        return true;
}

// Ask, or wait until there is someone to ask. Returns false when the job is not to be looked at further now.
static bool advance_step(struct job *job, struct job_step *step) {
        struct error err = ERROR_INIT;
        if (step->kind->place == AT_CONTROLLER) {
                if (engine_held(job, step, "before"))
                        return false;
                if (finish_commit(job, step, &err) < 0) {
                        engine_log(job, step, "cannot commit; trying again", &err);
                        engine_wait(job, 1000);
                        return false;
                }
                return !engine_held(job, step, "recorded");
        }
        if (step->state == STEP_PENDING) {
                if (engine_held(job, step, "before"))
                        return false;
                if (ask_begin(job, step, &err) < 0) {
                        engine_log(job, step, "cannot record the intent; trying again", &err);
                        engine_wait(job, 1000);
                        return false;
                }
        }
        if (engine_held(job, step, "intent"))
                return false;
        if (host_is_online(job, step) && ask_send(job, step, &err) == 0) {
                engine_set_state(job, JOB_RUNNING);
                return true;
        }
        if (err.code != ERROR_NONE && err.code != ERROR_UNREACHABLE) { // the request cannot be made
                step->error = err;
                step->state = STEP_FAILED;
                return true;
        }
        if (give_up_unanswered(job, step))
                return false;
        engine_set_state(job, JOB_WAITING);
        engine_note(job, "%s is offline", step->row.host);
        engine_wait(job, 1000);
        return true;
}

struct group_view {
        unsigned asked, failed, pending;
};

static struct group_view view_group(struct job *job, unsigned group) {
        struct group_view view = {0};
        FOR_GROUP(step, job, group) {
                view.asked += step->asked;
                view.failed += step->state == STEP_FAILED;
                view.pending += step->state == STEP_PENDING || (step->state == STEP_RUNNING && !step->asked);
        }
        return view;
}

// With one end failed, the other is not left waiting for it, nor is one that cannot be reached waited for.
static void cancel_rest(struct job *job, unsigned group) {
        FOR_GROUP(step, job, group) {
                if (step->asked && !step->cancelling) {
                        ask_cancel(job, step);
                } else if (step->state == STEP_RUNNING && !step->asked) {
                        error_set(&step->error, ERROR_UNREACHABLE, "%s is offline", step->row.host);
                        step->state = STEP_FAILED;
                }
        }
}

static void advance_group(struct job *job, unsigned group) {
        struct group_view view = view_group(job, group);
        // Undoing, each side gives back what it has, whatever the other one can do: a VM is not kept from its host
        // because the disk at the target has died, or that host is away.
        bool each_alone = job->row.undoing;
        if (each_alone && retry_alone(job, group))
                return;
        if (view.failed > 0 && !(each_alone && view.pending > 0)) {
                if (!each_alone)
                        cancel_rest(job, group);
                if (view_group(job, group).asked == 0)
                        settle_failed_group(job, group);
                return;
        }
        if (view.pending == 0)
                return; // all asked: their answers will come
        FOR_GROUP(step, job, group)
        if ((step->state == STEP_PENDING || (step->state == STEP_RUNNING && !step->asked)) && !advance_step(job, step))
                return;
        if (view_group(job, group).failed > 0 && !each_alone)
                advance_group(job, group);
}

static unsigned running_on(const struct runner *runner, const char *host) {
        unsigned n = 0;
        for (const struct job *job = runner->jobs; job; job = job->next)
                if (job->plan && job->sm.current != JOB_QUEUED &&
                    (strcmp(job->plan->source_host, host) == 0 || strcmp(job->plan->target_host, host) == 0))
                        n++;
        return n;
}

static bool may_start(struct job *job) {
        const struct runner *runner = job->runner;
        if (!job->plan)
                return true;
        return running_on(runner, job->plan->source_host) < BOUNDS_MOVES_PER_HOST &&
               running_on(runner, job->plan->target_host) < BOUNDS_MOVES_PER_HOST && parts_may_start(job);
}

static bool start_queued(struct job *job) {
        struct error err = ERROR_INIT;
        if (!may_start(job)) {
                engine_note(job, "other moves of these hosts go first");
                return false;
        }
        engine_set_state(job, JOB_RUNNING);
        job->row.started_ms = clock_wall_ms();
        if (job_store(job, job->runner->store, &err) < 0)
                engine_log(job, NULL, "cannot record the start", &err);
        return true;
}

// Goes on until the job has to wait for something. The bound is for our own bugs: no job has so many steps.
static void tick_job(struct job *job) {
        for (unsigned rounds = 0; rounds < 1000 && !job->batch; rounds++) {
                unsigned group;
                if (job_states[job->sm.current].final || job->sm.current == JOB_NEEDS_OPERATOR)
                        return;
                if (job->retry_at_ms > clock_ms(job->runner->clock))
                        return;
                job->retry_at_ms = 0;
                if (job->sm.current == JOB_QUEUED && !start_queued(job))
                        return;
                if (!current_group(job, &group)) {
                        finish_end(job);
                        return;
                }
                struct group_view before = view_group(job, group);
                advance_group(job, group);
                struct group_view after = view_group(job, group);
                unsigned now;
                if (current_group(job, &now) && now == group && before.asked == after.asked &&
                    before.failed == after.failed && before.pending == after.pending)
                        return;
        }
}

static void drop_finished(struct runner *runner) {
        for (struct job **link = &runner->jobs; *link;) {
                struct job *job = *link;
                bool final = job_states[job->sm.current].final;
                if (job->changed || final)
                        follow_tell(runner, job, final || job->sm.current == JOB_NEEDS_OPERATOR);
                if (final) {
                        *link = job->next;
                        runner->n_jobs--;
                        job_free(job);
                } else {
                        link = &job->next;
                }
        }
}

void engine_tick(struct runner *runner) {
        if (runner->ticking)
                return;
        runner->ticking = true;
        for (struct job *job = runner->jobs; job; job = job->next)
                tick_job(job);
        stall_tick(runner);
        shape_tick(runner);
        parts_tick(runner);
        drop_finished(runner);
        runner->ticking = false;
}
