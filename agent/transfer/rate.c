// SPDX-License-Identifier: LGPL-2.1-or-later
/* The token bucket (see rate.h). It may be overdrawn by one portion, which the next taker waits for. */
#include "agent/transfer/rate.h"

void rate_init(struct rate *rate, uint64_t bytes_per_second, const struct clock *clock) {
        *rate = (struct rate){.clock = clock, .filled_at = clock_ms(clock)};
        pthread_mutex_init(&rate->mutex, NULL);
        if (bytes_per_second)
                rate->bytes_per_second = bytes_per_second < RATE_LEAST ? RATE_LEAST : bytes_per_second;
}

void rate_fini(struct rate *rate) {
        pthread_mutex_destroy(&rate->mutex);
}

static void fill(struct rate *rate) {
        uint64_t now = clock_ms(rate->clock), elapsed = now - rate->filled_at;
        int64_t most = (int64_t) (rate->bytes_per_second / 4);
        if (elapsed == 0)
                return;
        if (elapsed > 1000)
                elapsed = 1000;
        rate->tokens += (int64_t) (rate->bytes_per_second * elapsed / 1000);
        if (rate->tokens > most)
                rate->tokens = most;
        rate->filled_at = now;
}

uint32_t rate_take(struct rate *rate, size_t bytes) {
        uint32_t wait = 0;
        if (!rate->bytes_per_second)
                return 0;
        pthread_mutex_lock(&rate->mutex);
        fill(rate);
        if (rate->tokens >= 0)
                rate->tokens -= (int64_t) bytes;
        else
                wait = (uint32_t) ((uint64_t) -rate->tokens * 1000 / rate->bytes_per_second) + 1;
        pthread_mutex_unlock(&rate->mutex);
        return wait;
}
