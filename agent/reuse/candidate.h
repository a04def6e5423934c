// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * One file of this host whose content may be what is wanted, and how often it was. It may change, shrink or go away at
 * any moment: whatever is read from it is a guess until it has been hashed. Owned by a reuse; any thread reads.
 */
#include "common/error.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Which file, and which state of it. Another value of any member: nothing known about it counts.
struct candidate_version {
        uint64_t device, inode, birth;
        uint64_t bytes, modified, changed; // times in nanoseconds
};

struct candidate {
        int fd;                         // through the page cache
        int direct_fd;                  // around it; -1: the file system has no such thing
        unsigned rank;                  // 0: likeliest, as far as is known from outside
        atomic_uint errors;             // reads that failed
        atomic_uint tried, hit;         // pieces looked for at their own offset, and found; halved as they grow
        atomic_uint compared, the_same; // grains of pieces that were not found, as the source answered
};

// Takes the descriptor of a regular file. ERROR_REFUSED for anything else, and it is closed.
int candidate_open(struct candidate *candidate, int fd, unsigned rank, struct error *err);
void candidate_close(struct candidate *candidate);
int candidate_version(const struct candidate *candidate, struct candidate_version *ret, struct error *err);
// What is there now, up to `length`: 0 at its end, and when it cannot be read. What happens to be in the page cache is
// taken from there; the rest is read around it, for it would only drive out what others need. Offset and buffer are
// aligned to BLOCKS_ALIGNMENT; the buffer has room up to the next multiple of it.
size_t candidate_read(struct candidate *candidate, uint64_t offset, uint8_t *buffer, size_t length);
// Counts tried pieces and those found among them.
void candidate_learn(struct candidate *candidate, unsigned tried, unsigned hit);
void candidate_learn_grains(struct candidate *candidate, unsigned compared, unsigned the_same);
// The share of pieces that are expected to be found in it, of 1000; from its rank until there is better knowledge.
unsigned candidate_promise(const struct candidate *candidate);
bool candidate_hopeless(const struct candidate *candidate); // looked in often enough to know
bool candidate_is_alike(const struct candidate *candidate); // comparing grains with it has not been in vain
