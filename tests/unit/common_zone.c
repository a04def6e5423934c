// SPDX-License-Identifier: LGPL-2.1-or-later
/* Time zones: the same answers as the C library's, which can only be asked about one zone at a time. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/zone.h"
#include "scratch.h"
#include <sys/resource.h>
#include <time.h>

#define DAY 86400

static struct zone *open_zone(const char *name) {
        struct error err = ERROR_INIT;
        struct zone *zone = NULL;
        if (zone_open(name, &zone, &err) < 0)
                fail_msg("%s", err.message);
        return zone;
}

static int64_t utc(int year, int month, int day, int hour, int minute) {
        struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute};
        return timegm(&tm);
}

static void offsets_are_those_of_the_c_library(void **state) {
        static const char *const names[] = {"Europe/Paris",      "Europe/Dublin",    "America/New_York",
                                            "America/Sao_Paulo", "Australia/Sydney", "Australia/Lord_Howe",
                                            "Asia/Kolkata",      "Asia/Kathmandu",   "Africa/Casablanca",
                                            "Pacific/Chatham",   "America/Nuuk",     "Antarctica/Troll",
                                            "Pacific/Apia",      "Asia/Gaza",        "UTC",
                                            "EST5EDT",           "Etc/GMT+5",        "Europe/London"};
        (void) state;
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                struct zone *zone = open_zone(names[i]);
                setenv("TZ", names[i], 1);
                tzset();
                for (int64_t at = utc(1971, 1, 1, 0, 0); at < utc(2105, 1, 1, 0, 0); at += 9 * 3600 + 977) {
                        struct tm tm;
                        time_t t = at;
                        localtime_r(&t, &tm);
                        if (zone_offset(zone, at) != tm.tm_gmtoff)
                                fail_msg("%s at %lld: %d, and the C library says %ld", names[i], (long long) at,
                                         zone_offset(zone, at), tm.tm_gmtoff);
                }
                zone_free(zone);
        }
}

static void the_next_change_is_found_from_the_table_and_from_the_rule(void **state) {
        (void) state;
        struct zone *paris = open_zone("Europe/Paris"), *kolkata = open_zone("Asia/Kolkata"),
                    *sydney = open_zone("Australia/Sydney");
        assert_int_equal(zone_next_change(paris, utc(2026, 1, 1, 0, 0)), utc(2026, 3, 29, 1, 0));
        assert_int_equal(zone_next_change(paris, utc(2026, 3, 29, 1, 0)), utc(2026, 10, 25, 1, 0));
        assert_int_equal(zone_next_change(paris, utc(2090, 4, 1, 0, 0)), utc(2090, 10, 29, 1, 0));
        assert_int_equal(zone_next_change(sydney, utc(2060, 12, 31, 0, 0)), utc(2061, 4, 2, 16, 0));
        assert_true(zone_next_change(kolkata, utc(2026, 1, 1, 0, 0)) == INT64_MAX);
        zone_free(paris);
        zone_free(kolkata);
        zone_free(sydney);
}

static void a_change_is_where_the_offset_changes(void **state) {
        static const char *const names[] = {"Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Gaza"};
        (void) state;
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                struct zone *zone = open_zone(names[i]);
                for (int64_t at = utc(2000, 1, 1, 0, 0); at < utc(2095, 1, 1, 0, 0);) {
                        int64_t next = zone_next_change(zone, at);
                        if (next == INT64_MAX)
                                break;
                        assert_true(next > at);
                        assert_int_equal(zone_offset(zone, next - 1), zone_offset(zone, at));
                        assert_int_not_equal(zone_offset(zone, next), zone_offset(zone, at));
                        at = next;
                }
                zone_free(zone);
        }
}

static void expect_none(const char *name, enum error_code code, const char *message, const char *hint) {
        struct error err = ERROR_INIT;
        struct zone *zone = NULL;
        assert_int_equal(zone_open(name, &zone, &err), -1);
        assert_int_equal(err.code, code);
        assert_string_equal(err.message, message);
        assert_string_equal(err.hints[0], hint);
}

static void a_name_that_does_not_exist_is_refused_with_the_nearest(void **state) {
        (void) state;
        expect_none("Europe/Pariss", ERROR_NOT_FOUND, "no such time zone: Europe/Pariss", "did you mean Europe/Paris?");
        expect_none("paris", ERROR_NOT_FOUND, "no such time zone: paris", "did you mean Europe/Paris?");
        expect_none("europe/berlin", ERROR_NOT_FOUND, "no such time zone: europe/berlin",
                    "did you mean Europe/Berlin?");
        expect_none("Europe", ERROR_NOT_FOUND, "no such time zone: Europe", "timedatectl list-timezones");
        expect_none("zone.tab", ERROR_INVALID, "\"zone.tab\" is not a time zone", "for example: Europe/Paris");
}

static void fault_48_a_name_does_not_lead_out_of_the_database(void **state) {
        (void) state;
        expect_none("../../../etc/passwd", ERROR_INVALID, "\"../../../etc/passwd\" is not a time zone",
                    "for example: Europe/Paris");
        expect_none("/etc/localtime", ERROR_INVALID, "\"/etc/localtime\" is not a time zone",
                    "for example: Europe/Paris");
        expect_none("right/Europe/Paris", ERROR_NOT_FOUND, "no such time zone: right/Europe/Paris",
                    "timedatectl list-timezones");
}

// As with the controller's descriptors used up: the first that is opened has no room, or the second.
static void a_database_that_cannot_be_read_is_not_taken_for_one_without_the_zone(void **state) {
        static const char *const messages[] = {
                "time zone Europe/Paris: /usr/share/zoneinfo: Too many open files",
                "time zone Europe/Paris: /usr/share/zoneinfo/Europe/Paris: Too many open files"};
        struct rlimit limit, least;
        (void) state;
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        for (unsigned i = 0; i < 2; i++) {
                struct error err = ERROR_INIT;
                struct zone *zone = NULL;
                int free_fd = dup(0);
                close(free_fd);
                least = limit;
                least.rlim_cur = (rlim_t) free_fd + i;
                assert_int_equal(setrlimit(RLIMIT_NOFILE, &least), 0);
                int r = zone_open("Europe/Paris", &zone, &err);
                assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
                assert_int_equal(r, -1);
                assert_string_equal(err.message, messages[i]);
                assert_int_equal(err.code, ERROR_IO);
                assert_int_equal(err.n_hints, 0);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(offsets_are_those_of_the_c_library),
                cmocka_unit_test(the_next_change_is_found_from_the_table_and_from_the_rule),
                cmocka_unit_test(a_change_is_where_the_offset_changes),
                cmocka_unit_test(a_name_that_does_not_exist_is_refused_with_the_nearest),
                cmocka_unit_test(fault_48_a_name_does_not_lead_out_of_the_database),
                cmocka_unit_test(a_database_that_cannot_be_read_is_not_taken_for_one_without_the_zone),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
