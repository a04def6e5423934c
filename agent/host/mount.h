// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * On which mount a path lies, as the kernel's table of mounts says: nothing is asked of the file system itself, which
 * may be one whose server is gone, where every question hangs. Any thread.
 */
#include <stdbool.h>

struct mount {
        int number;  // of the mount, in this table
        bool remote; // its files are on another host, or behind a program: reading may hang for as long as that one
                     // likes
};
// false: the table cannot be read, or the path is not absolute. Links in it are followed, as far as they lie on disks
// of this host.
bool mount_of(const char *path, struct mount *ret);
// The same with another table, for tests.
bool mount_in(const char *table, const char *path, struct mount *ret);
