// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Which blocks of a partial image are known to be on the disk, and what they hash to: a file of 16 bytes a block beside
 * the partial image. An entry is written only after the image was flushed, and synced then; one whose block is to be
 * overwritten is taken away first, synced. What a crash leaves of the file costs bytes, never correctness: the source
 * compares each hash with that of its own block. Thread-safe.
 */
#include "agent/blocks/blocks.h"
#include "common/error.h"
#include <stdbool.h>

#define VERIFIED_HASH 16
struct verified;
// fd: the file, read-write, not closed here. image: what tells the partial image from any other (its identity, kind and
// format), at most 255 bytes. When the file is of another image or another length, or not whole, it begins anew:
// *ret_fresh.
int verified_open(int fd, const char *image, uint64_t bytes, struct verified **ret, bool *ret_fresh, struct error *err);
void verified_free(struct verified *verified); // writes nothing; NULL is fine
// The hash of block n; false: not verified (or only noted, and not committed).
bool verified_get(const struct verified *verified, uint64_t n, uint8_t ret[VERIFIED_HASH]);
// The first verified block at or after *n. false: there is none.
bool verified_next(const struct verified *verified, uint64_t *n);
// The verified blocks from n on without a gap, at most `most`; how many.
unsigned verified_run(const struct verified *verified, uint64_t n, uint8_t (*ret_hashes)[VERIFIED_HASH], unsigned most);
// How many attempts before this one have left something verified.
unsigned verified_resumed(const struct verified *verified);
void verified_note(struct verified *verified, uint64_t n,
                   const uint8_t hash[VERIFIED_HASH]);                         // written, not flushed yet
int verified_forget(struct verified *verified, uint64_t n, struct error *err); // before it is overwritten; synced
// Notes taken before this call become entries. Call it as: mark = verified_mark(); flush the image;
// verified_commit(mark).
uint64_t verified_mark(struct verified *verified);
int verified_commit(struct verified *verified, uint64_t mark, struct error *err);
uint64_t verified_count(const struct verified *verified);
