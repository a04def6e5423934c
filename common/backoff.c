// SPDX-License-Identifier: LGPL-2.1-or-later
/* Waiting times between tries. The caller brings the random number, so that a test knows the outcome. */
#include "common/backoff.h"

void backoff_init(struct backoff *backoff, uint32_t first_ms, uint32_t most_ms) {
        *backoff = (struct backoff){.first_ms = first_ms, .most_ms = most_ms};
}

uint32_t backoff_next(struct backoff *backoff, uint32_t random) {
        uint64_t ceiling = backoff->tries < 32 ? (uint64_t) backoff->first_ms << backoff->tries : UINT64_MAX;
        if (ceiling > backoff->most_ms)
                ceiling = backoff->most_ms;
        if (backoff->tries < UINT32_MAX)
                backoff->tries++;
        uint64_t half = ceiling / 2;
        return (uint32_t) (ceiling - half + ((random * (half + 1)) >> 32));
}

void backoff_reset(struct backoff *backoff) {
        backoff->tries = 0;
}
