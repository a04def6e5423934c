// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What one kind of confined program may do, as data: how much memory, which files, which system calls. What is the same
 * for all (no privileges, no network, no descriptors of ours, its end with ours) stands in walls.c. Constant.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct profile_tree { // a file, or all below a directory
        const char *path;
        uint64_t access; // LANDLOCK_ACCESS_FS_*; what is not there is left out
};
struct profile {
        const char *package;        // of Debian, that it is in: for who must install it
        uint64_t data_bytes;        // of each of its processes; 0: any
        uint64_t address_bytes;     // the same, with all that is only claimed; 0: any
        uint64_t stack_bytes;       // of each thread; 0: as many as we have ourselves
        unsigned descriptors;       // the most
        bool local_sockets;         // may make sockets of this host's own kind; otherwise none
        bool signals;               // may signal others, as far as its user may
        bool modes;                 // may change the modes and attributes of files that are its user's
        struct profile_tree *trees; // what it may open besides what its order names; ends with {NULL}
};
// qemu-nbd and qemu-img: one process, one image and those it is laid over.
extern const struct profile profile_image_program;
// virt-sysprep: a small virtual machine that looks into a guest, and the programs that build and start it.
extern const struct profile profile_small_machine;
