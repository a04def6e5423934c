// SPDX-License-Identifier: LGPL-2.1-or-later
/* Locks by directory: a list of those in use, which is short, under a lock that nobody keeps while waiting. Any thread.
 */
#include "agent/host/hold_lock.h"
#include "common/memory.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

struct hold_lock {
        struct hold_lock *next;
        dev_t device;
        ino_t inode;
        unsigned users; // who has it, and who waits
        pthread_mutex_t mutex;
};

static pthread_mutex_t listing = PTHREAD_MUTEX_INITIALIZER; // of the list and the users
static struct hold_lock *first;

static struct hold_lock *find(const struct stat *status) {
        for (struct hold_lock *lock = first; lock; lock = lock->next)
                if (lock->device == status->st_dev && lock->inode == status->st_ino)
                        return lock;
        struct hold_lock *lock = new (struct hold_lock);
        lock->device = status->st_dev;
        lock->inode = status->st_ino;
        pthread_mutex_init(&lock->mutex, NULL);
        lock->next = first;
        return first = lock;
}

int hold_lock_take(int directory_fd, struct hold_lock **ret, struct error *err) {
        struct stat status;
        if (fstat(directory_fd, &status) < 0)
                return error_errno(err, errno, "look at the directory");
        pthread_mutex_lock(&listing);
        struct hold_lock *lock = find(&status);
        lock->users++;
        pthread_mutex_unlock(&listing);
        pthread_mutex_lock(&lock->mutex);
        *ret = lock;
        return 0;
}

static void drop(struct hold_lock *lock) {
        struct hold_lock **place = &first;
        while (*place != lock)
                place = &(*place)->next;
        *place = lock->next;
        pthread_mutex_destroy(&lock->mutex);
        free(lock);
}

void hold_lock_release(struct hold_lock *lock) {
        if (!lock)
                return;
        pthread_mutex_unlock(&lock->mutex);
        pthread_mutex_lock(&listing);
        if (--lock->users == 0)
                drop(lock);
        pthread_mutex_unlock(&listing);
}
