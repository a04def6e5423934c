// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Calendar expressions as text and as moments; see calendar.h. The next moment is looked for on the clock on the wall
 * (wall_next), and only what is found there becomes a moment of the zone (shown).
 */
#include "common/calendar.h"
#include "common/civil.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NONE (-1)

const struct calendar_part *calendar_parts(const struct calendar *calendar, enum calendar_field field) {
        const struct calendar_part *parts = calendar->parts;
        for (unsigned before = 0; before < (unsigned) field; before++)
                parts += calendar->n[before];
        return parts;
}

const char *calendar_zone(const struct calendar *calendar, const char *otherwise) {
        return calendar->zone[0] ? calendar->zone : otherwise;
}

// ---- writing

struct writer {
        char *buffer;
        size_t length;
};

static __attribute__((format(printf, 2, 3))) void put(struct writer *writer, const char *format, ...) {
        va_list args;
        va_start(args, format);
        int n = vsnprintf(writer->buffer + writer->length, CALENDAR_TEXT_MAX - writer->length, format, args);
        va_end(args);
        writer->length += (size_t) n;
}

// Two days are a list, three a range: "Mon,Tue", "Mon..Wed".
static void put_days(struct writer *writer, unsigned days) {
        static const char *const names[] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
        const char *comma = "";
        for (int day = 0; day < 7; day++) {
                int last = day;
                if (!(days & 1u << day))
                        continue;
                while (last < 6 && days & 1u << (last + 1))
                        last++;
                put(writer, "%s%s", comma, names[day]);
                if (last > day)
                        put(writer, "%s%s", last > day + 1 ? ".." : ",", names[last]);
                comma = ",";
                day = last;
        }
        put(writer, " ");
}

static void put_field(struct writer *writer, const struct calendar *calendar, enum calendar_field field) {
        const struct calendar_part *parts = calendar_parts(calendar, field);
        unsigned n = calendar->n[field];
        int digits = field == CALENDAR_YEAR ? 4 : 2;
        // Only seconds can be said to be any by a list, because they are 0 when nothing is said.
        if (n == 0 ||
            (field == CALENDAR_SECOND && n == 1 && parts->first == 0 && parts->step == 1 && parts->last < 0)) {
                put(writer, "*");
                return;
        }
        for (unsigned i = 0; i < n; i++) {
                put(writer, "%s%0*d", i > 0 ? "," : "", digits, (int) parts[i].first);
                if (parts[i].last >= 0)
                        put(writer, "..%0*d", digits, (int) parts[i].last);
                if (parts[i].step > 1 || (parts[i].step == 1 && parts[i].last < 0))
                        put(writer, "/%d", (int) parts[i].step);
        }
}

char *calendar_format(const struct calendar *calendar, char *buffer) {
        static const char before[CALENDAR_FIELDS][2] = {"", "-", "-", " ", ":", ":"};
        struct writer writer = {.buffer = buffer};
        buffer[0] = '\0';
        if (calendar->days)
                put_days(&writer, calendar->days);
        for (unsigned field = 0; field < CALENDAR_FIELDS; field++) {
                put(&writer, "%s", field == CALENDAR_DAY && calendar->from_end ? "~" : before[field]);
                put_field(&writer, calendar, field);
        }
        if (calendar->zone[0])
                put(&writer, " %s", calendar->zone);
        return buffer;
}

// ---- the clock on the wall

// A month, a day of it and a time of it are bits of a word; years are too many for that.
struct masks {
        uint64_t months, hours, minutes, seconds;
};

static uint64_t mask_part(const struct calendar_part *part, int most) {
        uint64_t mask = 0;
        int last = part->step == 0 ? part->first : part->last >= 0 ? part->last : most;
        for (int value = part->first; value <= last; value += part->step ? part->step : 1)
                mask |= UINT64_C(1) << value;
        return mask;
}

static uint64_t mask(const struct calendar *calendar, enum calendar_field field, int least, int most) {
        const struct calendar_part *parts = calendar_parts(calendar, field);
        uint64_t mask = 0;
        if (calendar->n[field] == 0)
                return mask_part(&(struct calendar_part){.first = least, .last = most, .step = 1}, most);
        for (unsigned i = 0; i < calendar->n[field]; i++)
                mask |= mask_part(&parts[i], most);
        return mask;
}

// Counted from the end, a part's first day is its latest one, and what has no last goes up to the month's end.
static uint64_t mask_from_end(const struct calendar *calendar, int length) {
        const struct calendar_part *parts = calendar_parts(calendar, CALENDAR_DAY);
        uint64_t mask = 0;
        for (unsigned i = 0; i < calendar->n[CALENDAR_DAY]; i++) {
                struct calendar_part part = {.first = length + 1 - parts[i].first, .last = NONE, .step = parts[i].step};
                if (parts[i].last >= 0) {
                        part.last = part.first;
                        part.first = length + 1 - parts[i].last;
                }
                mask |= mask_part(&part, length);
        }
        return mask;
}

static int next_bit(uint64_t mask, int from) {
        if (from > 63 || (mask & ~UINT64_C(0) << from) == 0)
                return NONE;
        return __builtin_ctzll(mask & ~UINT64_C(0) << from);
}

static int next_day(const struct calendar *calendar, int64_t year, int month, int from) {
        int length = civil_month_days(year, month);
        uint64_t days = calendar->from_end ? mask_from_end(calendar, length) : mask(calendar, CALENDAR_DAY, 1, 31);
        for (int day = from; (day = next_bit(days, day)) != NONE && day <= length; day++)
                if (!calendar->days || calendar->days & 1u << civil_weekday(civil_days(year, month, day)))
                        return day;
        return NONE;
}

// The next second of a day that fits, from that second on.
static int next_second(const struct masks *masks, int from) {
        int hour = next_bit(masks->hours, from / 3600), minute = NONE, second = NONE;
        if (hour == from / 3600) {
                minute = next_bit(masks->minutes, from / 60 % 60);
                if (minute == from / 60 % 60) {
                        second = next_bit(masks->seconds, from % 60);
                        if (second == NONE)
                                minute = next_bit(masks->minutes, minute + 1);
                }
                if (minute == NONE)
                        hour = next_bit(masks->hours, hour + 1);
        }
        if (hour == NONE)
                return NONE;
        if (minute == NONE)
                minute = next_bit(masks->minutes, 0);
        if (second == NONE)
                second = next_bit(masks->seconds, 0);
        return hour * 3600 + minute * 60 + second;
}

static int next_year(const struct calendar *calendar, int64_t from) {
        const struct calendar_part *parts = calendar_parts(calendar, CALENDAR_YEAR);
        int next = NONE;
        if (calendar->n[CALENDAR_YEAR] == 0)
                return from <= CALENDAR_YEAR_MAX ? (int) from : NONE;
        for (unsigned i = 0; i < calendar->n[CALENDAR_YEAR]; i++) {
                int step = parts[i].step, year = parts[i].first, last = parts[i].last;
                if (last < 0)
                        last = step ? CALENDAR_YEAR_MAX : year;
                if (year < from && step)
                        year += (int) ((from - year + step - 1) / step) * step;
                if (year >= from && year <= last && (next == NONE || year < next))
                        next = year;
        }
        return next;
}

// In the days of a month, from that one and that second of it on.
static int64_t next_in_month(const struct calendar *calendar, const struct masks *masks, int year, int month,
                             int first_day, int first_second) {
        for (int day = first_day; (day = next_day(calendar, year, month, day)) != NONE; day++) {
                int second = next_second(masks, day == first_day ? first_second : 0);
                if (second != NONE)
                        return civil_days(year, month, day) * CIVIL_DAY + second;
        }
        return INT64_MAX;
}

// The first time after `wall` that the expression fits.
static int64_t wall_next(const struct calendar *calendar, int64_t wall) {
        struct masks masks = {.months = mask(calendar, CALENDAR_MONTH, 1, 12),
                              .hours = mask(calendar, CALENDAR_HOUR, 0, 23),
                              .minutes = mask(calendar, CALENDAR_MINUTE, 0, 59),
                              .seconds = mask(calendar, CALENDAR_SECOND, 0, 59)};
        struct civil from = civil_of(wall < 0 ? 0 : wall + 1);
        for (int year = next_year(calendar, from.year); year != NONE; year = next_year(calendar, year + 1)) {
                bool this_year = year == from.year;
                for (int month = this_year ? from.month : 1; (month = next_bit(masks.months, month)) != NONE; month++) {
                        bool this_month = this_year && month == from.month;
                        int64_t next = next_in_month(calendar, &masks, year, month, this_month ? from.day : 1,
                                                     this_month ? from.second : 0);
                        if (next != INT64_MAX)
                                return next;
                }
        }
        return INT64_MAX;
}

// ---- moments

// The moment at which the zone's clock first shows that time, or, where it is set forward past it, at which it is.
static int64_t shown(const struct zone *zone, int64_t wall, bool *ret_skipped) {
        for (int64_t from = wall - 2 * CIVIL_DAY;;) { // no offset is as large
                int64_t until = zone_next_change(zone, from), at = wall - zone_offset(zone, from);
                *ret_skipped = at < from;
                if (at < until)
                        return at < from ? from : at;
                from = until;
        }
}

// What the clock shows at `after`; while it shows for the second time what it showed before it was set back, the last
// of that.
static int64_t wall_latest(const struct zone *zone, int64_t after) {
        int64_t wall = after + zone_offset(zone, after), last = wall;
        bool skipped;
        int64_t first = shown(zone, wall, &skipped);
        if (first < after)
                last = zone_next_change(zone, first) - 1 + zone_offset(zone, first);
        return last > wall ? last : wall;
}

int64_t calendar_next(const struct calendar *calendar, const struct zone *zone, int64_t after, enum calendar_gap gap) {
        const int64_t earliest = -2 * CIVIL_DAY, latest = civil_days(CALENDAR_YEAR_MAX + 2, 1, 1) * CIVIL_DAY;
        if (after > latest)
                return INT64_MAX;
        int64_t wall = wall_latest(zone, after < earliest ? earliest : after);
        while ((wall = wall_next(calendar, wall)) != INT64_MAX) {
                bool skipped;
                int64_t at = shown(zone, wall, &skipped);
                if (!skipped || gap == CALENDAR_MAKE_UP)
                        return at;
                wall = at + zone_offset(zone, at) - 1;
        }
        return INT64_MAX;
}
