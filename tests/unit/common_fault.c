// SPDX-License-Identifier: LGPL-2.1-or-later
/* Fault points: what each instruction does, once, and that nothing happens without a directory. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/fault.h"
#include "common/clock.h"
#include "scratch.h"
#include <signal.h>
#include <time.h>

#define POINT "agent.copy.after-write"

static int begin(void **state) {
        if (scratch_make(state) < 0)
                return -1;
        setenv("DROVER_FAULT_DIR", scratch, 1);
        fault_init();
        return 0;
}

static int end(void **state) {
        unsetenv("DROVER_FAULT_DIR");
        fault_init();
        return scratch_remove(state);
}

static void pass(void) {
        struct error err = ERROR_INIT;
        if (fault_point(POINT, &err) < 0)
                fail_msg("%s", err.message);
}

static void fails_with(enum error_code code) {
        struct error err = ERROR_INIT;
        assert_int_equal(fault_point(POINT, &err), -1);
        assert_error(err, code, "fault point " POINT);
}

// Wait for a condition, with a deadline.
static void wait_for_file(const char *name) {
        for (uint64_t until = clock_ms(&system_clock) + 20000; !scratch_has(name);) {
                if (clock_ms(&system_clock) > until)
                        fail_msg("%s did not appear", name);
                nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
}

static void without_a_directory_nothing_happens(void **state) {
        (void) state;
        scratch_write(POINT, "kill");
        unsetenv("DROVER_FAULT_DIR");
        fault_init();
        assert_false(fault_active());
        pass();
        assert_false(fault_held(POINT));
        setenv("DROVER_FAULT_DIR", "", 1);
        fault_init();
        assert_false(fault_active());
        assert_true(scratch_has(POINT));
}

static void without_a_file_nothing_happens(void **state) {
        (void) state;
        assert_true(fault_active());
        scratch_write("another.point", "kill");
        pass();
        assert_false(fault_held(POINT));
}

static void text_that_is_no_instruction_does_nothing(void **state) {
        (void) state;
        scratch_write(POINT, "explode\n");
        pass();
        assert_true(scratch_has(POINT));
}

static void fail_fails_once(void **state) {
        (void) state;
        scratch_write(POINT, "fail\n");
        fails_with(ERROR_FAILED);
        assert_false(scratch_has(POINT));
        pass();
}

static void fail_takes_the_word_of_a_code(void **state) {
        (void) state;
        scratch_write(POINT, "fail no-space\n");
        fails_with(ERROR_NO_SPACE);
        scratch_write(POINT, "fail unreachable");
        fails_with(ERROR_UNREACHABLE);
        scratch_write(POINT, "fail no-such-word");
        fails_with(ERROR_FAILED);
}

static void nth_counts_calls_down_and_then_acts(void **state) {
        (void) state;
        scratch_write(POINT, "nth 3 fail io\n");
        pass();
        pass();
        fails_with(ERROR_IO);
        pass();
        scratch_write(POINT, "nth 1 fail io\n");
        fails_with(ERROR_IO);
}

static void kill_kills_the_process_and_removes_the_file_first(void **state) {
        (void) state;
        scratch_write(POINT, "kill\n");
        int status = status_of_child(pass);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGKILL);
        assert_false(scratch_has(POINT));
        assert_int_equal(status_of_child(pass), 0);
}

static void hold_says_so_and_goes_on_when_the_file_is_removed(void **state) {
        (void) state;
        int status;
        scratch_write(POINT, "hold\n");
        pid_t child = fork();
        if (child == 0) {
                struct error err = ERROR_INIT;
                _exit(fault_point(POINT, &err) == 0 ? 7 : 1);
        }
        wait_for_file(POINT ".held");
        assert_int_equal(waitpid(child, &status, WNOHANG), 0);
        unlink(scratch_path(POINT));
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 7);
        assert_false(scratch_has(POINT ".held"));
}

static void held_is_true_until_the_file_is_removed_and_does_not_block(void **state) {
        (void) state;
        scratch_write(POINT, "hold\n");
        assert_true(fault_held(POINT));
        assert_true(scratch_has(POINT ".held"));
        assert_true(fault_held(POINT));
        unlink(scratch_path(POINT));
        assert_false(fault_held(POINT));
        assert_false(scratch_has(POINT ".held"));
}

static void held_counts_down_before_it_holds(void **state) {
        (void) state;
        scratch_write(POINT, "nth 2 hold\n");
        assert_false(fault_held(POINT));
        assert_true(fault_held(POINT));
        assert_true(fault_held(POINT));
}

static void be_held(void) {
        fault_held(POINT);
}

static void held_obeys_kill_too(void **state) {
        (void) state;
        scratch_write(POINT, "kill\n");
        int status = status_of_child(be_held);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGKILL);
}

#define FAULT_TEST(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void) {
        const struct CMUnitTest tests[] = {
                FAULT_TEST(without_a_directory_nothing_happens),
                FAULT_TEST(without_a_file_nothing_happens),
                FAULT_TEST(text_that_is_no_instruction_does_nothing),
                FAULT_TEST(fail_fails_once),
                FAULT_TEST(fail_takes_the_word_of_a_code),
                FAULT_TEST(nth_counts_calls_down_and_then_acts),
                FAULT_TEST(kill_kills_the_process_and_removes_the_file_first),
                FAULT_TEST(hold_says_so_and_goes_on_when_the_file_is_removed),
                FAULT_TEST(held_is_true_until_the_file_is_removed_and_does_not_block),
                FAULT_TEST(held_counts_down_before_it_holds),
                FAULT_TEST(held_obeys_kill_too),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
