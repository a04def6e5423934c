// SPDX-License-Identifier: LGPL-2.1-or-later
/* Buffers: the bound, growth by what has come, and handing over. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/buffer.h"
#include "scratch.h"

static void appended_bytes_stand_in_order(void **state) {
        (void) state;
        struct buffer buffer;
        buffer_init(&buffer, 0);
        assert_int_equal(buffer_append(&buffer, "ab", 2, NULL), 0);
        assert_int_equal(buffer_append_text(&buffer, "cd", NULL), 0);
        assert_int_equal(buffer_appendf(&buffer, NULL, "%d-%s", 5, "e"), 0);
        assert_int_equal(buffer.length, 7);
        assert_memory_equal(buffer.data, "abcd5-e", 7);
        buffer_fini(&buffer);
        assert_null(buffer.data);
}

static void the_bound_holds_and_the_content_stays(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct buffer buffer;
        buffer_init(&buffer, 5);
        assert_int_equal(buffer_append(&buffer, "12345", 5, &err), 0);
        assert_int_equal(buffer_append(&buffer, "6", 1, &err), -1);
        assert_error(err, ERROR_TOO_LARGE, "5 bytes and 1 more are over the bound of 5");
        assert_int_equal(buffer.length, 5);
        assert_in_range(buffer.capacity, 5, 5);
        assert_int_equal(buffer_append(&buffer, "", 0, &err), 0);
        buffer_fini(&buffer);
}

static void a_length_that_overflows_is_refused(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct buffer buffer;
        uint8_t *space = NULL;
        buffer_init(&buffer, 0);
        assert_int_equal(buffer_append(&buffer, "1", 1, &err), 0);
        assert_int_equal(buffer_reserve(&buffer, SIZE_MAX, &space, &err), -1);
        assert_int_equal(err.code, ERROR_TOO_LARGE);
        assert_int_equal(buffer_reserve(&buffer, SIZE_MAX - 1, &space, &err), -1);
        assert_int_equal(err.code, ERROR_NO_MEMORY);
        assert_null(space);
        buffer_fini(&buffer);
}

static void reserved_space_counts_once_it_is_committed(void **state) {
        (void) state;
        struct buffer buffer;
        uint8_t *space;
        buffer_init(&buffer, 0);
        assert_int_equal(buffer_reserve(&buffer, 100, &space, NULL), 0);
        memcpy(space, "xyz", 3);
        assert_int_equal(buffer.length, 0);
        buffer_commit(&buffer, 3);
        assert_int_equal(buffer.length, 3);
        assert_memory_equal(buffer.data, "xyz", 3);
        buffer_fini(&buffer);
}

static void consuming_drops_from_the_front(void **state) {
        (void) state;
        struct buffer buffer;
        buffer_init(&buffer, 0);
        buffer_append_text(&buffer, "hello", NULL);
        buffer_consume(&buffer, 2);
        assert_int_equal(buffer.length, 3);
        assert_memory_equal(buffer.data, "llo", 3);
        buffer_consume(&buffer, 0);
        assert_int_equal(buffer.length, 3);
        buffer_fini(&buffer);
}

static void a_large_allocation_is_released_when_empty_and_a_small_one_kept(void **state) {
        (void) state;
        struct buffer buffer;
        uint8_t *space;
        buffer_init(&buffer, 1 << 20);
        buffer_reserve(&buffer, 1 << 20, &space, NULL);
        memset(space, 0, 1 << 20);
        buffer_commit(&buffer, 1 << 20);
        buffer_consume(&buffer, 1 << 20);
        assert_int_equal(buffer.capacity, 0);
        assert_int_equal(buffer.limit, 1 << 20);
        buffer_append_text(&buffer, "small", NULL);
        buffer_clear(&buffer);
        assert_int_equal(buffer.length, 0);
        assert_int_not_equal(buffer.capacity, 0);
        buffer_fini(&buffer);
}

static void stolen_text_ends_with_nul_and_leaves_an_empty_buffer(void **state) {
        (void) state;
        struct buffer buffer;
        buffer_init(&buffer, 3);
        buffer_append_text(&buffer, "abc", NULL);
        char *text = buffer_steal_text(&buffer), *empty = buffer_steal_text(&buffer);
        assert_string_equal(text, "abc");
        assert_string_equal(empty, "");
        assert_null(buffer.data);
        assert_int_equal(buffer.length, 0);
        assert_int_equal(buffer.limit, 3);
        free(text);
        free(empty);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(appended_bytes_stand_in_order),
                cmocka_unit_test(the_bound_holds_and_the_content_stays),
                cmocka_unit_test(a_length_that_overflows_is_refused),
                cmocka_unit_test(reserved_space_counts_once_it_is_committed),
                cmocka_unit_test(consuming_drops_from_the_front),
                cmocka_unit_test(a_large_allocation_is_released_when_empty_and_a_small_one_kept),
                cmocka_unit_test(stolen_text_ends_with_nul_and_leaves_an_empty_buffer),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
