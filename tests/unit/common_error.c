// SPDX-License-Identifier: LGPL-2.1-or-later
/* Errors: filling, cutting, translating and prefixing. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/error.h"
#include "common/utf8.h"
#include "scratch.h"
#include <errno.h>

static void set_fills_the_error_and_returns_minus_one(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        error_hint(&err, "of before");
        assert_int_equal(error_set(&err, ERROR_CONFLICT, "VM %s exists at %s", "erp", "lyon/kvm1"), -1);
        assert_error(err, ERROR_CONFLICT, "VM erp exists at lyon/kvm1");
        assert_int_equal(err.n_hints, 0);
}

static void a_null_error_is_allowed_everywhere(void **state) {
        (void) state;
        assert_int_equal(error_set(NULL, ERROR_FAILED, "x"), -1);
        assert_int_equal(error_errno(NULL, EIO, "x"), -1);
        assert_int_equal(error_prefix(NULL, "x"), -1);
        error_hint(NULL, "x");
        error_clear(NULL);
}

static void control_characters_become_question_marks(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        error_set(&err, ERROR_FAILED,
                  "a\nb\x1b[31mc\x7f\xc2\x9b"
                  "d\te");
        assert_string_equal(err.message, "a?b?[31mc???d?e");
        error_hint(&err, "type\r\nthis");
        assert_string_equal(err.hints[0], "type??this");
}

static void what_is_not_utf8_becomes_question_marks_and_the_rest_stays(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        error_set(&err, ERROR_FAILED, "caf\xc3\xa9 \xff \xc0\xaf \xed\xa0\x80 \xf0\x9f\x90\x82 \xe2\x82");
        assert_string_equal(err.message, "caf\xc3\xa9 ? ?? ??? \xf0\x9f\x90\x82 ??");
}

static void a_long_message_is_cut_with_dots(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        char text[3000];
        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        error_set(&err, ERROR_FAILED, "%s", text);
        assert_int_equal(strlen(err.message), ERROR_MESSAGE_MAX - 1);
        assert_string_equal(err.message + ERROR_MESSAGE_MAX - 5, "x...");
        error_hint(&err, "%s", text);
        assert_int_equal(strlen(err.hints[0]), ERROR_HINT_MAX - 1);
        assert_string_equal(err.hints[0] + ERROR_HINT_MAX - 5, "x...");
}

static void a_message_that_just_fits_is_not_cut(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        char text[ERROR_MESSAGE_MAX];
        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        error_set(&err, ERROR_FAILED, "%s", text);
        assert_string_equal(err.message, text);
}

static void a_message_is_never_cut_inside_a_character(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        for (unsigned shift = 0; shift < 4; shift++) {
                char text[2000];
                memset(text, 'x', shift);
                for (size_t i = shift; i < sizeof(text) - 5; i += 4)
                        memcpy(text + i, "\xf0\x9f\x90\x82", 5);
                error_set(&err, ERROR_FAILED, "%s", text);
                assert_null(strchr(err.message, '?'));
                for (const char *at = err.message; *at;) {
                        uint32_t point;
                        unsigned length = utf8_next(at, &point);
                        assert_int_not_equal(length, 0);
                        at += length;
                }
                assert_string_equal(err.message + strlen(err.message) - 3, "...");
        }
}

static void an_errors_own_message_may_be_an_argument(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        error_set(&err, ERROR_IO, "inner");
        error_set(&err, ERROR_FAILED, "outer (%s)", err.message);
        assert_error(err, ERROR_FAILED, "outer (inner)");
        error_prefix(&err, "<%s>", err.message);
        assert_string_equal(err.message, "<outer (inner)>: outer (inner)");
}

static void errno_values_get_their_codes_and_texts(void **state) {
        (void) state;
        static const struct {
                int value;
                enum error_code code;
                const char *message;
        } rows[] = {
                {ENOSPC, ERROR_NO_SPACE, "write at 3.2 GiB: No space left on device"},
                {EDQUOT, ERROR_NO_SPACE, "write at 3.2 GiB: Disk quota exceeded"},
                {ENOMEM, ERROR_NO_MEMORY, "write at 3.2 GiB: Cannot allocate memory"},
                {ENOENT, ERROR_NOT_FOUND, "write at 3.2 GiB: No such file or directory"},
                {EACCES, ERROR_DENIED, "write at 3.2 GiB: Permission denied"},
                {EPERM, ERROR_DENIED, "write at 3.2 GiB: Operation not permitted"},
                {EIO, ERROR_IO, "write at 3.2 GiB: Input/output error"},
                {EROFS, ERROR_IO, "write at 3.2 GiB: Read-only file system"},
                {99999, ERROR_IO, "write at 3.2 GiB: error 99999"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct error err = ERROR_INIT;
                assert_int_equal(error_errno(&err, rows[i].value, "write at %s", "3.2 GiB"), -1);
                assert_error(err, rows[i].code, rows[i].message);
        }
}

static void prefixes_stack_and_keep_code_and_hints(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        error_errno(&err, ENOSPC, "write at 3.2 GiB");
        error_hint(&err, "drover host show %s", "lyon/kvm1");
        error_prefix(&err, "copy %s", "vda");
        assert_int_equal(error_prefix(&err, "move %s", "erp"), -1);
        assert_error(err, ERROR_NO_SPACE, "move erp: copy vda: write at 3.2 GiB: No space left on device");
        assert_int_equal(err.n_hints, 1);
        assert_string_equal(err.hints[0], "drover host show lyon/kvm1");
}

static void hints_beyond_the_bound_are_ignored(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        for (int i = 0; i < ERROR_HINTS_MAX + 3; i++)
                error_hint(&err, "hint %d", i);
        assert_int_equal(err.n_hints, ERROR_HINTS_MAX);
        assert_string_equal(err.hints[ERROR_HINTS_MAX - 1], "hint 15");
}

static void clear_leaves_no_error(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        error_set(&err, ERROR_IO, "x");
        error_hint(&err, "y");
        error_clear(&err);
        assert_error(err, ERROR_NONE, "");
        assert_int_equal(err.n_hints, 0);
}

static void codes_have_words_numbers_and_exit_codes(void **state) {
        (void) state;
        assert_string_equal(error_word(ERROR_NO_SPACE), "no-space");
        assert_string_equal(error_word((enum error_code) 4711), "failed");
        assert_int_equal(error_exit_code(ERROR_INTERRUPTED), 130);
        assert_int_equal(error_exit_code(ERROR_REFUSED), 7);
        assert_int_equal(error_exit_code((enum error_code) 4711), 1);
        assert_int_equal(error_from_number(25), ERROR_BUSY);
        assert_int_equal(error_from_number(26), ERROR_FAILED);
        assert_int_equal(error_from_number(UINT32_MAX), ERROR_FAILED);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(set_fills_the_error_and_returns_minus_one),
                cmocka_unit_test(a_null_error_is_allowed_everywhere),
                cmocka_unit_test(control_characters_become_question_marks),
                cmocka_unit_test(what_is_not_utf8_becomes_question_marks_and_the_rest_stays),
                cmocka_unit_test(a_long_message_is_cut_with_dots),
                cmocka_unit_test(a_message_that_just_fits_is_not_cut),
                cmocka_unit_test(a_message_is_never_cut_inside_a_character),
                cmocka_unit_test(an_errors_own_message_may_be_an_argument),
                cmocka_unit_test(errno_values_get_their_codes_and_texts),
                cmocka_unit_test(prefixes_stack_and_keep_code_and_hints),
                cmocka_unit_test(hints_beyond_the_bound_are_ignored),
                cmocka_unit_test(clear_leaves_no_error),
                cmocka_unit_test(codes_have_words_numbers_and_exit_codes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
