// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A large program of others (virt-sysprep and the QEMU that it starts) that works on images of a guest we do not trust:
 * no shell, no terminal, an environment of our own making, no descriptors but its output, no new privileges, of root's
 * powers only that to open files whoever owns them, no network (a namespace of its own where that may be had, and in
 * any case no socket but of this host's own kind), limits on memory, processor time and the length of the whole, and
 * its end with ours. Blocking; the caller's thread must outlive it.
 */
#include "common/error.h"
#include <stdint.h>

#define PROGRAM_WORDS_MAX 8192u
struct program_order {
        const char *const *argv;        // argv[0]: the program, absolute
        const char *const *environment; // "NAME=VALUE"; all that it gets
        const char *directory;          // where it stands, and may write
        unsigned seconds;               // then it is killed: ERROR_TIMEOUT
        uint64_t memory_bytes;          // address space of each of its processes
        bool (*cancelled)(void *data);  // polled four times a second; NULL: never
        void *data;
};
// Its exit status (128 + signal when it was killed) and the last of what it said. ERROR_NOT_FOUND when it is not here,
// ERROR_CANCELLED.
int program_run(const struct program_order *order, int *ret_code, char ret_words[PROGRAM_WORDS_MAX], struct error *err);
