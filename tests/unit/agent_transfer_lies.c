// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * agent/transfer/asking, answering against a peer that lies (transfer_liar.h): what is asked before it is sent, and
 * what is answered. What a host has is never had by naming it without knowing it, and no answer keeps a source for
 * ever.
 */
#include "transfer_liar.h"
#include "agent/reuse/names.h"
#include "agent/transfer/answering.h"

#define GRAIN BLOCKS_GRAIN
#define SLOW  (4u << 20) // bytes a second: everything is asked

// ---- the victim is a sink, with one image to look in
static uint8_t content[MIB]; // of its first block

struct asked {
        struct liar liar;
        struct reuse *reuse;
        int again; // the sink's file
};

static void meet_sink(struct asked *asked, uint64_t bytes) {
        int candidate = rig_file();
        for (size_t i = 0; i < sizeof content; i++)
                content[i] = (uint8_t) (i / GRAIN + i % 251 + 1);
        assert_int_equal(pwrite(candidate, content, sizeof content, 0), sizeof content);
        asked->reuse = reuse_new(&candidate, 1, &(struct reuse_config){0});
        int fd = rig_file();
        asked->again = dup(fd);
        prepare(&asked->liar, DIRECT, fd, -1);
        asked->liar.victim->answerer = answering_new(asked->reuse);
        meet_prepared(&asked->liar, DIRECT);
        say_begin(&asked->liar, bytes);
        for (bool last = false; !last;) { // until it has said that there is something to look in
                Drover__DataEnvelope *envelope = NULL;
                assert_int_equal(channel_receive(asked->liar.talk, &envelope, NULL), 0);
                last = envelope->body_case == DROVER__DATA_ENVELOPE__BODY_HAVE && envelope->have->last;
                assert_true(!last || envelope->have->has_other);
                proto_free(&envelope->base);
        }
}

static void part_sink(struct asked *asked, struct answerer *answerer) {
        answering_free(answerer);
        reuse_free(asked->reuse);
        close(asked->again);
}

// One block, with the names of these bytes' pieces.
static void say_names(struct asked *asked, uint64_t offset, uint32_t pieces, const uint8_t *bytes) {
        Drover__DataNames names = DROVER__DATA_NAMES__INIT;
        Drover__DataNamed named = DROVER__DATA_NAMED__INIT, *list[] = {&named};
        uint8_t all[BLOCKS_PIECES][NAMES_BYTES], packed[32][NAMES_BYTES];
        size_t n = 0;
        names_of_pieces(bytes, MIB, 0xffff, all);
        for (unsigned i = 0; i < 32; i++)
                if (pieces >> i & 1)
                        memcpy(packed[n++], all[i % BLOCKS_PIECES], NAMES_BYTES);
        named.offset = offset;
        named.pieces = pieces;
        named.names = (ProtobufCBinaryData){n * NAMES_BYTES, packed[0]};
        names.blocks = list;
        names.n_blocks = 1;
        SAY(asked->liar.talk, names, NAMES, &names);
}

// What the sink answers of one block.
static void hear_wants(struct asked *asked, uint32_t missing, uint32_t alike) {
        Drover__DataEnvelope *envelope = hear(&asked->liar);
        assert_int_equal((int) envelope->body_case, DROVER__DATA_ENVELOPE__BODY_WANTS);
        assert_int_equal(envelope->wants->n_blocks, 1);
        assert_int_equal(envelope->wants->blocks[0]->missing, missing);
        assert_int_equal(envelope->wants->blocks[0]->alike, alike);
        proto_free(&envelope->base);
}

// A block, without the pieces in this mask; what travels is plain.
static void say_block(struct asked *asked, uint64_t offset, const uint8_t *bytes, uint32_t without, bool answered) {
        struct grains grains;
        uint8_t hash[DIGEST_HASH], packed[GRAINS_BYTES];
        grains_fill(&grains, MIB);
        digest_block(bytes, MIB, &grains, hash);
        for (size_t i = 0; i < BLOCKS_GRAINS; i++)
                if (without >> i / NAMES_GRAINS & 1)
                        grains_set(&grains, i, false);
        grains_pack(&grains, packed);
        Drover__DataBlock block = a_block(offset, MIB);
        block.hash.data = hash;
        block.grains.data = packed;
        block.answered = answered;
        block.coded_bytes = (uint32_t) grains_bytes(&grains, MIB);
        SAY(asked->liar.stream, block, BLOCK, &block);
        for (unsigned i = 0; i < BLOCKS_PIECES; i++)
                if (!(without >> i & 1))
                        assert_int_equal(channel_write(asked->liar.stream, bytes + (size_t) i * BLOCKS_PIECE,
                                                       BLOCKS_PIECE, NULL),
                                         0);
        assert_int_equal(channel_flush(asked->liar.stream, NULL), 0);
}

static void say_answer(struct asked *asked, const uint8_t *bytes, uint32_t without) {
        say_block(asked, 0, bytes, without, true);
}

// Of what it looks in, this piece is not in what becomes the source's image.
static void assert_not_written(const struct asked *asked, unsigned piece) {
        static const uint8_t nothing[BLOCKS_PIECE];
        static uint8_t there[BLOCKS_PIECE];
        assert_int_equal(pread(asked->again, there, sizeof there, (off_t) piece * BLOCKS_PIECE), sizeof there);
        assert_memory_equal(there, nothing, sizeof there);
}

// It would see in its own image what stands at that place in another one's.
static void what_a_source_cannot_name_it_does_not_get(void **state) {
        (void) state;
        static uint8_t guess[MIB];
        struct asked asked;
        meet_sink(&asked, 2 * MIB);
        struct answerer *answerer = asked.liar.victim->answerer;
        memcpy(guess, content, MIB);
        guess[3 * BLOCKS_PIECE + 5] ^= 1; // all that it does not know of the third piece
        say_names(&asked, 0, 0xffff, guess);
        hear_wants(&asked, 1u << 3, 1u << 3);
        say_answer(&asked, guess, 0xffff); // "every grain of it is the same as yours"
        hear_wants(&asked, 1u << 3, 0);    // asked for as if nothing were alike
        assert_not_written(&asked, 3);
        say_answer(&asked, guess, 0xffff); // again without
        RIG_UNTIL(atomic_load(&asked.liar.victim->ended));
        struct rig_side *victim = asked.liar.victim;
        part(&asked.liar);
        rig_assert_failed(victim, ERROR_CORRUPT, "vda: the block at 0 B is not what the source read");
        assert_not_written(&asked, 3);
        part_sink(&asked, answerer);
}

static void names_that_make_no_sense_are_refused(void **state) {
        (void) state;
        static const struct {
                uint64_t offset;
                uint32_t pieces;
                const char *message;
        } wrong[] = {{512, 1, "the source names a block at 512 that makes no sense"},
                     {3 * MIB, 1, "the source names a block at 3145728 that makes no sense"},
                     {UINT64_MAX - MIB + 1, 1, "the source names a block at 18446744073708503040 that makes no sense"},
                     {0, 0, "the source names a block at 0 that makes no sense"},
                     {0, 0x10001, "the source names a block at 0 that makes no sense"},
                     {2 * MIB, 2, "the source names a block at 2097152 that makes no sense"}}; // it has one piece
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
                struct asked asked;
                meet_sink(&asked, 2 * MIB + 5);
                struct answerer *answerer = asked.liar.victim->answerer;
                say_names(&asked, wrong[i].offset, wrong[i].pieces, content);
                assert_found_out(&asked.liar, ERROR_PROTOCOL, wrong[i].message);
                part_sink(&asked, answerer);
        }
}

static void a_source_that_names_without_end_is_refused(void **state) {
        (void) state;
        static uint8_t unknown[MIB];
        struct asked asked;
        meet_sink(&asked, 1024 * MIB);
        struct answerer *answerer = asked.liar.victim->answerer;
        memset(unknown, 77, sizeof unknown);
        say_names(&asked, MIB, 1, unknown);
        hear_wants(&asked, 1, 0);
        say_names(&asked, 513 * MIB, 1, unknown); // the first is still out
        assert_found_out(&asked.liar, ERROR_PROTOCOL, "the source names more blocks than it may");
        part_sink(&asked, answerer);
}

static void an_answer_for_another_block_is_refused(void **state) {
        (void) state;
        struct asked asked;
        meet_sink(&asked, 2 * MIB);
        struct answerer *answerer = asked.liar.victim->answerer;
        say_answer(&asked, content, 0xffff);
        assert_found_out(&asked.liar, ERROR_PROTOCOL, "the block at 0 B was not asked for");
        part_sink(&asked, answerer);
}

// What is found is written before the rest has come: never over what has come already.
static void a_block_that_is_there_cannot_be_named(void **state) {
        (void) state;
        struct asked asked;
        meet_sink(&asked, 2 * MIB);
        struct answerer *answerer = asked.liar.victim->answerer;
        say_names(&asked, 0, 0xffff, content);
        hear_wants(&asked, 0, 0);
        say_names(&asked, 0, 0xffff, content);
        assert_found_out(&asked.liar, ERROR_PROTOCOL, "the source names the block at 0, which it has sent");
        part_sink(&asked, answerer);
}

static void a_block_that_is_asked_about_does_not_come_whole(void **state) {
        (void) state;
        static uint8_t unknown[MIB];
        struct asked asked;
        meet_sink(&asked, 2 * MIB);
        struct answerer *answerer = asked.liar.victim->answerer;
        memcpy(unknown, content, sizeof unknown);
        unknown[MIB - 1] ^= 1;
        say_names(&asked, 0, 0xffff, unknown);
        hear_wants(&asked, 1u << 15, 1u << 15);
        say_block(&asked, 0, unknown, 0, false);
        assert_found_out(&asked.liar, ERROR_PROTOCOL, "the block at 0 comes while it is asked about");
        part_sink(&asked, answerer);
}

// What is found is written when it is found; a hole in its place would be a lie that no digest tells.
static void there_are_no_zeros_where_something_is_asked_about(void **state) {
        (void) state;
        static uint8_t unknown[MIB];
        uint8_t hash[DIGEST_BYTES];
        struct asked asked;
        meet_sink(&asked, 2 * MIB);
        struct answerer *answerer = asked.liar.victim->answerer;
        struct digest *digest = digest_new(2 * MIB);
        assert_int_equal(digest_add(digest, 0, 2 * MIB, NULL, NULL) | digest_finish(digest, hash, NULL), 0);
        digest_free(digest);
        memcpy(unknown, content, sizeof unknown);
        unknown[MIB - 1] ^= 1;
        say_names(&asked, 0, 0xffff, unknown);
        hear_wants(&asked, 1u << 15, 1u << 15);
        say_zero(&asked.liar, 0, 2 * MIB);
        say_end(&asked.liar, 2 * MIB, hash, sizeof hash);
        assert_found_out(&asked.liar, ERROR_PROTOCOL, "the source ends while the block at 0 is asked about");
        part_sink(&asked, answerer);
}

// It has come, and waits for its turn in the digest: named anew meanwhile, it would be written over.
static void a_block_is_settled_when_it_is_in_the_digest_and_not_before(void **state) {
        (void) state;
        static uint8_t unknown[MIB];
        struct asked asked;
        uint64_t last = 299 * MIB;
        meet_sink(&asked, 300 * MIB);
        struct answerer *answerer = asked.liar.victim->answerer;
        memset(unknown, 77, sizeof unknown);
        say_names(&asked, last, 0xffff, unknown);
        hear_wants(&asked, 0xffff, 0);
        for (uint64_t n = 1; n <= DIGEST_EARLY_MAX; n++) // without the first one
                say_zero(&asked.liar, n * MIB, MIB);
        say_block(&asked, last, unknown, 0, true);
        unknown[0] = 1;
        say_names(&asked, last, 0xffff, unknown);
        assert_found_out(&asked.liar, ERROR_PROTOCOL, "the source names more blocks than it may");
        part_sink(&asked, answerer);
}

// ---- the victim is a source
static void say_have_other(struct liar *liar) {
        Drover__DataHave have = DROVER__DATA_HAVE__INIT;
        have.last = have.has_other = true;
        SAY(liar->talk, have, HAVE, &have);
}

// Meets a source that asks; the offset of a block that it has named.
static uint64_t meet_source(struct liar *liar) {
        int fd = rig_file();
        rig_fill(fd, 0, 20 * MIB, 1);
        prepare(liar, REVERSE, fd, -1);
        liar->victim->order.rate_bytes_per_second = SLOW;
        meet_prepared(liar, REVERSE);
        say_have_other(liar);
        Drover__DataEnvelope *begin = hear(liar);
        assert_int_equal((int) begin->body_case, DROVER__DATA_ENVELOPE__BODY_BEGIN);
        proto_free(&begin->base);
        Drover__DataEnvelope *names = hear(liar);
        assert_int_equal((int) names->body_case, DROVER__DATA_ENVELOPE__BODY_NAMES);
        uint64_t offset = names->names->blocks[0]->offset;
        proto_free(&names->base);
        return offset;
}

static void say_wants(struct liar *liar, uint64_t offset, uint32_t missing, uint32_t alike, size_t prints) {
        static uint8_t bytes[8 * 16 * NAMES_GRAINS];
        Drover__DataWants wants = DROVER__DATA_WANTS__INIT;
        Drover__DataWanted wanted = DROVER__DATA_WANTED__INIT, *list[] = {&wanted};
        wanted.offset = offset;
        wanted.missing = missing;
        wanted.alike = alike;
        wanted.prints = (ProtobufCBinaryData){prints, bytes};
        wants.blocks = list;
        wants.n_blocks = 1;
        SAY(liar->talk, wants, WANTS, &wants);
}

// The source goes on to name and to send until it notices.
static void assert_source_found_out(struct liar *liar, const char *message) {
        char expected[256];
        RIG_UNTIL(atomic_load(&liar->victim->ended));
        struct rig_side *victim = liar->victim;
        part(liar);
        snprintf(expected, sizeof expected, "vda: %s", message);
        rig_assert_failed(victim, ERROR_PROTOCOL, expected);
}

static void answers_that_nobody_asked_for_are_refused(void **state) {
        (void) state;
        static const uint64_t wrong[] = {MIB * 255, UINT64_MAX, 1};
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
                struct liar liar;
                char message[128];
                meet_source(&liar);
                say_wants(&liar, wrong[i], 1, 0, 0);
                snprintf(message, sizeof message, "the sink answers for a block at %llu that it was not asked for",
                         (unsigned long long) wrong[i]);
                assert_source_found_out(&liar, message);
        }
}

static void answers_that_make_no_sense_are_refused(void **state) {
        (void) state;
        static const struct {
                uint32_t missing, alike;
                size_t prints;
        } wrong[] = {{0x10000, 0, 0}, {1, 2, 128}, {3, 2, 127}, {3, 2, 0}, {1, 0, 128}};
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
                struct liar liar;
                char message[128];
                uint64_t at = meet_source(&liar);
                say_wants(&liar, at, wrong[i].missing, wrong[i].alike, wrong[i].prints);
                snprintf(message, sizeof message, "the sink's answer for the block at %llu makes no sense",
                         (unsigned long long) at);
                assert_source_found_out(&liar, message);
        }
}

static void a_block_is_settled_once(void **state) {
        (void) state;
        struct liar liar;
        char message[128];
        uint64_t at = meet_source(&liar);
        say_wants(&liar, at, 0, 0, 0);
        say_wants(&liar, at, 0, 0, 0);
        snprintf(message, sizeof message, "the sink answers for a block at %llu that it was not asked for",
                 (unsigned long long) at);
        assert_source_found_out(&liar, message);
}

// "Once more", again and again: each time the source would read and send it.
static void a_block_is_not_sent_for_ever(void **state) {
        (void) state;
        static uint8_t bytes[MIB + MIB / 8];
        struct liar liar;
        char message[128];
        unsigned came = 0;
        uint64_t at = meet_source(&liar);
        say_wants(&liar, at, 1, 0, 0);
        while (came < 9) {
                Drover__DataEnvelope *envelope = NULL;
                if (channel_receive(liar.stream, &envelope, NULL) < 0)
                        break;
                assert_int_equal((int) envelope->body_case, DROVER__DATA_ENVELOPE__BODY_BLOCK);
                assert_int_equal(channel_read(liar.stream, bytes, envelope->block->coded_bytes, NULL), 0);
                if (envelope->block->answered) {
                        came++;
                        say_wants(&liar, at, 1, 0, 0);
                }
                proto_free(&envelope->base);
        }
        assert_in_range(came, 1, 4);
        snprintf(message, sizeof message, "the sink's answer for the block at %llu makes no sense",
                 (unsigned long long) at);
        assert_source_found_out(&liar, message);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_a_source_cannot_name_it_does_not_get),
                cmocka_unit_test(names_that_make_no_sense_are_refused),
                cmocka_unit_test(a_source_that_names_without_end_is_refused),
                cmocka_unit_test(an_answer_for_another_block_is_refused),
                cmocka_unit_test(a_block_that_is_there_cannot_be_named),
                cmocka_unit_test(a_block_that_is_asked_about_does_not_come_whole),
                cmocka_unit_test(there_are_no_zeros_where_something_is_asked_about),
                cmocka_unit_test(a_block_is_settled_when_it_is_in_the_digest_and_not_before),
                cmocka_unit_test(answers_that_nobody_asked_for_are_refused),
                cmocka_unit_test(answers_that_make_no_sense_are_refused),
                cmocka_unit_test(a_block_is_settled_once),
                cmocka_unit_test(a_block_is_not_sent_for_ever),
        };
        return cmocka_run_group_tests(tests, rig_up, rig_down);
}
