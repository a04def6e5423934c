// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What happens between fork and exec of a confined program. Everything that needs memory is made before the fork: in
 * the child of a process with threads only system calls are safe. Used by confined.c alone.
 */
#include "agent/confine/confined.h"
#include <linux/filter.h>

#define WALLS_CALLS_MAX 96 // instructions of the filter of system calls

struct walls {
        struct confined_order order; // with descriptors of its own
        int null_fd;
        int ruleset_fd; // Landlock: what it may open; -1: this kernel has none
        struct sock_filter calls[WALLS_CALLS_MAX];
        unsigned short n_calls;
};
int walls_prepare(const struct confined_order *order, struct walls *ret, struct error *err);
void walls_fini(struct walls *walls);
// In the child: never comes back. What the program says goes to `words`.
_Noreturn void walls_run(const struct walls *walls, int words, pid_t parent);
