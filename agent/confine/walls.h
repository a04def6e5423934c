// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What happens between fork and exec of a confined program. Everything that needs memory is made before the fork: in
 * the child of a process with threads only system calls are safe. Used by confined.c alone.
 */
#include "agent/confine/confined.h"
#include "agent/confine/filter.h"

struct walls {
        struct confined_order order; // with descriptors of its own
        int null_fd;
        int ruleset_fd; // Landlock: what it may open; -1: this kernel has none
        struct filter filter;
};
int walls_prepare(const struct confined_order *order, struct walls *ret, struct error *err);
void walls_fini(struct walls *walls);
// In the child: never comes back. What the program says goes to `words`.
_Noreturn void walls_run(const struct walls *walls, int words, pid_t parent);
