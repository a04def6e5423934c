// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A program of QEMU's that looks into an image, run so that it can do little else: whatever a hostile image makes of
 * it, it holds no descriptor but those it was given, opens no other image, reaches no network, gains no privilege,
 * takes a bounded amount of memory, and ends with this process at the latest.
 *
 * Each has a thread of ours, which starts it (a child dies with the thread that made it), takes what it says and waits
 * for its end. confined_*() from any thread.
 */
#include "common/error.h"
#include <sys/types.h>

#define CONFINED_LISTENER   3 // where the program finds the listening socket, if it is given one
#define CONFINED_FIRST_FILE 4 // and the files, in order
#define CONFINED_FILES_MAX  17

struct confined;
struct confined_order {
        const char *const *argv; // argv[0]: the program, absolute. Fixed words and numbers only (fault 57)
        int listener;            // -1: none
        int files[CONFINED_FILES_MAX];
        unsigned n_files;
        bool writable;        // the files; otherwise it may only read them
        unsigned cpu_seconds; // 0: as many as it takes
};
// Descriptors stay the caller's and are not needed after this. ERROR_NOT_FOUND when the program is not installed.
int confined_start(const struct confined_order *order, struct confined **ret, struct error *err);
// Waits for its end, at most so many milliseconds. 1 and its wait status, 0: still there.
int confined_wait(struct confined *confined, unsigned milliseconds, int *ret_status);
// -1: err says what it died of, in its own words. After its end.
int confined_ended(struct confined *confined, struct error *err);
// Kills it unless it has ended; NULL is fine.
void confined_free(struct confined *confined);
