// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Fault points. The instructions are files, so that a test gives them to a program that is already running and sees in
 * the file system when it has got there. Any thread; counting down is under a lock.
 */
#include "common/fault.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define HOLD_MS  120000u
#define POLL_NS  5000000
#define TEXT_MAX 128

enum action { ACTION_NONE, ACTION_KILL, ACTION_HOLD, ACTION_FAIL };

static char *directory;
static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;

void fault_init(void) {
        const char *value = getenv("DROVER_FAULT_DIR");
        free(directory);
        directory = value && *value ? memory_string(value) : NULL;
}

bool fault_active(void) {
        return directory != NULL;
}

static char *path_of(const char *name, const char *suffix) {
        return memory_format("%s/%s%s", directory, name, suffix);
}

static bool read_text(const char *path, char text[TEXT_MAX]) {
        struct buffer content;
        buffer_init(&content, 0);
        bool there = file_read(path, TEXT_MAX - 1, &content, NULL) == 0;
        if (there) {
                memcpy(text, content.data, content.length + 1);
                text[strcspn(text, "\n")] = '\0';
        }
        buffer_fini(&content);
        return there;
}

static enum error_code code_of(const char *word) {
#define X(symbol, number, text, exit_code)                                                                             \
        if (strcmp(word, text) == 0)                                                                                   \
                return symbol;
        ERROR_CODES(X)
#undef X
        return ERROR_FAILED;
}

// Under the lock. What is left of "nth N ..." goes back into the file; at 1 the rest is what counts.
static enum action look(const char *path, enum error_code *ret_code) {
        char text[TEXT_MAX];
        unsigned calls = 0;
        int start = 0;
        if (!read_text(path, text))
                return ACTION_NONE;
        if (sscanf(text, "nth %u %n", &calls, &start) == 1 && start > 0 && calls > 1) {
                char less[TEXT_MAX + 16];
                snprintf(less, sizeof(less), "nth %u %s\n", calls - 1, text + start);
                file_write(path, less, strlen(less), 0600, NULL);
                return ACTION_NONE;
        }
        const char *rest = text + start;
        if (strcmp(rest, "hold") == 0)
                return ACTION_HOLD;
        enum action action = strcmp(rest, "kill") == 0       ? ACTION_KILL
                             : strncmp(rest, "fail", 4) == 0 ? ACTION_FAIL
                                                             : ACTION_NONE;
        if (action == ACTION_FAIL)
                *ret_code = rest[4] == ' ' ? code_of(rest + 5) : ERROR_FAILED;
        if (action != ACTION_NONE)
                unlink(path); // once
        return action;
}

static enum action take(const char *path, enum error_code *ret_code) {
        pthread_mutex_lock(&counting);
        enum action action = look(path, ret_code);
        pthread_mutex_unlock(&counting);
        if (action == ACTION_KILL) {
                kill(getpid(), SIGKILL);
                for (;;)
                        pause();
        }
        return action;
}

static void mark_held(const char *held) {
        int fd = open(held, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        close_p(&fd);
}

static int hold(const char *name, const char *path, struct error *err) {
        _cleanup_(free_p) char *held = path_of(name, ".held");
        uint64_t until = clock_ms(&system_clock) + HOLD_MS;
        mark_held(held);
        while (access(path, F_OK) == 0 && clock_ms(&system_clock) < until)
                nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
        bool released = access(path, F_OK) < 0;
        unlink(held);
        if (!released)
                return error_set(err, ERROR_TIMEOUT, "fault point %s was held for %u s", name, HOLD_MS / 1000);
        return 0;
}

int fault_point(const char *name, struct error *err) {
        if (!directory)
                return 0;
        _cleanup_(free_p) char *path = path_of(name, "");
        enum error_code code = ERROR_FAILED;
        switch (take(path, &code)) {
        case ACTION_HOLD:
                return hold(name, path, err);
        case ACTION_FAIL:
                return error_set(err, code, "fault point %s", name);
        case ACTION_NONE:
        case ACTION_KILL:
                break;
        }
        return 0;
}

bool fault_held(const char *name) {
        if (!directory)
                return false;
        _cleanup_(free_p) char *path = path_of(name, ""), *held = path_of(name, ".held");
        enum error_code code;
        bool holding = take(path, &code) == ACTION_HOLD;
        if (holding)
                mark_held(held);
        else
                unlink(held);
        return holding;
}
