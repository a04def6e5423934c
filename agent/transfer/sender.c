// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The source's end of a transfer: each stream's thread takes the next range of the image, reads it, hashes it and sends
 * it, until none is left; then all of them say the digest and wait for the sink's word that it is on its disk.
 */
#include "agent/transfer/copy.h"
#include "agent/transfer/rate.h"
#include "agent/blocks/source_file.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/units.h"
#include <string.h>
#include <time.h>

DEFINE_CLEANUP(proto_free, ProtobufCMessage *)

struct sender {
        struct copy copy;
        struct source *source;
        struct rate rate;
};

struct sending { // one stream
        struct sender *sender;
        struct flow *flow;
        struct channel *channel;
        uint8_t *buffer;
        uint64_t offset; // of the range under way, for messages
};

// ---- what the sink says meanwhile
static int hear_sink(struct channel *channel, Drover__DataEnvelope__BodyCase body, Drover__DataEnvelope **ret,
                     struct error *err) {
        return channel_expect(channel, body, "the sink", ret, err);
}

// Between blocks: nothing is due from the sink before the end, except that it has failed.
static int check_between(struct sending *sending, struct error *err) {
        _cleanup_(proto_free_p) ProtobufCMessage *envelope = NULL;
        if (channel_readable(sending->channel)) {
                if (hear_sink(sending->channel, DROVER__DATA_ENVELOPE__BODY_FAILURE,
                              (Drover__DataEnvelope **) &envelope, err) < 0)
                        return -1;
        }
        if (atomic_load_explicit(&sending->flow->stopping, memory_order_relaxed))
                return error_set(err, ERROR_CANCELLED, "stopped");
        return 0;
}

// The connection broke: the sink may have said why before.
static void prefer_last_words(struct sending *sending, struct error *err) {
        _cleanup_(proto_free_p) ProtobufCMessage *envelope = NULL;
        struct error said = ERROR_INIT;
        if (err->code != ERROR_UNREACHABLE || !channel_readable(sending->channel))
                return;
        channel_set_deadline(sending->channel, 500);
        if (channel_receive(sending->channel, (Drover__DataEnvelope **) &envelope, NULL) < 0)
                return;
        const Drover__DataEnvelope *last = (const Drover__DataEnvelope *) envelope;
        if (last->body_case != DROVER__DATA_ENVELOPE__BODY_FAILURE)
                return;
        proto_error(last->failure, &said);
        error_prefix(&said, "the sink failed");
        *err = said;
}

// ---- ranges
static int send_zeros(struct sending *sending, const struct source_range *range, struct error *err) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataZero zero = DROVER__DATA_ZERO__INIT;
        zero.offset = range->offset;
        zero.length = range->length;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_ZERO;
        envelope.zero = &zero;
        if (digest_add(sending->flow->digest, range->offset, range->length, NULL, err) < 0 ||
            channel_send(sending->channel, &envelope, err) < 0)
                return -1;
        atomic_fetch_add(&sending->flow->bytes_zero, range->length);
        return 0;
}

static int wait_for_rate(struct sending *sending, size_t bytes, struct error *err) {
        uint32_t milliseconds;
        while ((milliseconds = rate_take(&sending->sender->rate, bytes)) > 0) {
                if (flow_gives_up(sending->flow, true))
                        return error_set(err, ERROR_CANCELLED, "stopped");
                if (milliseconds > FLOW_TICK_MS)
                        milliseconds = FLOW_TICK_MS;
                nanosleep(&(struct timespec){.tv_nsec = milliseconds * 1000000L}, NULL);
        }
        return 0;
}

static int send_bytes(struct sending *sending, const uint8_t *bytes, size_t length, struct error *err) {
        bool limited = sending->sender->rate.bytes_per_second > 0;
        while (length > 0) {
                size_t n = limited && length > RATE_PORTION ? RATE_PORTION : length;
                if ((limited && wait_for_rate(sending, n, err) < 0) ||
                    channel_write(sending->channel, bytes, n, err) < 0 ||
                    (limited && channel_flush(sending->channel, err) < 0))
                        return -1;
                bytes += n;
                length -= n;
        }
        return 0;
}

// The leaves that hold something, each run of neighbours at once.
static int send_pieces(struct sending *sending, size_t length, uint64_t pieces, struct error *err) {
        size_t leaves = copy_leaves(length);
        for (size_t i = 0; i < leaves;) {
                size_t run = i;
                while (run < leaves && pieces >> run & 1)
                        run++;
                size_t begin = i * COPY_LEAF, end = run * COPY_LEAF < length ? run * COPY_LEAF : length;
                if (run > i && send_bytes(sending, sending->buffer + begin, end - begin, err) < 0)
                        return -1;
                i = run + 1;
        }
        return channel_flush(sending->channel, err);
}

static int send_block(struct sending *sending, const struct source_range *range, struct error *err) {
        uint8_t hash[DIGEST_HASH];
        struct grains grains;
        size_t length = (size_t) range->length;
        if (source_read(sending->sender->source, range->offset, sending->buffer, length, err) < 0)
                return -1;
        grains_find(sending->buffer, length, &grains);
        uint64_t pieces = copy_pieces(&grains);
        if (pieces == 0)
                return send_zeros(sending, range, err);
        digest_block(sending->buffer, length, &grains, hash);
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataBlock block = DROVER__DATA_BLOCK__INIT;
        block.offset = range->offset;
        block.length = (uint32_t) length;
        block.sha256 = (ProtobufCBinaryData){sizeof hash, hash};
        block.pieces = pieces;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_BLOCK;
        envelope.block = &block;
        if (digest_add(sending->flow->digest, range->offset, length, hash, err) < 0 ||
            channel_send(sending->channel, &envelope, err) < 0)
                return -1;
        return send_pieces(sending, length, pieces, err);
}

static int send_ranges(struct sending *sending, struct error *err) {
        struct source_range range;
        int more;
        while ((more = source_next(sending->sender->source, &range, err)) > 0) {
                sending->offset = range.offset;
                if (check_between(sending, err) < 0 || fault_point("agent.send.block", err) < 0 ||
                    (range.zero ? send_zeros(sending, &range, err) : send_block(sending, &range, err)) < 0)
                        return -1;
                atomic_fetch_add(&sending->flow->bytes_done, range.length);
        }
        return more;
}

// ---- a stream
static int send_begin(struct sending *sending, struct error *err) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataBegin begin = DROVER__DATA_BEGIN__INIT;
        begin.file_bytes = sending->sender->source->bytes;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_BEGIN;
        envelope.begin = &begin;
        return channel_send(sending->channel, &envelope, err);
}

static int send_end(struct sending *sending, uint8_t hash[DIGEST_BYTES], struct error *err) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataEnd end = DROVER__DATA_END__INIT;
        if (digest_wait(sending->flow->digest, hash, err) < 0)
                return -1;
        end.file_bytes = sending->sender->source->bytes;
        end.digest = (ProtobufCBinaryData){DIGEST_BYTES, hash};
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_END;
        envelope.end = &end;
        return channel_send(sending->channel, &envelope, err);
}

static int await_done(struct sending *sending, const uint8_t hash[DIGEST_BYTES], struct error *err) {
        for (;;) {
                _cleanup_(proto_free_p) ProtobufCMessage *message = NULL;
                if (channel_receive(sending->channel, (Drover__DataEnvelope **) &message, err) < 0)
                        return -1;
                const Drover__DataEnvelope *envelope = (const Drover__DataEnvelope *) message;
                switch (envelope->body_case) {
                case DROVER__DATA_ENVELOPE__BODY_WAIT:
                        continue;
                case DROVER__DATA_ENVELOPE__BODY_FAILURE:
                        proto_error(envelope->failure, err);
                        return error_prefix(err, "the sink failed");
                case DROVER__DATA_ENVELOPE__BODY_DONE:
                        if (envelope->done->digest.len == DIGEST_BYTES &&
                            memcmp(envelope->done->digest.data, hash, DIGEST_BYTES) == 0)
                                return 0;
                        return error_set(err, ERROR_CORRUPT, "the sink has another digest than the source");
                default:
                        return error_set(err, ERROR_PROTOCOL, "the sink sent \"%s\" out of turn",
                                         proto_oneof_name(message, "body"));
                }
        }
}

static int send_stream(struct sending *sending, struct error *err) {
        uint8_t hash[DIGEST_BYTES];
        if (send_begin(sending, err) < 0 || send_ranges(sending, err) < 0 || send_end(sending, hash, err) < 0)
                return -1;
        return await_done(sending, hash, err);
}

static void add_place(const struct sending *sending, struct error *err) {
        char text[UNITS_TEXT_MAX];
        if (err->code == ERROR_UNREACHABLE || err->code == ERROR_TIMEOUT || err->code == ERROR_TLS)
                error_prefix(err, "send at %s", units_format_size(sending->offset, text));
}

static void work(void *data, unsigned stream) {
        struct sender *sender = data;
        struct error why = ERROR_INIT;
        struct sending sending = {
                .sender = sender,
                .flow = &sender->copy.flow,
                .channel = sender->copy.channels[stream],
                .buffer = blocks_buffer(),
        };
        if (send_stream(&sending, &why) < 0) {
                add_place(&sending, &why);
                prefer_last_words(&sending, &why);
                copy_fail_stream(&sender->copy, stream, &why);
        }
        free(sending.buffer);
}

static int run(struct sender *sender, Drover__TransferResult **ret, struct error *err) {
        uint8_t hash[DIGEST_BYTES];
        struct flow *flow = &sender->copy.flow;
        flow->bytes_total = sender->source->bytes;
        flow_set_digest(flow, digest_new(sender->source->bytes));
        rate_init(&sender->rate, sender->copy.order.rate, flow->clock);
        int result = flow_run(flow, work, sender, err);
        rate_fini(&sender->rate);
        if (result < 0 || digest_finish(flow->digest, hash, err) < 0)
                return -1;
        flow_report(flow, true);
        *ret = copy_result(&sender->copy, hash);
        return 0;
}

int transfer_send(struct transfers *transfers, const Drover__TransferOrder *order, const char *disk, int fd,
                  uint64_t bytes, const struct transfer_observer *observer, Drover__TransferResult **ret,
                  struct error *err) {
        struct sender sender;
        if (source_file_new(fd, bytes, &sender.source, err) < 0)
                return error_prefix(err, "%s", disk);
        int result = copy_open(&sender.copy, transfers, order, disk, true, observer, err);
        if (result == 0)
                result = run(&sender, ret, err);
        copy_close(&sender.copy);
        source_free(sender.source);
        return result;
}

static int add_range(struct source *source, struct digest *digest, const struct source_range *range, uint8_t *buffer,
                     struct error *err) {
        uint8_t hash[DIGEST_HASH];
        struct grains grains;
        size_t length = (size_t) range->length;
        if (range->zero)
                return digest_add(digest, range->offset, range->length, NULL, err);
        if (source_read(source, range->offset, buffer, length, err) < 0)
                return -1;
        grains_find(buffer, length, &grains);
        digest_block(buffer, length, &grains, hash);
        return digest_add(digest, range->offset, length, hash, err);
}

int transfer_digest(int fd, uint64_t bytes, bool (*cancelled)(void *), void *data, char ret_digest[DIGEST_TEXT],
                    struct error *err) {
        struct source *source;
        struct source_range range;
        uint8_t hash[DIGEST_BYTES];
        int more;
        if (source_file_new(fd, bytes, &source, err) < 0)
                return -1;
        struct digest *digest = digest_new(bytes);
        _cleanup_(free_p) uint8_t *buffer = blocks_buffer();
        while ((more = source_next(source, &range, err)) > 0) {
                if (cancelled && cancelled(data)) {
                        more = error_set(err, ERROR_CANCELLED, "cancelled");
                        break;
                }
                if ((more = add_range(source, digest, &range, buffer, err)) < 0)
                        break;
        }
        if (more == 0 && (more = digest_finish(digest, hash, err)) == 0)
                digest_text(hash, ret_digest);
        digest_free(digest);
        source_free(source);
        return more;
}
