// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Whether a file system answers. A question to one whose server is gone hangs for as long as that one likes, and
 * nothing ends the thread that asked. So it is asked on a thread of its own, at most one for each mount, before others
 * go there who are not about that file system at all. Only what other hosts keep is asked (mount.h): a disk of this
 * host answers. Any thread; waits for at most reach_limits.wait_ms, and not at all for one that has been silent for as
 * long.
 */
#include "common/error.h"
#include <stdbool.h>

struct reach_limits {
        unsigned wait_ms, fresh_ms; // for an answer; how long one is good
};
extern struct reach_limits reach_limits; // only tests change it
bool reach_answers(const char *path);
// The same as an error: ERROR_REFUSED with a hint.
int reach_check(const char *path, struct error *err);
