// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * agent/transfer against a peer that is who it says and holds a right ticket, but lies (a host that has been taken
 * over): the test is the source of a real sink, or the sink of a real source, and says what it likes.
 */
#include "transfer_rig.h"
#include "agent/transfer/hello.h"
#include "agent/blocks/digest.h"

#define DIRECT  DROVER__TRANSFER_PATH__PATH_DIRECT
#define REVERSE DROVER__TRANSFER_PATH__PATH_REVERSE

struct liar {
        struct rig_pair pair;
        struct rig_side *victim;
        struct channel *channel;
};

// The victim is the sink of a direct transfer or the source of a reversed one; either way it is called by us.
static void meet(struct liar *liar, int path, int victim_fd) {
        bool victim_sends = path == REVERSE;
        int other_fd = rig_file();
        memset(liar, 0, sizeof *liar);
        rig_pair(&liar->pair, path, victim_sends ? victim_fd : other_fd, victim_sends ? other_fd : victim_fd, 1);
        liar->victim = victim_sends ? &liar->pair.source : &liar->pair.sink;
        rig_side_start(liar->victim);
        unsigned callee = victim_sends ? RIG_SOURCE : RIG_SINK, caller = victim_sends ? RIG_SINK : RIG_SOURCE;
        struct order order = {.ticket_bytes = {liar->pair.ticket.bytes.length, liar->pair.ticket.bytes.data},
                              .streams = 1};
        liar->channel = channel_new(rig_dial(rig.ports[callee]), &rig_clock);
        assert_int_equal(channel_secure(liar->channel, rig.hosts[caller], IDENTITY_HOST, false, NULL), 0);
        assert_int_equal(hello_show(liar->channel, &order, 0, NULL), 0);
}

static void part(struct liar *liar) {
        channel_free(liar->channel);
        pthread_join(liar->victim->thread, NULL);
        close(liar->pair.source.fd);
        close(liar->pair.sink.fd);
        rig_pair_end(&liar->pair);
}

// The victim has said why, and reports the same.
static void assert_found_out(struct liar *liar, enum error_code code, const char *message) {
        struct error err = ERROR_INIT;
        Drover__DataEnvelope *envelope = NULL;
        char expected[256];
        assert_int_equal(channel_expect(liar->channel, DROVER__DATA_ENVELOPE__BODY_DONE, "it", &envelope, &err), -1);
        snprintf(expected, sizeof expected, "it failed: %s", message);
        assert_string_equal(err.message, expected);
        struct rig_side *victim = liar->victim;
        part(liar);
        snprintf(expected, sizeof expected, "vda: %s", message);
        rig_assert_failed(victim, code, expected);
}

static void say(struct liar *liar, Drover__DataEnvelope *envelope) {
        assert_int_equal(channel_send(liar->channel, envelope, NULL), 0);
        assert_int_equal(channel_flush(liar->channel, NULL), 0);
}

static void say_begin(struct liar *liar, uint64_t bytes) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataBegin begin = DROVER__DATA_BEGIN__INIT;
        begin.file_bytes = bytes;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_BEGIN;
        envelope.begin = &begin;
        say(liar, &envelope);
}

static void say_zero(struct liar *liar, uint64_t offset, uint64_t length) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataZero zero = DROVER__DATA_ZERO__INIT;
        zero.offset = offset;
        zero.length = length;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_ZERO;
        envelope.zero = &zero;
        say(liar, &envelope);
}

static void say_block(struct liar *liar, uint64_t offset, uint32_t length, uint64_t pieces, const uint8_t *hash,
                      size_t hash_length) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataBlock block = DROVER__DATA_BLOCK__INIT;
        block.offset = offset;
        block.length = length;
        block.pieces = pieces;
        block.sha256 = (ProtobufCBinaryData){hash_length, (uint8_t *) hash};
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_BLOCK;
        envelope.block = &block;
        say(liar, &envelope);
}

static void say_end(struct liar *liar, uint64_t bytes, const uint8_t *digest, size_t digest_length) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataEnd end = DROVER__DATA_END__INIT;
        end.file_bytes = bytes;
        end.digest = (ProtobufCBinaryData){digest_length, (uint8_t *) digest};
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_END;
        envelope.end = &end;
        say(liar, &envelope);
}

static const uint8_t no_hash[DIGEST_BYTES];

static void a_block_with_another_content_is_corrupt(void **state) {
        (void) state;
        struct liar liar;
        uint8_t *bytes = memory_new(MIB), hash[DIGEST_HASH];
        struct stat status;
        struct grains grains;
        int fd = rig_file();
        memset(bytes, 7, MIB);
        grains_find(bytes, MIB, &grains);
        digest_block(bytes, MIB, &grains, hash);
        bytes[500000] ^= 1;
        meet(&liar, DIRECT, fd);
        say_begin(&liar, 2 * MIB);
        say_block(&liar, MIB, MIB, UINT64_MAX, hash, sizeof hash);
        assert_int_equal(channel_write(liar.channel, bytes, MIB, NULL), 0);
        assert_int_equal(channel_flush(liar.channel, NULL), 0);
        RIG_UNTIL(channel_readable(liar.channel));
        assert_int_equal(fstat(fd, &status), 0);
        assert_int_equal(status.st_blocks, 0); // nothing of it was written
        assert_found_out(&liar, ERROR_CORRUPT, "the block at 1.0 MiB is not what the source read");
        free(bytes);
}

static void a_digest_that_differs_is_corrupt(void **state) {
        (void) state;
        struct liar liar;
        meet(&liar, DIRECT, rig_file());
        say_begin(&liar, 5 * MIB);
        say_zero(&liar, 0, 5 * MIB);
        say_end(&liar, 5 * MIB, no_hash, sizeof no_hash);
        assert_found_out(&liar, ERROR_CORRUPT, "the image's digest is not the source's");
}

static void a_block_outside_the_image_is_refused(void **state) {
        (void) state;
        static const struct {
                uint64_t offset;
                uint32_t length;
                const char *message;
        } wrong[] = {{3 * MIB, MIB, "a block of 1048576 bytes at 3145728 is none of this image"},
                     {UINT64_MAX, MIB, "a block of 1048576 bytes at 18446744073709551615 is none of this image"},
                     {512, MIB, "a block of 1048576 bytes at 512 is none of this image"},
                     {0, 4096, "a block of 4096 bytes at 0 is none of this image"},
                     {0, UINT32_MAX, "a block of 4294967295 bytes at 0 is none of this image"},
                     {2 * MIB, MIB, "a block of 1048576 bytes at 2097152 is none of this image"}};
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
                struct liar liar;
                meet(&liar, DIRECT, rig_file());
                say_begin(&liar, 2 * MIB + 5);
                say_block(&liar, wrong[i].offset, wrong[i].length, 1, no_hash, DIGEST_HASH);
                assert_found_out(&liar, ERROR_PROTOCOL, wrong[i].message);
        }
}

static void a_block_with_impossible_pieces_is_refused(void **state) {
        (void) state;
        static const uint64_t pieces[] = {0, 2, 1ull << 63};
        for (size_t i = 0; i < 3; i++) {
                struct liar liar;
                meet(&liar, DIRECT, rig_file());
                say_begin(&liar, 5);
                say_block(&liar, 0, 5, pieces[i], no_hash, DIGEST_HASH);
                assert_found_out(&liar, ERROR_PROTOCOL, "the block at 0 has impossible pieces");
        }
        struct liar liar;
        meet(&liar, DIRECT, rig_file());
        say_begin(&liar, 5);
        say_block(&liar, 0, 5, 1, no_hash, 20);
        assert_found_out(&liar, ERROR_PROTOCOL, "the block at 0 has no hash");
}

static void ranges_that_overlap_are_refused(void **state) {
        (void) state;
        struct liar liar;
        meet(&liar, DIRECT, rig_file());
        say_begin(&liar, 9 * MIB);
        say_zero(&liar, 0, 3 * MIB);
        say_zero(&liar, 2 * MIB, MIB);
        assert_found_out(&liar, ERROR_PROTOCOL, "the range at 2.0 MiB came twice");
}

static void an_end_before_everything_came_is_refused(void **state) {
        (void) state;
        struct liar liar;
        meet(&liar, DIRECT, rig_file());
        say_begin(&liar, 9 * MIB);
        say_zero(&liar, 0, 3 * MIB);
        say_end(&liar, 9 * MIB, no_hash, sizeof no_hash);
        assert_found_out(&liar, ERROR_PROTOCOL, "the image is not complete: nothing came for the range at 3.0 MiB");
}

static void another_length_at_the_end_is_refused(void **state) {
        (void) state;
        struct liar liar;
        meet(&liar, DIRECT, rig_file());
        say_begin(&liar, 9 * MIB);
        say_end(&liar, 8 * MIB, no_hash, sizeof no_hash);
        assert_found_out(&liar, ERROR_PROTOCOL, "the source ends an image of 8388608 bytes");
}

static void fault_55_an_image_without_end_is_refused(void **state) {
        (void) state;
        struct liar liar;
        meet(&liar, DIRECT, rig_file());
        say_begin(&liar, UINT64_MAX);
        assert_found_out(&liar, ERROR_TOO_LARGE, "an image of 16384.0 PiB is over the bound of 64.0 TiB");
}

static void words_out_of_turn_are_refused(void **state) {
        (void) state;
        struct liar liar;
        meet(&liar, DIRECT, rig_file());
        say_zero(&liar, 0, MIB);
        assert_found_out(&liar, ERROR_PROTOCOL, "the source sent \"zero\" out of turn");
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataDone done = DROVER__DATA_DONE__INIT;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_DONE;
        envelope.done = &done;
        meet(&liar, DIRECT, rig_file());
        say_begin(&liar, MIB);
        say(&liar, &envelope);
        assert_found_out(&liar, ERROR_PROTOCOL, "the source sent \"done\" out of turn");
}

static void a_failure_of_the_source_is_passed_on(void **state) {
        (void) state;
        struct liar liar;
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__Failure failure = DROVER__FAILURE__INIT;
        failure.code = ERROR_IO;
        failure.message = (char *) "read at 12.0 MiB: Input/output error";
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_FAILURE;
        envelope.failure = &failure;
        meet(&liar, DIRECT, rig_file());
        say_begin(&liar, MIB);
        say(&liar, &envelope);
        assert_found_out(&liar, ERROR_IO, "the source failed: read at 12.0 MiB: Input/output error");
}

// ---- the victim is a source
static int image(uint64_t bytes) {
        int fd = rig_file();
        rig_fill(fd, 0, bytes, 1);
        return fd;
}

// All that the source sends, up to its end.
static void hear_all(struct liar *liar, uint8_t ret_digest[DIGEST_BYTES]) {
        static uint8_t bytes[TRANSFER_BLOCK];
        for (bool ended = false; !ended;) {
                Drover__DataEnvelope *envelope = NULL;
                assert_int_equal(channel_receive(liar->channel, &envelope, NULL), 0);
                if (envelope->body_case == DROVER__DATA_ENVELOPE__BODY_BLOCK)
                        assert_int_equal(channel_read(liar->channel, bytes, envelope->block->length, NULL), 0);
                if (envelope->body_case == DROVER__DATA_ENVELOPE__BODY_END) {
                        assert_int_equal(envelope->end->digest.len, DIGEST_BYTES);
                        memcpy(ret_digest, envelope->end->digest.data, DIGEST_BYTES);
                        ended = true;
                }
                proto_free(&envelope->base);
        }
}

static void say_done(struct liar *liar, const uint8_t *digest) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataDone done = DROVER__DATA_DONE__INIT;
        done.digest = (ProtobufCBinaryData){DIGEST_BYTES, (uint8_t *) digest};
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_DONE;
        envelope.done = &done;
        say(liar, &envelope);
}

static void a_source_is_patient_with_a_sink_that_syncs(void **state) {
        (void) state;
        struct liar liar;
        uint8_t digest[DIGEST_BYTES];
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataWait wait = DROVER__DATA_WAIT__INIT;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_WAIT;
        envelope.wait = &wait;
        meet(&liar, REVERSE, image(3 * MIB));
        hear_all(&liar, digest);
        for (unsigned i = 0; i < 5; i++)
                say(&liar, &envelope);
        say_done(&liar, digest);
        pthread_join(liar.victim->thread, NULL);
        rig_assert_ok(liar.victim);
        rig_side_start(liar.victim); // for part() to join: its ticket is used, and nobody calls
        atomic_store(&liar.victim->cancel, true);
        part(&liar);
}

static void a_source_believes_no_sink_with_another_digest(void **state) {
        (void) state;
        struct liar liar;
        uint8_t digest[DIGEST_BYTES];
        meet(&liar, REVERSE, image(3 * MIB));
        hear_all(&liar, digest);
        digest[0] ^= 1;
        say_done(&liar, digest);
        assert_found_out(&liar, ERROR_CORRUPT, "the sink has another digest than the source");
}

static void a_source_believes_no_sink_that_is_done_too_early(void **state) {
        (void) state;
        struct liar liar;
        struct error err = ERROR_INIT;
        Drover__DataEnvelope *envelope = NULL;
        meet(&liar, REVERSE, image(30 * MIB));
        say_done(&liar, no_hash);
        do { // what it had already sent
                static uint8_t bytes[TRANSFER_BLOCK];
                proto_free(envelope ? &envelope->base : NULL);
                envelope = NULL;
                if (channel_receive(liar.channel, &envelope, &err) < 0)
                        break;
                if (envelope->body_case == DROVER__DATA_ENVELOPE__BODY_BLOCK)
                        channel_read(liar.channel, bytes, envelope->block->length, NULL);
        } while (envelope->body_case != DROVER__DATA_ENVELOPE__BODY_FAILURE);
        assert_non_null(envelope);
        assert_string_equal(envelope->failure->message, "the sink sent \"done\" out of turn");
        proto_free(&envelope->base);
        struct rig_side *victim = liar.victim;
        part(&liar);
        rig_assert_failed(victim, ERROR_PROTOCOL, "vda: the sink sent \"done\" out of turn");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_block_with_another_content_is_corrupt),
                cmocka_unit_test(a_digest_that_differs_is_corrupt),
                cmocka_unit_test(a_block_outside_the_image_is_refused),
                cmocka_unit_test(a_block_with_impossible_pieces_is_refused),
                cmocka_unit_test(ranges_that_overlap_are_refused),
                cmocka_unit_test(an_end_before_everything_came_is_refused),
                cmocka_unit_test(another_length_at_the_end_is_refused),
                cmocka_unit_test(fault_55_an_image_without_end_is_refused),
                cmocka_unit_test(words_out_of_turn_are_refused),
                cmocka_unit_test(a_failure_of_the_source_is_passed_on),
                cmocka_unit_test(a_source_is_patient_with_a_sink_that_syncs),
                cmocka_unit_test(a_source_believes_no_sink_with_another_digest),
                cmocka_unit_test(a_source_believes_no_sink_that_is_done_too_early),
        };
        return cmocka_run_group_tests(tests, rig_up, rig_down);
}
