// SPDX-License-Identifier: LGPL-2.1-or-later
/* Clocks: injection, and how a moment is written. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/clock.h"
#include "scratch.h"

static uint64_t fixed_ms(void *data) {
        return *(uint64_t *) data;
}

static int64_t fixed_wall(void *data) {
        return (int64_t) * (uint64_t *) data + 1;
}

static void an_injected_clock_is_asked(void **state) {
        (void) state;
        uint64_t now = 41;
        const struct clock clock = {.monotonic_ms = fixed_ms, .wall_seconds = fixed_wall, .data = &now};
        assert_int_equal(clock_ms(&clock), 41);
        assert_int_equal(clock_wall(&clock), 42);
}

static void the_systems_monotonic_clock_does_not_go_back(void **state) {
        (void) state;
        uint64_t last = clock_ms(&system_clock);
        for (int i = 0; i < 1000; i++) {
                uint64_t now = clock_ms(&system_clock);
                assert_true(now >= last);
                last = now;
        }
}

static void seconds_and_milliseconds_of_wall_time_agree(void **state) {
        (void) state;
        int64_t before = clock_wall(&system_clock), ms = clock_wall_ms(), after = clock_wall(&system_clock);
        // time(2) may lag behind clock_gettime(2) by a tick.
        assert_true(ms / 1000 >= before && ms / 1000 <= after + 1);
}

static void moments_are_written_as_rfc_3339_in_utc(void **state) {
        (void) state;
        char text[CLOCK_RFC3339_MAX];
        setenv("TZ", "Asia/Tokyo", 1);
        assert_string_equal(clock_rfc3339(0, text), "1970-01-01T00:00:00Z");
        assert_string_equal(clock_rfc3339(1795289400, text), "2026-11-21T19:30:00Z");
        assert_string_equal(clock_rfc3339(951782400, text), "2000-02-29T00:00:00Z");
        assert_string_equal(clock_rfc3339(-1, text), "1969-12-31T23:59:59Z");
}

static void moments_beyond_four_digit_years_are_written_as_the_ends(void **state) {
        (void) state;
        char text[CLOCK_RFC3339_MAX];
        assert_string_equal(clock_rfc3339(253402300799, text), "9999-12-31T23:59:59Z");
        assert_string_equal(clock_rfc3339(253402300800, text), "9999-12-31T23:59:59Z");
        assert_string_equal(clock_rfc3339(INT64_MAX, text), "9999-12-31T23:59:59Z");
        assert_string_equal(clock_rfc3339(INT64_MIN, text), "0000-01-01T00:00:00Z");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_injected_clock_is_asked),
                cmocka_unit_test(the_systems_monotonic_clock_does_not_go_back),
                cmocka_unit_test(seconds_and_milliseconds_of_wall_time_agree),
                cmocka_unit_test(moments_are_written_as_rfc_3339_in_utc),
                cmocka_unit_test(moments_beyond_four_digit_years_are_written_as_the_ends),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
