// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What a peer says, without a network: the fuzzers of the two ends of a transfer put their own functions in the place
 * of the channel's (tests/fuzz/CMakeLists.txt names them for the linker). A fuzzer's bytes are messages, each with a
 * byte that says where it is said and its length in two; what is more of a message follows it. Everything that both
 * ends of a transfer compute from content is the same here as anywhere.
 */
#include "agent/reuse/names.h"
#include "agent/transfer/channel.h"
#include "common/error.h"
#include "common/frame.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LINE_HEADER 3u

struct line {
        const uint8_t *at, *end;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void need(bool holds) {
        if (!holds)
                abort();
}

static inline uint8_t line_byte(struct line *line) {
        return line->at < line->end ? *line->at++ : 0;
}

static inline bool line_ended(const struct line *line) {
        return (size_t) (line->end - line->at) < LINE_HEADER;
}

// The next message, as a channel gives it.
static inline int line_message(struct line *line, Drover__DataEnvelope **ret, struct error *err) {
        if (line_ended(line))
                return error_set(err, ERROR_UNREACHABLE, "the line is cut");
        size_t left = (size_t) (line->end - line->at) - LINE_HEADER, n = (size_t) (line->at[1] | line->at[2] << 8);
        const uint8_t *bytes = line->at + LINE_HEADER;
        if (n > left)
                n = left;
        line->at = bytes + n;
        return proto_unpack(&drover__data_envelope__descriptor, bytes, n, (ProtobufCMessage **) ret, err);
}

// A frame that was written to a channel.
static inline Drover__DataEnvelope *line_said(const void *bytes, size_t length) {
        Drover__DataEnvelope *envelope = NULL;
        need(length > FRAME_HEADER && length <= CHANNEL_FRAME_MAX + FRAME_HEADER);
        need(proto_unpack(&drover__data_envelope__descriptor, (const uint8_t *) bytes + FRAME_HEADER,
                          length - FRAME_HEADER, (ProtobufCMessage **) &envelope, NULL) == 0);
        return envelope;
}

// A clock that stands still: what waits for time waits for ever, and that is found.
static inline uint64_t line_monotonic(void *data) {
        (void) data;
        return 1;
}
static inline int64_t line_wall(void *data) {
        (void) data;
        return 1800000000;
}
static const struct clock line_clock = {line_monotonic, line_wall, NULL};

// ---- content
// Grains of one value each, so that a fuzzer can say them with a byte; some are zeros, and so is every fifth piece.
static inline uint8_t line_grain(size_t block, size_t grain) {
        size_t piece = block * BLOCKS_PIECES + grain / NAMES_GRAINS;
        return piece % 5 == 3 ? 0 : (uint8_t) (piece * 7 + grain % NAMES_GRAINS * 17);
}

static inline void line_content(size_t block, uint8_t *bytes, size_t length) {
        for (size_t i = 0; i < grains_count(length); i++) {
                size_t begin = i * BLOCKS_GRAIN, left = length - begin;
                memset(bytes + begin, line_grain(block, i), left < BLOCKS_GRAIN ? left : BLOCKS_GRAIN);
        }
}

// ---- in the channel's place, at either end
int __wrap_channel_flush(struct channel *channel, struct error *err);
int __wrap_channel_flush(struct channel *channel, struct error *err) {
        (void) channel;
        (void) err;
        return 0;
}

void __wrap_channel_set_patient(struct channel *channel);
void __wrap_channel_set_patient(struct channel *channel) {
        (void) channel;
}
