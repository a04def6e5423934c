// SPDX-License-Identifier: LGPL-2.1-or-later
/* What is kept of restore points: each rule, their union, and the ends of days, weeks and years. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/civil.h"
#include "common/cleanup.h"
#include "controller/schedule/retention.h"
#include "scratch.h"
#include <time.h>

#define EXAMPLE "for example: --keep last=3,daily=7,weekly=4,monthly=12"
#define POINTS  128
#define HOUR    3600
#define DAY     86400

static struct zone *zone;
static struct retention_point points[POINTS];
static char ids[POINTS][8];
static unsigned reasons[POINTS];
static size_t n;
static int64_t now;

static int set_up(void **state) {
        (void) state;
        n = 0;
        return zone_open("Europe/Paris", &zone, NULL);
}

static int tear_down(void **state) {
        (void) state;
        zone_free(zone);
        return 0;
}

static int64_t utc(int year, int month, int day, int hour, int minute) {
        struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute};
        return timegm(&tm);
}

static void add(int64_t at) {
        snprintf(ids[n], sizeof(ids[n]), "p%03zu", n);
        points[n] = (struct retention_point){.id = ids[n], .at = at};
        n++;
}

static void parse(const char *text, struct retention *ret) {
        struct error err = ERROR_INIT;
        if (retention_parse(text, ret, &err) < 0)
                fail_msg("%s: %s", text, err.message);
}

static void apply(const char *policy) {
        struct retention retention;
        parse(policy, &retention);
        retention_apply(&retention, zone, now, points, n, reasons);
}

static void expect(size_t i, const char *why) {
        char text[RETENTION_TEXT_MAX];
        if (strcmp(retention_reasons(reasons[i], text), why) != 0)
                fail_msg("point %zu: \"%s\" instead of \"%s\"", i, text, why);
}

static void expect_all(const char *const *why) {
        for (size_t i = 0; i < n; i++)
                expect(i, why[i]);
}
#define EXPECT(...) expect_all((const char *const[]){__VA_ARGS__})

static size_t kept(void) {
        size_t number = 0;
        for (size_t i = 0; i < n; i++)
                number += reasons[i] != 0;
        return number;
}

// ---- policies

static void a_policy_is_written_as_it_was_read(void **state) {
        struct retention retention;
        char text[RETENTION_TEXT_MAX];
        (void) state;
        parse("last=3,hourly=24,daily=7,weekly=4,monthly=12,yearly=2", &retention);
        assert_string_equal(retention_format(&retention, text),
                            "last=3,hourly=24,daily=7,weekly=4,monthly=12,yearly=2");
        parse("yearly=9999,weekly=0,last=0001", &retention);
        assert_string_equal(retention_format(&retention, text), "last=1,yearly=9999");
        parse("last=9999,hourly=9999,daily=9999,weekly=9999,monthly=9999,yearly=9999", &retention);
        assert_int_equal(strlen(retention_format(&retention, text)), 69);
        assert_int_equal(strlen(retention_reasons((1u << RETENTION_REASONS) - 1, text)), 68);
}

static void refuses(const char *text, const char *message, const char *hint) {
        struct error err = ERROR_INIT;
        struct retention retention = {.keep = {7}};
        assert_int_equal(retention_parse(text, &retention, &err), -1);
        assert_error(err, ERROR_INVALID, message);
        assert_string_equal(err.hints[0], hint);
        assert_int_equal(retention.keep[0], 7);
}

static void a_policy_that_would_keep_nothing_is_refused(void **state) {
        (void) state;
        refuses("", "\"\" would keep nothing", EXAMPLE);
        refuses("last=0", "\"last=0\" would keep nothing", EXAMPLE);
        refuses("daily=0,weekly=0", "\"daily=0,weekly=0\" would keep nothing", EXAMPLE);
}

static void what_is_wrong_with_a_policy_is_told(void **state) {
        (void) state;
        refuses("dayly=7", "\"dayly\" is no rule for what is kept", "did you mean daily?");
        refuses("last=3,", "\"\" is no rule for what is kept",
                "the rules are last, hourly, daily, weekly, monthly and yearly");
        refuses("held=3", "\"held\" is no rule for what is kept",
                "the rules are last, hourly, daily, weekly, monthly and yearly");
        refuses("last=3 daily=7", "\"last=3 daily=7\": how many to keep is a number up to 9999", EXAMPLE);
        refuses("daily", "\"daily\": how many to keep is a number up to 9999", EXAMPLE);
        refuses("daily=", "\"daily=\": how many to keep is a number up to 9999", EXAMPLE);
        refuses("daily=-1", "\"daily=-1\": how many to keep is a number up to 9999", EXAMPLE);
        refuses("daily=10000", "\"daily=10000\": how many to keep is a number up to 9999", EXAMPLE);
        refuses("daily=7,last=1,daily=3", "\"daily\" is said twice", EXAMPLE);
        refuses("\n\x1b[0m=1", "\"??[0m\" is no rule for what is kept",
                "the rules are last, hourly, daily, weekly, monthly and yearly");
}

// ---- what they keep

static void the_last_are_the_newest_in_whatever_order_they_come(void **state) {
        (void) state;
        now = utc(2026, 11, 22, 12, 0);
        add(now - 3 * DAY);
        add(now - 1 * DAY);
        add(now - 4 * DAY);
        add(now - 2 * DAY);
        apply("last=2");
        EXPECT("", "last", "", "last");
}

static void the_newest_of_each_day_is_kept(void **state) {
        (void) state;
        now = utc(2026, 11, 22, 12, 0);
        add(utc(2026, 11, 22, 8, 0));
        add(utc(2026, 11, 22, 4, 0));
        add(utc(2026, 11, 21, 22, 30)); // 23:30 in Paris
        add(utc(2026, 11, 21, 23, 30)); // the 22nd there
        add(utc(2026, 11, 20, 12, 0));
        apply("daily=2");
        EXPECT("daily", "", "daily", "", "");
}

static void a_period_without_any_does_not_count(void **state) {
        (void) state;
        now = utc(2026, 11, 22, 12, 0);
        add(utc(2026, 11, 22, 8, 0));
        add(utc(2026, 10, 1, 8, 0));
        add(utc(2024, 2, 29, 8, 0));
        add(utc(2021, 7, 1, 8, 0));
        apply("daily=3");
        EXPECT("daily", "daily", "daily", "");
        apply("hourly=1,yearly=3");
        EXPECT("hourly, yearly", "", "yearly", "yearly");
}

static void what_any_rule_keeps_stays_and_each_rule_counts_alone(void **state) {
        (void) state;
        now = utc(2026, 11, 22, 12, 0); // a Sunday
        for (int day = 0; day < 60; day++)
                add(now - day * DAY);
        apply("last=3,daily=5,weekly=3,monthly=4,yearly=2");
        expect(0, "last, daily, weekly, monthly, yearly");
        expect(1, "last, daily");
        expect(4, "daily");
        expect(5, "");
        expect(7, "weekly");
        expect(14, "weekly");
        expect(21, "");
        expect(22, "monthly"); // the 31st of October
        expect(53, "monthly"); // the 30th of September
        assert_int_equal(kept(), 9);
}

static void nothing_is_removed_when_there_are_fewer_than_a_rule_keeps(void **state) {
        (void) state;
        now = utc(2026, 11, 22, 12, 0);
        for (int day = 0; day < 5; day++)
                add(now - day * DAY);
        apply("daily=7");
        assert_int_equal(kept(), 5);
}

static void weeks_go_over_the_end_of_the_year(void **state) {
        (void) state; // ISO 8601: 2026 has 53 weeks, and the last goes to the 3rd of January
        now = utc(2027, 1, 20, 12, 0);
        add(utc(2026, 12, 27, 12, 0)); // Sunday of week 52
        add(utc(2026, 12, 28, 12, 0)); // Monday of week 53
        add(utc(2026, 12, 31, 12, 0));
        add(utc(2027, 1, 3, 12, 0)); // Sunday of week 53
        add(utc(2027, 1, 4, 12, 0)); // Monday of week 1
        apply("weekly=3");
        EXPECT("weekly", "", "", "weekly", "weekly");
        apply("yearly=2");
        EXPECT("", "", "yearly", "", "yearly");
}

static void weeks_are_those_of_the_c_library(void **state) {
        (void) state;
        struct zone *paris = zone;
        assert_int_equal(zone_open("UTC", &zone, NULL), 0);
        now = utc(2050, 1, 1, 0, 0);
        for (int year = 2000; year < 2042; year++) {
                n = 0;
                for (int day = 20; day < 20 + 25; day++)
                        add(utc(year, 12, day, 12, 0));
                apply("weekly=9999");
                for (size_t i = 0; i + 1 < n; i++) {
                        char week[16], next[16];
                        struct tm tm;
                        strftime(week, sizeof(week), "%G-%V", gmtime_r(&points[i].at, &tm));
                        strftime(next, sizeof(next), "%G-%V", gmtime_r(&points[i + 1].at, &tm));
                        expect(i, strcmp(week, next) != 0 ? "weekly" : "");
                }
                expect(n - 1, "weekly");
        }
        zone_free(zone);
        zone = paris;
}

static void an_hour_that_comes_twice_is_two(void **state) {
        (void) state;
        now = utc(2026, 10, 25, 12, 0);
        add(utc(2026, 10, 25, 0, 10)); // 2:10 in summer
        add(utc(2026, 10, 25, 0, 50)); // 2:50
        add(utc(2026, 10, 25, 1, 10)); // 2:10 in winter
        add(utc(2026, 10, 25, 1, 50)); // 2:50
        add(utc(2026, 10, 25, 2, 10)); // 3:10
        apply("hourly=9");
        EXPECT("", "hourly", "", "hourly", "hourly");
        apply("daily=9");
        EXPECT("", "", "", "", "daily");
}

static void days_are_whole_when_the_clock_is_set(void **state) {
        (void) state;
        now = utc(2026, 12, 1, 12, 0);
        add(utc(2026, 3, 28, 22, 30));  // 23:30 on the 28th
        add(utc(2026, 3, 28, 23, 30));  // 0:30 on the 29th
        add(utc(2026, 3, 29, 21, 30));  // 23:30 on the 29th, which has 23 hours
        add(utc(2026, 3, 29, 22, 30));  // 0:30 on the 30th
        add(utc(2026, 10, 24, 22, 30)); // 0:30 on the 25th, which has 25 hours
        add(utc(2026, 10, 25, 22, 30)); // 23:30
        apply("daily=9");
        EXPECT("daily", "", "daily", "daily", "", "daily");
}

static void of_points_that_are_as_old_the_greater_id_is_newer(void **state) {
        (void) state;
        now = utc(2026, 11, 22, 12, 0);
        add(now - DAY);
        add(now - DAY);
        add(now - DAY);
        apply("last=2,daily=1");
        EXPECT("", "last", "last, daily");
}

static void fault_38_points_dated_in_the_future_push_out_no_good_ones(void **state) {
        (void) state;
        now = utc(2026, 11, 22, 12, 0);
        add(now + 400 * DAY);
        add(now + 1);
        add(now);
        add(now - DAY);
        add(now - 2 * DAY);
        apply("last=1,daily=2");
        EXPECT("future", "future", "last, daily", "daily", "");
        now = utc(2027, 12, 31, 12, 0); // when their time has come they are as all others
        apply("last=1,daily=2");
        EXPECT("last, daily", "daily", "", "", "");
}

static void fault_35_a_clock_that_jumps_removes_nothing_by_age(void **state) {
        (void) state;
        now = utc(2026, 11, 22, 12, 0);
        for (int day = 0; day < 10; day++)
                add(now - day * DAY);
        now += 366 * DAY;
        apply("daily=10");
        assert_int_equal(kept(), 10);
        now -= 732 * DAY;
        apply("daily=1");
        assert_int_equal(kept(), 10);
}

static void what_is_held_stays_and_counts(void **state) {
        (void) state;
        now = utc(2026, 11, 22, 12, 0);
        for (int day = 0; day < 4; day++)
                add(now - day * DAY);
        points[1].held = points[3].held = true; // the last: taken just now, by a clock that is behind
        apply("last=2");
        EXPECT("last", "last, held", "", "held");
}

static void the_newest_is_always_kept(void **state) {
        (void) state;
        static const char *const policies[] = {"last=1", "hourly=1", "daily=1", "weekly=1", "monthly=1", "yearly=1"};
        now = utc(2026, 11, 22, 12, 0);
        for (size_t i = 0; i < ARRAY_SIZE(policies); i++) {
                n = 0;
                for (int hour = 0; hour < 100; hour++)
                        add(now - hour * HOUR);
                apply(policies[i]);
                assert_true(reasons[0] != 0);
                assert_int_equal(kept(), 1);
        }
}

static void a_policy_without_rules_removes_nothing(void **state) {
        struct retention none = {0};
        (void) state;
        now = utc(2026, 11, 22, 12, 0);
        add(now - DAY);
        add(now + DAY);
        retention_apply(&none, zone, now, points, n, reasons);
        EXPECT("no rules", "future, no rules");
        retention_apply(&none, zone, now, NULL, 0, reasons);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_policy_is_written_as_it_was_read, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_policy_that_would_keep_nothing_is_refused, set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_is_wrong_with_a_policy_is_told, set_up, tear_down),
                cmocka_unit_test_setup_teardown(the_last_are_the_newest_in_whatever_order_they_come, set_up, tear_down),
                cmocka_unit_test_setup_teardown(the_newest_of_each_day_is_kept, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_period_without_any_does_not_count, set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_any_rule_keeps_stays_and_each_rule_counts_alone, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(nothing_is_removed_when_there_are_fewer_than_a_rule_keeps, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(weeks_go_over_the_end_of_the_year, set_up, tear_down),
                cmocka_unit_test_setup_teardown(weeks_are_those_of_the_c_library, set_up, tear_down),
                cmocka_unit_test_setup_teardown(an_hour_that_comes_twice_is_two, set_up, tear_down),
                cmocka_unit_test_setup_teardown(days_are_whole_when_the_clock_is_set, set_up, tear_down),
                cmocka_unit_test_setup_teardown(of_points_that_are_as_old_the_greater_id_is_newer, set_up, tear_down),
                cmocka_unit_test_setup_teardown(fault_38_points_dated_in_the_future_push_out_no_good_ones, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(fault_35_a_clock_that_jumps_removes_nothing_by_age, set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_is_held_stays_and_counts, set_up, tear_down),
                cmocka_unit_test_setup_teardown(the_newest_is_always_kept, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_policy_without_rules_removes_nothing, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
