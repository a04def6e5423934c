// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What one job retired, in one pair of hands at a time: a purge has no VM that would order it against the steps of an
 * undo, which puts the same files and volumes back. Known by the job's id, so that whoever waits for a file system
 * whose server is gone holds up nobody else's. Any thread; between threads of this process only.
 */

struct retired_lock { // the caller's, zeroed before it is taken; job: the caller's as well
        struct retired_lock *next;
        const char *job; // NULL: not taken
};
void retired_lock_take(struct retired_lock *lock, const char *job); // waits
void retired_lock_release(struct retired_lock *lock);               // one that was not taken is fine
