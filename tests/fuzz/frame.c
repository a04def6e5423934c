// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The frame decoder: whatever the bytes, and however they are cut into reads (faults 5 and 39), the frames are the
 * same, none is longer than the bound, and no more memory is held than has arrived. The first byte chooses how it is
 * cut.
 */
#include "common/frame.h"
#include <stdlib.h>
#include <string.h>

#define MOST 8192

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// All frames, each with its length before it, and at the end whether it was refused.
static void decode(const uint8_t *bytes, size_t length, size_t step, struct buffer *frames) {
        struct frame_decoder decoder;
        int result = 0;
        frame_decoder_init(&decoder, MOST);
        for (size_t at = 0; at < length && result >= 0; at += step) {
                const uint8_t *part = bytes + at, *frame;
                size_t left = length - at < step ? length - at : step, n;
                while ((result = frame_decode(&decoder, &part, &left, &frame, &n, NULL)) > 0) {
                        if (n == 0 || n > MOST)
                                abort();
                        uint32_t word = (uint32_t) n;
                        buffer_append(frames, &word, sizeof word, NULL);
                        buffer_append(frames, frame, n, NULL);
                }
                if (result == 0 && left != 0)
                        abort(); // asks for more although there is more
                if (decoder.body.capacity > 2 * (at + step) + 4096)
                        abort();
        }
        buffer_append(frames, result < 0 ? "refused" : "eaten", 7 - 2 * (result >= 0), NULL);
        frame_decoder_fini(&decoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct buffer whole, parts;
        if (size < 2)
                return 0;
        buffer_init(&whole, 0);
        buffer_init(&parts, 0);
        decode(data + 1, size - 1, size, &whole);
        decode(data + 1, size - 1, (size_t) data[0] + 1, &parts);
        if (whole.length != parts.length || memcmp(whole.data, parts.data, whole.length) != 0)
                abort();
        buffer_fini(&whole);
        buffer_fini(&parts);
        return 0;
}
