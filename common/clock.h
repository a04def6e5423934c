// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Two clocks: a monotonic one, injected, for all that measures; wall time to show, to stamp and to schedule. */
#include <stdint.h>
#include <stdbool.h>

struct clock {
        uint64_t (*monotonic_ms)(void *data); // CLOCK_BOOTTIME, milliseconds: goes on while the machine sleeps
        int64_t (*wall_seconds)(void *data);  // since 1970 UTC
        void *data;
};
extern const struct clock system_clock;
uint64_t clock_ms(const struct clock *clock);
int64_t clock_wall(const struct clock *clock);
int64_t clock_wall_ms(void);

#define CLOCK_RFC3339_MAX 32
// "2026-11-21T19:30:00Z"; buffer of CLOCK_RFC3339_MAX; returns buffer.
char *clock_rfc3339(int64_t wall_seconds, char *buffer);
