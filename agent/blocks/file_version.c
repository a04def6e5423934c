// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A file's version (see file_version.h). Before Linux 6.13, and on some file systems after it, the time of a change is
 * that of the kernel's last tick: two changes within one tick leave the same version, as long as somebody has not
 * looked in a later one.
 */
#include "agent/blocks/file_version.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define TICKS_MAX 50u // a tick has 1 to 10 ms

// Times that are still to come (the clock was set back) tell changes apart as well as old ones.
static bool is_of_this_tick(const struct timespec *changed) {
        struct timespec now;
        return clock_gettime(CLOCK_REALTIME_COARSE, &now) == 0 && now.tv_sec == changed->tv_sec &&
               now.tv_nsec == changed->tv_nsec;
}

int file_version(int fd, uint64_t ret[FILE_VERSION_FACTS], struct error *err) {
        static const struct timespec pause = {.tv_nsec = 1000000};
        struct stat status;
        for (unsigned tries = 0; tries < TICKS_MAX; tries++) {
                if (fstat(fd, &status) < 0)
                        return error_errno(err, errno, "look at the image");
                if (!S_ISREG(status.st_mode))
                        return 0;
                if (!is_of_this_tick(&status.st_ctim))
                        break;
                nanosleep(&pause, NULL);
        }
        const uint64_t facts[FILE_VERSION_FACTS] = {
                status.st_dev,
                status.st_ino,
                (uint64_t) status.st_size,
                (uint64_t) status.st_mtim.tv_sec,
                (uint64_t) status.st_mtim.tv_nsec,
                (uint64_t) status.st_ctim.tv_sec,
                (uint64_t) status.st_ctim.tv_nsec,
        };
        memcpy(ret, facts, sizeof facts);
        return 1;
}
