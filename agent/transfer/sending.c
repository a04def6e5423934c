// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sending parcels on one stream (see sending.h). */
#include "agent/transfer/sending.h"
#include "agent/transfer/coder.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/units.h"
#include <string.h>

DEFINE_CLEANUP(coder_free, struct coder *)

// Of this many bytes and fewer, coding costs more than it saves.
#define TOO_SMALL 256u
// Without a rate, too: one that is set meanwhile is kept to from the next portion on.
#define PORTION (64u << 10)
// At least, for what was asked about: the link is slow, however little there is to send at the moment. Not more: naming
// wants the processors too.
#define ASKED_LEVEL 1u

struct stream {
        const struct sending *sending;
        uint64_t offset; // of the parcel under way, for messages
        uint64_t held_us;
};

// ---- bytes, at the rate
static int wait_for_rate(struct stream *stream, size_t bytes, struct error *err) {
        uint64_t began = coding_now_us();
        if (rate_wait(stream->sending->rate, bytes, stream->sending->flow, err) < 0)
                return -1;
        stream->held_us += coding_now_us() - began;
        return 0;
}

static int send_bytes(struct stream *stream, const uint8_t *bytes, size_t length, struct error *err) {
        const struct sending *sending = stream->sending;
        while (length > 0) {
                size_t portion = rate_portion(sending->rate), most = portion ? portion : PORTION;
                size_t n = most < length ? most : length;
                if (portion && wait_for_rate(stream, n, err) < 0)
                        return -1;
                if (channel_write(sending->channel, bytes, n, err) < 0 ||
                    (portion && channel_flush(sending->channel, err) < 0))
                        return -1;
                coding_sent(sending->coding, stream->held_us);
                stream->held_us = 0;
                bytes += n;
                length -= n;
        }
        return 0;
}

// ---- coding, on a thread of its own
static int code_block(const struct sending *sending, struct coder *coder, struct parcel *parcel,
                      struct coded_block **ret, struct error *err) {
        size_t plain = grains_bytes(&parcel->grains, (size_t) parcel->length), n = plain;
        unsigned level = coding_level(sending->coding);
        if (parcel->answered && level < ASKED_LEVEL)
                level = ASKED_LEVEL;
        if (level == 0)
                coder_rest(coder);
        if (level == 0 || plain <= TOO_SMALL) {
                *ret = coded_block_plain(parcel, plain);
                coding_done(sending->coding, plain, plain, 0);
                return 0;
        }
        uint64_t began = coding_now_us();
        const uint8_t *bytes;
        bool begins = false;
        if (coder_code(coder, level, coding_reach(sending->coding, sending->stream), parcel->buffer,
                       (size_t) parcel->length, &parcel->grains, &bytes, &n, &begins, err) < 0)
                return -1;
        *ret = coded_block_coded(
                parcel, begins ? DROVER__DATA_CODING__DATA_CODING_ZSTD_NEW : DROVER__DATA_CODING__DATA_CODING_ZSTD,
                bytes, n);
        coding_done(sending->coding, plain, n, coding_now_us() - began);
        pipeline_give_back(sending->flow->pipeline, parcel);
        return 0;
}

static int code_all(const struct sending *sending, struct coder *coder, struct error *err) {
        struct pipeline *pipeline = sending->flow->pipeline;
        for (;;) {
                struct coded_block *block;
                if (!coding_takes_part(sending->coding, sending->stream))
                        coder_rest(coder); // its memory is another's, who reaches further back
                coding_join(sending->coding, sending->stream);
                // A pipeline that was stopped still gives what was put; to code that would hold up the next attempt.
                struct parcel *parcel = flow_stopping(sending->flow) ? NULL : pipeline_get(pipeline);
                if (!parcel)
                        return 0;
                if (parcel->kind != PARCEL_BLOCK) {
                        block = coded_block_plain(parcel, 0);
                } else if (code_block(sending, coder, parcel, &block, err) < 0) {
                        pipeline_give_back(pipeline, parcel);
                        return -1;
                }
                if (!coded_put(sending->queue, block))
                        return 0; // the flow knows why
        }
}

void sending_code(const struct sending *sending) {
        struct error why = ERROR_INIT;
        _cleanup_(coder_free_p) struct coder *coder = coder_new();
        if (code_all(sending, coder, &why) < 0)
                flow_fail(sending->flow, &why);
        coding_release(sending->coding);
        coded_close(sending->queue);
}

// ---- a block
static int send_header(struct stream *stream, const struct coded_block *coded, struct error *err) {
        const struct parcel *parcel = &coded->what;
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataBlock block = DROVER__DATA_BLOCK__INIT;
        uint8_t grains[GRAINS_BYTES];
        grains_pack(&parcel->grains, grains);
        block.offset = parcel->offset;
        block.length = (uint32_t) parcel->length;
        block.hash = (ProtobufCBinaryData){DIGEST_HASH, (uint8_t *) parcel->hash};
        block.grains = (ProtobufCBinaryData){sizeof grains, grains};
        block.coding = coded->coding;
        block.coded_bytes = (uint32_t) coded->length;
        block.answered = parcel->answered;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_BLOCK;
        envelope.block = &block;
        return channel_put(stream->sending->channel, &envelope, err);
}

static int send_grains(struct stream *stream, const struct parcel *parcel, struct error *err) {
        struct grains_run run;
        for (size_t at = 0; grains_next(&parcel->grains, (size_t) parcel->length, true, &at, &run);)
                if (send_bytes(stream, parcel->buffer + run.begin, run.end - run.begin, err) < 0)
                        return -1;
        return 0;
}

static int send_block(struct stream *stream, const struct coded_block *block, struct error *err) {
        const struct sending *sending = stream->sending;
        const struct parcel *parcel = &block->what;
        if (send_header(stream, block, err) < 0)
                return -1;
        int sent =
                block->bytes ? send_bytes(stream, block->bytes, block->length, err) : send_grains(stream, parcel, err);
        if (sent < 0)
                return -1;
        if (sending->recalled && recalled_sent(sending->recalled, parcel->offset / BLOCKS_BLOCK))
                atomic_fetch_add(&sending->flow->bytes_resent, block->length);
        return 0;
}

// ---- the other parcels
static int send_zeros(struct stream *stream, const struct parcel *parcel, struct error *err) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataZero zero = DROVER__DATA_ZERO__INIT;
        zero.offset = parcel->offset;
        zero.length = parcel->length;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_ZERO;
        envelope.zero = &zero;
        if (channel_put(stream->sending->channel, &envelope, err) < 0)
                return -1;
        atomic_fetch_add(&stream->sending->flow->bytes_zero, parcel->length);
        return 0;
}

static int send_keep(struct stream *stream, const struct parcel *parcel, struct error *err) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataKeep keep = DROVER__DATA_KEEP__INIT;
        keep.first = parcel->offset / BLOCKS_BLOCK;
        keep.count = (parcel->length + BLOCKS_BLOCK - 1) / BLOCKS_BLOCK;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_KEEP;
        envelope.keep = &keep;
        if (channel_put(stream->sending->channel, &envelope, err) < 0)
                return -1;
        atomic_fetch_add(&stream->sending->flow->bytes_kept, parcel->length);
        return 0;
}

static int send_end(struct stream *stream, struct error *err) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataEnd end = DROVER__DATA_END__INIT;
        end.bytes = stream->sending->flow->bytes_total;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_END;
        envelope.end = &end;
        return channel_send(stream->sending->channel, &envelope, err);
}

// ---- the stream
static int send_next(struct stream *stream, const struct coded_block *block, struct error *err) {
        const struct parcel *parcel = &block->what;
        struct flow *flow = stream->sending->flow;
        stream->offset = parcel->offset;
        if (flow_stopping(flow))
                return error_set(err, ERROR_CANCELLED, "stopped");
        if (fault_point("agent.send.block", err) < 0)
                return -1;
        int result = parcel->kind == PARCEL_BLOCK  ? send_block(stream, block, err)
                     : parcel->kind == PARCEL_ZERO ? send_zeros(stream, parcel, err)
                                                   : send_keep(stream, parcel, err);
        if (result == 0)
                atomic_fetch_add(&flow->bytes_done, parcel->length);
        return result;
}

// The next one, NULL at the end. Before it waits for one, all that it has written is on its way: the sink may need just
// that for the others to go on.
static int next_block(struct stream *stream, struct coded_block **ret, struct error *err) {
        const struct sending *sending = stream->sending;
        *ret = coded_get_now(sending->queue);
        if (*ret)
                return 0;
        if (channel_flush(sending->channel, err) < 0)
                return -1;
        *ret = coded_get(sending->queue);
        return 0;
}

static int send_all(struct stream *stream, struct error *err) {
        const struct sending *sending = stream->sending;
        struct coded_block *block;
        for (;;) {
                if (next_block(stream, &block, err) < 0)
                        return -1;
                if (!block)
                        break;
                int result = send_next(stream, block, err);
                coded_block_free(block, sending->flow->pipeline);
                if (result < 0)
                        return -1;
        }
        if (flow_stopping(sending->flow))
                return error_set(err, ERROR_CANCELLED, "stopped");
        return send_end(stream, err);
}

void sending_work(const struct sending *sending) {
        struct error why = ERROR_INIT;
        char text[UNITS_TEXT_MAX];
        struct stream stream = {.sending = sending};
        if (send_all(&stream, &why) == 0) {
                atomic_fetch_add(sending->sent, 1);
                flow_wake(sending->flow);
                return;
        }
        if (why.code == ERROR_UNREACHABLE || why.code == ERROR_TIMEOUT || why.code == ERROR_TLS)
                error_prefix(&why, "send at %s", units_format_size(stream.offset, text));
        flow_fail(sending->flow, &why);
}
