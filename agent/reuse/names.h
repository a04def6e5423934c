// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What pieces and grains are called when two hosts compare their content. The name of a piece is the first 16 bytes of
 * its SHA-256: equal names are equal content, whoever made them. The print of a grain is its XXH3-64: quick, and good
 * enough because a piece that was put together by prints is checked by its name. Pure, any thread.
 */
#include "agent/blocks/blocks.h"
#include <stdbool.h>

#define NAMES_BYTES  16
#define NAMES_PRINT  8
#define NAMES_GRAINS (BLOCKS_PIECE / BLOCKS_GRAIN) // of a piece

// The names of the pieces in the mask, of a block of `length` bytes; the others are left as they are.
void names_of_pieces(const uint8_t *block, size_t length, uint16_t pieces, uint8_t (*ret_names)[NAMES_BYTES]);
// Those of the pieces in the mask whose name is this.
uint16_t names_equal(const uint8_t *block, size_t length, uint16_t pieces, const uint8_t (*names)[NAMES_BYTES]);
// The prints of a piece's grains; what lies beyond its length is 0.
void names_of_grains(const uint8_t *piece, size_t length, uint8_t (*ret_prints)[NAMES_PRINT]);
// How much of piece n a block of `length` bytes has: BLOCKS_PIECE, less at its end, 0 beyond.
size_t names_piece_length(size_t length, unsigned n);
