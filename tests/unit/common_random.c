// SPDX-License-Identifier: LGPL-2.1-or-later
/* Random bytes: all of them are filled, and they are not the same twice. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/random.h"
#include "scratch.h"

static void every_byte_of_a_large_request_is_filled(void **state) {
        (void) state;
        enum { SIZE = 100000 }; // more than one getrandom(2) need give
        static uint8_t seen[SIZE], bytes[SIZE];
        for (int turn = 0; turn < 8; turn++) {
                memset(bytes, 0, SIZE);
                random_bytes(bytes, SIZE);
                for (size_t i = 0; i < SIZE; i++)
                        seen[i] |= bytes[i];
        }
        for (size_t i = 0; i < SIZE; i++)
                assert_int_not_equal(seen[i], 0); // wrong once in 10^14 runs
}

static void nothing_beyond_the_request_is_touched(void **state) {
        (void) state;
        uint8_t bytes[4] = {1, 2, 3, 4};
        random_bytes(bytes + 1, 0);
        assert_memory_equal(bytes, "\1\2\3\4", 4);
        random_bytes(bytes, 3);
        assert_int_equal(bytes[3], 4);
}

static void numbers_differ(void **state) {
        (void) state;
        assert_true(random_u64() != random_u64());
        uint32_t first = random_u32();
        bool differs = false;
        for (int i = 0; i < 4; i++)
                differs |= random_u32() != first;
        assert_true(differs);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_byte_of_a_large_request_is_filled),
                cmocka_unit_test(nothing_beyond_the_request_is_touched),
                cmocka_unit_test(numbers_differ),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
