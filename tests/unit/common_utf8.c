// SPDX-License-Identifier: LGPL-2.1-or-later
/* UTF-8: what is a character, and where text may be cut. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/utf8.h"
#include "scratch.h"

static void characters_of_one_to_four_bytes_are_read(void **state) {
        (void) state;
        uint32_t point;
        assert_int_equal(utf8_next("a", &point), 1);
        assert_int_equal(point, 'a');
        assert_int_equal(utf8_next("\xc3\xa9", &point), 2);
        assert_int_equal(point, 0xe9);
        assert_int_equal(utf8_next("\xe2\x82\xac", &point), 3);
        assert_int_equal(point, 0x20ac);
        assert_int_equal(utf8_next("\xf4\x8f\xbf\xbf", &point), 4);
        assert_int_equal(point, 0x10ffff);
}

static void overlong_surrogate_too_large_and_cut_forms_are_refused(void **state) {
        (void) state;
        static const char *const bad[] = {"\x80",
                                          "\xc0\xaf",
                                          "\xc1\xbf",
                                          "\xe0\x80\xaf",
                                          "\xf0\x80\x80\xaf",
                                          "\xed\xa0\x80",
                                          "\xed\xbf\xbf",
                                          "\xf4\x90\x80\x80",
                                          "\xf8\x88\x80\x80\x80",
                                          "\xff",
                                          "\xc3",
                                          "\xe2\x82",
                                          "\xf0\x9f\x90",
                                          "\xc3(",
                                          "\xe2\x28\xa1"};
        uint32_t point = 7;
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(utf8_next(bad[i], &point), 0);
        assert_int_equal(point, 7);
}

static void a_cut_keeps_whole_characters(void **state) {
        (void) state;
        assert_int_equal(utf8_cut("abc", 3), 3);
        assert_int_equal(utf8_cut("abcd", 3), 3);
        assert_int_equal(utf8_cut("ab\xc3\xa9", 3), 2);
        assert_int_equal(utf8_cut("ab\xf0\x9f\x90\x82", 5), 2);
        assert_int_equal(utf8_cut("ab\xf0\x9f\x90\x82", 6), 6);
        assert_int_equal(utf8_cut("", 0), 0);
}

static void text_that_is_no_utf8_is_cut_anywhere(void **state) {
        (void) state;
        assert_int_equal(utf8_cut("\x80\x80\x80\x80\x80\x80\x80\x80", 6), 6);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(characters_of_one_to_four_bytes_are_read),
                cmocka_unit_test(overlong_surrogate_too_large_and_cut_forms_are_refused),
                cmocka_unit_test(a_cut_keeps_whole_characters),
                cmocka_unit_test(text_that_is_no_utf8_is_cut_anywhere),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
