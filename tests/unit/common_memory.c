// SPDX-License-Identifier: LGPL-2.1-or-later
/* Allocation: zeroed, checked for overflow, and how each kind fails. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/memory.h"
#include "scratch.h"

// Without it the sanitizers end the process themselves instead of returning NULL.
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
        return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
        return "allocator_may_return_null=1";
}

static volatile size_t huge = SIZE_MAX;

static void new_memory_is_zeroed(void **state) {
        (void) state;
        unsigned char *bytes = memory_new_array(10, 10);
        for (unsigned i = 0; i < 100; i++)
                assert_int_equal(bytes[i], 0);
        free(bytes);
        int *one = new (int);
        assert_int_equal(*one, 0);
        free(one);
}

static void nothing_is_still_memory(void **state) {
        (void) state;
        void *a = memory_new(0), *b = memory_new_array(0, 8), *c = memory_grow(NULL, 0, 8);
        assert_non_null(a);
        assert_non_null(b);
        assert_non_null(c);
        free(a);
        free(b);
        free(memory_grow(c, 0, 0));
}

static void growing_keeps_the_content(void **state) {
        (void) state;
        int *numbers = memory_grow(NULL, 1, sizeof(int));
        numbers[0] = 42;
        numbers = memory_grow(numbers, 1000, sizeof(int));
        assert_int_equal(numbers[0], 42);
        free(numbers);
}

static void strings_are_copied_and_null_stays_null(void **state) {
        (void) state;
        char *copy = memory_string("erp"), *text = memory_format("%s/%d", "lyon", 7);
        assert_string_equal(copy, "erp");
        assert_string_equal(text, "lyon/7");
        assert_null(memory_string(NULL));
        free(copy);
        free(text);
}

static void overflowing_array(void) {
        free(memory_new_array(huge / 2, 4));
        _exit(0);
}

static void overflowing_growth(void) {
        free(memory_grow(NULL, huge / 2, 4));
        _exit(0);
}

static void fault_16_an_overflow_ends_the_process_with_1(void **state) {
        (void) state;
        int status = status_of_child(overflowing_array);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 1);
        status = status_of_child(overflowing_growth);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 1);
}

static void fault_16_a_try_fails_with_no_memory_and_leaves_its_output(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        void *memory = &err;
        assert_int_equal(memory_try(huge, &memory, &err), -1);
        assert_error(err, ERROR_NO_MEMORY, "no memory for 18446744073709551615 bytes");
        assert_ptr_equal(memory, &err);
}

static void a_try_gives_zeroed_memory(void **state) {
        (void) state;
        void *memory = NULL;
        assert_int_equal(memory_try(16, &memory, NULL), 0);
        assert_memory_equal(memory, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
        free(memory);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(new_memory_is_zeroed),
                cmocka_unit_test(nothing_is_still_memory),
                cmocka_unit_test(growing_keeps_the_content),
                cmocka_unit_test(strings_are_copied_and_null_stays_null),
                cmocka_unit_test(fault_16_an_overflow_ends_the_process_with_1),
                cmocka_unit_test(fault_16_a_try_fails_with_no_memory_and_leaves_its_output),
                cmocka_unit_test(a_try_gives_zeroed_memory),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
