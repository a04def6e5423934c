// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Asking file systems (see reach.h): statvfs(), which network file systems answer from no cache of theirs. An answer is
 * good for a second, so that a host with many images on one mount asks once. Any thread, behind one lock that nobody
 * keeps while asking.
 */
#include "agent/host/reach.h"
#include "agent/host/mount.h"
#include "common/clock.h"
#include "common/memory.h"
#include <pthread.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>

struct reach_limits reach_limits = {.wait_ms = 5000, .fresh_ms = 1000};

struct asked {
        struct asked *next;
        int mount;
        bool asking;      // a thread is at it
        unsigned waiting; // callers
        uint64_t at_ms;   // of the question, and then of the answer; 0: never
        char *path;       // what is asked for
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // of the list and all in it
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;
static struct asked *first;

static bool is_fresh(const struct asked *asked) {
        return asked->at_ms && clock_ms(&system_clock) - asked->at_ms < reach_limits.fresh_ms;
}

// What nobody needs any more goes: mounts come and go, with another number each time.
static void drop_old(void) {
        for (struct asked **place = &first; *place;) {
                struct asked *asked = *place;
                if (asked->asking || asked->waiting || is_fresh(asked)) {
                        place = &asked->next;
                        continue;
                }
                *place = asked->next;
                free(asked->path);
                free(asked);
        }
}

static struct asked *find(int mount) {
        for (struct asked *asked = first; asked; asked = asked->next)
                if (asked->mount == mount)
                        return asked;
        drop_old();
        struct asked *asked = new (struct asked);
        asked->mount = mount;
        asked->next = first;
        return first = asked;
}

static void *ask(void *data) {
        struct asked *asked = data;
        struct statvfs space;
        int r = statvfs(asked->path, &space); // an error is an answer
        (void) r;
        pthread_mutex_lock(&lock);
        asked->asking = false;
        asked->at_ms = clock_ms(&system_clock);
        pthread_cond_broadcast(&answered);
        pthread_mutex_unlock(&lock);
        return NULL;
}

// Where no thread can be had it is taken for alive, as if nobody had asked.
static void begin(struct asked *asked, const char *path) {
        pthread_t thread;
        free(asked->path);
        asked->path = memory_string(path);
        asked->at_ms = clock_ms(&system_clock);
        asked->asking = pthread_create(&thread, NULL, ask, asked) == 0;
        if (asked->asking)
                pthread_detach(thread);
}

static bool wait_for(struct asked *asked) {
        uint64_t until = asked->at_ms + reach_limits.wait_ms, now;
        asked->waiting++;
        while (asked->asking && (now = clock_ms(&system_clock)) < until) {
                struct timespec at;
                uint64_t left = until - now;
                clock_gettime(CLOCK_MONOTONIC, &at);
                at.tv_sec += (time_t) (left / 1000);
                at.tv_nsec += (long) (left % 1000) * 1000000;
                at.tv_sec += at.tv_nsec / 1000000000;
                at.tv_nsec %= 1000000000;
                pthread_cond_clockwait(&answered, &lock, CLOCK_MONOTONIC, &at);
        }
        asked->waiting--;
        return !asked->asking;
}

bool reach_answers(const char *path) {
        struct mount mount;
        if (!mount_of(path, &mount) || !mount.remote)
                return true;
        pthread_mutex_lock(&lock);
        struct asked *asked = find(mount.number);
        if (!asked->asking && !is_fresh(asked))
                begin(asked, path);
        bool answers = wait_for(asked);
        pthread_mutex_unlock(&lock);
        return answers;
}

int reach_check(const char *path, struct error *err) {
        if (reach_answers(path))
                return 0;
        error_set(err, ERROR_REFUSED, "the file system of %s does not answer", path);
        error_hint(err, "see which server it needs: findmnt -T %s", path);
        return -1;
}
