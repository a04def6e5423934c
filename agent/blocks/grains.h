// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A set of the grains of one block: which of them hold anything but zeros, which are to be sent, which have come. Pure.
 */
#include "agent/blocks/blocks.h"
#include <stdbool.h>

#define GRAINS_WORDS (BLOCKS_GRAINS / 64)
#define GRAINS_BYTES (BLOCKS_GRAINS / 8)

struct grains {
        uint64_t words[GRAINS_WORDS];
};
struct grains_run { // neighbours, in bytes from the block's beginning; the last grain of an image may be shorter
        size_t begin, end;
};
// Which grains of a block of 1 to BLOCKS_BLOCK bytes hold anything but zeros.
void grains_find(const uint8_t *block, size_t length, struct grains *ret);
void grains_find_in(const uint8_t *block, size_t length, uint16_t pieces, struct grains *ret); // of these alone
void grains_fill(struct grains *grains, size_t length); // all of a block of this length
bool grains_empty(const struct grains *grains);
bool grains_has(const struct grains *grains, size_t n);
void grains_set(struct grains *grains, size_t n, bool there);
size_t grains_count(size_t length);                              // of a block of this length
size_t grains_bytes(const struct grains *grains, size_t length); // in the grains that are there
bool grains_within(const struct grains *grains, size_t length);  // none lies behind the block's end
// The first run, at or after *at, of grains that are there (or, `there` false, that are not). *at moves behind it.
// false: there is none any more.
bool grains_next(const struct grains *grains, size_t length, bool there, size_t *at, struct grains_run *ret);
// As it travels: grain 8 * i + k is bit k of byte i. Bytes that are missing at the end are zeros.
void grains_pack(const struct grains *grains, uint8_t ret[GRAINS_BYTES]);
void grains_unpack(struct grains *grains, const uint8_t *bytes, size_t length);
