// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A lock for each directory that jobs hold files in, known by device and inode: two paths to one directory are one.
 * It exists while somebody has it or waits for it. Any thread; between threads of this process only.
 */
#include "common/error.h"

struct hold_lock;
// Waits. Looks at the directory before it has any lock: one whose server is gone holds up only whoever wants that one.
int hold_lock_take(int directory_fd, struct hold_lock **ret, struct error *err);
void hold_lock_release(struct hold_lock *lock); // NULL is fine
