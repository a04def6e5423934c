// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * When something is to happen again and again: the calendar expressions of systemd.time(7). A value of fixed size,
 * embedded by its owner. Pure but for calendar_parse(), which looks whether there is such a time zone.
 *
 *      [DAYS] [[YEAR-]MONTH-DAY] [HOUR:MINUTE[:SECOND]] [ZONE]     daily, weekly, ...     @SECONDS
 *      mon..fri 22:30    Sat *-*-1..7 18:00:00    *-*~1 06:00 Europe/Paris    *:0/15
 *
 * Each of the numbers is *, or a list of FIRST, FIRST/STEP, FIRST..LAST and FIRST..LAST/STEP; "~" before the days
 * counts them from the end of the month. What is left out is any day, and midnight. What systemd takes is taken here
 * and means the same, but for two things: seconds have no fractions, and a zone has a name of the tz database and no
 * abbreviation. tests/unit/common_calendar_systemd.c asks systemd.
 */
#include "common/zone.h"
#include <stdbool.h>

#define CALENDAR_PARTS_MAX 64u   // numbers, steps and ranges in all the lists
#define CALENDAR_TEXT_MAX  1152u // with NUL, as it is typed and as it is written
#define CALENDAR_YEAR_MIN  1970
#define CALENDAR_YEAR_MAX  2199

enum calendar_field {
        CALENDAR_YEAR,
        CALENDAR_MONTH,
        CALENDAR_DAY,
        CALENDAR_HOUR,
        CALENDAR_MINUTE,
        CALENDAR_SECOND,
        CALENDAR_FIELDS
};
struct calendar_part {
        int32_t first, last; // last -1: the field's last, or with no step the first alone
        int32_t step;        // 0: the first alone
};
struct calendar {
        uint8_t days;                 // bit 0: Monday; 0: any
        bool from_end;                // days are counted from the end of the month: 1 is the last
        uint8_t n[CALENDAR_FIELDS];   // of the parts, which stand in the order of the fields; 0: any
        char zone[ZONE_NAME_MAX + 1]; // "": whatever zone its owner is in
        struct calendar_part parts[CALENDAR_PARTS_MAX];
};

// What becomes of a time that the clock does not show on the one day because summer time begins.
enum calendar_gap {
        CALENDAR_SKIP,   // nothing, as with systemd
        CALENDAR_MAKE_UP // its moment is the one at which the clock goes past it
};

// ERROR_INVALID says which word is wrong, with an example as hint; ERROR_NOT_FOUND "no such time zone" with the nearest
// names; ERROR_TOO_LARGE beyond the bounds above. Nothing is trusted in `text`.
int calendar_parse(const char *text, struct calendar *ret, struct error *err);
// As systemd writes it ("Normalized form"), which means the same when it is parsed again. Buffer of CALENDAR_TEXT_MAX.
char *calendar_format(const struct calendar *calendar, char *buffer);
// The zone to open for it: its own, or that one.
const char *calendar_zone(const struct calendar *calendar, const char *otherwise);
// The first moment after `after`, in seconds since 1970 UTC; INT64_MAX: never (there is none until 2199). What the
// clock shows twice because summer time ends is meant the first time.
int64_t calendar_next(const struct calendar *calendar, const struct zone *zone, int64_t after, enum calendar_gap gap);
// The list of a field.
const struct calendar_part *calendar_parts(const struct calendar *calendar, enum calendar_field field);
