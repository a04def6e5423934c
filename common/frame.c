// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Frames: pure bytes in, frames out. A decoder that has refused a length refuses again at every further call, so that
 * nothing after a broken header is taken for a frame.
 */
#include "common/frame.h"

void frame_decoder_init(struct frame_decoder *decoder, uint32_t max) {
        *decoder = (struct frame_decoder){.max = max};
        buffer_init(&decoder->body, max);
}

void frame_decoder_fini(struct frame_decoder *decoder) {
        buffer_fini(&decoder->body);
}

static void eat(const uint8_t **bytes, size_t *length, size_t n) {
        *bytes += n;
        *length -= n;
}

static int decode_header(struct frame_decoder *decoder, const uint8_t **bytes, size_t *length, struct error *err) {
        while (decoder->header_have<FRAME_HEADER && * length> 0) {
                decoder->header[decoder->header_have++] = **bytes;
                eat(bytes, length, 1);
        }
        if (decoder->header_have < FRAME_HEADER)
                return 0;
        const uint8_t *h = decoder->header;
        uint32_t wanted = (uint32_t) h[0] << 24 | (uint32_t) h[1] << 16 | (uint32_t) h[2] << 8 | h[3];
        if (wanted == 0 || wanted > decoder->max)
                return error_set(err, ERROR_PROTOCOL, "frame length %u is outside 1..%u", wanted, decoder->max);
        decoder->wanted = wanted;
        return 0;
}

int frame_decode(struct frame_decoder *decoder, const uint8_t **bytes, size_t *length, const uint8_t **ret_frame,
                 size_t *ret_length, struct error *err) {
        if (decoder->wanted == 0) {
                buffer_clear(&decoder->body); // the frame handed out by the last call
                if (decode_header(decoder, bytes, length, err) < 0)
                        return -1;
                if (decoder->wanted == 0)
                        return 0;
        }
        size_t missing = decoder->wanted - decoder->body.length;
        size_t n = *length < missing ? *length : missing;
        if (buffer_append(&decoder->body, *bytes, n, err) < 0)
                return -1;
        eat(bytes, length, n);
        if (decoder->body.length < decoder->wanted)
                return 0;
        decoder->wanted = 0;
        decoder->header_have = 0;
        *ret_frame = decoder->body.data;
        *ret_length = decoder->body.length;
        return 1;
}

bool frame_decoder_midway(const struct frame_decoder *decoder) {
        return decoder->header_have > 0;
}

void frame_encode_header(uint8_t header[FRAME_HEADER], uint32_t length) {
        for (unsigned i = 0; i < FRAME_HEADER; i++)
                header[i] = (uint8_t) (length >> (24 - 8 * i));
}
