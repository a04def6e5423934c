// SPDX-License-Identifier: LGPL-2.1-or-later
/* When a run is due; see due.h. */
#include "controller/schedule/due.h"

#include <string.h>
#include <xxhash.h>

bool due_mend(struct due *due, int64_t now) {
        bool since = due->since > now + DUE_AHEAD, last = due->last > now + DUE_AHEAD,
             covered = due->covered > now + DUE_AHEAD;
        if (since)
                due->since = now;
        if (last)
                due->last = now;
        if (covered)
                due->covered = now - due->jitter;
        return since || last || covered;
}

// By the jitter of this run: with that of a later one it could not be told any more which moments this one was for.
void due_begin(struct due *due, int64_t now) {
        due->last = now;
        if (due->covered < now - due->jitter)
                due->covered = now - due->jitter;
}

int64_t due_next(const struct due *due) {
        int64_t after = due->since;
        if (due->paused)
                return INT64_MAX;
        if (due->covered > after)
                after = due->covered;
        int64_t next = calendar_next(due->calendar, due->zone, after, CALENDAR_MAKE_UP);
        return next == INT64_MAX ? next : next + due->jitter;
}

bool due_is(const struct due *due, int64_t now) {
        return !due->running && due_next(due) <= now;
}

int64_t due_following(const struct due *due, int64_t now) {
        struct due then = *due;
        due_begin(&then, now);
        return due_next(&then);
}

uint32_t due_jitter(const char *schedule_id, const char *vm_uuid, uint32_t window) {
        uint64_t hash = XXH3_64bits_withSeed(vm_uuid, strlen(vm_uuid), XXH3_64bits(schedule_id, strlen(schedule_id)));
        return (uint32_t) ((hash >> 32) * window >> 32);
}
