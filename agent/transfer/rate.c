// SPDX-License-Identifier: LGPL-2.1-or-later
/* The token bucket (see rate.h). It may be overdrawn by one portion, which the next taker waits for. */
#include "agent/transfer/rate.h"
#include "agent/transfer/flow.h"
#include "common/units.h"
#include <time.h>

#define PORTIONS_A_SECOND 20u
#define MOST              (1ull << 50) // a second of it, in thousandths of a byte, is a number yet

static uint64_t bounded(uint64_t bytes_per_second) {
        if (bytes_per_second == 0)
                return 0;
        return bytes_per_second < UNITS_RATE_LEAST ? UNITS_RATE_LEAST
               : bytes_per_second > MOST           ? MOST
                                                   : bytes_per_second;
}

void rate_init(struct rate *rate, uint64_t bytes_per_second, const struct clock *clock) {
        *rate = (struct rate){.clock = clock, .filled_at = clock_ms(clock)};
        pthread_mutex_init(&rate->mutex, NULL);
        rate->bytes_per_second = bounded(bytes_per_second);
}

void rate_fini(struct rate *rate) {
        pthread_mutex_destroy(&rate->mutex);
}

static void fill(struct rate *rate) {
        uint64_t now = clock_ms(rate->clock), elapsed = now - rate->filled_at;
        int64_t most = (int64_t) (rate->bytes_per_second / PORTIONS_A_SECOND * 2 * 1000);
        if (elapsed == 0)
                return;
        if (elapsed > 1000)
                elapsed = 1000;
        rate->tokens += (int64_t) (rate->bytes_per_second * elapsed);
        if (rate->tokens > most)
                rate->tokens = most;
        rate->filled_at = now;
}

void rate_set(struct rate *rate, uint64_t bytes_per_second) {
        pthread_mutex_lock(&rate->mutex);
        fill(rate);
        rate->bytes_per_second = bounded(bytes_per_second);
        rate->tokens = 0; // neither saved up nor owed at another rate
        pthread_mutex_unlock(&rate->mutex);
}

uint64_t rate_now(struct rate *rate) {
        pthread_mutex_lock(&rate->mutex);
        uint64_t now = rate->bytes_per_second;
        pthread_mutex_unlock(&rate->mutex);
        return now;
}

size_t rate_portion(struct rate *rate) {
        pthread_mutex_lock(&rate->mutex);
        uint64_t portion = rate->bytes_per_second / PORTIONS_A_SECOND;
        if (portion < RATE_PORTION_LEAST && rate->bytes_per_second)
                portion = RATE_PORTION_LEAST;
        pthread_mutex_unlock(&rate->mutex);
        return portion < RATE_PORTION ? (size_t) portion : RATE_PORTION;
}

uint32_t rate_take(struct rate *rate, size_t bytes) {
        uint32_t wait = 0;
        pthread_mutex_lock(&rate->mutex);
        if (rate->bytes_per_second) {
                fill(rate);
                if (rate->tokens >= 0)
                        rate->tokens -= (int64_t) (bytes + RATE_OVERHEAD(bytes)) * 1000;
                else
                        wait = (uint32_t) ((uint64_t) -rate->tokens / rate->bytes_per_second) + 1;
        }
        pthread_mutex_unlock(&rate->mutex);
        return wait;
}

int rate_wait(struct rate *rate, size_t bytes, const struct flow *flow, struct error *err) {
        uint32_t milliseconds;
        while ((milliseconds = rate_take(rate, bytes)) > 0) {
                if (flow_stopping(flow))
                        return error_set(err, ERROR_CANCELLED, "stopped");
                if (milliseconds > FLOW_TICK_MS)
                        milliseconds = FLOW_TICK_MS;
                nanosleep(&(struct timespec){.tv_nsec = milliseconds * 1000000L}, NULL);
        }
        return 0;
}
