// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * agent/transfer against a peer that lies (transfer_liar.h) about the image itself; about what is asked before it is
 * sent: agent_transfer_lies.c.
 */
#include "transfer_liar.h"
#include "agent/blocks/verified.h"
#include "agent/transfer/coder.h"

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
        Drover__DataBlock block = a_block(MIB, MIB);
        block.hash.data = hash;
        SAY(liar.stream, block, BLOCK, &block);
        assert_int_equal(channel_write(liar.stream, bytes, MIB, NULL), 0);
        assert_int_equal(channel_flush(liar.stream, NULL), 0);
        Drover__DataEnvelope *envelope = hear(&liar);
        assert_int_equal((int) envelope->body_case, DROVER__DATA_ENVELOPE__BODY_FAILURE);
        proto_free(&envelope->base);
        assert_int_equal(fstat(fd, &status), 0);
        assert_int_equal(status.st_blocks, 0); // nothing of it was written
        struct rig_side *victim = liar.victim;
        part(&liar);
        rig_assert_failed(victim, ERROR_CORRUPT, "vda: the block at 1.0 MiB is not what the source read");
        free(bytes);
}

static void a_digest_that_differs_is_corrupt(void **state) {
        (void) state;
        struct liar liar;
        meet(&liar, DIRECT, rig_file());
        say_begin(&liar, 5 * MIB);
        say_zero(&liar, 0, 5 * MIB);
        say_end(&liar, 5 * MIB, no_hash, DIGEST_BYTES);
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
                Drover__DataBlock block = a_block(wrong[i].offset, wrong[i].length);
                SAY(liar.stream, block, BLOCK, &block);
                assert_found_out(&liar, ERROR_PROTOCOL, wrong[i].message);
        }
}

static void refuse(Drover__DataBlock *block, uint64_t image, const char *message) {
        struct liar liar;
        meet(&liar, DIRECT, rig_file());
        say_begin(&liar, image);
        SAY(liar.stream, block, BLOCK, block);
        assert_found_out(&liar, ERROR_PROTOCOL, message);
}

static void a_block_with_impossible_grains_is_refused(void **state) {
        (void) state;
        static const uint8_t none[GRAINS_BYTES], second[1] = {2};
        Drover__DataBlock block = a_block(0, 5);
        block.grains = (ProtobufCBinaryData){sizeof none, (uint8_t *) none};
        refuse(&block, 5, "the block at 0 has impossible grains");
        block.grains = (ProtobufCBinaryData){1, (uint8_t *) second};
        refuse(&block, 5, "the block at 0 has impossible grains");
        block = a_block(0, MIB);
        block.grains.len = GRAINS_BYTES + 1;
        block.grains.data = (uint8_t *) every_grain;
        refuse(&block, MIB, "the block at 0 has impossible grains");
        block = a_block(0, MIB);
        block.hash.len = 15;
        refuse(&block, MIB, "the block at 0 has no hash");
        block = a_block(0, MIB);
        block.coded_bytes = MIB - 1;
        refuse(&block, MIB, "the block at 0 comes in an impossible number of bytes, 1048575");
        block = a_block(0, MIB);
        block.coding = DROVER__DATA_CODING__DATA_CODING_ZSTD_NEW;
        block.coded_bytes = CODER_BYTES_MAX + 1;
        refuse(&block, MIB, "the block at 0 comes in an impossible number of bytes, 1114113");
}

static void an_answer_that_nobody_asked_for_is_refused(void **state) {
        (void) state;
        struct liar liar;
        uint8_t byte = 1;
        Drover__DataBlock block = a_block(0, 1);
        block.grains = (ProtobufCBinaryData){1, &byte};
        block.answered = true;
        meet(&liar, DIRECT, rig_file());
        say_begin(&liar, 1);
        SAY(liar.stream, block, BLOCK, &block);
        assert_int_equal(channel_write(liar.stream, &byte, 1, NULL), 0);
        assert_int_equal(channel_flush(liar.stream, NULL), 0);
        assert_found_out(&liar, ERROR_PROTOCOL, "the block at 0 answers what nobody asked");
}

static void fault_55_a_block_that_decompresses_to_more_is_refused(void **state) {
        (void) state;
        struct liar liar;
        struct coder *coder = coder_new();
        uint8_t *bytes = memory_new(MIB), grain = 1;
        const uint8_t *coded = NULL;
        struct grains grains;
        size_t n = 0;
        bool begins = false;
        grains_fill(&grains, MIB);
        assert_int_equal(coder_code(coder, 3, CODER_NEAR, bytes, MIB, &grains, &coded, &n, &begins, NULL), 0);
        assert_true(n < 200); // of a mebibyte
        Drover__DataBlock block = a_block(0, MIB);
        block.grains = (ProtobufCBinaryData){1, &grain};
        block.coding = DROVER__DATA_CODING__DATA_CODING_ZSTD_NEW;
        block.coded_bytes = (uint32_t) n;
        meet(&liar, DIRECT, rig_file());
        say_begin(&liar, MIB);
        SAY(liar.stream, block, BLOCK, &block);
        assert_int_equal(channel_write(liar.stream, coded, n, NULL), 0);
        assert_int_equal(channel_flush(liar.stream, NULL), 0);
        assert_found_out(&liar, ERROR_PROTOCOL, "a compressed block holds more than it should");
        coder_free(coder);
        free(bytes);
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

// Blocks that an earlier attempt left, and the digest of an image that has a hole before them.
static void make_kept(int record, uint64_t blocks, uint8_t ret_digest[DIGEST_BYTES]) {
        struct verified *verified;
        bool fresh;
        uint8_t hash[VERIFIED_HASH] = {1};
        struct digest *digest = digest_new(blocks * MIB);
        assert_int_equal(verified_open(record, "image", blocks * MIB, &verified, &fresh, NULL), 0);
        assert_int_equal(digest_add(digest, 0, MIB, NULL, NULL), 0);
        for (uint64_t n = 1; n < blocks; n++) {
                memcpy(hash + 8, &n, sizeof n);
                verified_note(verified, n, hash);
                assert_int_equal(digest_add(digest, n * MIB, MIB, hash, NULL), 0);
        }
        assert_int_equal(verified_commit(verified, verified_mark(verified), NULL), 0);
        assert_int_equal(digest_finish(digest, ret_digest, NULL), 0);
        digest_free(digest);
        verified_free(verified);
}

// Two readers of a source may put what they have into one stream the wrong way round.
static void a_long_run_that_is_kept_waits_for_nothing_behind_it(void **state) {
        (void) state;
        struct liar liar;
        Drover__DataKeep keep = DROVER__DATA_KEEP__INIT;
        uint8_t digest[DIGEST_BYTES];
        uint64_t blocks = 3 * DIGEST_EARLY_MAX;
        int record = rig_file(), sink = rig_file();
        make_kept(record, blocks, digest);
        assert_int_equal(ftruncate(sink, (off_t) (blocks * MIB)), 0);
        meet_with(&liar, DIRECT, sink, record);
        say_begin(&liar, blocks * MIB);
        keep.first = 1;
        keep.count = blocks - 1;
        SAY(liar.stream, keep, KEEP, &keep);
        say_zero(&liar, 0, MIB);
        say_end(&liar, blocks * MIB, digest, sizeof digest);
        Drover__DataEnvelope *envelope = hear(&liar);
        assert_int_equal((int) envelope->body_case, DROVER__DATA_ENVELOPE__BODY_DONE);
        proto_free(&envelope->base);
        struct rig_side *victim = liar.victim;
        part(&liar);
        rig_assert_ok(victim);
        close(record);
}

static void what_is_not_here_cannot_be_kept(void **state) {
        (void) state;
        struct liar liar;
        Drover__DataKeep keep = DROVER__DATA_KEEP__INIT;
        int verified_fd = rig_file();
        meet_with(&liar, DIRECT, rig_file(), verified_fd);
        keep.first = 2;
        keep.count = 1;
        say_begin(&liar, 9 * MIB);
        SAY(liar.stream, keep, KEEP, &keep);
        assert_found_out(&liar, ERROR_PROTOCOL, "the source keeps the block at 2097152, which is not here");
        meet_with(&liar, DIRECT, rig_file(), verified_fd);
        keep.count = UINT64_MAX;
        say_begin(&liar, 9 * MIB);
        SAY(liar.stream, keep, KEEP, &keep);
        assert_found_out(&liar, ERROR_PROTOCOL,
                         "the source keeps 18446744073709551615 blocks from 2 on, of an image of 9");
        close(verified_fd);
}

static void an_end_before_everything_came_is_refused(void **state) {
        (void) state;
        struct liar liar;
        meet(&liar, DIRECT, rig_file());
        say_begin(&liar, 9 * MIB);
        say_zero(&liar, 0, 3 * MIB);
        say_end(&liar, 9 * MIB, no_hash, DIGEST_BYTES);
        assert_found_out(&liar, ERROR_PROTOCOL, "the image is not complete: nothing came for the range at 3.0 MiB");
}

static void another_length_at_the_end_is_refused(void **state) {
        (void) state;
        struct liar liar;
        meet(&liar, DIRECT, rig_file());
        say_begin(&liar, 9 * MIB);
        say_end(&liar, 8 * MIB, no_hash, DIGEST_BYTES);
        assert_found_out(&liar, ERROR_PROTOCOL, "the source ends an image of 8388608 bytes");
}

static void fault_55_an_image_without_end_is_refused(void **state) {
        (void) state;
        struct liar liar;
        meet(&liar, DIRECT, rig_file());
        say_begin(&liar, UINT64_MAX);
        assert_found_out(&liar, ERROR_TOO_LARGE, "an image of 16384.0 PiB is over the bound of 64.0 TiB");
}

static void fault_55_an_image_of_another_length_than_the_plans_is_refused(void **state) {
        (void) state;
        static const struct {
                uint64_t least, most, bytes;
                const char *message;
        } wrong[] = {
                {9 * MIB, 9 * MIB, 64ull << 40,
                 "the source has an image of 70368744177664 bytes, and the plan one of 9437184"},
                {9 * MIB, 9 * MIB, 9 * MIB - 1,
                 "the source has an image of 9437183 bytes, and the plan one of 9437184"},
                {0, MIB, 2 * MIB, "the source has an image of 2097152 bytes, and the plan one of 1048576"},
        };
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
                struct liar liar;
                struct stat status;
                int fd = rig_file(), again = dup(fd);
                prepare(&liar, DIRECT, fd, -1);
                liar.victim->least = wrong[i].least;
                liar.victim->most = wrong[i].most;
                meet_prepared(&liar, DIRECT);
                say_begin(&liar, wrong[i].bytes);
                assert_found_out(&liar, ERROR_CONFLICT, wrong[i].message);
                assert_int_equal(fstat(again, &status), 0);
                assert_int_equal(status.st_size, 0); // it was not even made as long
                close(again);
        }
}

static void words_out_of_turn_are_refused(void **state) {
        (void) state;
        struct liar liar;
        Drover__DataDone done = DROVER__DATA_DONE__INIT;
        Drover__DataEnd end = DROVER__DATA_END__INIT;
        Drover__DataNames names = DROVER__DATA_NAMES__INIT;
        meet(&liar, DIRECT, rig_file());
        SAY(liar.talk, end, END, &end);
        assert_found_out(&liar, ERROR_PROTOCOL, "the source sent \"end\" out of turn");
        meet(&liar, DIRECT, rig_file());
        say_begin(&liar, MIB);
        SAY(liar.talk, done, DONE, &done);
        assert_found_out(&liar, ERROR_PROTOCOL, "the source sent \"done\" out of turn");
        meet(&liar, DIRECT, rig_file());
        say_begin(&liar, MIB);
        SAY(liar.stream, done, DONE, &done);
        assert_found_out(&liar, ERROR_PROTOCOL, "the source sent \"done\" out of turn");
        meet(&liar, DIRECT, rig_file());
        say_begin(&liar, MIB);
        SAY(liar.talk, names, NAMES, &names);
        assert_found_out(&liar, ERROR_PROTOCOL, "the source sent \"names\" out of turn");
}

static void a_failure_of_the_source_is_passed_on(void **state) {
        (void) state;
        struct liar liar;
        Drover__Failure failure = DROVER__FAILURE__INIT;
        failure.code = ERROR_IO;
        failure.message = (char *) "read at 12.0 MiB: Input/output error";
        meet(&liar, DIRECT, rig_file());
        say_begin(&liar, MIB);
        SAY(liar.talk, failure, FAILURE, &failure);
        struct rig_side *victim = liar.victim;
        RIG_UNTIL(atomic_load(&victim->ended));
        part(&liar);
        rig_assert_failed(victim, ERROR_IO, "vda: the source failed: read at 12.0 MiB: Input/output error");
}

// ---- the victim is a source
static int image(uint64_t bytes) {
        int fd = rig_file();
        rig_fill(fd, 0, bytes, 1);
        return fd;
}

static void say_have(struct liar *liar, uint64_t first, size_t bytes, bool last) {
        static const uint8_t hashes[32];
        Drover__DataHave have = DROVER__DATA_HAVE__INIT;
        have.first = first;
        have.hashes = (ProtobufCBinaryData){bytes, (uint8_t *) hashes};
        have.last = last;
        SAY(liar->talk, have, HAVE, &have);
}

// All that the source sends, up to its end.
static void hear_all(struct liar *liar, uint8_t ret_digest[DIGEST_BYTES]) {
        static uint8_t bytes[CODER_BYTES_MAX];
        bool ended = false;
        say_have(liar, 0, 0, true);
        while (!ended) {
                Drover__DataEnvelope *envelope = NULL;
                assert_int_equal(channel_receive(liar->stream, &envelope, NULL), 0);
                if (envelope->body_case == DROVER__DATA_ENVELOPE__BODY_BLOCK)
                        assert_int_equal(channel_read(liar->stream, bytes, envelope->block->coded_bytes, NULL), 0);
                ended = envelope->body_case == DROVER__DATA_ENVELOPE__BODY_END;
                proto_free(&envelope->base);
        }
        Drover__DataEnvelope *envelope = hear(liar);
        assert_int_equal((int) envelope->body_case, DROVER__DATA_ENVELOPE__BODY_BEGIN);
        proto_free(&envelope->base);
        envelope = hear(liar);
        assert_int_equal((int) envelope->body_case, DROVER__DATA_ENVELOPE__BODY_END);
        assert_int_equal(envelope->end->digest.len, DIGEST_BYTES);
        memcpy(ret_digest, envelope->end->digest.data, DIGEST_BYTES);
        proto_free(&envelope->base);
}

static void say_done(struct liar *liar, const uint8_t *digest) {
        Drover__DataDone done = DROVER__DATA_DONE__INIT;
        done.digest = (ProtobufCBinaryData){DIGEST_BYTES, (uint8_t *) digest};
        SAY(liar->talk, done, DONE, &done);
}

static void a_source_is_patient_with_a_sink_that_syncs(void **state) {
        (void) state;
        struct liar liar;
        uint8_t digest[DIGEST_BYTES];
        Drover__DataWait wait = DROVER__DATA_WAIT__INIT;
        meet(&liar, REVERSE, image(3 * MIB));
        hear_all(&liar, digest);
        for (unsigned i = 0; i < 5; i++)
                SAY(liar.talk, wait, WAIT, &wait);
        say_done(&liar, digest);
        RIG_UNTIL(atomic_load(&liar.victim->ended));
        rig_assert_ok(liar.victim);
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
        meet(&liar, REVERSE, image(30 * MIB));
        say_done(&liar, no_hash);
        assert_found_out(&liar, ERROR_PROTOCOL, "the sink sent \"done\" out of turn");
}

static void a_sink_cannot_have_what_there_is_not(void **state) {
        (void) state;
        struct liar liar;
        meet(&liar, REVERSE, image(3 * MIB));
        say_have(&liar, 2, 32, false);
        assert_found_out(&liar, ERROR_PROTOCOL, "the sink has 2 blocks from 2 on, of an image of 3");
        meet(&liar, REVERSE, image(3 * MIB));
        say_have(&liar, 0, 31, false);
        assert_found_out(&liar, ERROR_PROTOCOL, "the sink has 1 blocks from 0 on, of an image of 3");
        meet(&liar, REVERSE, image(3 * MIB));
        say_have(&liar, 1, 16, false);
        say_have(&liar, 0, 16, false);
        assert_found_out(&liar, ERROR_PROTOCOL, "the sink has 1 blocks from 0 on, of an image of 3");
        meet(&liar, REVERSE, image(3 * MIB));
        say_have(&liar, 3, 0, true);
        say_have(&liar, 3, 0, true);
        assert_found_out(&liar, ERROR_PROTOCOL, "the sink went on to say what it has");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_block_with_another_content_is_corrupt),
                cmocka_unit_test(a_digest_that_differs_is_corrupt),
                cmocka_unit_test(a_block_outside_the_image_is_refused),
                cmocka_unit_test(a_block_with_impossible_grains_is_refused),
                cmocka_unit_test(an_answer_that_nobody_asked_for_is_refused),
                cmocka_unit_test(fault_55_a_block_that_decompresses_to_more_is_refused),
                cmocka_unit_test(ranges_that_overlap_are_refused),
                cmocka_unit_test(a_long_run_that_is_kept_waits_for_nothing_behind_it),
                cmocka_unit_test(what_is_not_here_cannot_be_kept),
                cmocka_unit_test(an_end_before_everything_came_is_refused),
                cmocka_unit_test(another_length_at_the_end_is_refused),
                cmocka_unit_test(fault_55_an_image_without_end_is_refused),
                cmocka_unit_test(fault_55_an_image_of_another_length_than_the_plans_is_refused),
                cmocka_unit_test(words_out_of_turn_are_refused),
                cmocka_unit_test(a_failure_of_the_source_is_passed_on),
                cmocka_unit_test(a_source_is_patient_with_a_sink_that_syncs),
                cmocka_unit_test(a_source_believes_no_sink_with_another_digest),
                cmocka_unit_test(a_source_believes_no_sink_that_is_done_too_early),
                cmocka_unit_test(a_sink_cannot_have_what_there_is_not),
        };
        return cmocka_run_group_tests(tests, rig_up, rig_down);
}
