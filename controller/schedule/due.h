// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * When a VM's next run of a schedule begins. Pure: its owner keeps what stands in here and says what time it is.
 *
 * A run begins at a moment of the calendar and then as much later as this VM's share of the jitter is. One that was
 * missed is caught up at once, and several are one run: those that came while nobody was there to begin them, or while
 * the run before was still at it. What lies before `since` is not missed. A time that the clock skips when summer time
 * begins is made up, so that a day on which 2:30 does not exist has its run too; one that comes twice has one. The
 * jitter may change at any time: no moment has two runs or none for it.
 *
 * Whoever keeps it calls due_mend() whenever it looks at the clock, for that may have been set back: what lies more
 * than an hour ahead of it is then as if it had been now, so that the schedule goes on with its next moment. What lies
 * less far ahead stays, so that no run comes twice. Set forward, however far, the clock finds one missed run.
 */
#include "common/calendar.h"

#define DUE_NEVER INT64_MIN // as `last` and `covered`
#define DUE_AHEAD 3600      // seconds; see above

struct due {
        const struct calendar *calendar; // borrowed
        const struct zone *zone;         // borrowed; that of calendar_zone()
        int64_t since;                   // created, resumed, or given another calendar: seconds since 1970 UTC
        int64_t last;                    // when this VM's last run began, whatever became of it; DUE_NEVER
        int64_t covered;                 // the moments up to this one have had their run; DUE_NEVER
        uint32_t jitter;                 // seconds, of due_jitter()
        bool paused;
        bool running; // its last run has not ended
};

bool due_mend(struct due *due, int64_t now); // true: something has changed and is to be stored
// A run begins: `last` and `covered` are to be stored, together.
void due_begin(struct due *due, int64_t now);
// When the next run begins, or should have begun. INT64_MAX: never, or paused.
int64_t due_next(const struct due *due);
bool due_is(const struct due *due, int64_t now);           // begin it
int64_t due_following(const struct due *due, int64_t now); // the next run if one begins now
// This VM's share: at least 0 and less than `window` (0 if that is 0). It follows from the two ids alone, the same at
// every start and on every machine.
uint32_t due_jitter(const char *schedule_id, const char *vm_uuid, uint32_t window);
