// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Looks for the pieces of one block after another in what this host has: at the same offset in the likeliest candidate,
 * by the index, at the same offset in a few others. A finder learns which candidates are worth it together with the
 * other finders of its reuse. Owned by one thread.
 */
#include "agent/blocks/grains.h"
#include "agent/reuse/names.h"
#include "agent/reuse/reuse.h"

#define FINDER_TRIES 3 // candidates that one block is looked for in, at its own offset

struct finder_block {
        uint64_t offset; // a multiple of BLOCKS_BLOCK
        uint32_t length; // less than BLOCKS_BLOCK at the end of the image
        uint16_t named;  // pieces that are looked for; the others are none of ours
        uint8_t names[BLOCKS_PIECES][NAMES_BYTES];
        // by finder_find()
        uint16_t found; // of those: they are in the buffer
        uint16_t alike; // of the rest: something stands at their place in the candidate below, with these prints
        unsigned candidate;
};
typedef uint8_t finder_prints[BLOCKS_PIECES][NAMES_GRAINS][NAMES_PRINT];

struct finder;
struct finder *finder_new(struct reuse *reuse);
void finder_free(struct finder *finder); // NULL is fine
// Fills in `block`; buffer (blocks_buffer()) then holds the pieces that were found and those that are alike at their
// places, and anything at the others. prints: of the pieces in `alike`.
void finder_find(struct finder *finder, struct finder_block *block, uint8_t *buffer, finder_prints ret_prints);
// The pieces that are alike, again, at their places in a block of the finder's own, until its next call. What is no
// longer there is taken out of `alike`.
const uint8_t *finder_alike(struct finder *finder, struct finder_block *block);
// The pieces that are alike have been put together in the buffer; of their grains `same` were the candidate's. Those
// whose name is right are found now; the others (their prints lied, or the candidate has changed meanwhile) have to be
// asked for whole. None is alike any more.
void finder_check(struct finder *finder, struct finder_block *block, unsigned same, const uint8_t *buffer);
static inline uint16_t finder_missing(const struct finder_block *block) {
        return block->named & (uint16_t) ~block->found;
}
