// SPDX-License-Identifier: LGPL-2.1-or-later
/* The state that the streams of one transfer share (see flow.h). */
#include "agent/transfer/flow.h"
#include <string.h>
#include <time.h>

void flow_init(struct flow *flow, const char *disk, const struct transfer_observer *observer,
               const struct clock *clock) {
        memset(flow, 0, sizeof *flow);
        flow->disk = disk;
        flow->observer = observer;
        flow->clock = clock;
        flow->streams = 1;
        flow->caller = pthread_self();
        atomic_init(&flow->moved_at, clock_ms(clock));
        pthread_condattr_t attributes;
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_mutex_init(&flow->mutex, NULL);
        pthread_cond_init(&flow->ended, &attributes);
        pthread_condattr_destroy(&attributes);
}

void flow_fini(struct flow *flow) {
        pthread_cond_destroy(&flow->ended);
        pthread_mutex_destroy(&flow->mutex);
        digest_free(flow->digest);
}

void flow_set_digest(struct flow *flow, struct digest *digest) {
        pthread_mutex_lock(&flow->mutex);
        flow->digest = digest;
        if (flow->weight != FLOW_NOTHING)
                digest_stop(digest);
        pthread_mutex_unlock(&flow->mutex);
}

void flow_fail(struct flow *flow, enum flow_weight weight, const struct error *why) {
        pthread_mutex_lock(&flow->mutex);
        if (weight > flow->weight) {
                flow->weight = weight;
                flow->error = *why;
                flow->stopped_at = clock_ms(flow->clock);
                atomic_store(&flow->stopping, true);
                if (flow->digest)
                        digest_stop(flow->digest);
        }
        pthread_mutex_unlock(&flow->mutex);
}

bool flow_gives_up(struct flow *flow, bool midway) {
        if (pthread_equal(pthread_self(), flow->caller))
                flow_cancelled(flow);
        if (!atomic_load_explicit(&flow->stopping, memory_order_relaxed))
                return false;
        pthread_mutex_lock(&flow->mutex);
        uint64_t grace = flow->weight == FLOW_SYMPTOM ? FLOW_SYMPTOM_MS : midway ? FLOW_BLOCK_MS : 0;
        bool over = clock_ms(flow->clock) - flow->stopped_at >= grace;
        pthread_mutex_unlock(&flow->mutex);
        return over;
}

bool flow_cancelled(struct flow *flow) {
        const struct transfer_observer *observer = flow->observer;
        if (!atomic_load(&flow->stopping) && observer && observer->cancelled && observer->cancelled(observer->data)) {
                struct error why = ERROR_INIT;
                error_set(&why, ERROR_CANCELLED, "cancelled");
                flow_fail(flow, FLOW_CAUSE, &why);
        }
        return atomic_load(&flow->stopping);
}

void flow_state(const struct flow *flow, Drover__TransferState *ret) {
        drover__transfer_state__init(ret);
        ret->disk = (char *) flow->disk;
        ret->bytes_total = flow->bytes_total;
        ret->bytes_done = atomic_load(&flow->bytes_done);
        ret->bytes_wire = atomic_load(&flow->bytes_wire);
        ret->bytes_zero = atomic_load(&flow->bytes_zero);
        ret->path = (Drover__TransferPath) flow->path;
}

void flow_report(struct flow *flow, bool last) {
        const struct transfer_observer *observer = flow->observer;
        uint64_t now = clock_ms(flow->clock);
        if (!observer || !observer->progress || (!last && now - flow->reported_at < 250))
                return;
        Drover__TransferState state;
        flow_state(flow, &state);
        flow->reported_at = now;
        observer->progress(&state, observer->data);
}

bool flow_stopped_by(struct flow *flow, struct error *ret_why) {
        pthread_mutex_lock(&flow->mutex);
        bool stopped = flow->weight != FLOW_NOTHING;
        if (stopped && ret_why)
                *ret_why = flow->error;
        pthread_mutex_unlock(&flow->mutex);
        return stopped;
}

int flow_result(struct flow *flow, struct error *err) {
        return flow_stopped_by(flow, err) ? error_prefix(err, "%s", flow->disk) : 0;
}

struct stream {
        struct flow *flow;
        void (*work)(void *data, unsigned stream);
        void *data;
        unsigned number;
};

static void *stream_main(void *pointer) {
        struct stream *stream = pointer;
        struct flow *flow = stream->flow;
        stream->work(stream->data, stream->number);
        pthread_mutex_lock(&flow->mutex);
        flow->running--;
        pthread_cond_signal(&flow->ended);
        pthread_mutex_unlock(&flow->mutex);
        return NULL;
}

// Called with the mutex held; it is given up while the observer runs.
static void watch(struct flow *flow) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += FLOW_TICK_MS * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
                until.tv_sec++;
                until.tv_nsec -= 1000000000L;
        }
        pthread_cond_timedwait(&flow->ended, &flow->mutex, &until);
        pthread_mutex_unlock(&flow->mutex);
        flow_cancelled(flow);
        flow_report(flow, false);
        pthread_mutex_lock(&flow->mutex);
}

int flow_run(struct flow *flow, void (*work)(void *data, unsigned stream), void *data, struct error *err) {
        struct stream streams[FLOW_STREAMS_MAX];
        pthread_t threads[FLOW_STREAMS_MAX];
        unsigned started = 0;
        flow->running = flow->streams;
        while (started < flow->streams) {
                streams[started] = (struct stream){flow, work, data, started};
                int failed = pthread_create(&threads[started], NULL, stream_main, &streams[started]);
                if (failed) {
                        struct error why = ERROR_INIT;
                        error_errno(&why, failed, "start a thread");
                        flow_fail(flow, FLOW_CAUSE, &why);
                        break;
                }
                started++;
        }
        pthread_mutex_lock(&flow->mutex);
        flow->running -= flow->streams - started;
        while (flow->running > 0)
                watch(flow);
        pthread_mutex_unlock(&flow->mutex);
        for (unsigned i = 0; i < started; i++)
                pthread_join(threads[i], NULL);
        return flow_result(flow, err);
}
