// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Frames: a 4-byte big-endian length, then that many bytes. Pure bytes in, frames out. The length is checked against
 * the bound before a byte is allocated (fault 39); 0 is an error. Memory follows what has arrived, not what was
 * announced.
 */
#include "common/buffer.h"

#define FRAME_HEADER   4u
#define FRAME_MAX      (4u << 20)  // after both sides have shown certificates
#define FRAME_MAX_JOIN (16u << 10) // for a peer without a certificate

struct frame_decoder {
        uint32_t max;
        uint32_t wanted; // length of the frame under way; 0: header under way
        uint8_t header[FRAME_HEADER];
        unsigned header_have;
        struct buffer body;
};
void frame_decoder_init(struct frame_decoder *decoder, uint32_t max);
void frame_decoder_fini(struct frame_decoder *decoder);
// Eat from *bytes; on a whole frame returns 1 with *ret_frame pointing into the decoder (valid until the next call),
// 0 when more bytes are needed, -1 on a length outside 1..max. *bytes and *length move past what was eaten.
int frame_decode(struct frame_decoder *decoder, const uint8_t **bytes, size_t *length, const uint8_t **ret_frame,
                 size_t *ret_length, struct error *err);
// Whether a frame has begun and is not yet whole (for the deadline on slow peers).
bool frame_decoder_midway(const struct frame_decoder *decoder);
void frame_encode_header(uint8_t header[FRAME_HEADER], uint32_t length);
