// SPDX-License-Identifier: LGPL-2.1-or-later
/* Rates by the time of day; see timetable.h. */
#include "common/timetable.h"
#include "common/cleanup.h"
#include "common/units.h"

#include <stdio.h>
#include <string.h>

#define DAY_MINUTES  1440
#define DAY_SECONDS  86400
#define ALL_DAYS     0x7f
#define HORIZON_DAYS 8

// ---- parsing

static int take_day(const char **at) {
        static const char *const days[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
        for (int i = 0; i < 7; i++)
                if (strncmp(*at, days[i], 3) == 0) {
                        *at += 3;
                        return i;
                }
        return -1;
}

// "mon..fri,sun"; a range may go over the weekend: "sat..mon".
static bool take_days(const char **at, uint8_t *ret) {
        uint8_t days = 0;
        do {
                int first = take_day(at), last = first;
                if (first >= 0 && strncmp(*at, "..", 2) == 0) {
                        *at += 2;
                        last = take_day(at);
                }
                if (first < 0 || last < 0)
                        return false;
                for (int day = first;; day = (day + 1) % 7) {
                        days |= (uint8_t) (1u << day);
                        if (day == last)
                                break;
                }
        } while (**at == ',' && (*at)++);
        *ret = days;
        return true;
}

static bool take_digits(const char **at, unsigned *ret) {
        unsigned value = 0, digits = 0;
        for (; **at >= '0' && **at <= '9' && digits < 2; digits++)
                value = value * 10 + (unsigned) (*(*at)++ - '0');
        *ret = value;
        return digits > 0;
}

// "8" or "8:30"
static bool take_time(const char **at, uint16_t *ret) {
        unsigned hours, minutes = 0;
        if (!take_digits(at, &hours))
                return false;
        if (**at == ':' && (++*at, !take_digits(at, &minutes)))
                return false;
        *ret = (uint16_t) (hours * 60 + minutes);
        return minutes < 60 && *ret <= DAY_MINUTES;
}

static bool take_hours(const char **at, struct timetable_entry *entry) {
        return take_time(at, &entry->from) && *(*at)++ == '-' && take_time(at, &entry->to) &&
               entry->from != entry->to && entry->from < DAY_MINUTES;
}

static bool parse_when(const char *at, struct timetable_entry *entry) {
        bool has_days = *at >= 'a' && *at <= 'z';
        entry->days = ALL_DAYS;
        entry->from = 0;
        entry->to = DAY_MINUTES;
        if (has_days && !take_days(&at, &entry->days))
                return false;
        if (has_days && *at == '\0')
                return true;
        return (!has_days || *at++ == ':') && take_hours(&at, entry) && *at == '\0';
}

typedef int (*parse_rate)(const char *text, uint64_t *ret_bytes_per_second, struct error *err);

static int parse_entry(const char *text, parse_rate parse, struct timetable_entry *ret, struct error *err) {
        const char *when = strchr(text, '@');
        char rate[64];
        size_t length = when ? (size_t) (when - text) : strlen(text);
        if (length >= sizeof(rate))
                return error_set(err, ERROR_INVALID, "\"%.60s\" is not a rate", text);
        memcpy(rate, text, length);
        rate[length] = '\0';
        *ret = (struct timetable_entry){.always = !when};
        if (parse(rate, &ret->bytes_per_second, err) < 0)
                return -1;
        if (!when || parse_when(when + 1, ret))
                return 0;
        error_set(err, ERROR_INVALID, "\"%.60s\" is not DAYS:HOURS", when + 1);
        error_hint(err, "for example: --rate 20Mbit@mon..fri:8-18");
        return -1;
}

static int add(struct timetable *timetable, const char *text, parse_rate parse, struct error *err) {
        struct timetable_entry entry;
        if (parse_entry(text, parse, &entry, err) < 0)
                return -1;
        if (timetable->n == TIMETABLE_ENTRIES_MAX)
                return error_set(err, ERROR_TOO_LARGE, "more than %u rates", TIMETABLE_ENTRIES_MAX);
        for (unsigned i = 0; entry.always && i < timetable->n; i++)
                if (timetable->entries[i].always) {
                        error_set(err, ERROR_INVALID, "%.60s: there is another rate for all the time", text);
                        error_hint(err, "say when one of them holds: --rate 20Mbit@mon..fri:8-18");
                        return -1;
                }
        timetable->entries[timetable->n++] = entry;
        return 0;
}

int timetable_add(struct timetable *timetable, const char *text, struct error *err) {
        return add(timetable, text, units_parse_rate, err);
}

int timetable_read(struct timetable *timetable, const char *text, struct error *err) {
        return add(timetable, text, units_read_rate, err);
}

// ---- asking

struct moment {
        int day;     // 0: Monday
        int minute;  // of the day
        int seconds; // of the minute
};

static struct moment local(const struct zone *zone, int64_t at) {
        int64_t seconds = at + zone_offset(zone, at), days = seconds / DAY_SECONDS - (seconds % DAY_SECONDS < 0);
        int64_t rest = seconds - days * DAY_SECONDS;
        return (struct moment){.day = (int) (((days + 3) % 7 + 7) % 7), // 1970-01-01 was a Thursday
                               .minute = (int) (rest / 60),
                               .seconds = (int) (rest % 60)};
}

static bool has_day(const struct timetable_entry *entry, int day) {
        return entry->days & 1u << ((day + 7) % 7);
}

static bool fits(const struct timetable_entry *entry, const struct moment *now) {
        if (entry->from < entry->to)
                return has_day(entry, now->day) && now->minute >= entry->from && now->minute < entry->to;
        return (has_day(entry, now->day) && now->minute >= entry->from) ||
               (has_day(entry, now->day - 1) && now->minute < entry->to);
}

uint64_t timetable_rate(const struct timetable *timetable, const struct zone *zone, int64_t at) {
        struct moment now = local(zone, at);
        uint64_t always = 0;
        for (unsigned i = 0; i < timetable->n; i++) {
                if (timetable->entries[i].always)
                        always = timetable->entries[i].bytes_per_second;
                else if (fits(&timetable->entries[i], &now))
                        return timetable->entries[i].bytes_per_second;
        }
        return always;
}

// The next minute of the clock at which some entry begins or ends, or the day does.
static int next_boundary(const struct timetable *timetable, int minute) {
        int next = DAY_MINUTES;
        for (unsigned i = 0; i < timetable->n; i++) {
                const int ends[] = {timetable->entries[i].from, timetable->entries[i].to};
                for (size_t k = 0; !timetable->entries[i].always && k < ARRAY_SIZE(ends); k++)
                        if (ends[k] > minute && ends[k] < next)
                                next = ends[k];
        }
        return next;
}

// From boundary to boundary of the wall clock; where the zone's offset changes in between, that is one as well.
int64_t timetable_next_change(const struct timetable *timetable, const struct zone *zone, int64_t at) {
        uint64_t rate = timetable_rate(timetable, zone, at);
        for (int64_t end = at + (int64_t) HORIZON_DAYS * DAY_SECONDS; at < end;) {
                struct moment now = local(zone, at);
                int64_t boundary = at + (next_boundary(timetable, now.minute) - now.minute) * 60 - now.seconds;
                int64_t turn = zone_next_change(zone, at);
                at = turn < boundary ? turn : boundary;
                if (timetable_rate(timetable, zone, at) != rate)
                        return at;
        }
        return INT64_MAX;
}
