// SPDX-License-Identifier: LGPL-2.1-or-later
/* Programs of others, confined: what each kind may do, what it may not, and when it ends. */
#include "agent/confine/confined.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <fcntl.h>
#include <setjmp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <cmocka.h>
#include "scratch.h"

#define PYTHON "/usr/bin/python3"

static const char *const environment[] = {"PATH=/usr/bin:/bin"};
static struct error err;
static int code;
static char words[CONFINED_WORDS_MAX];

DEFINE_CLEANUP(confined_free, struct confined *)

// ---- what is the same for all ----

static int run_as(const struct profile *profile, const char *const *argv, unsigned seconds, bool (*cancelled)(void *)) {
        const struct confined_patience patience = {.seconds = seconds, .cancelled = cancelled};
        const char *paths[] = {scratch};
        struct confined_order order = {.profile = profile,
                                       .argv = argv,
                                       .environment = environment,
                                       .n_environment = 1,
                                       .directory = scratch,
                                       .listener = -1,
                                       .paths = paths,
                                       .n_paths = 1,
                                       .cpu_seconds = seconds};
        error_clear(&err);
        words[0] = 0;
        return confined_run(&order, &patience, &code, words, &err);
}

static int run(const char *const *argv, unsigned seconds, bool (*cancelled)(void *)) {
        return run_as(&profile_small_machine, argv, seconds, cancelled);
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
        assert_int_equal(strlen(words), CONFINED_WORDS_MAX - 1);
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
        assert_string_equal(words, "LC_ALL=C\nPATH=/usr/bin:/bin\n");
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
        static const char *const greedy[] = {"/usr/bin/python3", "-c", "b = bytearray(9 << 30)", NULL};
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
        assert_error(err, ERROR_TIMEOUT, "timeout has not ended after 1 seconds");
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

static void what_it_has_started_cannot_outlive_it(void **state) {
        (void) state;
        static const char *const leave[] = {"/usr/bin/setsid", "--wait", "/bin/sleep", "100", NULL};
        static const char *const stay[] = {"/bin/sh", "-c", "sleep 100 & echo $!", NULL};
        assert_int_equal(run(leave, 10, NULL), 0);
        assert_non_null(strstr(words, "Operation not permitted"));
        assert_int_equal(run(stay, 10, NULL), 0); // though its child still holds the output
        assert_int_equal(code, 0);
        pid_t child = atoi(words);
        assert_true(child > 1);
        for (unsigned i = 0; i < 1000 && kill(child, 0) == 0; i++)
                usleep(10000); // until init has reaped it
        assert_int_equal(kill(child, 0), -1);
}

static void one_with_a_small_machine_writes_only_where_it_may(void **state) {
        (void) state;
        char elsewhere[] = "/var/tmp/drover-unit-XXXXXX";
        assert_non_null(mkdtemp(elsewhere));
        _cleanup_(free_p) char *script =
                memory_format("echo x >here && cat here && : </etc/passwd && echo x >%s/a", elsewhere);
        const char *const argv[] = {"/bin/sh", "-c", script, NULL};
        assert_int_equal(run(argv, 10, NULL), 0);
        assert_int_not_equal(code, 0);
        assert_int_equal(strncmp(words, "x\n", 2), 0);
        assert_non_null(strstr(words, "Permission denied"));
        assert_true(scratch_has("here"));
        assert_int_equal(rmdir(elsewhere), 0);
}

// What a program could do to a file that it may not open, or not open to write, by its name alone.
static void what_it_may_not_write_it_cannot_cut_nor_give_another_mode(void **state) {
        (void) state;
        char elsewhere[] = "/var/tmp/drover-unit-XXXXXX"; // which one with a small machine may read
        _cleanup_(close_p) int fd = mkstemp(elsewhere);
        assert_int_equal(write(fd, "whole", 5), 5);
        _cleanup_(free_p) char *cut = memory_format("import os; os.truncate('%s', 0)", elsewhere);
        _cleanup_(free_p) char *empty = memory_format("import os; os.open('%s', os.O_RDONLY | os.O_TRUNC)", elsewhere);
        _cleanup_(free_p) char *mode = memory_format("import os; os.chmod('%s', 0o4755)", elsewhere);
        const char *const scripts[] = {cut, empty, mode};
        const struct profile *const profiles[] = {&profile_image_program, &profile_small_machine};
        struct stat status;
        for (unsigned i = 0; i < 2 * ARRAY_SIZE(scripts) - 1; i++) { // the last: the small machine makes its own system
                const char *const argv[] = {PYTHON, "-c", scripts[i / 2], NULL};
                if (access(PYTHON, X_OK) < 0)
                        skip();
                assert_int_equal(run_as(profiles[i % 2], argv, 30, NULL), 0);
                assert_int_equal(code, 1);
                assert_non_null(strstr(words, "PermissionError"));
        }
        assert_int_equal(fstat(fd, &status), 0);
        assert_int_equal(status.st_size, 5);
        assert_int_equal(status.st_mode & 07777, 0600);
        assert_int_equal(unlink(elsewhere), 0);
}

// ---- files and signals ----

// Run a shell in the place of qemu-nbd, to try what such a program could.
static int shell(const char *script, int fd, bool writable) {
        const char *const argv[] = {"/bin/bash", "-c", script, NULL};
        struct confined_order order = {.profile = &profile_image_program,
                                       .argv = argv,
                                       .listener = -1,
                                       .files = {fd},
                                       .n_files = 1,
                                       .writable = writable,
                                       .cpu_seconds = 5};
        _cleanup_(confined_free_p) struct confined *program = NULL;
        int status = 0;
        error_clear(&err);
        if (confined_start(&order, &program, &err) < 0)
                fail_msg("%s", err.message);
        assert_true(confined_wait(program, 20000, &status));
        confined_ended(program, &err);
        return status;
}

static void a_confined_program_opens_what_it_was_given_and_nothing_else(void **state) {
        (void) state;
        scratch_write("a", "mine\n");
        scratch_write("b", "other\n");
        _cleanup_(close_p) int fd = open(scratch_path("a"), O_RDONLY | O_CLOEXEC);
        assert_int_equal(shell("read x < /proc/self/fd/4 && echo $x", fd, false), 0);
        assert_string_equal(err.message, "mine");
        _cleanup_(free_p) char *other = memory_format("read x < %s/b && echo $x", scratch);
        assert_int_not_equal(shell(other, fd, false), 0);
        assert_non_null(strstr(err.message, "Permission denied"));
        assert_int_not_equal(shell("read x < /etc/passwd", fd, false), 0);
        assert_int_not_equal(shell("echo gone > /proc/self/fd/4", fd, false), 0);
        assert_non_null(strstr(err.message, "Permission denied"));
        _cleanup_(free_p) char *made = memory_format("echo x > %s/c", scratch);
        assert_int_not_equal(shell(made, fd, true), 0);
        assert_false(scratch_has("c"));
}

static void a_confined_program_has_no_network_no_descriptors_and_no_power_over_others(void **state) {
        (void) state;
        scratch_write("a", "");
        _cleanup_(close_p) int fd = open(scratch_path("a"), O_RDONLY | O_CLOEXEC), inherited = dup(fd);
        assert_true(inherited >= 0);
        assert_int_not_equal(shell("echo x > /dev/tcp/127.0.0.1/1", fd, false), 0);
        assert_non_null(strstr(err.message, "not permitted"));
        assert_int_not_equal(shell("kill -0 $PPID", fd, false), 0);
        assert_int_not_equal(shell("(: <&5)", fd, false), 0);
        // Which it has beyond its own five; what the shell opens for itself comes in between and is closed again.
        if (shell("for i in 3 {5..250}; do if (: <&$i) 2>/dev/null; then echo descriptor $i; exit 1; fi; done", fd,
                  false) != 0)
                fail_msg("%s", err.message);
        assert_int_equal(shell("test $(ulimit -d) -le 786432 && test $(ulimit -c) = 0", fd, false), 0);
}

// By every call that sends one, or has one sent.
static void a_confined_program_signals_nobody_but_itself(void **state) {
        (void) state;
        static const char script[] =
                "import ctypes, fcntl, os, resource, sys\n"
                "libc, other, me = ctypes.CDLL(None, use_errno=True), os.getppid(), os.getpid()\n"
                "def refused(name, *words):\n"
                "    if libc.syscall(*words) != -1 or ctypes.get_errno() != 1: sys.exit('not refused: ' + name)\n"
                "if libc.syscall(%d, me, me, 0) != 0: sys.exit('not itself')\n"
                "refused('tgkill', %d, other, other, 0)\n"
                "refused('rt_sigqueueinfo', %d, other, 0, ctypes.create_string_buffer(128))\n"
                "refused('rt_tgsigqueueinfo', %d, other, other, 0, ctypes.create_string_buffer(128))\n"
                "refused('F_SETOWN', %d, 0, fcntl.F_SETOWN, other)\n"
                "refused('F_SETOWN_EX', %d, 0, 15, ctypes.create_string_buffer(bytes([1, 0, 0, 0]), 8))\n"
                "refused('prlimit', %d, other, resource.RLIMIT_CORE, 0, ctypes.create_string_buffer(16))\n"
                "resource.getrlimit(resource.RLIMIT_CORE)\n";
        _cleanup_(free_p) char *text = memory_format(script, SYS_tgkill, SYS_tgkill, SYS_rt_sigqueueinfo,
                                                     SYS_rt_tgsigqueueinfo, SYS_fcntl, SYS_fcntl, SYS_prlimit64);
        const char *const argv[] = {PYTHON, "-c", text, NULL};
        if (access(PYTHON, X_OK) < 0)
                skip();
        assert_int_equal(run_as(&profile_image_program, argv, 30, NULL), 0);
        assert_string_equal(words, "");
        assert_int_equal(code, 0);
}

static void a_confined_program_makes_no_namespaces(void **state) {
        (void) state;
        _cleanup_(free_p) char *text = memory_format("import ctypes, os\n"
                                                     "libc = ctypes.CDLL(None, use_errno=True)\n"
                                                     "if libc.syscall(%d, %d, 0, 0, 0, 0) != -1: os._exit(9)\n"
                                                     "if ctypes.get_errno() != 1: os._exit(8)\n"
                                                     "pid = os.fork()\n" // which is another matter
                                                     "if pid == 0: os._exit(0)\n"
                                                     "os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n",
                                                     SYS_clone, CLONE_NEWUSER | SIGCHLD);
        const char *const argv[] = {PYTHON, "-c", text, NULL};
        if (access(PYTHON, X_OK) < 0)
                skip();
        assert_int_equal(run_as(&profile_image_program, argv, 30, NULL), 0);
        assert_int_equal(code, 0);
}

static void a_confined_program_ends_with_whoever_started_it(void **state) {
        (void) state;
        int pipe_fds[2];
        assert_int_equal(pipe(pipe_fds), 0);
        pid_t child = fork();
        if (child == 0) {
                static const char *const argv[] = {"/bin/sleep", "100", NULL};
                struct confined_order order = {
                        .profile = &profile_image_program, .argv = argv, .listener = pipe_fds[1]};
                struct confined *program = NULL;
                close(pipe_fds[0]);
                if (confined_start(&order, &program, NULL) < 0)
                        _exit(1);
                kill(getpid(), SIGKILL);
        }
        close(pipe_fds[1]);
        char byte;
        assert_int_equal(read(pipe_fds[0], &byte, 1), 0); // the last that held the other end is gone
        close(pipe_fds[0]);
        assert_int_equal(waitpid(child, NULL, 0), child);
}

static void a_program_that_is_not_installed_is_named(void **state) {
        (void) state;
        static const char *const argv[] = {"/usr/bin/no-such-program", NULL};
        struct confined_order order = {.profile = &profile_image_program, .argv = argv, .listener = -1};
        struct confined *program = NULL;
        error_clear(&err);
        assert_int_equal(confined_start(&order, &program, &err), -1);
        assert_error(err, ERROR_NOT_FOUND, "/usr/bin/no-such-program: No such file or directory");
        assert_string_equal(err.hints[0], "install it on this host: apt install qemu-utils");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                SCRATCH_TEST(it_says_how_it_ended_and_what_it_said_last),
                SCRATCH_TEST(of_much_that_it_says_the_end_is_kept),
                SCRATCH_TEST(it_has_no_privileges_and_no_environment_of_ours),
                SCRATCH_TEST(it_reaches_no_network),
                SCRATCH_TEST(it_takes_no_more_memory_than_it_may),
                SCRATCH_TEST(it_ends_in_time_with_all_that_it_started),
                SCRATCH_TEST(it_ends_when_it_is_cancelled),
                SCRATCH_TEST(what_it_has_started_cannot_outlive_it),
                SCRATCH_TEST(one_with_a_small_machine_writes_only_where_it_may),
                SCRATCH_TEST(what_it_may_not_write_it_cannot_cut_nor_give_another_mode),
                SCRATCH_TEST(a_confined_program_opens_what_it_was_given_and_nothing_else),
                SCRATCH_TEST(a_confined_program_has_no_network_no_descriptors_and_no_power_over_others),
                SCRATCH_TEST(a_confined_program_signals_nobody_but_itself),
                SCRATCH_TEST(a_confined_program_makes_no_namespaces),
                SCRATCH_TEST(a_confined_program_ends_with_whoever_started_it),
                SCRATCH_TEST(a_program_that_is_not_installed_is_named),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
