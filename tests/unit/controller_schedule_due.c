// SPDX-License-Identifier: LGPL-2.1-or-later
/* When a schedule's runs are due: missed ones, jitter, clocks that jump, and both ends of summer time. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/cleanup.h"
#include "controller/schedule/due.h"
#include "scratch.h"
#include <time.h>

#define HOUR 3600
#define DAY  86400
#define YEAR (366 * DAY)

static struct zone *zone;
static struct calendar calendar;
static struct due due;

static int64_t utc(int year, int month, int day, int hour, int minute) {
        struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute};
        return timegm(&tm);
}

static void schedule(const char *text) {
        struct error err = ERROR_INIT;
        if (calendar_parse(text, &calendar, &err) < 0)
                fail_msg("%s", err.message);
}

// Created at noon of the 22nd; in winter Paris is an hour ahead.
static int set_up(void **state) {
        (void) state;
        schedule("22:30");
        due = (struct due){
                .calendar = &calendar, .since = utc(2026, 11, 22, 11, 0), .last = DUE_NEVER, .covered = DUE_NEVER};
        int r = zone_open("Europe/Paris", &zone, NULL);
        due.zone = zone;
        return r;
}

static int tear_down(void **state) {
        (void) state;
        zone_free(zone);
        return 0;
}

// All that begins while somebody looks every so many seconds, each run ending at once.
static unsigned runs_until(int64_t from, int64_t until, int64_t every) {
        unsigned runs = 0;
        for (int64_t now = from; now < until; now += every) {
                due_mend(&due, now);
                if (due_is(&due, now)) {
                        due_begin(&due, now);
                        runs++;
                }
        }
        return runs;
}

static void the_first_run_comes_after_its_creation(void **state) {
        int64_t first = utc(2026, 11, 22, 21, 30);
        (void) state;
        assert_int_equal(due_next(&due), first);
        assert_false(due_is(&due, first - 1));
        assert_true(due_is(&due, first));
        due.since = first;
        assert_int_equal(due_next(&due), first + DAY);
}

static void a_run_that_has_begun_is_due_no_more(void **state) {
        int64_t first = utc(2026, 11, 22, 21, 30);
        (void) state;
        due_begin(&due, first + 2);
        assert_false(due_is(&due, first + 3));
        assert_int_equal(due_next(&due), first + DAY);
        assert_int_equal(due_following(&due, first + DAY), first + 2 * DAY);
}

static void fault_37_a_run_that_was_missed_is_caught_up_once(void **state) {
        int64_t first = utc(2026, 11, 22, 21, 30), back = first + 5 * DAY + HOUR;
        (void) state;
        assert_int_equal(due_next(&due), first);
        assert_int_equal(due_following(&due, back), first + 6 * DAY);
        assert_int_equal(runs_until(back, back + 10 * HOUR, 60), 1);
        assert_int_equal(due.last, back);
        assert_int_equal(due_next(&due), first + 6 * DAY);
}

static void fault_37_none_begins_on_top_of_another(void **state) {
        int64_t first = utc(2026, 11, 22, 21, 30);
        (void) state;
        due_begin(&due, first);
        due.running = true; // and takes two days and more
        assert_false(due_is(&due, first + 2 * DAY + HOUR));
        due.running = false;
        assert_int_equal(runs_until(first + 2 * DAY + HOUR, first + 3 * DAY, 60), 1);
}

static void a_run_out_of_turn_takes_no_other_ones_place(void **state) {
        int64_t first = utc(2026, 11, 22, 21, 30);
        (void) state;
        due_begin(&due, first - HOUR);
        assert_int_equal(due_next(&due), first);
}

static void what_passes_while_it_is_paused_is_not_missed(void **state) {
        int64_t first = utc(2026, 11, 22, 21, 30);
        (void) state;
        due_begin(&due, first);
        due.paused = true;
        assert_true(due_next(&due) == INT64_MAX);
        assert_false(due_is(&due, first + 5 * DAY));
        due.paused = false;
        due.since = first + 5 * DAY + HOUR;
        assert_int_equal(due_next(&due), first + 6 * DAY);
}

static void a_schedule_that_has_ended_is_never_due(void **state) {
        (void) state;
        schedule("2026-11-22 22:30");
        assert_int_equal(due_next(&due), utc(2026, 11, 22, 21, 30));
        assert_int_equal(runs_until(due.since, due.since + 3 * DAY, 60), 1);
        assert_true(due_next(&due) == INT64_MAX);
}

// ---- jitter

static void jitter_delays_each_run_by_the_same(void **state) {
        int64_t first = utc(2026, 11, 22, 21, 30);
        (void) state;
        due.jitter = 1234;
        assert_int_equal(due_next(&due), first + 1234);
        assert_int_equal(runs_until(due.since, first + 1234, 1), 0);
        assert_true(due_is(&due, first + 1234));
        assert_int_equal(due_following(&due, first + 1234), first + DAY + 1234);
}

static void no_run_is_lost_to_jitter_beyond_the_next_moment(void **state) {
        (void) state;
        schedule("hourly");
        due.jitter = 90 * 60;
        assert_int_equal(due_next(&due), due.since + HOUR + 90 * 60);
        assert_int_equal(runs_until(due.since, due.since + 48 * HOUR, 60), 46);
}

static void a_moment_before_its_creation_is_not_brought_back_by_jitter(void **state) {
        (void) state;
        schedule("12:00");
        due.jitter = HOUR;
        due.since = utc(2026, 11, 22, 11, 0) + 60;
        assert_int_equal(due_next(&due), utc(2026, 11, 23, 12, 0));
}

static void a_jitter_that_grows_repeats_no_run(void **state) {
        int64_t first = utc(2026, 11, 22, 21, 30);
        (void) state;
        due.jitter = 600;
        assert_int_equal(runs_until(due.since, first + HOUR, 60), 1);
        due.jitter = 2 * HOUR;
        assert_int_equal(runs_until(first + HOUR, first + DAY, 60), 0);
        assert_int_equal(due_next(&due), first + DAY + 2 * HOUR);
        due_begin(&due, first + HOUR); // out of turn, and within the jitter after what has had its run
        assert_int_equal(due_next(&due), first + DAY + 2 * HOUR);
}

static void a_jitter_that_shrinks_repeats_no_run_and_passes_over_none(void **state) {
        int64_t first = utc(2026, 11, 22, 11, 15), now = first + 50 * 60;
        (void) state;
        schedule("*:0/15");
        due.jitter = 50 * 60;
        assert_int_equal(runs_until(due.since, now + 1, 60), 1);
        due.jitter = 0;
        assert_int_equal(due_next(&due), first + 15 * 60); // it and two more are one run
        assert_int_equal(runs_until(now + 1, first + HOUR, 1), 1);
        assert_int_equal(due_next(&due), first + HOUR);
}

static void jitter_follows_from_the_ids_alone(void **state) {
        (void) state;
        assert_int_equal(due_jitter("nightly", "6d0f3f0e-8a34-4a6b-9d2c-1f2b3c4d5e6f", 3600), 2688);
        assert_int_equal(due_jitter("nightly", "6d0f3f0e-8a34-4a6b-9d2c-1f2b3c4d5e70", 3600), 2519);
        assert_int_equal(due_jitter("weekly", "6d0f3f0e-8a34-4a6b-9d2c-1f2b3c4d5e6f", 3600), 381);
}

static void jitter_fills_its_window_evenly(void **state) {
        unsigned tenths[10] = {0};
        (void) state;
        for (unsigned i = 0; i < 10000; i++) {
                char uuid[40];
                snprintf(uuid, sizeof(uuid), "00000000-0000-4000-8000-%012u", i);
                uint32_t jitter = due_jitter("nightly", uuid, 7200);
                assert_true(jitter < 7200);
                tenths[jitter / 720]++;
                assert_int_equal(due_jitter("nightly", uuid, 0), 0);
                assert_int_equal(due_jitter("nightly", uuid, 1), 0);
        }
        for (unsigned i = 0; i < 10; i++)
                assert_in_range(tenths[i], 900, 1100);
}

// ---- clocks

static void fault_36_a_day_on_which_summer_time_begins_or_ends_has_one_run(void **state) {
        (void) state;
        static const char *const times[] = {"01:30", "02:00", "02:30", "03:00", "03:30"};
        for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
                schedule(times[i]);
                due.last = due.covered = DUE_NEVER;
                due.since = utc(2026, 3, 28, 11, 0); // the clock is set at 1:00 UTC on the 29th
                assert_int_equal(runs_until(due.since, due.since + DAY, 300), 1);
                assert_int_equal(runs_until(due.since + DAY, due.since + 2 * DAY, 300), 1);
                due.since = utc(2026, 10, 24, 11, 0); // and on the 25th
                due.last = due.covered = DUE_NEVER;
                assert_int_equal(runs_until(due.since, due.since + DAY, 300), 1);
                assert_int_equal(runs_until(due.since + DAY, due.since + 2 * DAY, 300), 1);
        }
}

static void fault_36_a_time_that_does_not_exist_is_made_up_when_the_clock_skips_it(void **state) {
        (void) state;
        schedule("02:30");
        due.since = utc(2026, 3, 28, 11, 0);
        assert_int_equal(due_next(&due), utc(2026, 3, 29, 1, 0));
        due_begin(&due, utc(2026, 3, 29, 1, 0));
        assert_int_equal(due_next(&due), utc(2026, 3, 30, 0, 30));
}

static void fault_36_jitter_over_the_turn_makes_no_second_run(void **state) {
        (void) state;
        schedule("02:30");
        due.jitter = 2 * HOUR;
        due.since = utc(2026, 3, 27, 11, 0);
        assert_int_equal(runs_until(due.since, due.since + 4 * DAY, 60), 4);
        due.since = utc(2026, 10, 23, 11, 0);
        due.last = due.covered = DUE_NEVER;
        assert_int_equal(runs_until(due.since, due.since + 4 * DAY, 60), 4);
}

static void fault_35_a_clock_that_jumps_forwards_makes_one_run(void **state) {
        int64_t first = utc(2026, 11, 22, 21, 30);
        (void) state;
        due_begin(&due, first);
        assert_int_equal(runs_until(first + YEAR, first + YEAR + 10 * HOUR, 60), 1);
}

static void fault_35_a_clock_that_jumps_back_stops_no_schedule(void **state) {
        int64_t first = utc(2026, 11, 22, 21, 30), now = first - YEAR + HOUR;
        (void) state;
        due.jitter = 600;
        due_begin(&due, first);
        assert_int_equal(runs_until(now, now + 5 * DAY, 60), 5);
        due.last = due.covered = DUE_NEVER;
        due.since = first; // created in what is the future now
        assert_int_equal(runs_until(now, now + 5 * DAY, 60), 5);
}

static void fault_35_what_is_mended_is_to_be_stored(void **state) {
        int64_t first = utc(2026, 11, 22, 21, 30);
        (void) state;
        due_begin(&due, first);
        assert_false(due_mend(&due, first));
        assert_false(due_mend(&due, first - HOUR));
        assert_int_equal(due.last, first);
        assert_true(due_mend(&due, first - HOUR - 1));
        assert_int_equal(due.last, first - HOUR - 1);
        assert_false(due_mend(&due, first - HOUR - 1));
        assert_true(due_mend(&due, due.since - YEAR));
        assert_int_equal(due.since, due.last);
        assert_int_equal(due.since, due.covered);
}

static void fault_35_a_clock_that_is_set_back_by_less_than_the_jitter_repeats_no_run(void **state) {
        int64_t first = utc(2026, 11, 22, 21, 30);
        (void) state;
        due.jitter = 2 * HOUR;
        assert_int_equal(runs_until(due.since, first + 2 * HOUR + 60, 60), 1);
        assert_int_equal(runs_until(first + HOUR / 2, first + DAY + 2 * HOUR, 60), 0);
        assert_int_equal(due_next(&due), first + DAY + 2 * HOUR);
}

static void fault_35_a_clock_that_is_set_right_repeats_no_run(void **state) {
        int64_t first = utc(2026, 11, 22, 21, 30);
        (void) state;
        due_begin(&due, first + 5);
        assert_int_equal(runs_until(first - 40 * 60, first + HOUR, 5), 0);
        assert_int_equal(due_next(&due), first + DAY);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(the_first_run_comes_after_its_creation, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_run_that_has_begun_is_due_no_more, set_up, tear_down),
                cmocka_unit_test_setup_teardown(fault_37_a_run_that_was_missed_is_caught_up_once, set_up, tear_down),
                cmocka_unit_test_setup_teardown(fault_37_none_begins_on_top_of_another, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_run_out_of_turn_takes_no_other_ones_place, set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_passes_while_it_is_paused_is_not_missed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_schedule_that_has_ended_is_never_due, set_up, tear_down),
                cmocka_unit_test_setup_teardown(jitter_delays_each_run_by_the_same, set_up, tear_down),
                cmocka_unit_test_setup_teardown(no_run_is_lost_to_jitter_beyond_the_next_moment, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_moment_before_its_creation_is_not_brought_back_by_jitter, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(a_jitter_that_grows_repeats_no_run, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_jitter_that_shrinks_repeats_no_run_and_passes_over_none, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(jitter_follows_from_the_ids_alone, set_up, tear_down),
                cmocka_unit_test_setup_teardown(jitter_fills_its_window_evenly, set_up, tear_down),
                cmocka_unit_test_setup_teardown(fault_36_a_day_on_which_summer_time_begins_or_ends_has_one_run, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(fault_36_a_time_that_does_not_exist_is_made_up_when_the_clock_skips_it,
                                                set_up, tear_down),
                cmocka_unit_test_setup_teardown(fault_36_jitter_over_the_turn_makes_no_second_run, set_up, tear_down),
                cmocka_unit_test_setup_teardown(fault_35_a_clock_that_jumps_forwards_makes_one_run, set_up, tear_down),
                cmocka_unit_test_setup_teardown(fault_35_a_clock_that_jumps_back_stops_no_schedule, set_up, tear_down),
                cmocka_unit_test_setup_teardown(fault_35_what_is_mended_is_to_be_stored, set_up, tear_down),
                cmocka_unit_test_setup_teardown(fault_35_a_clock_that_is_set_right_repeats_no_run, set_up, tear_down),
                cmocka_unit_test_setup_teardown(
                        fault_35_a_clock_that_is_set_back_by_less_than_the_jitter_repeats_no_run, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
