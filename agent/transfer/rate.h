// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A limit on bytes a second, shared by the streams of a transfer, which may be changed at any time: a bucket that fills
 * evenly and holds little, so that what goes out is even, too. Any thread.
 */
#include "common/clock.h"
#include "common/error.h"
#include <pthread.h>
#include <stddef.h>

// The most and the least that is asked for at a time. Smaller than a block, so that a slow link never looks dead; and a
// packet, or headers would be most of what is sent slowly.
#define RATE_PORTION       (64u << 10)
#define RATE_PORTION_LEAST 1400u
// What a portion costs on the wire in addition: TCP and IP around 1,448 bytes, and TLS.
#define RATE_OVERHEAD(bytes) ((bytes) / 28 + 22)

struct flow;
struct rate {
        pthread_mutex_t mutex;
        const struct clock *clock;
        uint64_t bytes_per_second; // 0: no limit
        int64_t tokens;            // thousandths of a byte
        uint64_t filled_at;
};
void rate_init(struct rate *rate, uint64_t bytes_per_second, const struct clock *clock);
void rate_fini(struct rate *rate);
void rate_set(struct rate *rate, uint64_t bytes_per_second);
uint64_t rate_now(struct rate *rate); // what is kept to: no less than UNITS_RATE_LEAST, 0: no limit
// How much is to be asked for at a time: a twentieth of a second's worth, within those bounds; 0: no limit.
size_t rate_portion(struct rate *rate);
// Take `bytes` (at most RATE_PORTION). 0: they may be sent now; otherwise nothing was taken and there is nothing to be
// had for so many milliseconds.
uint32_t rate_take(struct rate *rate, size_t bytes);
// The same, and waits until they are taken. ERROR_CANCELLED when the flow stops meanwhile.
int rate_wait(struct rate *rate, size_t bytes, const struct flow *flow, struct error *err);
