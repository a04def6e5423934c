// SPDX-License-Identifier: LGPL-2.1-or-later
/* A file that may hold what is wanted (see candidate.h). */
#include "agent/reuse/candidate.h"
#include "agent/blocks/blocks.h"
#include "common/cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#define ERRORS_MAX     3    // then its disk is left alone
#define MEMORY         4096 // pieces; halved then, so that what was learnt long ago fades
#define GRAINS_MEMORY  65536
#define PRIOR          8 // pieces that the rank counts for
#define HOPELESS_AFTER 256
#define HOPELESS       8 // of 1000
#define ALIKE_AFTER    1024
#define ALIKE          50 // of 1000: a print costs 8 bytes, a grain 4096

static uint64_t nanoseconds(const struct statx_timestamp *time) {
        return (uint64_t) time->tv_sec * 1000000000u + time->tv_nsec;
}

static int reopen_direct(int fd) {
        char path[32];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        return open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
}

int candidate_open(struct candidate *candidate, int fd, unsigned rank, struct error *err) {
        struct stat status;
        int failed = fstat(fd, &status) < 0 ? errno : 0;
        if (failed || !S_ISREG(status.st_mode)) {
                close(fd);
                return failed ? error_errno(err, failed, "stat") : error_set(err, ERROR_REFUSED, "not a regular file");
        }
        *candidate = (struct candidate){.fd = fd, .direct_fd = reopen_direct(fd), .rank = rank};
        return 0;
}

void candidate_close(struct candidate *candidate) {
        close_p(&candidate->fd);
        close_p(&candidate->direct_fd);
        candidate->fd = candidate->direct_fd = -1;
}

int candidate_version(const struct candidate *candidate, struct candidate_version *ret, struct error *err) {
        struct statx status;
        if (statx(candidate->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &status) < 0)
                return error_errno(err, errno, "stat");
        *ret = (struct candidate_version){
                .device = makedev(status.stx_dev_major, status.stx_dev_minor),
                .inode = status.stx_ino,
                .birth = status.stx_mask & STATX_BTIME ? nanoseconds(&status.stx_btime) : 0,
                .bytes = status.stx_size,
                .modified = nanoseconds(&status.stx_mtime),
                .changed = nanoseconds(&status.stx_ctime),
        };
        return 0;
}

static ssize_t read_some(struct candidate *candidate, uint64_t offset, uint8_t *buffer, size_t length) {
        size_t rounded = (length + BLOCKS_ALIGNMENT - 1) / BLOCKS_ALIGNMENT * BLOCKS_ALIGNMENT;
        struct iovec whole = {.iov_base = buffer, .iov_len = length};
        ssize_t n = preadv2(candidate->fd, &whole, 1, (off_t) offset, RWF_NOWAIT);
        if (n == (ssize_t) length)
                return n;
        if (candidate->direct_fd >= 0)
                n = pread(candidate->direct_fd, buffer, rounded, (off_t) offset);
        if (candidate->direct_fd < 0 || (n < 0 && errno == EINVAL)) // it wants another alignment, or none at all
                n = pread(candidate->fd, buffer, length, (off_t) offset);
        return n;
}

size_t candidate_read(struct candidate *candidate, uint64_t offset, uint8_t *buffer, size_t length) {
        size_t have = 0;
        if (atomic_load_explicit(&candidate->errors, memory_order_relaxed) >= ERRORS_MAX)
                return 0;
        while (have < length && have % BLOCKS_ALIGNMENT == 0) {
                ssize_t n = read_some(candidate, offset + have, buffer + have, length - have);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        atomic_fetch_add(&candidate->errors, 1);
                if (n <= 0)
                        break;
                have += (size_t) n;
        }
        return have < length ? have : length;
}

// Two threads that learn at once may lose a little of what was learnt; it is a guess anyway.
static void learn(atomic_uint *all, atomic_uint *good, unsigned add_all, unsigned add_good, unsigned most) {
        if (atomic_fetch_add(all, add_all) + add_all > most) {
                atomic_store(all, atomic_load(all) / 2);
                atomic_store(good, atomic_load(good) / 2);
        }
        atomic_fetch_add(good, add_good);
}

void candidate_learn(struct candidate *candidate, unsigned tried, unsigned hit) {
        learn(&candidate->tried, &candidate->hit, tried, hit, MEMORY);
}

void candidate_learn_grains(struct candidate *candidate, unsigned compared, unsigned the_same) {
        learn(&candidate->compared, &candidate->the_same, compared, the_same, GRAINS_MEMORY);
}

unsigned candidate_promise(const struct candidate *candidate) {
        unsigned tried = atomic_load_explicit(&candidate->tried, memory_order_relaxed);
        unsigned hit = atomic_load_explicit(&candidate->hit, memory_order_relaxed);
        unsigned expected = 500 / (candidate->rank + 1);
        return (unsigned) (((uint64_t) hit * 1000 + (uint64_t) PRIOR * expected) / (tried + PRIOR));
}

bool candidate_hopeless(const struct candidate *candidate) {
        unsigned tried = atomic_load_explicit(&candidate->tried, memory_order_relaxed);
        unsigned hit = atomic_load_explicit(&candidate->hit, memory_order_relaxed);
        return atomic_load_explicit(&candidate->errors, memory_order_relaxed) >= ERRORS_MAX ||
               (tried >= HOPELESS_AFTER && (uint64_t) hit * 1000 < (uint64_t) tried * HOPELESS);
}

bool candidate_is_alike(const struct candidate *candidate) {
        unsigned compared = atomic_load_explicit(&candidate->compared, memory_order_relaxed);
        unsigned same = atomic_load_explicit(&candidate->the_same, memory_order_relaxed);
        return compared < ALIKE_AFTER || (uint64_t) same * 1000 >= (uint64_t) compared * ALIKE;
}
