// SPDX-License-Identifier: LGPL-2.1-or-later
/* Waiting times: doubling, the bound, and where in the upper half the random number puts them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/backoff.h"
#include "scratch.h"

static void waits_double_up_to_the_most(void **state) {
        (void) state;
        struct backoff backoff;
        backoff_init(&backoff, 500, 30000);
        static const uint32_t expected[] = {500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000};
        for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
                assert_int_equal(backoff_next(&backoff, UINT32_MAX), expected[i]);
}

static void waits_are_drawn_from_the_upper_half(void **state) {
        (void) state;
        struct backoff backoff;
        backoff_init(&backoff, 1000, 30000);
        assert_int_equal(backoff_next(&backoff, 0), 500);
        backoff_reset(&backoff);
        assert_int_equal(backoff_next(&backoff, UINT32_MAX), 1000);
        backoff_reset(&backoff);
        assert_int_equal(backoff_next(&backoff, 1u << 31), 750);
        backoff_init(&backoff, 7, 7);
        assert_int_equal(backoff_next(&backoff, 0), 4);
        assert_int_equal(backoff_next(&backoff, UINT32_MAX), 7);
}

static void a_reset_begins_again(void **state) {
        (void) state;
        struct backoff backoff;
        backoff_init(&backoff, 100, 10000);
        for (int i = 0; i < 5; i++)
                backoff_next(&backoff, 0);
        backoff_reset(&backoff);
        assert_int_equal(backoff_next(&backoff, UINT32_MAX), 100);
}

static void any_number_of_tries_stays_within_the_bound(void **state) {
        (void) state;
        struct backoff backoff;
        backoff_init(&backoff, UINT32_MAX, UINT32_MAX);
        for (int i = 0; i < 200; i++)
                assert_in_range(backoff_next(&backoff, (uint32_t) i * 2654435761u), UINT32_MAX / 2, UINT32_MAX);
        backoff.tries = UINT32_MAX;
        assert_int_equal(backoff_next(&backoff, UINT32_MAX), UINT32_MAX);
        assert_int_equal(backoff.tries, UINT32_MAX);
}

static void no_wait_at_all_is_possible(void **state) {
        (void) state;
        struct backoff backoff;
        backoff_init(&backoff, 0, 0);
        assert_int_equal(backoff_next(&backoff, UINT32_MAX), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(waits_double_up_to_the_most),
                cmocka_unit_test(waits_are_drawn_from_the_upper_half),
                cmocka_unit_test(a_reset_begins_again),
                cmocka_unit_test(any_number_of_tries_stays_within_the_bound),
                cmocka_unit_test(no_wait_at_all_is_possible),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
