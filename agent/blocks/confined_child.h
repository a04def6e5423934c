// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What happens between fork and exec of a confined program. Everything that needs memory is made before the fork: in
 * the child of a process with threads only system calls are safe. Used by confined.c alone.
 */
#include "agent/blocks/confined.h"

struct confined_child {
        struct confined_order order; // with descriptors of its own
        int null_fd;
        int ruleset_fd; // Landlock: what it may open; -1: this kernel has none
};
int confined_child_prepare(const struct confined_order *order, struct confined_child *ret, struct error *err);
void confined_child_fini(struct confined_child *child);
// What the program says goes to `words`.
_Noreturn void confined_child_run(const struct confined_child *child, int words, pid_t parent);
