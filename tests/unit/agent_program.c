// SPDX-License-Identifier: LGPL-2.1-or-later
/* A program of others, confined: what it may do, what it may not, and when it ends. */
#include "agent/host/program.h"
#include "common/memory.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "scratch.h"

static const char *const environment[] = {"PATH=/usr/bin:/bin", NULL};
static struct error err;
static int code;
static char words[PROGRAM_WORDS_MAX];

static int run(const char *const *argv, unsigned seconds, bool (*cancelled)(void *)) {
        struct program_order order = {.argv = argv,
                                      .environment = environment,
                                      .directory = "/",
                                      .seconds = seconds,
                                      .memory_bytes = UINT64_C(2) << 30,
                                      .cancelled = cancelled};
        error_clear(&err);
        return program_run(&order, &code, words, &err);
}

static void it_says_how_it_ended_and_what_it_said_last(void **state) {
        (void) state;
        static const char *const fine[] = {"/bin/echo", "done", NULL};
        static const char *const wrong[] = {"/bin/ls", "/nowhere", NULL};
        assert_int_equal(run(fine, 10, NULL), 0);
        assert_int_equal(code, 0);
        assert_string_equal(words, "done\n");
        assert_int_equal(run(wrong, 10, NULL), 0);
        assert_int_equal(code, 2);
        assert_non_null(strstr(words, "/nowhere"));
}

static void of_much_that_it_says_the_end_is_kept(void **state) {
        (void) state;
        static const char *const much[] = {"/usr/bin/seq", "100000", NULL};
        assert_int_equal(run(much, 10, NULL), 0);
        assert_int_equal(code, 0);
        assert_int_equal(strlen(words), PROGRAM_WORDS_MAX - 1);
        assert_string_equal(words + strlen(words) - 7, "100000\n");
}

static void it_has_no_privileges_and_no_environment_of_ours(void **state) {
        (void) state;
        static const char *const status[] = {"/bin/grep", "-E",
                                             "^(CapEff|CapBnd|NoNewPrivs|Seccomp):", "/proc/self/status", NULL};
        static const char *const variables[] = {"/usr/bin/env", NULL};
        static const char *const descriptors[] = {"/bin/ls", "/proc/self/fd", NULL};
        setenv("DROVER_SECRET", "1", 1);
        assert_int_equal(run(status, 10, NULL), 0);
        // Of root's powers CAP_DAC_OVERRIDE (bit 1) at most.
        assert_true(strstr(words, "CapEff:\t0000000000000002") || strstr(words, "CapEff:\t0000000000000000"));
        assert_non_null(strstr(words, "NoNewPrivs:\t1"));
        assert_non_null(strstr(words, "Seccomp:\t2"));
        assert_int_equal(run(variables, 10, NULL), 0);
        assert_string_equal(words, "PATH=/usr/bin:/bin\n");
        assert_int_equal(run(descriptors, 10, NULL), 0);
        assert_string_equal(words, "0\n1\n2\n3\n"); // 3: of ls itself
}

static void it_reaches_no_network(void **state) {
        (void) state;
        static const char *const inet[] = {"/usr/bin/python3", "-c", "import socket; socket.socket()", NULL};
        static const char *const local[] = {"/usr/bin/python3", "-c", "import socket; socket.socket(socket.AF_UNIX)",
                                            NULL};
        if (access(inet[0], X_OK) < 0)
                skip();
        assert_int_equal(run(inet, 30, NULL), 0);
        assert_int_equal(code, 1);
        assert_non_null(strstr(words, "Address family not supported"));
        assert_int_equal(run(local, 30, NULL), 0);
        assert_int_equal(code, 0);
}

static void it_takes_no_more_memory_than_it_may(void **state) {
        (void) state;
        static const char *const greedy[] = {"/usr/bin/python3", "-c", "b = bytearray(4 << 30)", NULL};
        if (access(greedy[0], X_OK) < 0)
                skip();
        assert_int_equal(run(greedy, 30, NULL), 0);
        assert_int_equal(code, 1);
        assert_non_null(strstr(words, "MemoryError"));
}

static void it_ends_in_time_with_all_that_it_started(void **state) {
        (void) state;
        static const char *const slow[] = {"/usr/bin/timeout", "--foreground", "100", "/bin/sleep", "100", NULL};
        assert_int_equal(run(slow, 1, NULL), -1);
        assert_error(err, ERROR_TIMEOUT, "/usr/bin/timeout has not ended after 1 seconds");
        assert_int_equal(code, 128 + 9);
}

static bool at_once(void *data) {
        (void) data;
        return true;
}

static void it_ends_when_it_is_cancelled(void **state) {
        (void) state;
        static const char *const slow[] = {"/bin/sleep", "100", NULL};
        assert_int_equal(run(slow, 100, at_once), -1);
        assert_error(err, ERROR_CANCELLED, "cancelled");
}

static void one_that_is_not_here_is_not_found(void **state) {
        (void) state;
        static const char *const missing[] = {"/usr/bin/no-such-program", NULL};
        assert_int_equal(run(missing, 10, NULL), -1);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(it_says_how_it_ended_and_what_it_said_last),
                cmocka_unit_test(of_much_that_it_says_the_end_is_kept),
                cmocka_unit_test(it_has_no_privileges_and_no_environment_of_ours),
                cmocka_unit_test(it_reaches_no_network),
                cmocka_unit_test(it_takes_no_more_memory_than_it_may),
                cmocka_unit_test(it_ends_in_time_with_all_that_it_started),
                cmocka_unit_test(it_ends_when_it_is_cancelled),
                cmocka_unit_test(one_that_is_not_here_is_not_found),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
