// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A peer that is who it says and holds a right ticket, but lies (a host that has been taken over): the test is the
 * source of a real sink, or the sink of a real source, and says what it likes. For the tests of agent/transfer.
 */
#include "transfer_rig.h"
#include "agent/transfer/hello.h"
#include "agent/blocks/digest.h"

#define DIRECT  DROVER__TRANSFER_PATH__PATH_DIRECT
#define REVERSE DROVER__TRANSFER_PATH__PATH_REVERSE

struct liar {
        struct rig_pair pair;
        struct rig_side *victim;
        struct channel *talk, *stream;
};

static inline struct channel *call(struct liar *liar, unsigned callee, unsigned caller, unsigned stream) {
        struct order order = {.ticket_bytes = {liar->pair.ticket.bytes.length, liar->pair.ticket.bytes.data},
                              .streams = 2};
        struct channel *channel = channel_new(rig_dial(rig.ports[callee]), &rig_clock);
        assert_int_equal(channel_secure(channel, rig.hosts[caller], IDENTITY_HOST, false, NULL), 0);
        assert_int_equal(hello_show(channel, &order, stream, NULL), 0);
        return channel;
}

// The victim is the sink of a direct transfer or the source of a reversed one; either way it is called by us.
static inline void prepare(struct liar *liar, int path, int victim_fd, int verified_fd) {
        bool victim_sends = path == REVERSE;
        int other_fd = rig_file();
        memset(liar, 0, sizeof *liar);
        rig_pair(&liar->pair, path, victim_sends ? victim_fd : other_fd, victim_sends ? other_fd : victim_fd, 1);
        liar->victim = victim_sends ? &liar->pair.source : &liar->pair.sink;
        liar->victim->verified_fd = verified_fd;
}

static inline void meet_prepared(struct liar *liar, int path) {
        bool victim_sends = path == REVERSE;
        rig_side_start(liar->victim);
        unsigned callee = victim_sends ? RIG_SOURCE : RIG_SINK, caller = victim_sends ? RIG_SINK : RIG_SOURCE;
        liar->talk = call(liar, callee, caller, 0);
        liar->stream = call(liar, callee, caller, 1);
}

static inline void meet_with(struct liar *liar, int path, int victim_fd, int verified_fd) {
        prepare(liar, path, victim_fd, verified_fd);
        meet_prepared(liar, path);
}

static inline void meet(struct liar *liar, int path, int victim_fd) {
        meet_with(liar, path, victim_fd, -1);
}

static inline void part(struct liar *liar) {
        channel_free(liar->talk);
        channel_free(liar->stream);
        pthread_join(liar->victim->thread, NULL);
        close(liar->pair.source.fd);
        close(liar->pair.sink.fd);
        rig_pair_end(&liar->pair);
}

// What the victim says on the conversation next, apart from signs of life and from what it has; proto_free() it.
static inline Drover__DataEnvelope *hear(struct liar *liar) {
        for (;;) {
                Drover__DataEnvelope *envelope = NULL;
                assert_int_equal(channel_receive(liar->talk, &envelope, NULL), 0);
                if (envelope->body_case != DROVER__DATA_ENVELOPE__BODY_WAIT &&
                    envelope->body_case != DROVER__DATA_ENVELOPE__BODY_HAVE)
                        return envelope;
                proto_free(&envelope->base);
        }
}

// The victim has said why, and reports the same.
static inline void assert_found_out(struct liar *liar, enum error_code code, const char *message) {
        char expected[256];
        Drover__DataEnvelope *envelope = hear(liar);
        if (envelope->body_case == DROVER__DATA_ENVELOPE__BODY_BEGIN ||
            envelope->body_case == DROVER__DATA_ENVELOPE__BODY_END) {
                proto_free(&envelope->base);
                envelope = hear(liar);
        }
        assert_int_equal((int) envelope->body_case, DROVER__DATA_ENVELOPE__BODY_FAILURE);
        assert_string_equal(envelope->failure->message, message);
        proto_free(&envelope->base);
        struct rig_side *victim = liar->victim;
        part(liar);
        snprintf(expected, sizeof expected, "vda: %s", message);
        rig_assert_failed(victim, code, expected);
}

static inline void say(struct channel *channel, Drover__DataEnvelope *envelope) {
        assert_int_equal(channel_send(channel, envelope, NULL), 0);
}

#define SAY(channel, body, symbol, message)                                                                            \
        do {                                                                                                           \
                Drover__DataEnvelope _envelope = DROVER__DATA_ENVELOPE__INIT;                                          \
                _envelope.body_case = DROVER__DATA_ENVELOPE__BODY_##symbol;                                            \
                _envelope.body = (message);                                                                            \
                say(channel, &_envelope);                                                                              \
        } while (0)

static inline void say_begin(struct liar *liar, uint64_t bytes) {
        Drover__DataBegin begin = DROVER__DATA_BEGIN__INIT;
        begin.bytes = bytes;
        SAY(liar->talk, begin, BEGIN, &begin);
}

static inline void say_zero(struct liar *liar, uint64_t offset, uint64_t length) {
        Drover__DataZero zero = DROVER__DATA_ZERO__INIT;
        zero.offset = offset;
        zero.length = length;
        SAY(liar->stream, zero, ZERO, &zero);
}

static const uint8_t no_hash[DIGEST_BYTES];
static const uint8_t every_grain[GRAINS_BYTES + 1] = {[0 ... GRAINS_BYTES] = 255};

// A block of which all is right; the callers make one thing wrong.
static inline Drover__DataBlock a_block(uint64_t offset, uint32_t length) {
        Drover__DataBlock block = DROVER__DATA_BLOCK__INIT;
        block.offset = offset;
        block.length = length;
        block.hash = (ProtobufCBinaryData){DIGEST_HASH, (uint8_t *) no_hash};
        block.grains = (ProtobufCBinaryData){GRAINS_BYTES, (uint8_t *) every_grain};
        block.coded_bytes = length;
        return block;
}

static inline void say_end(struct liar *liar, uint64_t bytes, const uint8_t *digest, size_t digest_length) {
        Drover__DataEnd end = DROVER__DATA_END__INIT;
        end.bytes = bytes;
        SAY(liar->stream, end, END, &end);
        end.digest = (ProtobufCBinaryData){digest_length, (uint8_t *) digest};
        SAY(liar->talk, end, END, &end);
}
