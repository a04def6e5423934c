// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * zstd on one stream: a frame that goes on from block to block, so that a block is coded with what came before it in
 * mind; a change of level or reach begins a new one. How far back what came before may lie is the *reach*: near, or, on
 * the stream that has an image to itself, far, which finds again what an image holds several times and costs both ends
 * the memory of it. Both ends bound their memory: no frame reaches further than its stream may, and a block is decoded
 * into its own place and nowhere else (fault 55). Owned by the stream's thread.
 */
#include "agent/blocks/grains.h"
#include "common/error.h"

#define CODER_LEVEL_MAX 15u
#define CODER_BYTES_MAX (BLOCKS_BLOCK + (64u << 10)) // a coded block

enum coder_reach {       // logarithm of zstd's window
        CODER_NEAR = 22, // 4 MiB
        CODER_FAR = 25,  // 32 MiB, with a search for long matches
};
// What a stream may have, from 0: the first is the one that goes on alone on a slow link.
static inline enum coder_reach coder_reach_of(unsigned stream) {
        return stream == 0 ? CODER_FAR : CODER_NEAR;
}

struct coder;
struct coder *coder_new(void);
void coder_free(struct coder *coder); // NULL is fine
// Codes these grains of a block. The result is the coder's, until the next call. *ret_begins: a new frame.
int coder_code(struct coder *coder, unsigned level, enum coder_reach reach, const uint8_t *block, size_t length,
               const struct grains *grains, const uint8_t **ret_bytes, size_t *ret_n, bool *ret_begins,
               struct error *err);
void coder_rest(struct coder *coder); // plain from now on: memory goes back

struct decoder;
struct decoder *decoder_new(enum coder_reach most);
void decoder_free(struct decoder *decoder); // NULL is fine
// Decodes a block's grains to their places in `block`, from bytes that come in any portions. ERROR_PROTOCOL when these
// are more or fewer than the grains, or want more memory.
int decoder_begin(struct decoder *decoder, bool begins, uint8_t *block, size_t length, const struct grains *grains,
                  struct error *err);
int decoder_take(struct decoder *decoder, const uint8_t *bytes, size_t n, struct error *err);
int decoder_end(struct decoder *decoder, struct error *err);
