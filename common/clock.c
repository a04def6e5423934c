// SPDX-License-Identifier: LGPL-2.1-or-later
/* The system's two clocks behind the injected interface, and the one way in which we write a moment down. */
#include "common/clock.h"
#include <stddef.h>
#include <stdio.h>
#include <time.h>

static uint64_t system_monotonic_ms(void *data) {
        (void) data;
        struct timespec now;
        clock_gettime(CLOCK_BOOTTIME, &now);
        return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

static int64_t system_wall_seconds(void *data) {
        (void) data;
        return (int64_t) time(NULL);
}

const struct clock system_clock = {.monotonic_ms = system_monotonic_ms, .wall_seconds = system_wall_seconds};

uint64_t clock_ms(const struct clock *clock) {
        return clock->monotonic_ms(clock->data);
}

int64_t clock_wall(const struct clock *clock) {
        return clock->wall_seconds(clock->data);
}

int64_t clock_wall_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

char *clock_rfc3339(int64_t wall_seconds, char *buffer) {
        struct tm parts;
        time_t seconds = (time_t) wall_seconds;
        // RFC 3339 has years of four digits; a stamp from outside may have any number.
        if (!gmtime_r(&seconds, &parts) || parts.tm_year < -1900 || parts.tm_year > 9999 - 1900 ||
            strftime(buffer, CLOCK_RFC3339_MAX, "%Y-%m-%dT%H:%M:%SZ", &parts) != 20)
                snprintf(buffer, CLOCK_RFC3339_MAX, "%s",
                         wall_seconds < 0 ? "0000-01-01T00:00:00Z" : "9999-12-31T23:59:59Z");
        return buffer;
}
