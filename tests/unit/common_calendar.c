// SPDX-License-Identifier: LGPL-2.1-or-later
/* Calendar expressions: what is wrong with one, and moments around the beginning and the end of summer time. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/calendar.h"
#include "common/civil.h"
#include "common/cleanup.h"
#include "scratch.h"
#include <time.h>

#define EXAMPLE "for example: mon..fri 22:30, Sat *-*-1..7 18:00, daily"

static int64_t utc(int year, int month, int day, int hour, int minute) {
        struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute};
        return timegm(&tm);
}

static void parse(const char *text, struct calendar *ret) {
        struct error err = ERROR_INIT;
        if (calendar_parse(text, ret, &err) < 0)
                fail_msg("%s: %s", text, err.message);
}

static void refuses(const char *text, const char *message, const char *hint) {
        struct error err = ERROR_INIT;
        struct calendar calendar = {.days = 1};
        assert_int_equal(calendar_parse(text, &calendar, &err), -1);
        assert_error(err, ERROR_INVALID, message);
        assert_string_equal(err.hints[err.n_hints - 1], hint);
        assert_int_equal(calendar.days, 1);
}

// The moments that follow one another, of which the last is 0.
static void expect(const char *text, const char *zone_name, enum calendar_gap gap, int64_t at, ...) {
        struct calendar calendar;
        struct zone *zone;
        va_list moments;
        int64_t moment;
        parse(text, &calendar);
        assert_int_equal(zone_open(calendar_zone(&calendar, zone_name), &zone, NULL), 0);
        va_start(moments, at);
        while ((moment = va_arg(moments, int64_t)) != 0) {
                at = calendar_next(&calendar, zone, at, gap);
                if (at != moment)
                        fail_msg("'%s' in %s: %lld instead of %lld", text, zone_name, (long long) at,
                                 (long long) moment);
        }
        va_end(moments);
        zone_free(zone);
}
#define END (int64_t) 0

static void the_word_that_is_wrong_is_told(void **state) {
        (void) state;
        refuses("mon..fri 22:61", "\"22:61\": minutes go from 0 to 59", EXAMPLE);
        refuses("mon..fri 24:00", "\"24:00\": hours go from 0 to 23", EXAMPLE);
        refuses("*-13-01 12:00", "\"*-13-01\": months go from 1 to 12", EXAMPLE);
        refuses("*-*-0,1 12:00", "\"*-*-0,1\": days go from 1 to 31", EXAMPLE);
        refuses("*-*~29 12:00", "\"*-*~29\": days from the end go from 1 to 28", EXAMPLE);
        refuses("1969-01-01", "\"1969-01-01\": years go from 1970 to 2199", EXAMPLE);
        refuses("@7258118400", "\"@7258118400\": this is after the year 2199", EXAMPLE);
        refuses("@12:00", "\"@12:00\": after \"@\" come seconds since 1970, and nothing else", EXAMPLE);
        refuses("mon..fry 22:00", "\"mon..fry\": a day of the week is missing", EXAMPLE);
        refuses("monn 22:00", "\"monn\": not a day of the week", EXAMPLE);
        refuses("mon..wed..fri 22:00", "\"mon..wed..fri\": not a list of days of the week", EXAMPLE);
        refuses("sat..mon 22:00", "\"sat..mon\": a range of days goes from Monday towards Sunday", EXAMPLE);
        refuses("22:00 mon", "\"mon\": days of the week come first, and without spaces: mon,tue 22:30", EXAMPLE);
        refuses("mon, tue", "\"tue\": days of the week come first, and without spaces: mon,tue 22:30", EXAMPLE);
        refuses("mon 22", "\"22\": a time is written HOUR:MINUTE", EXAMPLE);
        refuses("mon 22:", "\"22:\": a number is missing", EXAMPLE);
        refuses("22:00:00:00", "\"22:00:00:00\": after a time only a time zone follows", EXAMPLE);
        refuses("22:00 07-01", "\"22:00\": a time is written HOUR:MINUTE:SECOND, and only a time zone follows",
                EXAMPLE);
        refuses("22:00:0.5", "\"22:00:0.5\": there are no fractions, and a range has two dots", EXAMPLE);
        refuses("*/2:00", "\"*/2:00\": \"*\" has no steps: every fifth one is 0/5", EXAMPLE);
        refuses("0/0:00", "\"0/0:00\": a step of 0 goes nowhere", EXAMPLE);
        refuses("0/24:00", "\"0/24:00\": a step leads past the end", EXAMPLE);
        refuses("18..8:00", "\"18..8:00\": a range goes from the lesser number to the greater", EXAMPLE);
        refuses("99999999999:00", "\"99999999999:00\": a number is too large", EXAMPLE);
        refuses("12h:00", "\"12h:00\": not a list of numbers", EXAMPLE);
        refuses("2026~01-01", "\"2026~01-01\": \"~\" stands between month and day", EXAMPLE);
        refuses("2026-01-01-01", "\"2026-01-01-01\": a date is written YEAR-MONTH-DAY or MONTH-DAY", EXAMPLE);
}

static void expect_error(const char *text, enum error_code code, const char *message, const char *hint) {
        struct error err = ERROR_INIT;
        struct calendar calendar;
        assert_int_equal(calendar_parse(text, &calendar, &err), -1);
        assert_error(err, code, message);
        if (hint)
                assert_string_equal(err.hints[err.n_hints - 1], hint);
}

static void words_that_are_nearly_right_are_guessed(void **state) {
        (void) state;
        expect_error("dayly", ERROR_INVALID, "\"dayly\": no day, date or time", "did you mean daily?");
        expect_error("mon weekli", ERROR_NOT_FOUND, "no such time zone: weekli", NULL);
        expect_error("22:00 paris", ERROR_NOT_FOUND, "no such time zone: paris", "did you mean Europe/Paris?");
        expect_error("22:00 CEST", ERROR_NOT_FOUND, "no such time zone: CEST", NULL);
        expect_error("", ERROR_INVALID, "no schedule", EXAMPLE);
        expect_error(" 22:00", ERROR_INVALID, "a schedule begins with its days, date or time", EXAMPLE);
}

static void what_is_too_long_is_refused(void **state) {
        char text[CALENDAR_TEXT_MAX + 1], *at = text;
        (void) state;
        memset(text, '1', CALENDAR_TEXT_MAX);
        text[CALENDAR_TEXT_MAX] = '\0';
        expect_error(text, ERROR_TOO_LARGE, "the schedule is longer than 1151 bytes", NULL);
        for (unsigned i = 0; i <= CALENDAR_PARTS_MAX; i++)
                at += sprintf(at, "%s%u", i > 0 ? "," : "", i % 60);
        sprintf(at, ":00");
        expect_error(text, ERROR_TOO_LARGE, "more than 64 numbers and ranges",
                     "say ranges and steps: 0/5 is every fifth one, 8..18 all from 8 to 18");
}

static void fault_48_what_is_quoted_is_cut_and_cleaned(void **state) {
        char text[200] = "22:00 \x1b[31m", message[ERROR_MESSAGE_MAX];
        (void) state;
        expect_error("22:00 a\nb", ERROR_INVALID, "\"a?b\" is not a time zone", "for example: Europe/Paris");
        expect_error(text, ERROR_INVALID,
                     "\"22:00\": a time is written HOUR:MINUTE:SECOND, and only a time zone follows", EXAMPLE);
        expect_error("\x1b[31m", ERROR_INVALID, "\"?[31m\": no day, date or time", EXAMPLE);
        memset(text, 'x', 100);
        text[100] = '\0';
        snprintf(message, sizeof(message), "\"%.60s\": no day, date or time", text);
        expect_error(text, ERROR_INVALID, message, EXAMPLE);
}

static void the_longest_normal_form_fits_and_means_the_same(void **state) {
        char text[CALENDAR_TEXT_MAX] = "Mon,Wed,Fri,Sun ", normal[CALENDAR_TEXT_MAX], again[CALENDAR_TEXT_MAX];
        char *at = text + strlen(text);
        struct calendar calendar, other;
        (void) state;
        for (unsigned i = 0; i < CALENDAR_PARTS_MAX - 5; i++)
                at += sprintf(at, "%s%u..2199/100", i > 0 ? "," : "", 1970 + i);
        sprintf(at, "-1~1 0:0 America/Argentina/ComodRivadavia");
        parse(text, &calendar);
        parse(calendar_format(&calendar, normal), &other);
        assert_memory_equal(&calendar, &other, sizeof(calendar));
        assert_string_equal(calendar_format(&other, again), normal);
        assert_true(strlen(normal) > 800);
}

static void its_own_zone_goes_before_that_of_its_site(void **state) {
        struct calendar calendar;
        (void) state;
        parse("22:00", &calendar);
        assert_string_equal(calendar_zone(&calendar, "Europe/Paris"), "Europe/Paris");
        parse("22:00 utc", &calendar);
        assert_string_equal(calendar_zone(&calendar, "Europe/Paris"), "UTC");
        expect("22:00 Asia/Tokyo", "Europe/Paris", CALENDAR_SKIP, utc(2026, 11, 22, 0, 0), utc(2026, 11, 22, 13, 0),
               END);
}

// In Paris the clock goes from 2:00 to 3:00 at 1:00 UTC.
static void what_the_clock_skips_is_skipped_or_made_up(void **state) {
        int64_t day = utc(2026, 3, 28, 12, 0), turn = utc(2026, 3, 29, 1, 0);
        (void) state;
        expect("02:30", "Europe/Paris", CALENDAR_SKIP, day, utc(2026, 3, 30, 0, 30), END);
        expect("02:30", "Europe/Paris", CALENDAR_MAKE_UP, day, turn, utc(2026, 3, 30, 0, 30), END);
        expect("02:00", "Europe/Paris", CALENDAR_MAKE_UP, day, turn, utc(2026, 3, 30, 0, 0), END);
        expect("03:00", "Europe/Paris", CALENDAR_SKIP, day, turn, utc(2026, 3, 30, 1, 0), END);
        expect("2026-03-29 02:30", "Europe/Paris", CALENDAR_SKIP, day, INT64_MAX, END);
        expect("2026-03-29 02:30", "Europe/Paris", CALENDAR_MAKE_UP, day, turn, INT64_MAX, END);
}

static void an_hour_that_is_skipped_is_made_up_by_one_moment(void **state) {
        int64_t turn = utc(2026, 3, 29, 1, 0);
        (void) state;
        expect("*:0/30", "Europe/Paris", CALENDAR_MAKE_UP, turn - 1801, turn - 1800, turn, turn + 1800, END);
        expect("*:*:*", "Europe/Paris", CALENDAR_MAKE_UP, turn - 1, turn, turn + 1, END);
        expect("2:0/20", "Europe/Paris", CALENDAR_MAKE_UP, turn - 7200, turn, utc(2026, 3, 30, 0, 0), END);
        expect("*:0/30", "Europe/Paris", CALENDAR_SKIP, turn - 1801, turn - 1800, turn, turn + 1800, END);
}

// It goes from 3:00 back to 2:00 at 1:00 UTC.
static void what_the_clock_shows_twice_comes_once(void **state) {
        int64_t day = utc(2026, 10, 24, 12, 0), turn = utc(2026, 10, 25, 1, 0);
        (void) state;
        expect("02:30", "Europe/Paris", CALENDAR_SKIP, day, turn - 1800, utc(2026, 10, 26, 1, 30), END);
        expect("*:0/30", "Europe/Paris", CALENDAR_SKIP, turn - 3601, turn - 3600, turn - 1800, turn + 3600, END);
        expect("*:*:*", "Europe/Paris", CALENDAR_SKIP, turn - 2, turn - 1, turn + 3600, turn + 3601, END);
}

static void nothing_comes_again_when_it_is_asked_for_within_the_second_showing(void **state) {
        int64_t turn = utc(2026, 10, 25, 1, 0);
        (void) state;
        for (int64_t at = turn - 1800; at < turn + 3600; at += 100) {
                expect("02:30", "Europe/Paris", CALENDAR_SKIP, at, utc(2026, 10, 26, 1, 30), END);
                expect("02:59:59", "Europe/Paris", CALENDAR_SKIP, at,
                       at < turn - 1 ? turn - 1 : utc(2026, 10, 26, 1, 59) + 59, END);
        }
}

static void a_day_that_a_zone_never_had_is_made_up_at_the_end_of_the_day_before(void **state) {
        (void) state; // Samoa went over the date line: after the 29th came the 31st
        expect("*-12-30 12:00", "Pacific/Apia", CALENDAR_SKIP, utc(2011, 12, 1, 0, 0), utc(2012, 12, 29, 22, 0), END);
        expect("*-12-30 12:00", "Pacific/Apia", CALENDAR_MAKE_UP, utc(2011, 12, 1, 0, 0), utc(2011, 12, 30, 10, 0),
               utc(2012, 12, 29, 22, 0), END);
}

static void the_end_of_a_month_is_found_where_summer_time_begins_in_it(void **state) {
        (void) state;
        expect("*-03~10/3 1:00", "Europe/Paris", CALENDAR_SKIP, utc(2026, 3, 20, 0, 0), utc(2026, 3, 22, 0, 0),
               utc(2026, 3, 25, 0, 0), utc(2026, 3, 28, 0, 0), utc(2026, 3, 30, 23, 0), utc(2027, 3, 22, 0, 0), END);
        expect("Sun *-10~07/1 12:00", "Europe/Paris", CALENDAR_SKIP, utc(2026, 3, 20, 0, 0), utc(2026, 10, 25, 11, 0),
               utc(2027, 10, 31, 11, 0), END);
}

static void there_is_a_first_and_a_last_moment(void **state) {
        (void) state;
        expect("1970-01-01 00:00:01", "UTC", CALENDAR_SKIP, INT64_MIN, (int64_t) 1, INT64_MAX, END);
        expect("2199-12-31 23:59:59", "UTC", CALENDAR_SKIP, utc(2026, 1, 1, 0, 0), utc(2200, 1, 1, 0, 0) - 1, INT64_MAX,
               END);
        expect("*-02-31", "Europe/Paris", CALENDAR_MAKE_UP, utc(2026, 1, 1, 0, 0), INT64_MAX, END);
        expect("*:*:*", "America/New_York", CALENDAR_MAKE_UP, INT64_MAX, INT64_MAX, END);
}

static void dates_are_those_of_the_c_library(void **state) {
        (void) state;
        for (int64_t at = utc(-800, 1, 1, 0, 0); at < utc(4000, 1, 1, 0, 0); at += 20 * 86400 + 977) {
                struct tm tm;
                struct civil civil = civil_of(at);
                assert_non_null(gmtime_r(&at, &tm));
                assert_int_equal(civil.year, tm.tm_year + 1900);
                assert_int_equal(civil.month, tm.tm_mon + 1);
                assert_int_equal(civil.day, tm.tm_mday);
                assert_int_equal((civil.weekday + 1) % 7, tm.tm_wday);
                assert_int_equal(civil.second, tm.tm_hour * 3600 + tm.tm_min * 60 + tm.tm_sec);
                assert_int_equal(civil_days(civil.year, civil.month, civil.day) * CIVIL_DAY + civil.second, at);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_word_that_is_wrong_is_told),
                cmocka_unit_test(words_that_are_nearly_right_are_guessed),
                cmocka_unit_test(what_is_too_long_is_refused),
                cmocka_unit_test(fault_48_what_is_quoted_is_cut_and_cleaned),
                cmocka_unit_test(the_longest_normal_form_fits_and_means_the_same),
                cmocka_unit_test(its_own_zone_goes_before_that_of_its_site),
                cmocka_unit_test(what_the_clock_skips_is_skipped_or_made_up),
                cmocka_unit_test(an_hour_that_is_skipped_is_made_up_by_one_moment),
                cmocka_unit_test(what_the_clock_shows_twice_comes_once),
                cmocka_unit_test(nothing_comes_again_when_it_is_asked_for_within_the_second_showing),
                cmocka_unit_test(a_day_that_a_zone_never_had_is_made_up_at_the_end_of_the_day_before),
                cmocka_unit_test(the_end_of_a_month_is_found_where_summer_time_begins_in_it),
                cmocka_unit_test(there_is_a_first_and_a_last_moment),
                cmocka_unit_test(dates_are_those_of_the_c_library),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
