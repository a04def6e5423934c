// SPDX-License-Identifier: LGPL-2.1-or-later
/* The jobs whose retired copies are in somebody's hands (see retired_lock.h): a short list. Any thread. */
#include "agent/host/retired_lock.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static pthread_mutex_t listing = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t released = PTHREAD_COND_INITIALIZER;
static struct retired_lock *first;

static bool is_taken(const char *job) {
        for (const struct retired_lock *lock = first; lock; lock = lock->next)
                if (strcmp(lock->job, job) == 0)
                        return true;
        return false;
}

void retired_lock_take(struct retired_lock *lock, const char *job) {
        pthread_mutex_lock(&listing);
        while (is_taken(job))
                pthread_cond_wait(&released, &listing);
        lock->job = job;
        lock->next = first;
        first = lock;
        pthread_mutex_unlock(&listing);
}

void retired_lock_release(struct retired_lock *lock) {
        if (!lock->job)
                return;
        pthread_mutex_lock(&listing);
        struct retired_lock **place = &first;
        while (*place != lock)
                place = &(*place)->next;
        *place = lock->next;
        lock->job = NULL;
        pthread_cond_broadcast(&released);
        pthread_mutex_unlock(&listing);
}
