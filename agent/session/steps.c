// SPDX-License-Identifier: LGPL-2.1-or-later
/* The queue of requests and their order; loop thread only. What a step does on its own thread is in step_work.c. */
#include "agent/session/steps.h"
#include "agent/session/step.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/timer.h"
#include "common/worker.h"

#include <string.h>

#define STEP_STACK (1u << 20) // bytes; libvirt's and OpenSSL's deepest calls stay under a quarter of it

struct steps {
        uv_loop_t *loop;
        struct verb_host host;
        struct steps_hooks hooks;
        struct step *first; // in the order of arrival
        unsigned n;
        uv_async_t wake; // a step's thread has progress or has ended
        struct timer *stopped;
        bool stopping;
        void (*on_stopped)(void *data);
        void *on_stopped_data;
};

static void pump(struct steps *steps);

static bool runs(const struct step *step) {
        return step->sm.current == STEP_RUNNING;
}

static void on_stop_turn(void *data) {
        struct steps *steps = data;
        steps->on_stopped(steps->on_stopped_data);
}

static void tell_stopped(struct steps *steps) {
        if (steps->stopping && !steps->n)
                timer_once(steps->stopped, 0);
}

static void append(struct steps *steps, struct step *step) {
        struct step **place = &steps->first;
        while (*place)
                place = &(*place)->next;
        *place = step;
        steps->n++;
}

static void unlink_step(struct steps *steps, struct step *step) {
        struct step **place = &steps->first;
        while (*place != step)
                place = &(*place)->next;
        *place = step->next;
        steps->n--;
}

static void send_failure(struct steps *steps, uint64_t id, const struct error *err, bool behind) {
        Drover__AgentResult result;
        drover__agent_result__init(&result);
        result.id = id;
        result.failure = proto_failure(err);
        steps->hooks.result(&result, behind, steps->hooks.data);
        proto_free(&result.failure->base);
}

static void log_outcome(const struct step *step) {
        const Drover__AgentRequest *request = step->request;
        const char *job = *request->job ? request->job : NULL;
        const char *vm = *request->vm_uuid ? request->vm_uuid : NULL;
        if (step->outcome < 0)
                log_failure(step->err.code == ERROR_CANCELLED ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, step->verb->name,
                            &step->err, "job", job, "vm", vm, NULL);
        else if (step->verb->flags & VERB_READS)
                log_debug(step->verb->name, "vm", vm, NULL);
        else
                log_info(step->verb->name, "job", job, "vm", vm, "outcome", step->replayed ? "done before" : "done",
                         NULL);
}

static void answer(struct steps *steps, struct step *step, bool behind) {
        if (!step->answer_to)
                return;
        if (step->outcome < 0) {
                send_failure(steps, step->answer_to, &step->err, behind);
                return;
        }
        step->result->id = step->answer_to;
        steps->hooks.result(step->result, behind, steps->hooks.data);
}

// Whoever lays an image over another changes that VM as well, which may not be started any more.
static void touch(struct steps *steps, const Drover__AgentRequest *request) {
        steps->hooks.touched(request->vm_uuid, steps->hooks.data);
        if (request->verb_case == DROVER__AGENT_REQUEST__VERB_CLONE_LOCAL)
                steps->hooks.touched(request->clone_local->source_uuid, steps->hooks.data);
}

// Ends a step that no thread works on any more, answers, and frees it.
static void finish(struct steps *steps, struct step *step) {
        bool ran = runs(step); // also one that failed may have changed something
        sm_move(&step->sm, STEP_ENDED);
        unlink_step(steps, step);
        log_outcome(step);
        if (step->verb->flags & VERB_CHANGES && !step->replayed && !steps->stopping)
                touch(steps, step->request);
        answer(steps, step, ran && step->verb->flags & VERB_TELLS);
        step_free(step);
        tell_stopped(steps);
}

static void on_pool_done(void *data) {
        struct step *step = data;
        struct steps *steps = step->steps;
        finish(steps, step);
        pump(steps);
}

static void thread_main(void *data) {
        struct step *step = data;
        uv_async_t *wake = step->wake;
        step_work(step);
        atomic_store(&step->done, true);
        uv_async_send(wake); // the runner joins this thread before it frees either
}

static void start_thread(struct step *step) {
        uv_thread_options_t options = {.flags = UV_THREAD_HAS_STACK_SIZE, .stack_size = STEP_STACK};
        int r = uv_thread_create_ex(&step->thread, &options, thread_main, step);
        if (!r)
                return;
        step->outcome = error_errno(&step->err, -r, "start a thread for %s", step->verb->name);
        finish(step->steps, step);
}

static void start(struct steps *steps, struct step *step) {
        sm_move(&step->sm, STEP_RUNNING);
        if (step->verb->thread == VERB_THREAD)
                start_thread(step);
        else
                worker_run(steps->loop, step_work, on_pool_done, step);
}

// The step that must end before this one may begin, if any: an earlier one of the same VM, both not just reading.
static const struct step *blocker(const struct steps *steps, const struct step *step) {
        if (step->verb->flags & VERB_READS)
                return NULL;
        for (const struct step *other = steps->first; other != step; other = other->next)
                if (!(other->verb->flags & VERB_READS) && !strcmp(other->request->vm_uuid, step->request->vm_uuid))
                        return other;
        return NULL;
}

static void tell_waiting(struct steps *steps, struct step *step, const struct step *before) {
        if (step->told_waiting || !step->answer_to)
                return;
        step->told_waiting = true;
        _cleanup_(free_p) char *note = memory_format("waits for %s%s%s", before->verb->name,
                                                     *before->request->job ? " of job " : "", before->request->job);
        Drover__AgentProgress progress;
        drover__agent_progress__init(&progress);
        progress.id = step->answer_to;
        progress.note = note;
        steps->hooks.progress(&progress, steps->hooks.data);
}

static void end_cancelled(struct steps *steps, struct step *step) {
        step->outcome = error_set(&step->err, ERROR_CANCELLED, "cancelled before it began");
        finish(steps, step);
}

// One move of the queue; false when nothing could be moved.
static bool pump_one(struct steps *steps) {
        for (struct step *step = steps->first; step; step = step->next) {
                if (runs(step))
                        continue;
                if (atomic_load(&step->cancelled)) {
                        end_cancelled(steps, step);
                        return true;
                }
                const struct step *before = blocker(steps, step);
                if (!before) {
                        start(steps, step);
                        return true;
                }
                tell_waiting(steps, step, before);
        }
        return false;
}

static void pump(struct steps *steps) {
        while (pump_one(steps))
                continue;
}

static void send_progress(struct steps *steps, struct step *step) {
        Drover__TransferState *state = step_take_progress(step);
        if (!state)
                return;
        Drover__AgentProgress progress;
        drover__agent_progress__init(&progress);
        progress.id = step->answer_to;
        progress.transfer = state;
        if (step->answer_to)
                steps->hooks.progress(&progress, steps->hooks.data);
        proto_free(&state->base);
}

static struct step *find_done(const struct steps *steps) {
        for (struct step *step = steps->first; step; step = step->next)
                if (atomic_load(&step->done))
                        return step;
        return NULL;
}

static void on_wake(uv_async_t *handle) {
        struct steps *steps = handle->data;
        for (struct step *step = steps->first; step; step = step->next)
                send_progress(steps, step);
        for (struct step *step = find_done(steps); step; step = find_done(steps)) {
                uv_thread_join(&step->thread);
                finish(steps, step);
        }
        pump(steps);
}

struct steps *steps_new(uv_loop_t *loop, const struct verb_host *host, const struct steps_hooks *hooks) {
        struct steps *steps = new (struct steps);
        steps->loop = loop;
        steps->host = *host;
        steps->hooks = *hooks;
        uv_async_init(loop, &steps->wake, on_wake);
        steps->wake.data = steps;
        steps->stopped = timer_new(loop, on_stop_turn, steps);
        return steps;
}

// Cancels the steps of a job: one by its name, or (step NULL) all except `spare`.
static void cancel(struct steps *steps, const char *job, const char *name, const struct step *spare) {
        for (struct step *step = steps->first; step; step = step->next)
                if (step != spare && !strcmp(step->request->job, job) && (!name || !strcmp(step->request->step, name)))
                        atomic_store(&step->cancelled, true);
}

static void answer_at_once(struct steps *steps, const Drover__AgentRequest *request) {
        Drover__AgentResult result;
        drover__agent_result__init(&result);
        result.id = request->id;
        steps->hooks.result(&result, false, steps->hooks.data);
}

static void cancel_as_asked(struct steps *steps, const Drover__AgentRequest *request) {
        const char *step = request->cancel_step->step;
        cancel(steps, request->job, *step ? step : NULL, NULL);
        answer_at_once(steps, request);
        pump(steps);
}

// A transfer that waits goes by the order it was given, one under way is told, and one that has ended needs no rate.
static void set_rate(struct step *step, uint64_t rate) {
        Drover__TransferSend *send = step->request->transfer_send;
        bool nvram = send->item == DROVER__TRANSFER_ITEM__TRANSFER_ITEM_NVRAM;
        if (!runs(step))
                send->order->rate_bytes_per_second = rate;
        else if (step->host->transfers)
                transfers_set_rate(step->host->transfers, step->request->job, nvram ? "nvram" : send->target, rate);
}

static void rate_as_asked(struct steps *steps, const Drover__AgentRequest *request) {
        const Drover__TransferRate *rate = request->transfer_rate;
        for (struct step *step = steps->first; step; step = step->next)
                if (!strcmp(step->request->job, request->job) && !strcmp(step->request->step, rate->step) &&
                    step->request->verb_case == DROVER__AGENT_REQUEST__VERB_TRANSFER_SEND)
                        set_rate(step, rate->rate_bytes_per_second);
        answer_at_once(steps, request);
}

static struct step *find_same(const struct steps *steps, const Drover__AgentRequest *request) {
        struct step *newest = NULL;
        for (struct step *step = steps->first; step; step = step->next)
                if (*request->job && !strcmp(step->request->job, request->job) &&
                    !strcmp(step->request->step, request->step))
                        newest = step;
        return newest;
}

static void attach(struct steps *steps, struct step *step, uint64_t id) {
        if (step->answer_to) {
                struct error superseded = ERROR_INIT;
                error_set(&superseded, ERROR_CANCELLED, "asked again as request %llu, which gets the result",
                          (unsigned long long) id);
                send_failure(steps, step->answer_to, &superseded, false);
        }
        step->answer_to = id;
}

/*
 * What a request for a step that is in hand already means: the same attempt attaches to it (returns 1), a newer one
 * replaces it (0: goes on to be queued behind it), an older one or one with another verb is an error.
 */
static int meet_same(struct steps *steps, const struct verb *verb, const Drover__AgentRequest *request,
                     struct error *err) {
        struct step *same = find_same(steps, request);
        if (!same)
                return 0;
        if (same->verb != verb)
                return error_set(err, ERROR_CONFLICT, "step %s of job %s is a %s, not a %s", request->step,
                                 request->job, same->verb->name, verb->name);
        if (request->attempt < same->request->attempt)
                return error_set(err, ERROR_STALE, "attempt %u of step %s: attempt %u is already under way",
                                 request->attempt, request->step, same->request->attempt);
        if (request->attempt > same->request->attempt) {
                cancel(steps, request->job, request->step, NULL);
                return 0;
        }
        if (atomic_load(&same->cancelled))
                return 0; // it is about to end; the new request runs after it
        attach(steps, same, request->id);
        return 1;
}

static int check_room(const struct steps *steps, const struct verb *verb, struct error *err) {
        unsigned most = verb->flags & VERB_PREEMPTS ? STEPS_MAX_UNDO : STEPS_MAX;
        if (steps->stopping)
                return error_set(err, ERROR_UNREACHABLE, "the agent is being stopped");
        if (steps->n >= most)
                return error_set(err, ERROR_BUSY, "%u operations are in hand on this host already", steps->n);
        return 0;
}

// 1: attached to what is running, 0: to be queued, -1: refused.
static int admit(struct steps *steps, const struct verb *verb, const Drover__AgentRequest *request, struct error *err) {
        int r = meet_same(steps, verb, request, err);
        return r ? r : check_room(steps, verb, err);
}

static void enqueue(struct steps *steps, const struct verb *verb, Drover__AgentRequest *request) {
        struct step *step = step_new(verb, &steps->host, request);
        step->steps = steps;
        step->wake = &steps->wake;
        append(steps, step);
        if (verb->flags & VERB_PREEMPTS)
                cancel(steps, request->job, NULL, step);
        pump(steps);
}

static bool id_in_use(const struct steps *steps, uint64_t id) {
        for (const struct step *step = steps->first; step; step = step->next)
                if (step->answer_to == id)
                        return true;
        return false;
}

int steps_submit(struct steps *steps, const struct verb *verb, Drover__AgentRequest *request, struct error *err) {
        uint64_t id = request->id;
        if (!id || id_in_use(steps, id)) {
                proto_free(&request->base);
                return error_set(err, ERROR_PROTOCOL, "request id %llu is %s", (unsigned long long) id,
                                 id ? "in use" : "not allowed");
        }
        if (verb->thread == VERB_LOOP) {
                if (request->verb_case == DROVER__AGENT_REQUEST__VERB_TRANSFER_RATE)
                        rate_as_asked(steps, request);
                else
                        cancel_as_asked(steps, request);
                proto_free(&request->base);
                return 0;
        }
        struct error refusal = ERROR_INIT;
        int r = admit(steps, verb, request, &refusal);
        if (!r) {
                enqueue(steps, verb, request);
                return 0;
        }
        if (r < 0)
                send_failure(steps, id, &refusal, false);
        proto_free(&request->base);
        return 0;
}

void steps_detach(struct steps *steps) {
        for (struct step *step = steps->first; step; step = step->next)
                step->answer_to = 0;
}

unsigned steps_count(const struct steps *steps) {
        return steps->n;
}

void steps_stop(struct steps *steps, void (*on_stopped)(void *data), void *data) {
        steps->stopping = true;
        steps->on_stopped = on_stopped;
        steps->on_stopped_data = data;
        steps_detach(steps);
        for (struct step *step = steps->first; step; step = step->next)
                atomic_store(&step->cancelled, true);
        tell_stopped(steps);
        pump(steps);
}

static void on_wake_closed(uv_handle_t *handle) {
        free(handle->data);
}

void steps_free(struct steps *steps) {
        if (!steps)
                return;
        timer_free(steps->stopped);
        uv_close((uv_handle_t *) &steps->wake, on_wake_closed);
}
