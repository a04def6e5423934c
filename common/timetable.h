// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Rates by the time of day: what a line may carry, and when that changes. Pure; embedded by its owner.
 *
 *      RATE[@[DAYS:]HOURS | @DAYS]     20Mbit@mon..fri:8-18   50Mbit@22-6   full@sat,sun   40Mbit
 *
 * An entry with days or hours goes before the one without; among those with, the first that fits. Where none fits there
 * is no limit. Hours are the site's wall clock; those that end at or before their beginning go over midnight and belong
 * to the day on which they begin. When summer time begins or ends, an hour is missing or comes twice, as on the clock.
 */
#include "common/zone.h"
#include <stdbool.h>

#define TIMETABLE_ENTRIES_MAX 32u

struct timetable_entry {
        uint64_t bytes_per_second; // 0: no limit
        bool always;               // has neither days nor hours
        uint8_t days;              // bit 0: Monday
        uint16_t from, to;         // minutes after midnight; to <= from: on the next day
};
struct timetable {
        struct timetable_entry entries[TIMETABLE_ENTRIES_MAX];
        unsigned n;
};

// ERROR_INVALID says what is wrong, with an example as hint; the timetable is as it was then.
int timetable_add(struct timetable *timetable, const char *text, struct error *err);
// The same of an entry that was stored: see units_read_rate().
int timetable_read(struct timetable *timetable, const char *text, struct error *err);
uint64_t timetable_rate(const struct timetable *timetable, const struct zone *zone, int64_t at); // 0: no limit
// The first moment after `at` at which the rate is another one; INT64_MAX: not within eight days, so never but for DST.
int64_t timetable_next_change(const struct timetable *timetable, const struct zone *zone, int64_t at);
