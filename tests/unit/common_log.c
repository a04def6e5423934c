// SPDX-License-Identifier: LGPL-2.1-or-later
/* Logging: what a line looks like, and that nobody else can write one. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/log.h"
#include "scratch.h"
#include <sys/stat.h>

static FILE *captured;
static int real_stderr;

static int capture(void **state) {
        (void) state;
        captured = tmpfile();
        real_stderr = dup(STDERR_FILENO);
        dup2(fileno(captured), STDERR_FILENO);
        unsetenv("JOURNAL_STREAM");
        log_init("drover-test", LOG_LEVEL_INFO);
        return 0;
}

static int release(void **state) {
        (void) state;
        dup2(real_stderr, STDERR_FILENO);
        close(real_stderr);
        fclose(captured);
        return 0;
}

// All that was written; without the time in front of the first line, whose form is checked.
static const char *written(void) {
        static char text[16384];
        ssize_t n = pread(fileno(captured), text, sizeof(text) - 1, 0);
        text[n < 0 ? 0 : n] = '\0';
        if (text[0] < '0' || text[0] > '9')
                return text;
        unsigned year, month, day, hour, minute, second;
        assert_int_equal(sscanf(text, "%4u-%2u-%2uT%2u:%2u:%2uZ ", &year, &month, &day, &hour, &minute, &second), 6);
        return text + strlen("2026-11-21T19:30:00Z ");
}

static void a_line_has_program_level_message_and_fields(void **state) {
        (void) state;
        log_info("move committed", "job", "k3x9", "vm", "erp", NULL);
        assert_string_equal(written(), "drover-test info: move committed job=k3x9 vm=erp\n");
}

static void a_field_without_value_is_left_out(void **state) {
        (void) state;
        log_warning("x", "job", NULL, "vm", "erp", NULL);
        assert_string_equal(written(), "drover-test warning: x vm=erp\n");
}

static void values_are_quoted_when_they_need_it(void **state) {
        (void) state;
        log_error("x", "a", "two words", "b", "", "c", "say \"hi\"", "d", "k=v", "e", "back\\slash", NULL);
        assert_string_equal(
                written(),
                "drover-test error: x a=\"two words\" b=\"\" c=\"say \\\"hi\\\"\" d=\"k=v\" e=\"back\\\\slash\"\n");
}

static void fault_48_a_newline_in_a_value_begins_no_line(void **state) {
        (void) state;
        log_info("a\nb", "vm", "erp\n<0>forged\x1b[2J", NULL);
        assert_string_equal(written(), "drover-test info: a?b vm=erp?<0>forged?[2J\n");
}

static void levels_below_the_threshold_are_silent(void **state) {
        (void) state;
        log_debug("quiet", NULL);
        assert_string_equal(written(), "");
        log_set_level(LOG_LEVEL_DEBUG);
        log_debug("loud", NULL);
        assert_string_equal(written(), "drover-test debug: loud\n");
}

static void a_failure_is_logged_with_code_and_hints(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        error_set(&err, ERROR_NO_SPACE, "write: No space left on device");
        error_hint(&err, "free some");
        log_failure(LOG_LEVEL_ERROR, "move erp", &err, "job", "k3x9", NULL);
        assert_string_equal(written(), "drover-test error: move erp: write: No space left on device code=no-space "
                                       "job=k3x9 hint=\"free some\"\n");
}

static void a_failure_below_the_threshold_is_silent(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        log_failure(LOG_LEVEL_DEBUG, "x", &err, NULL);
        assert_string_equal(written(), "");
}

static void an_endless_line_is_cut_and_still_ends(void **state) {
        (void) state;
        char value[5000];
        memset(value, 'v', sizeof(value) - 1);
        value[sizeof(value) - 1] = '\0';
        log_info("x", "a", value, "b", value, "c", value, "d", value, "e", value, NULL);
        const char *text = written();
        size_t length = strlen(text);
        assert_in_range(length, 4000, 4096);
        assert_ptr_equal(strchr(text, '\n'), text + length - 1);
}

static void the_journals_stream_gets_a_priority_and_no_time(void **state) {
        (void) state;
        struct stat status;
        char stream[64];
        assert_int_equal(fstat(STDERR_FILENO, &status), 0);
        snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t) status.st_dev, (uintmax_t) status.st_ino);
        setenv("JOURNAL_STREAM", stream, 1);
        log_init("drover-test", LOG_LEVEL_INFO);
        log_error("x", NULL);
        assert_string_equal(written(), "<3>x\n");
}

static void another_stream_is_not_the_journals(void **state) {
        (void) state;
        setenv("JOURNAL_STREAM", "1:2", 1);
        log_init("drover-test", LOG_LEVEL_INFO);
        log_error("x", NULL);
        assert_string_equal(written(), "drover-test error: x\n");
}

#define CAPTURED_TEST(test) cmocka_unit_test_setup_teardown(test, capture, release)

int main(void) {
        const struct CMUnitTest tests[] = {
                CAPTURED_TEST(a_line_has_program_level_message_and_fields),
                CAPTURED_TEST(a_field_without_value_is_left_out),
                CAPTURED_TEST(values_are_quoted_when_they_need_it),
                CAPTURED_TEST(fault_48_a_newline_in_a_value_begins_no_line),
                CAPTURED_TEST(levels_below_the_threshold_are_silent),
                CAPTURED_TEST(a_failure_is_logged_with_code_and_hints),
                CAPTURED_TEST(a_failure_below_the_threshold_is_silent),
                CAPTURED_TEST(an_endless_line_is_cut_and_still_ends),
                CAPTURED_TEST(the_journals_stream_gets_a_priority_and_no_time),
                CAPTURED_TEST(another_stream_is_not_the_journals),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
