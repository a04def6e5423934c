// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Calendar expressions from text; see calendar.h. One pass from left to right over a copy; what is wrong is told by the
 * word in which it was found.
 */
#include "common/calendar.h"
#include "common/cleanup.h"
#include "common/civil.h"
#include "common/name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define EXAMPLE      "for example: mon..fri 22:30, Sat *-*-1..7 18:00, daily"
#define NUMBER_MAX   99999
#define ANY_DAY      0x7f
#define FROM_END_MAX 28 // the shortest month has no more
#define EPOCH_MAX    12 // digits
#define WORD_MAX     60 // of what is quoted

struct parser {
        const char *text, *at;
        const char *date, *time; // where they begin
        struct calendar *calendar;
        unsigned n; // parts so far
        struct error *err;
};

static const struct {
        const char *word, *text;
} shorthands[] = {
        {"minutely", "*-*-* *:*:00"},
        {"hourly", "*-*-* *:00:00"},
        {"daily", "*-*-* 00:00:00"},
        {"weekly", "Mon *-*-* 00:00:00"},
        {"monthly", "*-*-01 00:00:00"},
        {"quarterly", "*-01,04,07,10-01 00:00:00"},
        {"semiannually", "*-01,07-01 00:00:00"},
        {"semi-annually", "*-01,07-01 00:00:00"},
        {"biannually", "*-01,07-01 00:00:00"},
        {"bi-annually", "*-01,07-01 00:00:00"},
        {"yearly", "*-01-01 00:00:00"},
        {"annually", "*-01-01 00:00:00"},
        {"anually", "*-01-01 00:00:00"}, // systemd takes it
};
static const char *const day_names[] = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"};

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// ---- what is wrong

static int word_length(const char *word) {
        size_t length = strcspn(word, " ");
        return length < WORD_MAX ? (int) length : WORD_MAX;
}

static int wrong(const struct parser *parser, const char *at, const char *why) {
        const char *begin = at;
        while (begin > parser->text && (*begin == ' ' || *begin == '\0'))
                begin--;
        while (begin > parser->text && begin[-1] != ' ')
                begin--;
        error_set(parser->err, ERROR_INVALID, "\"%.*s\": %s", word_length(begin), begin, why);
        error_hint(parser->err, EXAMPLE);
        return -1;
}

static int no_such_word(const struct parser *parser) {
        char *names[ARRAY_SIZE(shorthands)];
        char word[WORD_MAX + 1];
        snprintf(word, sizeof(word), "%.*s", word_length(parser->at), parser->at);
        for (size_t i = 0; i < ARRAY_SIZE(shorthands); i++)
                names[i] = (char *) shorthands[i].word;
        int nearest = name_nearest(word, names, ARRAY_SIZE(names));
        wrong(parser, parser->at, "no day, date or time");
        if (nearest >= 0)
                error_hint(parser->err, "did you mean %s?", names[nearest]);
        return -1;
}

// ---- days of the week

static int day_of(const char *text, size_t *ret_length) {
        for (int day = 0; day < 7; day++) {
                size_t full = strlen(day_names[day]);
                if (strncasecmp(text, day_names[day], 3) != 0)
                        continue;
                *ret_length = strncasecmp(text, day_names[day], full) == 0 ? full : 3;
                return day;
        }
        return -1;
}

static int take_day(struct parser *parser, int *ret) {
        size_t length = 0;
        *ret = day_of(parser->at, &length);
        if (*ret < 0)
                return wrong(parser, parser->at, "a day of the week is missing");
        if (!strchr("-.,", parser->at[length]) && parser->at[length] != ' ')
                return wrong(parser, parser->at, "not a day of the week");
        parser->at += length;
        return 0;
}

// "..", and "-" as systemd took it once.
static bool take_dots(struct parser *parser) {
        if (*parser->at == '-') {
                parser->at++;
                return true;
        }
        if (strncmp(parser->at, "..", 2) != 0)
                return false;
        parser->at += 2;
        return true;
}

// "Mon..Fri,Sun"; a comma may stand at the end.
static int take_days(struct parser *parser) {
        do {
                int first, last;
                if (take_day(parser, &first) < 0)
                        return -1;
                last = first;
                if (take_dots(parser) && take_day(parser, &last) < 0)
                        return -1;
                if (last < first)
                        return wrong(parser, parser->at - 1, "a range of days goes from Monday towards Sunday");
                for (int day = first; day <= last; day++)
                        parser->calendar->days |= (uint8_t) (1u << day);
                if (*parser->at == ',')
                        parser->at++;
                else if (*parser->at && *parser->at != ' ')
                        return wrong(parser, parser->at, "not a list of days of the week");
        } while (*parser->at && *parser->at != ' ');
        parser->at += strspn(parser->at, " ");
        if (parser->calendar->days == ANY_DAY)
                parser->calendar->days = 0;
        return 0;
}

// ---- lists of numbers

static int take_number(struct parser *parser, int32_t *ret) {
        int32_t value = 0;
        if (!is_digit(*parser->at))
                return wrong(parser, parser->at, "a number is missing");
        for (; is_digit(*parser->at); parser->at++) {
                value = value * 10 + (*parser->at - '0');
                if (value > NUMBER_MAX)
                        return wrong(parser, parser->at, "a number is too large");
        }
        *ret = value;
        return 0;
}

// FIRST, FIRST/STEP, FIRST..LAST, FIRST..LAST/STEP
static int take_part(struct parser *parser, struct calendar_part *ret) {
        *ret = (struct calendar_part){.last = -1};
        if (take_number(parser, &ret->first) < 0)
                return -1;
        if (strncmp(parser->at, "..", 2) == 0) {
                parser->at += 2;
                ret->step = 1;
                if (take_number(parser, &ret->last) < 0)
                        return -1;
        }
        if (*parser->at == '/') {
                parser->at++;
                if (take_number(parser, &ret->step) < 0)
                        return -1;
                if (ret->step == 0)
                        return wrong(parser, parser->at - 1, "a step of 0 goes nowhere");
        }
        if (*parser->at == '.')
                return wrong(parser, parser->at, "there are no fractions, and a range has two dots");
        if (*parser->at && !strchr(" ,-~:", *parser->at))
                return wrong(parser, parser->at, "not a list of numbers");
        return 0;
}

static int add_part(struct parser *parser, const struct calendar_part *part) {
        if (parser->n == CALENDAR_PARTS_MAX) {
                error_set(parser->err, ERROR_TOO_LARGE, "more than %u numbers and ranges", CALENDAR_PARTS_MAX);
                error_hint(parser->err, "say ranges and steps: 0/5 is every fifth one, 8..18 all from 8 to 18");
                return -1;
        }
        parser->calendar->parts[parser->n++] = *part;
        return 0;
}

// How many parts it has; none is "*".
static int take_list(struct parser *parser, uint8_t *ret_n) {
        unsigned before = parser->n;
        *ret_n = 0;
        if (*parser->at == '*') {
                if (parser->at[1] == '/')
                        return wrong(parser, parser->at, "\"*\" has no steps: every fifth one is 0/5");
                parser->at++;
                return 0;
        }
        for (bool more = true; more;) {
                struct calendar_part part;
                if (take_part(parser, &part) < 0 || add_part(parser, &part) < 0)
                        return -1;
                more = *parser->at == ',';
                parser->at += more;
        }
        *ret_n = (uint8_t) (parser->n - before);
        return 0;
}

static int add_number(struct parser *parser, enum calendar_field field, int32_t number) {
        parser->calendar->n[field] = 1;
        return add_part(parser, &(struct calendar_part){.first = number, .last = -1});
}

// ---- date and time

// From the colon after the hours on.
static int take_minutes(struct parser *parser) {
        uint8_t *n = parser->calendar->n;
        if (*parser->at != ':')
                return wrong(parser, parser->at, "a time is written HOUR:MINUTE");
        parser->at++;
        if (take_list(parser, &n[CALENDAR_MINUTE]) < 0)
                return -1;
        if (*parser->at == '\0')
                return add_number(parser, CALENDAR_SECOND, 0);
        if (*parser->at != ':')
                return wrong(parser, parser->at, "a time is written HOUR:MINUTE:SECOND, and only a time zone follows");
        parser->at++;
        if (take_list(parser, &n[CALENDAR_SECOND]) < 0)
                return -1;
        if (*parser->at)
                return wrong(parser, parser->at, "after a time only a time zone follows");
        if (n[CALENDAR_SECOND] > 0)
                return 0;
        n[CALENDAR_SECOND] = 1; // "*" is a list here: no list is for what was not said
        return add_part(parser, &(struct calendar_part){.last = -1, .step = 1});
}

static int take_time(struct parser *parser) {
        parser->time = parser->at;
        if (*parser->at)
                return take_list(parser, &parser->calendar->n[CALENDAR_HOUR]) < 0 ? -1 : take_minutes(parser);
        for (unsigned field = CALENDAR_HOUR; field <= CALENDAR_SECOND; field++)
                if (add_number(parser, field, 0) < 0)
                        return -1;
        return 0;
}

// What follows a date's first list: MONTH-DAY, or YEAR-MONTH-DAY.
static int take_date(struct parser *parser, uint8_t n_first) {
        struct calendar *calendar = parser->calendar;
        uint8_t n_second, n_third = 0;
        bool from_end = *parser->at++ == '~';
        if (take_list(parser, &n_second) < 0)
                return -1;
        bool has_year = *parser->at == '-' || *parser->at == '~';
        if (has_year) {
                if (from_end)
                        return wrong(parser, parser->at, "\"~\" stands between month and day");
                from_end = *parser->at++ == '~';
                if (take_list(parser, &n_third) < 0)
                        return -1;
        }
        if (*parser->at && *parser->at != ' ')
                return wrong(parser, parser->at, "a date is written YEAR-MONTH-DAY or MONTH-DAY");
        calendar->n[CALENDAR_YEAR] = has_year ? n_first : 0;
        calendar->n[CALENDAR_MONTH] = has_year ? n_second : n_first;
        calendar->n[CALENDAR_DAY] = has_year ? n_third : n_second;
        calendar->from_end = from_end && calendar->n[CALENDAR_DAY] > 0;
        parser->at += strspn(parser->at, " ");
        return take_time(parser);
}

static void set_zone(struct calendar *calendar, const char *name) {
        snprintf(calendar->zone, sizeof(calendar->zone), "%s", name);
}

// "@1893456000": that second, in UTC.
static int take_epoch(struct parser *parser) {
        size_t digits = strspn(parser->at + 1, "0123456789");
        struct civil civil = {0};
        if (digits == 0 || digits > EPOCH_MAX || parser->at[1 + digits])
                return wrong(parser, parser->at, "after \"@\" come seconds since 1970, and nothing else");
        civil = civil_of(strtoll(parser->at + 1, NULL, 10));
        if (civil.year > CALENDAR_YEAR_MAX)
                return wrong(parser, parser->at, "this is after the year 2199");
        const int32_t numbers[CALENDAR_FIELDS] = {
                (int32_t) civil.year,   civil.month,      civil.day, civil.second / 3600,
                civil.second / 60 % 60, civil.second % 60};
        for (unsigned field = 0; field < CALENDAR_FIELDS; field++)
                if (add_number(parser, field, numbers[field]) < 0)
                        return -1;
        set_zone(parser->calendar, "UTC");
        return 0;
}

static int take_expression(struct parser *parser) {
        size_t length;
        uint8_t n_first;
        if (day_of(parser->at, &length) >= 0 && take_days(parser) < 0)
                return -1;
        parser->date = parser->time = parser->at;
        if (*parser->at == '\0')
                return take_time(parser);
        if (*parser->at == '@')
                return take_epoch(parser);
        if (!is_digit(*parser->at) && *parser->at != '*')
                return no_such_word(parser);
        if (take_list(parser, &n_first) < 0)
                return -1;
        if (*parser->at == '-' || *parser->at == '~')
                return take_date(parser, n_first);
        parser->calendar->n[CALENDAR_HOUR] = n_first;
        return take_minutes(parser);
}

// ---- in order, and within their bounds

static void fix_year(int32_t *year) { // 12: 2012, 89: 1989
        if (*year >= 0 && *year < 100)
                *year += *year < 70 ? 2000 : 1900;
}

// A range ends where its last step does; one that has no second number is that number.
static void tidy_part(struct calendar_part *part, enum calendar_field field) {
        if (field == CALENDAR_YEAR) {
                fix_year(&part->first);
                fix_year(&part->last);
        }
        if (part->last > part->first && part->step > 0)
                part->last -= (part->last - part->first) % part->step;
        if (part->last == part->first) {
                part->last = -1;
                part->step = 0;
        }
}

static int check_part(const struct parser *parser, const struct calendar_part *part, enum calendar_field field) {
        static const struct {
                int least, most;
                const char *why;
        } bounds[CALENDAR_FIELDS] = {
                [CALENDAR_YEAR] = {CALENDAR_YEAR_MIN, CALENDAR_YEAR_MAX, "years go from 1970 to 2199"},
                [CALENDAR_MONTH] = {1, 12, "months go from 1 to 12"},
                [CALENDAR_DAY] = {1, 31, "days go from 1 to 31"},
                [CALENDAR_HOUR] = {0, 23, "hours go from 0 to 23"},
                [CALENDAR_MINUTE] = {0, 59, "minutes go from 0 to 59"},
                [CALENDAR_SECOND] = {0, 59, "seconds go from 0 to 59"},
        };
        const char *at = field <= CALENDAR_DAY ? parser->date : parser->time;
        bool from_end = field == CALENDAR_DAY && parser->calendar->from_end;
        int least = bounds[field].least, most = from_end ? FROM_END_MAX : bounds[field].most;
        if (part->first < least || part->first > most || part->last > most)
                return wrong(parser, at, from_end ? "days from the end go from 1 to 28" : bounds[field].why);
        if (part->last >= 0 && part->last < part->first)
                return wrong(parser, at, "a range goes from the lesser number to the greater");
        if (part->last < 0 && (from_end ? part->first - part->step < least : part->first + part->step > most))
                return wrong(parser, at, "a step leads past the end");
        return 0;
}

static int compare_parts(const void *one, const void *other) {
        const struct calendar_part *a = one, *b = other;
        if (a->first != b->first)
                return a->first < b->first ? -1 : 1;
        if (a->last != b->last)
                return a->last < b->last ? -1 : 1;
        return (a->step > b->step) - (a->step < b->step);
}

// Sorted, each part once; any second is not said together with others.
static uint8_t tidy_list(struct calendar_part *from, uint8_t n, enum calendar_field field, struct calendar_part *to) {
        const struct calendar_part any = {.last = -1, .step = 1};
        uint8_t kept = 0;
        qsort(from, n, sizeof(*from), compare_parts);
        for (unsigned i = 0; i < n; i++) {
                if (field == CALENDAR_SECOND && compare_parts(&from[i], &any) == 0) {
                        *to = any;
                        return 1;
                }
                if (kept == 0 || compare_parts(&from[i], &to[kept - 1]) != 0)
                        to[kept++] = from[i];
        }
        return kept;
}

static int tidy(const struct parser *parser) {
        struct calendar *calendar = parser->calendar;
        struct calendar_part *from = calendar->parts, *to = calendar->parts;
        for (unsigned field = 0; field < CALENDAR_FIELDS; field++) {
                uint8_t n = calendar->n[field];
                for (unsigned i = 0; i < n; i++) {
                        tidy_part(&from[i], field);
                        if (check_part(parser, &from[i], field) < 0)
                                return -1;
                }
                calendar->n[field] = tidy_list(from, n, field, to);
                from += n;
                to += calendar->n[field];
        }
        memset(to, 0, (size_t) (calendar->parts + CALENDAR_PARTS_MAX - to) * sizeof(*to));
        return 0;
}

// ---- the whole

// Takes the time zone off the end of the text.
static int take_zone(const struct parser *parser, char *text) {
        char *space = strrchr(text, ' '), *word = space ? space + 1 : text;
        struct zone *zone = NULL;
        size_t length;
        if (!space || !is_letter(*word))
                return 0;
        if (day_of(word, &length) >= 0 && (word[length] == '\0' || strchr(",.-", word[length])))
                return wrong(parser, word, "days of the week come first, and without spaces: mon,tue 22:30");
        bool is_utc = strcasecmp(word, "UTC") == 0;
        if (!is_utc && zone_open(word, &zone, parser->err) < 0)
                return -1;
        zone_free(zone);
        set_zone(parser->calendar, is_utc ? "UTC" : word);
        *space = '\0';
        return 0;
}

int calendar_parse(const char *text, struct calendar *ret, struct error *err) {
        struct calendar calendar = {0};
        char copy[CALENDAR_TEXT_MAX];
        struct parser parser = {.text = copy, .at = copy, .calendar = &calendar, .err = err};
        if (strlen(text) >= sizeof(copy))
                return error_set(err, ERROR_TOO_LARGE, "the schedule is longer than %zu bytes", sizeof(copy) - 1);
        memcpy(copy, text, strlen(text) + 1);
        if (take_zone(&parser, copy) < 0)
                return -1;
        for (size_t i = 0; i < ARRAY_SIZE(shorthands); i++)
                if (strcasecmp(copy, shorthands[i].word) == 0)
                        parser.text = parser.at = shorthands[i].text;
        if (*parser.at == '\0' || *parser.at == ' ') {
                error_set(err, ERROR_INVALID, *text ? "a schedule begins with its days, date or time" : "no schedule");
                error_hint(err, EXAMPLE);
                return -1;
        }
        if (take_expression(&parser) < 0 || tidy(&parser) < 0)
                return -1;
        *ret = calendar;
        return 0;
}
