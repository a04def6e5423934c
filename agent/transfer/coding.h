// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What the streams of a sender share about coding: they tell what each block cost, look from time to time at how the
 * network does, and go by the choice that follows (choice.h). Also who takes part: on a slow link one stream codes
 * better than several, each of which sees only a part of the image. Any stream's thread.
 */
#include "agent/transfer/channel.h"
#include "agent/transfer/choice.h"
#include "agent/transfer/coder.h"

#define CODING_SAMPLE_MS 250u // and at least a round trip: what is acknowledged comes in one burst in each

struct coding_look {
        uint64_t at, delivered, waited_us, idle_ticks;
        uint64_t trip_us; // the longest of the streams' round trips
        uint64_t opening; // see struct delivered; of all streams
};
struct coding {
        struct flow *flow;
        struct channel **channels; // of the streams
        unsigned streams;
        atomic_uint level, active;
        atomic_bool released;
        atomic_uint_least64_t plain, coded, coding_us, held_us; // since the last look
        pthread_mutex_t mutex;                                  // of what follows
        pthread_cond_t changed;
        struct choice choice;
        struct coding_look last;
};
// before: how it was when an attempt before this one ended; NULL: there was none.
void coding_init(struct coding *coding, struct flow *flow, struct channel **channels, unsigned streams,
                 const struct choice *before);
void coding_fini(struct coding *coding);
uint64_t coding_now_us(void);
// Waits until this stream takes part, or there is nothing left to take part in.
void coding_join(struct coding *coding, unsigned stream);
bool coding_takes_part(const struct coding *coding, unsigned stream); // now
void coding_release(struct coding *coding);                           // all take part: the end is near
unsigned coding_level(const struct coding *coding);
enum coder_reach coding_reach(const struct coding *coding, unsigned stream);
// A block is coded: its grains' bytes, what became of them, how long that took.
void coding_done(struct coding *coding, size_t plain, size_t coded, uint64_t coding_us);
void coding_sent(struct coding *coding, uint64_t held_us); // a portion has gone; for so long the rate held it
