// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What the threads of one transfer share: why it stopped, how far it is, who watches. The caller of transfer_send() or
 * transfer_receive() owns it and is the only thread that calls the observer; the threads that do the work see the flow.
 *
 * Several threads fail at once when one does: the first *cause* (a disk, a check, what the peer said, a cancel) is kept
 * and a mere *symptom* (a connection broke) gives way to it. After a symptom the conversation has a moment to hear the
 * cause from the peer.
 */
#include "agent/transfer/pipeline.h"
#include "agent/transfer/transfer.h"
#include "agent/blocks/digest.h"
#include "common/clock.h"
#include <pthread.h>
#include <stdatomic.h>

#define FLOW_STREAMS_MAX     9u // the conversation, and those that carry blocks
#define FLOW_STREAMS_LEAST   2u
#define FLOW_STREAMS_DEFAULT 2u // that carry blocks
#define FLOW_THREADS_MAX                                                                                               \
        (2 * FLOW_STREAMS_MAX + 1) // of a sender: two a stream and one for the conversation, and its readers
#define FLOW_TICK_MS    50
#define FLOW_SYMPTOM_MS 250  // to hear the cause
#define FLOW_FRAME_MS   1000 // to end the frame under way, where there is more to say
#define FLOW_CHOICE_MAX 160
#define FLOW_ASKING_MAX 64

enum flow_weight { FLOW_NOTHING, FLOW_SYMPTOM, FLOW_CAUSE };

struct flow {
        const char *disk;
        const struct transfer_observer *observer; // may be NULL, and so may its functions
        const struct clock *clock;
        int path;
        unsigned streams;
        atomic_uint_least64_t bytes_total; // the sink learns it from the source while its progress is told
        atomic_uint_least64_t bytes_done, bytes_wire, bytes_zero, bytes_kept, bytes_resent, bytes_reused;
        atomic_uint_least64_t rate;     // the limit in force, bytes a second; 0: none
        atomic_uint_least64_t moved_at; // when something last arrived on any stream, monotonic ms
        atomic_uint level;              // of compression
        atomic_bool stopping;
        int wake_fd;               // of the conversation: there is something to say, or an end
        struct digest *digest;     // may be NULL; stopped with the flow; freed by flow_fini()
        struct pipeline *pipeline; // the same
        pthread_t caller;

        pthread_mutex_t mutex; // of what follows
        pthread_cond_t ended;
        enum flow_weight weight;
        uint64_t stopped_at;
        struct error error;
        unsigned running;
        uint64_t reported_at;
        char choice[FLOW_CHOICE_MAX - FLOW_ASKING_MAX - 2];
        char asking[FLOW_ASKING_MAX];
};

// A condition for flow_tick(), which waits for it, but no longer than a tick.
void flow_condition(pthread_cond_t *condition);
void flow_tick(pthread_cond_t *condition, pthread_mutex_t *mutex);

void flow_init(struct flow *flow, const char *disk, const struct transfer_observer *observer,
               const struct clock *clock);
void flow_fini(struct flow *flow);
void flow_set_digest(struct flow *flow, struct digest *digest);
void flow_set_pipeline(struct flow *flow, struct pipeline *pipeline);
// Stop, for this reason; what is a symptom is told by its code. Any thread.
void flow_fail(struct flow *flow, const struct error *why);
bool flow_stopping(const struct flow *flow);
// For waiting loops: whether to give up now; patient: of the conversation, on which the reason is to be told. On the
// caller's thread asks the observer.
bool flow_gives_up(struct flow *flow, bool patient);
// For the caller's thread: ask the observer; true when the flow has stopped.
bool flow_cancelled(struct flow *flow);
void flow_wake(struct flow *flow);              // the conversation
void flow_report(struct flow *flow, bool last); // progress, at most four times a second unless it is the last
void flow_choose(struct flow *flow, unsigned level, const char *choice); // what was chosen and why, for people
void flow_choose_asking(struct flow *flow, const char *asking); // the same of what is asked first; "" for nothing
void flow_state(struct flow *flow, Drover__TransferState *ret,
                char choice[FLOW_CHOICE_MAX]); // whose texts are the flow's and `choice`
// The reason, or 0 if there is none. Prefixed with the disk's name.
int flow_result(struct flow *flow, struct error *err);
bool flow_stopped_by(struct flow *flow, struct error *ret_why); // the reason as it is; false: none
bool flow_cause(struct flow *flow, struct error *ret_why);      // the same; false: none, or only a symptom
// Runs work(data, n) on `threads` threads, n counting from 0, and watches until all have ended. Returns what
// flow_result() does.
int flow_run(struct flow *flow, unsigned threads, void (*work)(void *data, unsigned n), void *data, struct error *err);
