// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The digest of an image, made from blocks that several streams hash at once and deliver nearly in order. Defined in
 * transfer.h. A digest belongs to one transfer; digest_add() may be called from any of its threads. Memory is bounded:
 * what came too early is kept in DIGEST_EARLY_MAX places, and a thread that finds them full waits for the missing part.
 */
#include "common/error.h"
#include "agent/transfer/transfer.h"

#define DIGEST_LEAF      16384u
#define DIGEST_BYTES     32
#define DIGEST_TEXT      80 // "d1:" and hex, with room
#define DIGEST_EARLY_MAX 64

// The hash of one block of 1 to TRANSFER_BLOCK bytes. Bit n of `pieces` says that the n-th leaf may hold something; the
// others are known to be zeros and cost nothing.
void digest_block(const uint8_t *block, size_t length, uint64_t pieces, uint8_t ret_hash[DIGEST_BYTES]);
// Which leaves of the block hold anything but zeros.
uint64_t digest_pieces(const uint8_t *block, size_t length);
size_t digest_leaves(size_t length); // of a block of this length

struct digest;
struct digest *digest_new(uint64_t bytes);
void digest_free(struct digest *digest);
// One block (hash) or a range of zeros (hash NULL) that begins at a multiple of TRANSFER_BLOCK and ends at one or at
// the end of the image. ERROR_PROTOCOL when it overlaps what was there before; ERROR_CANCELLED after digest_stop().
int digest_add(struct digest *digest, uint64_t offset, uint64_t length, const uint8_t *hash, struct error *err);
// Waits until every byte has been added and gives the result. ERROR_CANCELLED after digest_stop().
int digest_wait(struct digest *digest, uint8_t ret_hash[DIGEST_BYTES], struct error *err);
// The same without waiting: ERROR_PROTOCOL that names the first missing byte.
int digest_finish(struct digest *digest, uint8_t ret_hash[DIGEST_BYTES], struct error *err);
void digest_stop(struct digest *digest); // wakes all that wait
char *digest_text(const uint8_t hash[DIGEST_BYTES], char text[DIGEST_TEXT]);
