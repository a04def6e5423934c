// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What this host has already, for one transfer into it: the candidates, the index of their pieces, and what came of
 * looking. Candidates are open files that somebody else has found (agent/host/content); here nothing is opened, and no
 * name is known. Whatever is found has been read and hashed in that moment: a candidate that changes, and an index that
 * is wrong, cost bytes, never correctness.
 *
 * Owned by one transfer. Each thread that looks has a finder of its own (finder.h).
 */
#include "agent/reuse/candidate.h"
#include "agent/reuse/shelf.h"

#define REUSE_CANDIDATES_MAX 32u
#define REUSE_INDEX_BYTES    (8u << 20)     // of one transfer: three quarters of a million pieces, 48 GiB
#define REUSE_INDEX_RATE     (100ull << 20) // bytes a second that the index may read
#define REUSE_SHELF_BYTES    (64ull << 20)

struct reuse_config {
        struct shelf *shelf; // NULL: nothing is remembered from transfer to transfer
        size_t index_bytes;  // 0: REUSE_INDEX_BYTES
        uint64_t index_rate; // 0: REUSE_INDEX_RATE
};
struct reuse_counts {
        uint64_t pieces, found; // looked for; found
        uint64_t indexed;       // of those found, by the index
        uint64_t grains, same;  // compared where a piece was not found; that need not travel
        uint64_t wrong;         // pieces that were not right when they were put together
};
struct reuse;
// Takes the descriptors, likeliest first; those that are no regular files, and those beyond the bound, are closed.
struct reuse *reuse_new(const int *fds, unsigned n, const struct reuse_config *config);
void reuse_free(struct reuse *reuse);      // when no finder is left; NULL is fine
bool reuse_any(const struct reuse *reuse); // there is something to look in
void reuse_counts(const struct reuse *reuse, struct reuse_counts *ret);
