// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The sink's end of a transfer: each stream's thread takes what its connection brings, checks it and writes it. When
 * all streams have ended with the digest that was found here as well, the image is synced, and only then is the source
 * told that it is done.
 */
#include "agent/transfer/copy.h"
#include "agent/blocks/sink_file.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/units.h"
#include <string.h>
#include <time.h>

DEFINE_CLEANUP(proto_free, ProtobufCMessage *)

// How often the source hears that the sink is still syncing.
#define WAIT_MS 5000

struct receiver {
        struct copy copy;
        struct sink *sink;
        atomic_uint ended;     // streams that have said all
        pthread_mutex_t mutex; // of `begun` and what comes with it
        bool begun;
};

struct receiving { // one stream
        struct receiver *receiver;
        struct flow *flow;
        struct channel *channel;
        uint8_t *buffer;
        uint64_t offset; // of the range under way, for messages
        bool ended;
};

// ---- the beginning: the first stream's word counts, the others must say the same
static int begin_locked(struct receiver *receiver, uint64_t bytes, struct error *err) {
        struct flow *flow = &receiver->copy.flow;
        if (receiver->begun) {
                if (bytes == flow->bytes_total)
                        return 0;
                return error_set(err, ERROR_PROTOCOL, "the source means an image of %llu bytes and one of %llu",
                                 (unsigned long long) flow->bytes_total, (unsigned long long) bytes);
        }
        if (sink_begin(receiver->sink, bytes, true, err) < 0)
                return -1;
        flow->bytes_total = bytes;
        flow_set_digest(flow, digest_new(bytes));
        receiver->begun = true;
        return 0;
}

static int receive_begin(struct receiving *receiving, struct error *err) {
        _cleanup_(proto_free_p) ProtobufCMessage *envelope = NULL;
        if (channel_expect(receiving->channel, DROVER__DATA_ENVELOPE__BODY_BEGIN, "the source",
                           (Drover__DataEnvelope **) &envelope, err) < 0)
                return -1;
        uint64_t bytes = ((Drover__DataEnvelope *) envelope)->begin->file_bytes;
        pthread_mutex_lock(&receiving->receiver->mutex);
        int result = begin_locked(receiving->receiver, bytes, err);
        pthread_mutex_unlock(&receiving->receiver->mutex);
        return result;
}

// ---- blocks
static int check_block(const struct flow *flow, const Drover__DataBlock *block, struct error *err) {
        uint64_t left = block->offset < flow->bytes_total ? flow->bytes_total - block->offset : 0;
        uint64_t length = left < TRANSFER_BLOCK ? left : TRANSFER_BLOCK;
        size_t leaves = copy_leaves(length);
        if (left == 0 || block->offset % TRANSFER_BLOCK || block->length != length)
                return error_set(err, ERROR_PROTOCOL, "a block of %u bytes at %llu is none of this image",
                                 block->length, (unsigned long long) block->offset);
        if (block->pieces == 0 || (leaves < 64 && block->pieces >> leaves))
                return error_set(err, ERROR_PROTOCOL, "the block at %llu has impossible pieces",
                                 (unsigned long long) block->offset);
        if (block->sha256.len != DIGEST_HASH)
                return error_set(err, ERROR_PROTOCOL, "the block at %llu has no hash",
                                 (unsigned long long) block->offset);
        return 0;
}

// Calls `each` for every run of neighbouring pieces that are there.
static int each_run(struct receiving *receiving, const Drover__DataBlock *block,
                    int (*each)(struct receiving *receiving, size_t begin, size_t length, struct error *err),
                    struct error *err) {
        size_t leaves = copy_leaves(block->length);
        for (size_t i = 0; i < leaves;) {
                size_t run = i;
                while (run < leaves && block->pieces >> run & 1)
                        run++;
                size_t begin = i * COPY_LEAF;
                size_t end = run * COPY_LEAF < block->length ? run * COPY_LEAF : block->length;
                if (run > i && each(receiving, begin, end - begin, err) < 0)
                        return -1;
                i = run + 1;
        }
        return 0;
}

static int read_run(struct receiving *receiving, size_t begin, size_t length, struct error *err) {
        return channel_read(receiving->channel, receiving->buffer + begin, length, err);
}

static int write_run(struct receiving *receiving, size_t begin, size_t length, struct error *err) {
        return sink_write(receiving->receiver->sink, receiving->offset + begin, receiving->buffer + begin, length, err);
}

static int check_content(struct receiving *receiving, const Drover__DataBlock *block, uint8_t hash[DIGEST_HASH],
                         struct error *err) {
        char text[UNITS_TEXT_MAX];
        struct grains grains = copy_grains(block->pieces);
        digest_block(receiving->buffer, block->length, &grains, hash);
        if (memcmp(hash, block->sha256.data, DIGEST_HASH) == 0)
                return 0;
        return error_set(err, ERROR_CORRUPT, "the block at %s is not what the source read",
                         units_format_size(block->offset, text));
}

static int receive_block(struct receiving *receiving, const Drover__DataBlock *block, struct error *err) {
        uint8_t hash[DIGEST_HASH];
        struct flow *flow = receiving->flow;
        if (check_block(flow, block, err) < 0)
                return -1;
        receiving->offset = block->offset;
        memset(receiving->buffer, 0, block->length);
        if (each_run(receiving, block, read_run, err) < 0 || check_content(receiving, block, hash, err) < 0 ||
            fault_point("agent.receive.block", err) < 0)
                return -1;
        // Before it is written: a block that comes twice is refused and overwrites nothing.
        if (digest_add(flow->digest, block->offset, block->length, hash, err) < 0 ||
            each_run(receiving, block, write_run, err) < 0)
                return -1;
        atomic_fetch_add(&flow->bytes_done, block->length);
        return 0;
}

static int receive_zeros(struct receiving *receiving, const Drover__DataZero *zero, struct error *err) {
        struct flow *flow = receiving->flow;
        receiving->offset = zero->offset;
        if (fault_point("agent.receive.block", err) < 0 ||
            digest_add(flow->digest, zero->offset, zero->length, NULL, err) < 0)
                return -1;
        atomic_fetch_add(&flow->bytes_done, zero->length);
        atomic_fetch_add(&flow->bytes_zero, zero->length);
        return 0;
}

static int receive_end(struct receiving *receiving, const Drover__DataEnd *end, struct error *err) {
        uint8_t hash[DIGEST_BYTES];
        if (end->file_bytes != receiving->flow->bytes_total)
                return error_set(err, ERROR_PROTOCOL, "the source ends an image of %llu bytes",
                                 (unsigned long long) end->file_bytes);
        // The last stream to end has nothing to wait for: what is missing now will never come.
        bool last = atomic_fetch_add(&receiving->receiver->ended, 1) + 1 == receiving->flow->streams;
        if ((last ? digest_finish : digest_wait)(receiving->flow->digest, hash, err) < 0)
                return -1;
        if (end->digest.len != DIGEST_BYTES || memcmp(end->digest.data, hash, DIGEST_BYTES) != 0)
                return error_set(err, ERROR_CORRUPT, "the image's digest is not the source's");
        receiving->ended = true;
        return 0;
}

static int take(struct receiving *receiving, const Drover__DataEnvelope *envelope, struct error *err) {
        switch (envelope->body_case) {
        case DROVER__DATA_ENVELOPE__BODY_BLOCK:
                return receive_block(receiving, envelope->block, err);
        case DROVER__DATA_ENVELOPE__BODY_ZERO:
                return receive_zeros(receiving, envelope->zero, err);
        case DROVER__DATA_ENVELOPE__BODY_END:
                return receive_end(receiving, envelope->end, err);
        case DROVER__DATA_ENVELOPE__BODY_FAILURE:
                proto_error(envelope->failure, err);
                return error_prefix(err, "the source failed");
        default:
                return error_set(err, ERROR_PROTOCOL, "the source sent \"%s\" out of turn",
                                 proto_oneof_name(&envelope->base, "body"));
        }
}

static int receive_stream(struct receiving *receiving, struct error *err) {
        if (receive_begin(receiving, err) < 0)
                return -1;
        while (!receiving->ended) {
                _cleanup_(proto_free_p) ProtobufCMessage *envelope = NULL;
                if (flow_gives_up(receiving->flow, false))
                        return error_set(err, ERROR_CANCELLED, "stopped");
                if (channel_receive(receiving->channel, (Drover__DataEnvelope **) &envelope, err) < 0 ||
                    take(receiving, (Drover__DataEnvelope *) envelope, err) < 0)
                        return -1;
        }
        return 0;
}

static void add_place(const struct receiving *receiving, struct error *err) {
        char text[UNITS_TEXT_MAX];
        if (err->code == ERROR_UNREACHABLE || err->code == ERROR_TIMEOUT || err->code == ERROR_TLS)
                error_prefix(err, "receive at %s", units_format_size(receiving->offset, text));
}

static void work(void *data, unsigned stream) {
        struct receiver *receiver = data;
        struct error why = ERROR_INIT;
        struct receiving receiving = {
                .receiver = receiver,
                .flow = &receiver->copy.flow,
                .channel = receiver->copy.channels[stream],
                .buffer = blocks_buffer(),
        };
        if (receive_stream(&receiving, &why) < 0) {
                add_place(&receiving, &why);
                copy_fail_stream(&receiver->copy, stream, &why);
        }
        free(receiving.buffer);
}

// ---- the end
struct syncing {
        struct sink *sink;
        struct error err;
        int result;
        atomic_bool done;
};

static void *sync_main(void *pointer) {
        struct syncing *syncing = pointer;
        syncing->result = sink_flush(syncing->sink, &syncing->err);
        atomic_store(&syncing->done, true);
        return NULL;
}

static void tell_all(struct receiver *receiver, const Drover__DataEnvelope *envelope) {
        for (unsigned i = 0; i < receiver->copy.order.streams; i++)
                channel_send(receiver->copy.channels[i], envelope, NULL); // a source that is gone hears it from nobody
}

// A sync may take minutes; the source hears from us meanwhile.
static int sync_image(struct receiver *receiver, struct error *err) {
        struct syncing syncing = {.sink = receiver->sink, .err = ERROR_INIT};
        struct flow *flow = &receiver->copy.flow;
        pthread_t thread;
        int failed = pthread_create(&thread, NULL, sync_main, &syncing);
        if (failed)
                return error_errno(err, failed, "start a thread");
        uint64_t told_at = clock_ms(flow->clock);
        while (!atomic_load(&syncing.done)) {
                Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
                Drover__DataWait wait = DROVER__DATA_WAIT__INIT;
                envelope.body_case = DROVER__DATA_ENVELOPE__BODY_WAIT;
                envelope.wait = &wait;
                nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
                flow_report(flow, false);
                if (clock_ms(flow->clock) - told_at < WAIT_MS)
                        continue;
                tell_all(receiver, &envelope);
                told_at = clock_ms(flow->clock);
        }
        pthread_join(thread, NULL);
        if (syncing.result < 0 && err)
                *err = syncing.err;
        return syncing.result;
}

static int settle(struct receiver *receiver, struct error *err) {
        struct flow *flow = &receiver->copy.flow;
        if (fault_point("agent.receive.before-sync", err) < 0 || sync_image(receiver, err) < 0 ||
            fault_point("agent.receive.after-sync", err) < 0)
                return -1;
        return flow_cancelled(flow) ? error_set(err, ERROR_CANCELLED, "cancelled") : 0;
}

static int finish(struct receiver *receiver, Drover__TransferResult **ret, struct error *err) {
        uint8_t hash[DIGEST_BYTES];
        struct error why = ERROR_INIT;
        struct flow *flow = &receiver->copy.flow;
        if (settle(receiver, &why) < 0 || digest_finish(flow->digest, hash, &why) < 0) {
                copy_say_why(&receiver->copy, &why);
                if (err)
                        *err = why;
                return error_prefix(err, "%s", flow->disk);
        }
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataDone done = DROVER__DATA_DONE__INIT;
        done.digest = (ProtobufCBinaryData){sizeof hash, hash};
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_DONE;
        envelope.done = &done;
        tell_all(receiver, &envelope);
        flow_report(flow, true);
        *ret = copy_result(&receiver->copy, hash);
        return 0;
}

int transfer_receive(struct transfers *transfers, const Drover__TransferOrder *order, const char *disk, int fd,
                     const struct transfer_observer *observer, Drover__TransferResult **ret, struct error *err) {
        struct receiver receiver = {.mutex = PTHREAD_MUTEX_INITIALIZER};
        if (sink_file_new(fd, &receiver.sink, err) < 0)
                return error_prefix(err, "%s", disk);
        int result = copy_open(&receiver.copy, transfers, order, disk, false, observer, err);
        if (result == 0)
                result = flow_run(&receiver.copy.flow, work, &receiver, err);
        if (result == 0)
                result = finish(&receiver, ret, err);
        copy_close(&receiver.copy);
        sink_free(receiver.sink);
        return result;
}
