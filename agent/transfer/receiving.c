// SPDX-License-Identifier: LGPL-2.1-or-later
/* Receiving on one stream (see receiving.h). */
#include "agent/transfer/receiving.h"
#include "agent/transfer/coder.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/memory.h"
#include "common/units.h"
#include <string.h>

DEFINE_CLEANUP(proto_free, ProtobufCMessage *)
DEFINE_CLEANUP(decoder_free, struct decoder *)

// Bytes taken off the connection at a time: what a peer may take CHANNEL_FRAME_MS for.
#define PORTION (64u << 10)

struct stream {
        struct receiving *receiving;
        struct channel *channel;
        struct decoder *decoder;
        uint8_t *portion;
        uint64_t offset; // of the parcel under way, for messages
        bool ended;
};

void receiving_init(struct receiving *receiving, struct flow *flow, struct writers *writers, unsigned streams) {
        memset(receiving, 0, sizeof *receiving);
        receiving->flow = flow;
        receiving->writers = writers;
        atomic_init(&receiving->running, streams);
        pthread_mutex_init(&receiving->mutex, NULL);
        flow_condition(&receiving->changed);
}

void receiving_fini(struct receiving *receiving) {
        pthread_cond_destroy(&receiving->changed);
        pthread_mutex_destroy(&receiving->mutex);
}

void receiving_begin(struct receiving *receiving) {
        pthread_mutex_lock(&receiving->mutex);
        receiving->begun = true;
        pthread_cond_broadcast(&receiving->changed);
        pthread_mutex_unlock(&receiving->mutex);
}

static bool await_begin(struct receiving *receiving) {
        pthread_mutex_lock(&receiving->mutex);
        while (!receiving->begun && !flow_stopping(receiving->flow))
                flow_tick(&receiving->changed, &receiving->mutex);
        bool begun = receiving->begun;
        pthread_mutex_unlock(&receiving->mutex);
        return begun;
}

// ---- a block
static int check_block(const struct flow *flow, const Drover__DataBlock *block, struct parcel *parcel,
                       struct error *err) {
        uint64_t left = block->offset < flow->bytes_total ? flow->bytes_total - block->offset : 0;
        uint64_t length = left < BLOCKS_BLOCK ? left : BLOCKS_BLOCK;
        unsigned long long at = (unsigned long long) block->offset;
        if (left == 0 || block->offset % BLOCKS_BLOCK || block->length != length)
                return error_set(err, ERROR_PROTOCOL, "a block of %u bytes at %llu is none of this image",
                                 block->length, at);
        if (block->hash.len != DIGEST_HASH)
                return error_set(err, ERROR_PROTOCOL, "the block at %llu has no hash", at);
        grains_unpack(&parcel->grains, block->grains.data, block->grains.len);
        if (block->grains.len > GRAINS_BYTES || !grains_within(&parcel->grains, block->length) ||
            (!block->answered && grains_empty(&parcel->grains)))
                return error_set(err, ERROR_PROTOCOL, "the block at %llu has impossible grains", at);
        size_t plain = grains_bytes(&parcel->grains, block->length);
        bool coded = block->coding != DROVER__DATA_CODING__DATA_CODING_PLAIN;
        if (coded ? block->coded_bytes > CODER_BYTES_MAX : block->coded_bytes != plain)
                return error_set(err, ERROR_PROTOCOL, "the block at %llu comes in an impossible number of bytes, %u",
                                 at, block->coded_bytes);
        return 0;
}

static int read_plain(struct stream *stream, struct parcel *parcel, struct error *err) {
        struct grains_run run;
        for (size_t at = 0; grains_next(&parcel->grains, (size_t) parcel->length, true, &at, &run);)
                for (size_t n; run.begin < run.end; run.begin += n) {
                        n = run.end - run.begin < PORTION ? run.end - run.begin : PORTION;
                        if (channel_read(stream->channel, parcel->buffer + run.begin, n, err) < 0)
                                return -1;
                }
        return 0;
}

static int read_coded(struct stream *stream, const Drover__DataBlock *block, struct parcel *parcel, struct error *err) {
        bool begins = block->coding == DROVER__DATA_CODING__DATA_CODING_ZSTD_NEW;
        if (decoder_begin(stream->decoder, begins, parcel->buffer, (size_t) parcel->length, &parcel->grains, err) < 0)
                return -1;
        for (size_t left = block->coded_bytes; left > 0;) {
                size_t n = left < PORTION ? left : PORTION;
                if (channel_read(stream->channel, stream->portion, n, err) < 0 ||
                    decoder_take(stream->decoder, stream->portion, n, err) < 0)
                        return -1;
                left -= n;
        }
        return decoder_end(stream->decoder, err);
}

static void clear_the_rest(struct parcel *parcel) {
        struct grains_run run;
        for (size_t at = 0; grains_next(&parcel->grains, (size_t) parcel->length, false, &at, &run);)
                memset(parcel->buffer + run.begin, 0, run.end - run.begin);
}

static int check_content(const struct parcel *parcel, const struct digest_known *known, struct error *err) {
        char text[UNITS_TEXT_MAX];
        uint8_t hash[DIGEST_HASH];
        digest_block_known(parcel->buffer, (size_t) parcel->length, &parcel->grains, known, hash);
        if (memcmp(hash, parcel->hash, DIGEST_HASH) == 0)
                return 0;
        return error_set(err, ERROR_CORRUPT, "the block at %s is not what the source read",
                         units_format_size(parcel->offset, text));
}

// Added to the digest before it is written: a block that comes twice is refused and overwrites nothing.
static int add(const struct receiving *receiving, const struct parcel *parcel, struct error *err) {
        if (fault_point("agent.receive.block", err) < 0)
                return -1;
        return digest_add(receiving->flow->digest, parcel->offset, parcel->length, parcel->hash, err);
}

static void hand_on(const struct receiving *receiving, struct parcel *parcel) {
        parcel->kind = PARCEL_BLOCK;
        pipeline_put(receiving->flow->pipeline, parcel);
}

// What is found of a block that was named is written while the rest is on its way, so a block that has come must not be
// named. The answerer notes it as named and then looks into the digest, here it is the other way round: one of the two
// sees the other.
static int check_not_asked(const struct receiving *receiving, const struct parcel *parcel, struct error *err) {
        struct answerer *answerer = receiving->answerer;
        if (!answerer || !answerer->ops->is_out(answerer, parcel->offset))
                return 0;
        return error_set(err, ERROR_PROTOCOL, "the block at %llu comes while it is asked about",
                         (unsigned long long) parcel->offset);
}

static int settle(const struct receiving *receiving, const struct parcel *parcel, struct error *err) {
        return receiving->answerer->ops->added(receiving->answerer, parcel->offset, err);
}

int receiving_found(struct receiving *receiving, struct parcel *parcel, struct error *err) {
        parcel->written = 0;
        grains_find(parcel->buffer, (size_t) parcel->length, &parcel->grains);
        digest_block(parcel->buffer, (size_t) parcel->length, &parcel->grains, parcel->hash);
        if (add(receiving, parcel, err) < 0)
                return -1;
        hand_on(receiving, parcel);
        return 0;
}

int receiving_part(struct receiving *receiving, struct parcel *parcel, uint16_t pieces, struct digest_known *ret,
                   struct error *err) {
        grains_find_in(parcel->buffer, (size_t) parcel->length, pieces, &parcel->grains);
        digest_pieces(parcel->buffer, (size_t) parcel->length, &parcel->grains, pieces, ret->hashes);
        ret->pieces = pieces;
        return writers_part(receiving->writers, parcel, pieces, err);
}

// What was found here is put to what has come. 1: the block is whole; 0: it will come again; -1.
static int recover(struct stream *stream, struct parcel *parcel, struct digest_known *known, struct error *err) {
        struct answerer *answerer = stream->receiving->answerer;
        if (!answerer)
                return error_set(err, ERROR_PROTOCOL, "the block at %llu answers what nobody asked",
                                 (unsigned long long) parcel->offset);
        int whole = answerer->ops->recover(answerer, parcel, known, err);
        if (whole > 0)
                grains_find_in(parcel->buffer, (size_t) parcel->length, (uint16_t) ~known->pieces, &parcel->grains);
        return whole;
}

// 1: the parcel has been handed on.
static int receive_block(struct stream *stream, const Drover__DataBlock *block, struct parcel *parcel,
                         struct error *err) {
        struct digest_known known = {0};
        if (check_block(stream->receiving->flow, block, parcel, err) < 0)
                return -1;
        parcel->offset = stream->offset = block->offset;
        parcel->length = block->length;
        parcel->answered = block->answered;
        memcpy(parcel->hash, block->hash.data, DIGEST_HASH);
        bool coded = block->coding != DROVER__DATA_CODING__DATA_CODING_PLAIN;
        if ((coded ? read_coded(stream, block, parcel, err) : read_plain(stream, parcel, err)) < 0)
                return -1;
        if (block->answered) {
                int whole = recover(stream, parcel, &known, err);
                if (whole <= 0)
                        return whole;
        } else {
                clear_the_rest(parcel);
        }
        parcel->written = known.pieces;
        if (check_content(parcel, &known, err) < 0 || add(stream->receiving, parcel, err) < 0)
                return -1;
        if ((parcel->answered ? settle(stream->receiving, parcel, err)
                              : check_not_asked(stream->receiving, parcel, err)) < 0)
                return -1;
        hand_on(stream->receiving, parcel);
        return 1;
}

// ---- the other messages; 1: the parcel has been handed on
static int receive_zeros(struct stream *stream, const Drover__DataZero *zero, struct parcel *parcel,
                         struct error *err) {
        struct flow *flow = stream->receiving->flow;
        stream->offset = zero->offset;
        if (fault_point("agent.receive.block", err) < 0 ||
            digest_add(flow->digest, zero->offset, zero->length, NULL, err) < 0)
                return -1;
        parcel->kind = PARCEL_ZERO;
        parcel->offset = zero->offset;
        parcel->length = zero->length;
        pipeline_put(flow->pipeline, parcel);
        return 1;
}

// At most DIGEST_RUN_MAX blocks: whatever is missing before them, they are added at once and nothing waits for it that
// may be behind them on this stream.
static int keep_run(struct stream *stream, uint64_t first, unsigned n, struct error *err) {
        struct flow *flow = stream->receiving->flow;
        uint8_t hashes[DIGEST_RUN_MAX][VERIFIED_HASH];
        uint64_t offset = first * BLOCKS_BLOCK, left = flow->bytes_total - offset, length = (uint64_t) n * BLOCKS_BLOCK;
        const struct verified *verified = stream->receiving->writers->verified;
        for (unsigned i = 0; i < n; i++) {
                unsigned long long at = (first + i) * BLOCKS_BLOCK;
                if (!verified || !verified_get(verified, first + i, hashes[i]))
                        return error_set(err, ERROR_PROTOCOL, "the source keeps the block at %llu, which is not here",
                                         at);
        }
        return digest_add_run(flow->digest, offset, left < length ? left : length,
                              (const uint8_t(*)[DIGEST_HASH]) hashes, err);
}

static int receive_keep(struct stream *stream, const Drover__DataKeep *keep, struct parcel *parcel, struct error *err) {
        struct flow *flow = stream->receiving->flow;
        uint64_t blocks = (flow->bytes_total + BLOCKS_BLOCK - 1) / BLOCKS_BLOCK, end;
        if (keep->count == 0 || keep->first >= blocks || keep->count > blocks - keep->first)
                return error_set(err, ERROR_PROTOCOL, "the source keeps %llu blocks from %llu on, of an image of %llu",
                                 (unsigned long long) keep->count, (unsigned long long) keep->first,
                                 (unsigned long long) blocks);
        for (uint64_t done = 0, n; done < keep->count; done += n) {
                n = keep->count - done < DIGEST_RUN_MAX ? keep->count - done : DIGEST_RUN_MAX;
                if (keep_run(stream, keep->first + done, (unsigned) n, err) < 0)
                        return -1;
        }
        parcel->kind = PARCEL_KEEP;
        parcel->offset = stream->offset = keep->first * BLOCKS_BLOCK;
        end = (keep->first + keep->count) * BLOCKS_BLOCK;
        parcel->length = (end < flow->bytes_total ? end : flow->bytes_total) - parcel->offset;
        pipeline_put(flow->pipeline, parcel);
        return 1;
}

static int take(struct stream *stream, const Drover__DataEnvelope *envelope, struct parcel *parcel, struct error *err) {
        switch (envelope->body_case) {
        case DROVER__DATA_ENVELOPE__BODY_BLOCK:
                return receive_block(stream, envelope->block, parcel, err);
        case DROVER__DATA_ENVELOPE__BODY_ZERO:
                return receive_zeros(stream, envelope->zero, parcel, err);
        case DROVER__DATA_ENVELOPE__BODY_KEEP:
                return receive_keep(stream, envelope->keep, parcel, err);
        case DROVER__DATA_ENVELOPE__BODY_END:
                stream->ended = true;
                return 0;
        default:
                return error_set(err, ERROR_PROTOCOL, "the source sent \"%s\" out of turn",
                                 proto_oneof_name(&envelope->base, "body"));
        }
}

static int receive_all(struct stream *stream, struct error *err) {
        struct pipeline *pipeline = stream->receiving->flow->pipeline;
        if (!await_begin(stream->receiving))
                return error_set(err, ERROR_CANCELLED, "stopped");
        while (!stream->ended) {
                _cleanup_(proto_free_p) ProtobufCMessage *message = NULL;
                struct parcel *parcel = pipeline_take(pipeline);
                if (!parcel)
                        return error_set(err, ERROR_CANCELLED, "stopped");
                int taken = channel_receive(stream->channel, (Drover__DataEnvelope **) &message, err);
                if (taken == 0)
                        taken = take(stream, (Drover__DataEnvelope *) message, parcel, err);
                if (taken <= 0)
                        pipeline_give_back(pipeline, parcel);
                if (taken < 0)
                        return -1;
        }
        return 0;
}

void receiving_work(struct receiving *receiving, struct channel *channel, unsigned n) {
        struct error why = ERROR_INIT;
        char text[UNITS_TEXT_MAX];
        _cleanup_(decoder_free_p) struct decoder *decoder = decoder_new(coder_reach_of(n));
        _cleanup_(free_p) uint8_t *portion = memory_new(PORTION);
        struct stream stream = {.receiving = receiving, .channel = channel, .decoder = decoder, .portion = portion};
        int result = receive_all(&stream, &why);
        atomic_fetch_sub(&receiving->running, 1);
        if (result < 0) {
                if (why.code == ERROR_UNREACHABLE || why.code == ERROR_TIMEOUT || why.code == ERROR_TLS)
                        error_prefix(&why, "receive at %s", units_format_size(stream.offset, text));
                flow_fail(receiving->flow, &why);
        }
        flow_wake(receiving->flow);
}
