// SPDX-License-Identifier: LGPL-2.1-or-later
/* Rates by the time of day: what fits when, when that changes, and both ends of summer time. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/timetable.h"
#include "scratch.h"
#include <time.h>

#define MBIT (1000000 / 8)

static struct timetable table;
static struct zone *zone;

static int set_up(void **state) {
        struct error err = ERROR_INIT;
        (void) state;
        table = (struct timetable){0};
        return zone_open("Europe/Paris", &zone, &err);
}

static int tear_down(void **state) {
        (void) state;
        zone_free(zone);
        return 0;
}

static void add(const char *text) {
        struct error err = ERROR_INIT;
        if (timetable_add(&table, text, &err) < 0)
                fail_msg("%s: %s", text, err.message);
}

static void refuses(const char *text, const char *message) {
        struct error err = ERROR_INIT;
        unsigned n = table.n;
        assert_int_equal(timetable_add(&table, text, &err), -1);
        assert_error(err, ERROR_INVALID, message);
        assert_int_equal(table.n, n);
}

static int64_t utc(int year, int month, int day, int hour, int minute) {
        struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute};
        return timegm(&tm);
}

// In winter, when Paris is an hour ahead of UTC. 2026-11-16 is a Monday.
static int64_t paris(int day, int hour, int minute) {
        return utc(2026, 11, day, hour - 1, minute);
}

static void expect(int64_t at, uint64_t rate) {
        assert_int_equal(timetable_rate(&table, zone, at), rate);
}

static void expect_change(int64_t at, int64_t next) {
        assert_int_equal(timetable_next_change(&table, zone, at), next);
}

static void without_entries_there_is_no_limit_and_no_change(void **state) {
        (void) state;
        expect(paris(16, 12, 0), 0);
        expect_change(paris(16, 12, 0), INT64_MAX);
        add("40Mbit");
        expect(paris(16, 12, 0), 40 * MBIT);
        expect_change(paris(16, 12, 0), INT64_MAX);
}

static void office_hours_end_in_the_evening_and_leave_out_the_weekend(void **state) {
        (void) state;
        add("20Mbit@mon..fri:8-18");
        add("full");
        expect(paris(16, 7, 59), 0);
        expect(paris(16, 8, 0), 20 * MBIT);
        expect(paris(16, 17, 59), 20 * MBIT);
        expect(paris(16, 18, 0), 0);
        expect(paris(21, 12, 0), 0); // Saturday
        expect_change(paris(16, 7, 0), paris(16, 8, 0));
        expect_change(paris(16, 8, 0), paris(16, 18, 0));
        expect_change(paris(20, 18, 0), paris(23, 8, 0)); // over the weekend
}

static void hours_over_midnight_belong_to_the_day_on_which_they_begin(void **state) {
        (void) state;
        add("50Mbit@fri:22-6");
        expect(paris(20, 22, 0), 50 * MBIT);
        expect(paris(21, 5, 59), 50 * MBIT);
        expect(paris(21, 6, 0), 0);
        expect(paris(20, 5, 0), 0); // of Thursday's night
        expect_change(paris(20, 22, 0), paris(21, 6, 0));
        add("10Mbit@sun:22-6");
        expect(paris(16, 3, 0), 10 * MBIT); // Monday, from Sunday on
}

static void an_entry_with_hours_goes_before_one_without_and_then_the_first_that_fits(void **state) {
        (void) state;
        add("100Mbit");
        add("20Mbit@8:30-18:15");
        add("5Mbit@mon..sun:12-13");
        add("full@sat,sun");
        expect(paris(16, 8, 29), 100 * MBIT);
        expect(paris(16, 8, 30), 20 * MBIT);
        expect(paris(16, 12, 30), 20 * MBIT);
        expect(paris(16, 18, 15), 100 * MBIT);
        expect(paris(21, 12, 30), 20 * MBIT);
        expect(paris(21, 20, 0), 0);
        expect_change(paris(20, 20, 0), paris(21, 0, 0)); // Friday's midnight
}

static void the_whole_day_and_ranges_over_the_weekend_can_be_said(void **state) {
        (void) state;
        add("8Mbit@sat..mon:0-24");
        expect(paris(16, 0, 0), 8 * MBIT);
        expect(paris(16, 23, 59), 8 * MBIT);
        expect(paris(17, 0, 0), 0);
        expect(paris(21, 0, 0), 8 * MBIT);
        expect_change(paris(21, 0, 0), paris(24, 0, 0));
}

static void an_hour_that_summer_time_leaves_out_is_left_out(void **state) {
        (void) state;
        add("1Mbit@2-3"); // on 2026-03-29 the clock goes from 2:00 to 3:00
        expect(utc(2026, 3, 29, 0, 59), 0);
        expect(utc(2026, 3, 29, 1, 0), 0);
        expect_change(utc(2026, 3, 29, 0, 30), utc(2026, 3, 30, 0, 0));
        table.n = 0;
        add("1Mbit@1-8"); // six hours in that night
        expect_change(utc(2026, 3, 28, 23, 0), utc(2026, 3, 29, 0, 0));
        expect_change(utc(2026, 3, 29, 0, 0), utc(2026, 3, 29, 6, 0));
}

static void an_hour_that_comes_twice_when_summer_ends_is_limited_twice(void **state) {
        (void) state;
        add("1Mbit@2-3"); // on 2026-10-25 the clock goes from 3:00 back to 2:00
        expect(utc(2026, 10, 25, 0, 30), 1 * MBIT);
        expect(utc(2026, 10, 25, 1, 30), 1 * MBIT);
        expect_change(utc(2026, 10, 24, 23, 0), utc(2026, 10, 25, 0, 0));
        expect_change(utc(2026, 10, 25, 0, 0), utc(2026, 10, 25, 2, 0));
        table.n = 0;
        add("1Mbit@22-6"); // nine hours in that night
        expect_change(utc(2026, 10, 24, 20, 0), utc(2026, 10, 25, 5, 0));
}

static void changes_are_where_the_rate_changes(void **state) {
        (void) state;
        add("20Mbit@mon..fri:8-18");
        add("2Mbit@22:30-5:45");
        add("full");
        for (int64_t at = utc(2026, 3, 20, 0, 0); at < utc(2026, 4, 10, 0, 0);) {
                int64_t next = timetable_next_change(&table, zone, at);
                for (int64_t between = at; between < next; between += 60)
                        expect(between, timetable_rate(&table, zone, at));
                assert_true(timetable_rate(&table, zone, next) != timetable_rate(&table, zone, at));
                at = next;
        }
}

static void what_cannot_be_read_is_refused(void **state) {
        (void) state;
        static const char *const wrong[] = {"mon..fri", "mon", "8-18"};
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
                assert_int_equal(timetable_add(&table, wrong[i], NULL), -1);
        refuses("20Mbit@", "\"\" is not DAYS:HOURS");
        refuses("20Mbit@mon:", "\"mon:\" is not DAYS:HOURS");
        refuses("20Mbit@mon:8", "\"mon:8\" is not DAYS:HOURS");
        refuses("20Mbit@mon:8-8", "\"mon:8-8\" is not DAYS:HOURS");
        refuses("20Mbit@mon:8-25", "\"mon:8-25\" is not DAYS:HOURS");
        refuses("20Mbit@mon:24-6", "\"mon:24-6\" is not DAYS:HOURS");
        refuses("20Mbit@mon:8:60-9", "\"mon:8:60-9\" is not DAYS:HOURS");
        refuses("20Mbit@moon:8-9", "\"moon:8-9\" is not DAYS:HOURS");
        refuses("20Mbit@mon..:8-9", "\"mon..:8-9\" is not DAYS:HOURS");
        refuses("20Mbit@mon:8-9 ", "\"mon:8-9 \" is not DAYS:HOURS");
        add("full");
        refuses("20Mbit", "20Mbit: there is another rate for all the time");
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(without_entries_there_is_no_limit_and_no_change),
                TEST(office_hours_end_in_the_evening_and_leave_out_the_weekend),
                TEST(hours_over_midnight_belong_to_the_day_on_which_they_begin),
                TEST(an_entry_with_hours_goes_before_one_without_and_then_the_first_that_fits),
                TEST(the_whole_day_and_ranges_over_the_weekend_can_be_said),
                TEST(an_hour_that_summer_time_leaves_out_is_left_out),
                TEST(an_hour_that_comes_twice_when_summer_ends_is_limited_twice),
                TEST(changes_are_where_the_rate_changes),
                TEST(what_cannot_be_read_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
