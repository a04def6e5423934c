// SPDX-License-Identifier: LGPL-2.1-or-later
/* Looking for the pieces of a block (see finder.h). */
#include "agent/reuse/finder.h"
#include "agent/reuse/reuse_parts.h"
#include "common/memory.h"
#include <stdlib.h>
#include <string.h>

#define ANOTHER_LOOK                                                                                                   \
        64u // blocks after which a hopeless candidate gets another chance: images differ from place to place

struct finder {
        struct reuse *reuse;
        uint8_t *scratch; // a block; from the first time that it is needed
};

struct finder *finder_new(struct reuse *reuse) {
        struct finder *finder = new (struct finder);
        finder->reuse = reuse;
        return finder;
}

void finder_free(struct finder *finder) {
        if (finder)
                free(finder->scratch);
        free(finder);
}

static uint8_t *scratch(struct finder *finder) {
        if (!finder->scratch)
                finder->scratch = blocks_buffer();
        return finder->scratch;
}

static unsigned first_of(uint16_t pieces) {
        return (unsigned) __builtin_ctz(pieces);
}
static unsigned last_of(uint16_t pieces) {
        return 31u - (unsigned) __builtin_clz(pieces);
}
static unsigned count_of(uint16_t pieces) {
        return (unsigned) __builtin_popcount(pieces);
}

// Reads the stretch of the block that has these pieces to their places in `to`, and returns those that are there whole.
static uint16_t read_pieces(struct candidate *candidate, const struct finder_block *block, uint16_t pieces,
                            uint8_t *to) {
        size_t begin = (size_t) first_of(pieces) * BLOCKS_PIECE;
        size_t end = (size_t) last_of(pieces) * BLOCKS_PIECE + names_piece_length(block->length, last_of(pieces));
        size_t have = begin + candidate_read(candidate, block->offset + begin, to + begin, end - begin);
        uint16_t whole = 0;
        for (unsigned i = 0; i < BLOCKS_PIECES; i++)
                if (pieces >> i & 1 && (size_t) i * BLOCKS_PIECE + names_piece_length(block->length, i) <= have)
                        whole |= (uint16_t) (1u << i);
        return whole;
}

// The most promising candidate that has not been tried for this block; -1: none is worth it.
static int choose(const struct reuse *reuse, uint64_t offset, uint32_t tried) {
        int best = -1;
        unsigned best_promise = 0;
        for (unsigned i = 0; i < reuse->n; i++) {
                unsigned promise = candidate_promise(&reuse->candidates[i]);
                if (tried >> i & 1 ||
                    (candidate_hopeless(&reuse->candidates[i]) && (offset / BLOCKS_BLOCK + i) % ANOTHER_LOOK != 0))
                        continue;
                if (best < 0 || promise > best_promise) {
                        best = (int) i;
                        best_promise = promise;
                }
        }
        return best;
}

// At its own offset, straight into the buffer. What is not right there may still be alike.
static void try_first(struct finder *finder, struct finder_block *block, unsigned number, uint8_t *buffer) {
        struct candidate *candidate = &finder->reuse->candidates[number];
        uint16_t whole = read_pieces(candidate, block, block->named, buffer);
        block->found = names_equal(buffer, block->length, whole, (const uint8_t(*)[NAMES_BYTES]) block->names);
        candidate_learn(candidate, count_of(block->named), count_of(block->found));
        if (candidate_is_alike(candidate)) {
                block->alike = whole & (uint16_t) ~block->found;
                block->candidate = number;
        }
}

static void take_from(struct finder *finder, struct finder_block *block, uint16_t right, uint8_t *buffer) {
        for (unsigned i = 0; i < BLOCKS_PIECES; i++)
                if (right >> i & 1)
                        memcpy(buffer + (size_t) i * BLOCKS_PIECE, finder->scratch + (size_t) i * BLOCKS_PIECE,
                               names_piece_length(block->length, i));
        block->found |= right;
        block->alike &= (uint16_t) ~right;
}

static void try_other(struct finder *finder, struct finder_block *block, unsigned number, uint8_t *buffer) {
        struct candidate *candidate = &finder->reuse->candidates[number];
        uint16_t wanted = finder_missing(block);
        uint16_t whole = read_pieces(candidate, block, wanted, scratch(finder));
        uint16_t right =
                names_equal(finder->scratch, block->length, whole, (const uint8_t(*)[NAMES_BYTES]) block->names);
        candidate_learn(candidate, count_of(wanted), count_of(right));
        take_from(finder, block, right, buffer);
}

// All places that the index knows are read first and then hashed side by side.
static void try_index(struct finder *finder, struct finder_block *block, uint8_t *buffer) {
        struct reuse *reuse = finder->reuse;
        struct tags_place places[BLOCKS_PIECES];
        uint16_t told = 0, whole = 0;
        for (unsigned i = 0; i < BLOCKS_PIECES; i++) {
                if (!(finder_missing(block) >> i & 1) || names_piece_length(block->length, i) < BLOCKS_PIECE ||
                    !tags_find(reuse->tags, tags_of_name(block->names[i]), &places[i]))
                        continue;
                told |= (uint16_t) (1u << i);
                if (candidate_read(&reuse->candidates[places[i].candidate], places[i].piece * BLOCKS_PIECE,
                                   scratch(finder) + (size_t) i * BLOCKS_PIECE, BLOCKS_PIECE) == BLOCKS_PIECE)
                        whole |= (uint16_t) (1u << i);
        }
        if (!told)
                return;
        uint16_t right =
                names_equal(finder->scratch, block->length, whole, (const uint8_t(*)[NAMES_BYTES]) block->names);
        take_from(finder, block, right, buffer);
        atomic_fetch_add(&reuse->indexed, count_of(right));
        for (unsigned i = 0; i < BLOCKS_PIECES; i++)
                if (told >> i & 1 && !(right >> i & 1))
                        tags_remove(reuse->tags, tags_of_name(block->names[i]), &places[i]);
}

static void look(struct finder *finder, struct finder_block *block, uint8_t *buffer) {
        uint32_t tried = 0;
        for (unsigned n = 0; n < FINDER_TRIES && finder_missing(block); n++) {
                int number = choose(finder->reuse, block->offset, tried);
                if (number >= 0 && n == 0)
                        try_first(finder, block, (unsigned) number, buffer);
                else if (number >= 0)
                        try_other(finder, block, (unsigned) number, buffer);
                if (n == 0 && finder_missing(block))
                        try_index(finder, block, buffer);
                if (number < 0)
                        break;
                tried |= 1u << number;
        }
}

void finder_find(struct finder *finder, struct finder_block *block, uint8_t *buffer, finder_prints ret_prints) {
        block->found = block->alike = 0;
        block->candidate = 0;
        look(finder, block, buffer);
        for (unsigned i = 0; i < BLOCKS_PIECES; i++)
                if (block->alike >> i & 1)
                        names_of_grains(buffer + (size_t) i * BLOCKS_PIECE, names_piece_length(block->length, i),
                                        ret_prints[i]);
        reuse_learn(finder->reuse, count_of(block->named), count_of(block->found), count_of(block->alike));
}

const uint8_t *finder_alike(struct finder *finder, struct finder_block *block) {
        uint8_t *pieces = scratch(finder);
        if (block->alike)
                block->alike = read_pieces(&finder->reuse->candidates[block->candidate], block, block->alike, pieces);
        return pieces;
}

void finder_check(struct finder *finder, struct finder_block *block, unsigned same, const uint8_t *buffer) {
        struct reuse *reuse = finder->reuse;
        uint16_t pieces = block->alike;
        unsigned compared = count_of(pieces) * NAMES_GRAINS;
        uint16_t right = names_equal(buffer, block->length, pieces, (const uint8_t(*)[NAMES_BYTES]) block->names);
        candidate_learn_grains(&reuse->candidates[block->candidate], compared, same);
        block->found |= right;
        block->alike = 0;
        reuse_learn_grains(reuse, compared, same, count_of(pieces & (uint16_t) ~right));
}
