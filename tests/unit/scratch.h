// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What unit tests share: a directory of its own for each test (cmocka's setup and teardown), and children whose end is
 * looked at. Include after cmocka.h.
 */
#include "common/file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char scratch[64];

// A new directory below TMPDIR: whoever runs the tests can clear away what those leave that are aborted.
static inline int scratch_new(char *ret_path, size_t size) {
        const char *place = getenv("TMPDIR");
        int length = snprintf(ret_path, size, "%s/drover-unit-XXXXXX", place && *place ? place : "/tmp");
        if (length > 0 && (size_t) length < size && mkdtemp(ret_path))
                return 0;
        print_error("no new directory %s\n", ret_path);
        return -1;
}

static inline int scratch_make(void **state) {
        (void) state;
        return scratch_new(scratch, sizeof(scratch));
}

static inline int scratch_remove(void **state) {
        (void) state;
        return file_remove_tree(scratch, NULL);
}

// A path in it; the text is good until the fourth call after this one.
static inline const char *scratch_path(const char *name) {
        static char paths[4][512];
        static unsigned turn;
        char *path = paths[turn++ % 4];
        snprintf(path, sizeof(paths[0]), "%s/%s", scratch, name);
        return path;
}

static inline void scratch_write(const char *name, const char *text) {
        struct error err = ERROR_INIT;
        if (file_write(scratch_path(name), text, strlen(text), 0600, &err) < 0)
                fail_msg("%s", err.message);
}

static inline bool scratch_has(const char *name) {
        return access(scratch_path(name), F_OK) == 0;
}

// Run in a child, without its standard error, and give its wait status.
static inline int status_of_child(void (*body)(void)) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
                if (!freopen("/dev/null", "w", stderr))
                        _exit(99);
                body();
                _exit(0);
        }
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) != child)
                fail_msg("no child");
        return status;
}

#define SCRATCH_TEST(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

#define assert_error(err, expected_code, expected_message)                                                             \
        do {                                                                                                           \
                assert_string_equal((err).message, (expected_message));                                                \
                assert_int_equal((err).code, (expected_code));                                                         \
        } while (0)
