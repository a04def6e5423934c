// SPDX-License-Identifier: LGPL-2.1-or-later
/* Names of pieces and prints of grains (see names.h). */
#include "agent/reuse/names.h"
#include "agent/blocks/lanes.h"
#include <string.h>
#include <xxhash.h>

size_t names_piece_length(size_t length, unsigned n) {
        size_t begin = (size_t) n * BLOCKS_PIECE;
        size_t left = begin < length ? length - begin : 0;
        return left < BLOCKS_PIECE ? left : BLOCKS_PIECE;
}

// Whole pieces side by side; the short one at the end of an image by itself.
void names_of_pieces(const uint8_t *block, size_t length, uint16_t pieces, uint8_t (*ret_names)[NAMES_BYTES]) {
        const uint8_t *whole[BLOCKS_PIECES];
        unsigned places[BLOCKS_PIECES];
        uint8_t digests[BLOCKS_PIECES][32];
        size_t n = 0;
        for (unsigned i = 0; i < BLOCKS_PIECES; i++) {
                size_t have = names_piece_length(length, i);
                const uint8_t *piece = block + (size_t) i * BLOCKS_PIECE;
                if (!(pieces >> i & 1) || have == 0)
                        continue;
                if (have == BLOCKS_PIECE) {
                        places[n] = i;
                        whole[n++] = piece;
                        continue;
                }
                uint8_t digest[1][32];
                lanes_sha256(&piece, 1, have, digest);
                memcpy(ret_names[i], digest[0], NAMES_BYTES);
        }
        lanes_sha256(whole, n, BLOCKS_PIECE, digests);
        for (size_t i = 0; i < n; i++)
                memcpy(ret_names[places[i]], digests[i], NAMES_BYTES);
}

uint16_t names_equal(const uint8_t *block, size_t length, uint16_t pieces, const uint8_t (*names)[NAMES_BYTES]) {
        uint8_t are[BLOCKS_PIECES][NAMES_BYTES];
        uint16_t equal = 0;
        names_of_pieces(block, length, pieces, are);
        for (unsigned i = 0; i < BLOCKS_PIECES; i++)
                if (pieces >> i & 1 && names_piece_length(length, i) > 0 && memcmp(are[i], names[i], NAMES_BYTES) == 0)
                        equal |= (uint16_t) (1u << i);
        return equal;
}

void names_of_grains(const uint8_t *piece, size_t length, uint8_t (*ret_prints)[NAMES_PRINT]) {
        for (unsigned i = 0; i < NAMES_GRAINS; i++) {
                size_t begin = (size_t) i * BLOCKS_GRAIN;
                size_t left = begin < length ? length - begin : 0;
                uint64_t print = left ? XXH3_64bits(piece + begin, left < BLOCKS_GRAIN ? left : BLOCKS_GRAIN) : 0;
                memcpy(ret_prints[i], &print, sizeof print);
        }
}
