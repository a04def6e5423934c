// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A program of others that looks into an image or a guest we do not trust, run so that it can do little else: whatever
 * a hostile image makes of it, it holds no descriptor but those it was given, opens nothing but what its profile and
 * its order name, reaches no network, has of root's powers only that to open files whoever owns them and gains none,
 * takes a bounded amount of memory, has an environment of our making, and ends with this process at the latest.
 *
 * Each has a thread of ours, which starts it (a child dies with the thread that made it), takes what it says and waits
 * for its end; what it has started itself ends with it. confined_*() from any thread.
 */
#include "agent/confine/profile.h"
#include "common/error.h"
#include <sys/types.h>

#define CONFINED_LISTENER        3 // where the program finds the listening socket, if it is given one
#define CONFINED_FIRST_FILE      4 // and the files, in order
#define CONFINED_FILES_MAX       17
#define CONFINED_ENVIRONMENT_MAX 16
#define CONFINED_WORDS_MAX       8192u

struct confined;
struct confined_order {
        const struct profile *profile;
        const char *const *argv;        // argv[0]: the program, absolute
        const char *const *environment; // "NAME=VALUE", besides LC_ALL=C
        unsigned n_environment;
        const char *directory; // where it stands; NULL: "/"
        int listener;          // -1: none
        int files[CONFINED_FILES_MAX];
        unsigned n_files;
        bool writable;            // the files; otherwise it may only read them
        const char *const *paths; // files and directories that it opens by name, to write
        unsigned n_paths;
        unsigned cpu_seconds; // of each of its processes; 0: as many as it takes
};
// Descriptors stay the caller's and are not needed after this; environment and argv are not either.
// ERROR_NOT_FOUND when the program is not installed.
int confined_start(const struct confined_order *order, struct confined **ret, struct error *err);
// Waits for its end, at most so many milliseconds. 1 and its wait status, 0: still there.
int confined_wait(struct confined *confined, unsigned milliseconds, int *ret_status);
// The last of what it said.
void confined_words(struct confined *confined, char ret[CONFINED_WORDS_MAX]);
// -1: err says what it died of, in its own words. After its end.
int confined_ended(struct confined *confined, struct error *err);
// Kills it, and what it has started, unless it has ended; NULL is fine.
void confined_free(struct confined *confined);

struct confined_patience {
        unsigned seconds;              // then it is killed: ERROR_TIMEOUT
        bool (*cancelled)(void *data); // polled four times a second, ERROR_CANCELLED; NULL: never
        void *data;
};
// Runs it to its end: its exit status (128 + signal when it was killed) and the last of what it said.
int confined_run(const struct confined_order *order, const struct confined_patience *patience, int *ret_code,
                 char ret_words[CONFINED_WORDS_MAX], struct error *err);
