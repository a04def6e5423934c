// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * virt-sysprep: changes guests in a small virtual machine of libguestfs, so that their file systems are mounted by a
 * kernel of its own and never by this host's. Says whether it can run here, runs it confined, and says why it did not
 * like a guest. Any thread.
 */
#include "common/error.h"
#include <stdbool.h>

#define SMALL_MACHINE_PROGRAM   "/usr/bin/virt-sysprep"
#define SMALL_MACHINE_DISKS_MAX 64u

struct small_machine_order {
        const char *const *argv;
        const char *const *disks; // which it may write, besides its directory
        unsigned n_disks;
        const char *directory; // for its own files, hundreds of MiB
        bool (*cancelled)(void *data);
        void *data;
};
// ERROR_REFUSED when this host has no hardware virtualisation for it and this process may not emulate either, or when
// the program is not there. Quick, and nothing is started.
int small_machine_check(struct error *err);
// ERROR_REFUSED with the reason for a guest that cannot be opened or is of no kind that it knows, and where it is not
// installed; ERROR_CANCELLED, ERROR_TIMEOUT. Blocking, minutes.
int small_machine_run(const struct small_machine_order *order, struct error *err);
// What the words and the exit status of virt-sysprep say. 0: all was done; -1: ERROR_REFUSED.
int small_machine_explain(int code, const char *words, struct error *err);
