// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sending parcels on one stream (see sending.h). */
#include "agent/transfer/sending.h"
#include "agent/transfer/coder.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/units.h"
#include <string.h>
#include <time.h>

DEFINE_CLEANUP(coder_free, struct coder *)

// Of this many bytes and fewer, coding costs more than it saves.
#define TOO_SMALL 256u
// At least, for what was asked about: the link is slow, however little there is to send at the moment.
#define ASKED_LEVEL 3u

struct stream {
        const struct sending *sending;
        struct coder *coder;
        uint64_t offset; // of the parcel under way, for messages
        uint64_t held_us;
};

// ---- bytes, at the rate
static int wait_for_rate(struct stream *stream, size_t bytes, struct error *err) {
        const struct sending *sending = stream->sending;
        uint64_t began = 0;
        uint32_t milliseconds;
        while ((milliseconds = rate_take(sending->rate, bytes)) > 0) {
                if (!began)
                        began = coding_now_us();
                if (flow_stopping(sending->flow))
                        return error_set(err, ERROR_CANCELLED, "stopped");
                if (milliseconds > FLOW_TICK_MS)
                        milliseconds = FLOW_TICK_MS;
                nanosleep(&(struct timespec){.tv_nsec = milliseconds * 1000000L}, NULL);
        }
        if (began)
                stream->held_us += coding_now_us() - began;
        return 0;
}

static int send_bytes(struct stream *stream, const uint8_t *bytes, size_t length, struct error *err) {
        const struct sending *sending = stream->sending;
        while (length > 0) {
                size_t portion = rate_portion(sending->rate), n = portion && portion < length ? portion : length;
                if (portion && (wait_for_rate(stream, n, err) < 0))
                        return -1;
                if (channel_write(sending->channel, bytes, n, err) < 0 ||
                    (portion && channel_flush(sending->channel, err) < 0))
                        return -1;
                bytes += n;
                length -= n;
        }
        return 0;
}

// ---- a block
struct coded {
        Drover__DataCoding coding;
        const uint8_t *bytes; // NULL: plain, from the parcel's own buffer
        size_t length;
        uint64_t us;
};

static int code(struct stream *stream, const struct parcel *parcel, size_t plain, struct coded *ret,
                struct error *err) {
        unsigned level = coding_level(stream->sending->coding);
        if (parcel->answered && level < ASKED_LEVEL)
                level = ASKED_LEVEL;
        uint64_t began = coding_now_us();
        bool begins = false;
        *ret = (struct coded){.coding = DROVER__DATA_CODING__DATA_CODING_PLAIN, .length = plain};
        if (level == 0 || plain <= TOO_SMALL) {
                if (level == 0)
                        coder_rest(stream->coder);
                return 0;
        }
        if (coder_code(stream->coder, level, coding_reach(stream->sending->coding, stream->sending->stream),
                       parcel->buffer, (size_t) parcel->length, &parcel->grains, &ret->bytes, &ret->length, &begins,
                       err) < 0)
                return -1;
        ret->coding = begins ? DROVER__DATA_CODING__DATA_CODING_ZSTD_NEW : DROVER__DATA_CODING__DATA_CODING_ZSTD;
        ret->us = coding_now_us() - began;
        return 0;
}

static int send_header(struct stream *stream, const struct parcel *parcel, const struct coded *coded,
                       struct error *err) {
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

static int send_block(struct stream *stream, const struct parcel *parcel, struct error *err) {
        const struct sending *sending = stream->sending;
        size_t plain = grains_bytes(&parcel->grains, (size_t) parcel->length);
        struct coded coded;
        if (code(stream, parcel, plain, &coded, err) < 0 || send_header(stream, parcel, &coded, err) < 0)
                return -1;
        int sent = coded.bytes ? send_bytes(stream, coded.bytes, coded.length, err) : send_grains(stream, parcel, err);
        if (sent < 0)
                return -1;
        coding_done(sending->coding, plain, coded.length, coded.us, stream->held_us);
        stream->held_us = 0;
        if (sending->recalled && recalled_sent(sending->recalled, parcel->offset / BLOCKS_BLOCK))
                atomic_fetch_add(&sending->flow->bytes_resent, coded.length);
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
static int send_parcel(struct stream *stream, const struct parcel *parcel, struct error *err) {
        struct flow *flow = stream->sending->flow;
        stream->offset = parcel->offset;
        if (flow_stopping(flow))
                return error_set(err, ERROR_CANCELLED, "stopped");
        if (fault_point("agent.send.block", err) < 0)
                return -1;
        int result = parcel->kind == PARCEL_BLOCK  ? send_block(stream, parcel, err)
                     : parcel->kind == PARCEL_ZERO ? send_zeros(stream, parcel, err)
                                                   : send_keep(stream, parcel, err);
        if (result == 0)
                atomic_fetch_add(&flow->bytes_done, parcel->length);
        return result;
}

// The next parcel, NULL at the end. Before it waits for one, and before it rests because others code better alone, all
// that it has written is on its way: the sink may need just that for the others to go on.
static int next_parcel(struct stream *stream, struct parcel **ret, struct error *err) {
        const struct sending *sending = stream->sending;
        struct pipeline *pipeline = sending->flow->pipeline;
        *ret = coding_takes_part(sending->coding, sending->stream) ? pipeline_get_now(pipeline) : NULL;
        if (*ret)
                return 0;
        if (channel_flush(sending->channel, err) < 0)
                return -1;
        coding_join(sending->coding, sending->stream);
        *ret = pipeline_get(pipeline);
        return 0;
}

static int send_all(struct stream *stream, struct error *err) {
        const struct sending *sending = stream->sending;
        struct pipeline *pipeline = sending->flow->pipeline;
        struct parcel *parcel;
        for (;;) {
                if (next_parcel(stream, &parcel, err) < 0)
                        return -1;
                if (!parcel)
                        break;
                int result = send_parcel(stream, parcel, err);
                pipeline_give_back(pipeline, parcel);
                if (result < 0)
                        return -1;
        }
        coding_release(sending->coding);
        if (flow_stopping(sending->flow))
                return error_set(err, ERROR_CANCELLED, "stopped");
        return send_end(stream, err);
}

void sending_work(const struct sending *sending) {
        struct error why = ERROR_INIT;
        char text[UNITS_TEXT_MAX];
        _cleanup_(coder_free_p) struct coder *coder = coder_new();
        struct stream stream = {.sending = sending, .coder = coder};
        if (send_all(&stream, &why) == 0)
                return;
        if (why.code == ERROR_UNREACHABLE || why.code == ERROR_TIMEOUT || why.code == ERROR_TLS)
                error_prefix(&why, "send at %s", units_format_size(stream.offset, text));
        flow_fail(sending->flow, &why);
}
