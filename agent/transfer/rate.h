// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A limit on bytes a second, shared by the streams of a transfer, which may be changed at any time: a bucket that fills
 * evenly and holds little, so that what goes out is even, too. Any thread.
 */
#include "common/clock.h"
#include <pthread.h>
#include <stddef.h>

// The most that is asked for at a time. Smaller than a block, so that a slow link never looks dead.
#define RATE_PORTION (64u << 10)
// Slower than this a block would take longer than a peer may take for it.
#define RATE_LEAST (16u << 10)
// What one byte of an image costs on the wire, in addition: TLS, TCP and IP around 1,400 bytes.
#define RATE_OVERHEAD(bytes) ((bytes) / 25)

struct rate {
        pthread_mutex_t mutex;
        const struct clock *clock;
        uint64_t bytes_per_second; // 0: no limit
        int64_t tokens;
        uint64_t filled_at;
};
void rate_init(struct rate *rate, uint64_t bytes_per_second, const struct clock *clock);
void rate_fini(struct rate *rate);
void rate_set(struct rate *rate, uint64_t bytes_per_second);
// How much is to be asked for at a time: a twentieth of a second's worth, at most RATE_PORTION; 0: no limit.
size_t rate_portion(struct rate *rate);
// Take `bytes` (at most RATE_PORTION). 0: they may be sent now; otherwise nothing was taken and there is nothing to be
// had for so many milliseconds.
uint32_t rate_take(struct rate *rate, size_t bytes);
