// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Waiting times between tries: doubling from first to most, each drawn evenly from the upper half ("equal jitter"). */
#include <stdint.h>
struct backoff {
        uint32_t first_ms, most_ms;
        uint32_t tries;
};
void backoff_init(struct backoff *backoff, uint32_t first_ms, uint32_t most_ms);
uint32_t backoff_next(struct backoff *backoff, uint32_t random); // the wait before the next try, milliseconds
void backoff_reset(struct backoff *backoff);
