// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The digest of an image, made from blocks that several threads hash at once and deliver nearly in order. The hash of a
 * piece is its XXH3-128 (canonical form: big endian), that of a block the XXH3-128 of its pieces' hashes in order; the
 * image's digest is the SHA-256 of its length (8 bytes, little endian) and the blocks' hashes in order. The last piece
 * and the last block may be shorter. "d2:" and lower-case hex.
 *
 * A digest belongs to one transfer; digest_add() may be called from any of its threads. Memory is bounded: what came
 * too early is kept in DIGEST_EARLY_MAX places, and a thread that finds them full waits for the missing part.
 */
#include "agent/blocks/grains.h"
#include "common/error.h"

#define DIGEST_HASH      16 // of a piece, of a block
#define DIGEST_BYTES     32 // of an image
#define DIGEST_TEXT      80 // "d2:" and hex, with room
#define DIGEST_EARLY_MAX 256
#define DIGEST_RUN_MAX   512 // blocks

// The hash of one block of 1 to BLOCKS_BLOCK bytes. The grains that are not in `grains` are known to be zeros.
void digest_block(const uint8_t *block, size_t length, const struct grains *grains, uint8_t ret_hash[DIGEST_HASH]);
// The same in two steps, for a block whose pieces come one by one: the hashes of those in the mask, and of all of them.
void digest_pieces(const uint8_t *block, size_t length, const struct grains *grains, uint16_t which,
                   uint8_t (*ret_hashes)[DIGEST_HASH]);
void digest_of_pieces(const uint8_t (*hashes)[DIGEST_HASH], size_t length, uint8_t ret_hash[DIGEST_HASH]);
struct digest_known { // pieces of a block whose hashes are known, whatever its buffer holds at their places
        uint16_t pieces;
        uint8_t hashes[BLOCKS_PIECES][DIGEST_HASH];
};
void digest_block_known(const uint8_t *block, size_t length, const struct grains *grains,
                        const struct digest_known *known, uint8_t ret_hash[DIGEST_HASH]);
void digest_zeros(size_t length, uint8_t ret_hash[DIGEST_HASH]); // the same of a block that holds nothing

struct digest;
struct digest *digest_new(uint64_t bytes);
void digest_free(struct digest *digest);
// One block (hash) or a range of zeros (hash NULL) that begins at a multiple of BLOCKS_BLOCK and ends at one or at the
// end of the image. ERROR_PROTOCOL when it overlaps what was there before; ERROR_CANCELLED after digest_stop().
int digest_add(struct digest *digest, uint64_t offset, uint64_t length, const uint8_t *hash, struct error *err);
// The same of neighbouring blocks at once, at most DIGEST_RUN_MAX: they take one place, however early they come.
int digest_add_run(struct digest *digest, uint64_t offset, uint64_t length, const uint8_t (*hashes)[DIGEST_HASH],
                   struct error *err);
bool digest_has(struct digest *digest, uint64_t offset); // this byte has been added
// Waits until every byte has been added and gives the result. ERROR_CANCELLED after digest_stop().
int digest_wait(struct digest *digest, uint8_t ret_hash[DIGEST_BYTES], struct error *err);
// The same without waiting: ERROR_PROTOCOL that names the first missing byte.
int digest_finish(struct digest *digest, uint8_t ret_hash[DIGEST_BYTES], struct error *err);
void digest_stop(struct digest *digest); // wakes all that wait
char *digest_text(const uint8_t hash[DIGEST_BYTES], char text[DIGEST_TEXT]);
