// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What the streams of one transfer share: why it stopped, how far it is, who watches. The caller of transfer_send() or
 * transfer_receive() owns it and is the only thread that calls the observer; the stream threads, one each, see the
 * flow.
 *
 * Several streams fail at once when one does: the first *cause* (a disk, a check, what the peer said, a cancel) is kept
 * and a mere *symptom* (the connection broke) gives way to it. After a symptom the other streams have a moment to learn
 * the cause from the peer; after a cause they may finish the block under way, so that the peer is told in good order.
 */
#include "agent/transfer/transfer.h"
#include "agent/blocks/digest.h"
#include "common/clock.h"
#include <pthread.h>
#include <stdatomic.h>

#define FLOW_STREAMS_MAX     8u
#define FLOW_STREAMS_DEFAULT 2u
#define FLOW_TICK_MS         50
#define FLOW_SYMPTOM_MS      1000 // for the other streams to learn the cause
#define FLOW_BLOCK_MS        3000 // for the block under way

enum flow_weight { FLOW_NOTHING, FLOW_SYMPTOM, FLOW_CAUSE };

struct flow {
        const char *disk;
        const struct transfer_observer *observer; // may be NULL, and so may its functions
        const struct clock *clock;
        int path;
        unsigned streams;
        uint64_t bytes_total;
        atomic_uint_least64_t bytes_done, bytes_wire, bytes_zero;
        atomic_uint_least64_t moved_at; // when a byte last moved on any stream, monotonic ms
        atomic_bool stopping;
        struct digest *digest; // may be NULL; stopped with the flow; freed by flow_fini()
        pthread_t caller;

        pthread_mutex_t mutex; // of what follows
        pthread_cond_t ended;
        enum flow_weight weight;
        uint64_t stopped_at;
        struct error error;
        unsigned running;
        uint64_t reported_at;
};

void flow_init(struct flow *flow, const char *disk, const struct transfer_observer *observer,
               const struct clock *clock);
void flow_fini(struct flow *flow);
void flow_set_digest(struct flow *flow, struct digest *digest);
// Stop, for this reason. Any thread.
void flow_fail(struct flow *flow, enum flow_weight weight, const struct error *why);
// For waiting loops: whether to give up now. `midway`: a block is under way. On the caller's thread asks the observer.
bool flow_gives_up(struct flow *flow, bool midway);
// For the caller's thread: ask the observer; true when the flow has stopped.
bool flow_cancelled(struct flow *flow);
void flow_report(struct flow *flow, bool last); // progress, at most four times a second unless it is the last
void flow_state(const struct flow *flow, Drover__TransferState *ret);
// The reason, or 0 if there is none. Prefixed with the disk's name.
int flow_result(struct flow *flow, struct error *err);
bool flow_stopped_by(struct flow *flow, struct error *ret_why); // the reason as it is; false: none
// Runs work(data, stream) on a thread for each stream and watches until all have ended. Returns what flow_result()
// does.
int flow_run(struct flow *flow, void (*work)(void *data, unsigned stream), void *data, struct error *err);
