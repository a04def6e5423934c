// SPDX-License-Identifier: LGPL-2.1-or-later
/* The state that the threads of one transfer share (see flow.h). */
#include "agent/transfer/flow.h"
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

void flow_condition(pthread_cond_t *condition) {
        pthread_condattr_t attributes;
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(condition, &attributes);
        pthread_condattr_destroy(&attributes);
}

void flow_tick(pthread_cond_t *condition, pthread_mutex_t *mutex) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += FLOW_TICK_MS * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
                until.tv_sec++;
                until.tv_nsec -= 1000000000L;
        }
        pthread_cond_timedwait(condition, mutex, &until);
}

void flow_init(struct flow *flow, const char *disk, const struct transfer_observer *observer,
               const struct clock *clock) {
        memset(flow, 0, sizeof *flow);
        flow->disk = disk;
        flow->observer = observer;
        flow->clock = clock;
        flow->streams = 1;
        flow->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); // without one the conversation wakes every tick
        flow->caller = pthread_self();
        atomic_init(&flow->moved_at, clock_ms(clock));
        pthread_mutex_init(&flow->mutex, NULL);
        flow_condition(&flow->ended);
}

void flow_fini(struct flow *flow) {
        pthread_cond_destroy(&flow->ended);
        pthread_mutex_destroy(&flow->mutex);
        digest_free(flow->digest);
        pipeline_free(flow->pipeline);
        if (flow->wake_fd >= 0)
                close(flow->wake_fd);
}

void flow_set_digest(struct flow *flow, struct digest *digest) {
        pthread_mutex_lock(&flow->mutex);
        flow->digest = digest;
        if (flow->weight != FLOW_NOTHING)
                digest_stop(digest);
        pthread_mutex_unlock(&flow->mutex);
}

void flow_set_pipeline(struct flow *flow, struct pipeline *pipeline) {
        pthread_mutex_lock(&flow->mutex);
        flow->pipeline = pipeline;
        if (flow->weight != FLOW_NOTHING)
                pipeline_stop(pipeline);
        pthread_mutex_unlock(&flow->mutex);
}

// What only tells that a connection is no more, and not why the transfer failed.
static enum flow_weight weigh(enum error_code code) {
        switch (code) {
        case ERROR_UNREACHABLE:
        case ERROR_TIMEOUT:
        case ERROR_TLS:
        case ERROR_CANCELLED:
                return FLOW_SYMPTOM;
        default:
                return FLOW_CAUSE;
        }
}

static void fail(struct flow *flow, enum flow_weight weight, const struct error *why) {
        pthread_mutex_lock(&flow->mutex);
        if (weight > flow->weight) {
                flow->weight = weight;
                flow->error = *why;
                flow->stopped_at = clock_ms(flow->clock);
                atomic_store(&flow->stopping, true);
                if (flow->digest)
                        digest_stop(flow->digest);
                if (flow->pipeline)
                        pipeline_stop(flow->pipeline);
        }
        pthread_mutex_unlock(&flow->mutex);
        flow_wake(flow);
}

void flow_fail(struct flow *flow, const struct error *why) {
        fail(flow, weigh(why->code), why);
}

void flow_wake(struct flow *flow) {
        uint64_t one = 1;
        if (write(flow->wake_fd, &one, sizeof one) < 0)
                return; // it is awake already
}

bool flow_stopping(const struct flow *flow) {
        return atomic_load_explicit(&flow->stopping, memory_order_relaxed);
}

bool flow_gives_up(struct flow *flow, bool patient) {
        if (pthread_equal(pthread_self(), flow->caller))
                flow_cancelled(flow);
        if (!flow_stopping(flow))
                return false;
        pthread_mutex_lock(&flow->mutex);
        uint64_t grace = patient ? FLOW_FRAME_MS : flow->weight == FLOW_SYMPTOM ? FLOW_SYMPTOM_MS : 0;
        bool over = clock_ms(flow->clock) - flow->stopped_at >= grace;
        pthread_mutex_unlock(&flow->mutex);
        return over;
}

bool flow_cancelled(struct flow *flow) {
        const struct transfer_observer *observer = flow->observer;
        if (!atomic_load(&flow->stopping) && observer && observer->cancelled && observer->cancelled(observer->data)) {
                struct error why = ERROR_INIT;
                error_set(&why, ERROR_CANCELLED, "cancelled");
                fail(flow, FLOW_CAUSE, &why);
        }
        return atomic_load(&flow->stopping);
}

void flow_choose(struct flow *flow, unsigned level, const char *choice) {
        pthread_mutex_lock(&flow->mutex);
        snprintf(flow->choice, sizeof flow->choice, "%s", choice);
        pthread_mutex_unlock(&flow->mutex);
        atomic_store(&flow->level, level);
}

void flow_choose_asking(struct flow *flow, const char *asking) {
        pthread_mutex_lock(&flow->mutex);
        snprintf(flow->asking, sizeof flow->asking, "%s", asking);
        pthread_mutex_unlock(&flow->mutex);
}

void flow_state(struct flow *flow, Drover__TransferState *ret, char choice[FLOW_CHOICE_MAX]) {
        drover__transfer_state__init(ret);
        pthread_mutex_lock(&flow->mutex);
        snprintf(choice, FLOW_CHOICE_MAX, "%s%s%s", flow->choice, *flow->choice && *flow->asking ? "; " : "",
                 flow->asking);
        pthread_mutex_unlock(&flow->mutex);
        ret->disk = (char *) flow->disk;
        ret->choice = choice;
        ret->bytes_total = flow->bytes_total;
        ret->bytes_done = atomic_load(&flow->bytes_done);
        if (ret->bytes_done > ret->bytes_total)
                ret->bytes_done = 0; // a block was counted back (asking.c) before its stream came to count it
        ret->bytes_wire = atomic_load(&flow->bytes_wire);
        ret->bytes_zero = atomic_load(&flow->bytes_zero);
        ret->bytes_kept = atomic_load(&flow->bytes_kept);
        ret->bytes_resent = atomic_load(&flow->bytes_resent);
        ret->bytes_reused = atomic_load(&flow->bytes_reused);
        ret->rate_bytes_per_second = atomic_load(&flow->rate);
        ret->compression_level = atomic_load(&flow->level);
        ret->path = (Drover__TransferPath) flow->path;
}

void flow_report(struct flow *flow, bool last) {
        const struct transfer_observer *observer = flow->observer;
        uint64_t now = clock_ms(flow->clock);
        if (!observer || !observer->progress || (!last && now - flow->reported_at < 250))
                return;
        if (!flow->pipeline)
                return; // nothing moves yet
        Drover__TransferState state;
        char choice[FLOW_CHOICE_MAX];
        flow_state(flow, &state, choice);
        flow->reported_at = now;
        observer->progress(&state, observer->data);
}

static bool stopped_by(struct flow *flow, enum flow_weight least, struct error *ret_why) {
        pthread_mutex_lock(&flow->mutex);
        bool stopped = flow->weight >= least;
        if (stopped && ret_why)
                *ret_why = flow->error;
        pthread_mutex_unlock(&flow->mutex);
        return stopped;
}

bool flow_stopped_by(struct flow *flow, struct error *ret_why) {
        return stopped_by(flow, FLOW_SYMPTOM, ret_why);
}

bool flow_cause(struct flow *flow, struct error *ret_why) {
        return stopped_by(flow, FLOW_CAUSE, ret_why);
}

int flow_result(struct flow *flow, struct error *err) {
        return flow_stopped_by(flow, err) ? error_prefix(err, "%s", flow->disk) : 0;
}

struct worker {
        struct flow *flow;
        void (*work)(void *data, unsigned n);
        void *data;
        unsigned number;
};

static void *worker_main(void *pointer) {
        struct worker *worker = pointer;
        struct flow *flow = worker->flow;
        worker->work(worker->data, worker->number);
        pthread_mutex_lock(&flow->mutex);
        flow->running--;
        pthread_cond_signal(&flow->ended);
        pthread_mutex_unlock(&flow->mutex);
        return NULL;
}

// Called with the mutex held; it is given up while the observer runs.
static void watch(struct flow *flow) {
        flow_tick(&flow->ended, &flow->mutex);
        pthread_mutex_unlock(&flow->mutex);
        flow_cancelled(flow);
        flow_report(flow, false);
        pthread_mutex_lock(&flow->mutex);
}

int flow_run(struct flow *flow, unsigned threads, void (*work)(void *data, unsigned n), void *data, struct error *err) {
        struct worker workers[FLOW_THREADS_MAX];
        pthread_t ids[FLOW_THREADS_MAX];
        unsigned started = 0;
        flow->running = threads;
        while (started < threads) {
                workers[started] = (struct worker){flow, work, data, started};
                int failed = pthread_create(&ids[started], NULL, worker_main, &workers[started]);
                if (failed) {
                        struct error why = ERROR_INIT;
                        error_errno(&why, failed, "start a thread");
                        flow_fail(flow, &why);
                        break;
                }
                started++;
        }
        pthread_mutex_lock(&flow->mutex);
        flow->running -= threads - started;
        while (flow->running > 0)
                watch(flow);
        pthread_mutex_unlock(&flow->mutex);
        for (unsigned i = 0; i < started; i++)
                pthread_join(ids[i], NULL);
        return flow_result(flow, err);
}
