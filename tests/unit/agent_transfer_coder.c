// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/transfer/coder: blocks through zstd and back, near and far, in portions as a network hands them over. */
#include "agent/transfer/coder.h"
#include "common/memory.h"
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#define BLOCK   ((size_t) BLOCKS_BLOCK)
#define PORTION 4099u // that divides nothing

static uint64_t seed;

static uint64_t chance(void) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        return seed >> 33;
}

// What does not compress by itself; the same for the same number.
static void noise(uint8_t *block, unsigned n) {
        seed = n;
        for (size_t i = 0; i < BLOCK; i++)
                block[i] = (uint8_t) chance();
}

struct ends {
        struct coder *coder;
        struct decoder *decoder;
        uint8_t *sent, *got;
        unsigned begun;
};

static void meet(struct ends *ends, enum coder_reach most) {
        *ends = (struct ends){coder_new(), decoder_new(most), memory_new(BLOCK), memory_new(BLOCK), 0};
}

static void part(struct ends *ends) {
        coder_free(ends->coder);
        decoder_free(ends->decoder);
        free(ends->sent);
        free(ends->got);
}

// The bytes that it took, or -1 with what the decoder says.
static ssize_t pass(struct ends *ends, unsigned level, enum coder_reach reach, const struct grains *grains,
                    struct error *err) {
        const uint8_t *bytes;
        size_t n;
        bool begins;
        assert_int_equal(coder_code(ends->coder, level, reach, ends->sent, BLOCK, grains, &bytes, &n, &begins, NULL),
                         0);
        ends->begun += begins;
        if (decoder_begin(ends->decoder, begins, ends->got, BLOCK, grains, err) < 0)
                return -1;
        for (size_t at = 0; at < n; at += PORTION)
                if (decoder_take(ends->decoder, bytes + at, n - at < PORTION ? n - at : PORTION, err) < 0)
                        return -1;
        return decoder_end(ends->decoder, err) < 0 ? -1 : (ssize_t) n;
}

static size_t pass_well(struct ends *ends, unsigned level, enum coder_reach reach) {
        struct grains grains;
        grains_fill(&grains, BLOCK);
        memset(ends->got, 0, BLOCK);
        ssize_t n = pass(ends, level, reach, &grains, NULL);
        assert_true(n > 0);
        assert_memory_equal(ends->got, ends->sent, BLOCK);
        return (size_t) n;
}

static void what_is_coded_comes_back_at_every_level(void **state) {
        (void) state;
        struct ends ends;
        for (unsigned level = 1; level <= CODER_LEVEL_MAX; level++) {
                meet(&ends, CODER_FAR);
                for (unsigned n = 0; n < 3; n++) {
                        noise(ends.sent, n);
                        memset(ends.sent + BLOCK / 2, 'x', BLOCK / 3);
                        assert_true(pass_well(&ends, level, level % 2 ? CODER_FAR : CODER_NEAR) < BLOCK);
                }
                assert_int_equal(ends.begun, 1);
                part(&ends);
        }
}

// The content of a block `apart` blocks ago, with others between.
static size_t again_after(unsigned apart, enum coder_reach reach) {
        struct ends ends;
        meet(&ends, CODER_FAR);
        for (unsigned n = 0; n < apart; n++) {
                noise(ends.sent, n);
                pass_well(&ends, 3, reach);
        }
        noise(ends.sent, 0);
        size_t n = pass_well(&ends, 3, reach);
        part(&ends);
        return n;
}

static void content_that_comes_again_is_found_as_far_back_as_the_reach_goes(void **state) {
        (void) state;
        assert_true(again_after(3, CODER_NEAR) < BLOCK / 100);
        assert_true(again_after(16, CODER_NEAR) > BLOCK / 2);
        assert_true(again_after(16, CODER_FAR) < BLOCK / 100);
}

static void a_change_of_level_or_reach_begins_a_frame(void **state) {
        (void) state;
        struct ends ends;
        meet(&ends, CODER_FAR);
        noise(ends.sent, 7);
        const struct {
                unsigned level;
                enum coder_reach reach;
                unsigned begun;
        } steps[] = {{3, CODER_NEAR, 1}, {3, CODER_NEAR, 1}, {3, CODER_FAR, 2}, {5, CODER_FAR, 3}, {5, CODER_NEAR, 4}};
        for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
                pass_well(&ends, steps[i].level, steps[i].reach);
                assert_int_equal(ends.begun, steps[i].begun);
        }
        coder_rest(ends.coder);
        pass_well(&ends, 5, CODER_NEAR);
        assert_int_equal(ends.begun, 5);
        part(&ends);
}

static void only_the_grains_that_are_there_travel(void **state) {
        (void) state;
        struct ends ends;
        struct grains grains = {0};
        meet(&ends, CODER_NEAR);
        noise(ends.sent, 1);
        memset(ends.got, 0xaa, BLOCK);
        for (size_t i = 0; i < BLOCKS_GRAINS; i += 3)
                grains_set(&grains, i, true);
        assert_true(pass(&ends, 5, CODER_NEAR, &grains, NULL) > 0);
        for (size_t i = 0; i < BLOCKS_GRAINS; i++) {
                size_t at = i * BLOCKS_GRAIN;
                if (i % 3 == 0)
                        assert_memory_equal(ends.got + at, ends.sent + at, BLOCKS_GRAIN);
                else
                        assert_int_equal(ends.got[at], 0xaa);
        }
        part(&ends);
}

static void fault_55_a_frame_that_wants_more_memory_than_its_stream_may_have_is_refused(void **state) {
        (void) state;
        struct ends ends;
        struct error err = ERROR_INIT;
        struct grains grains;
        assert_int_equal(coder_reach_of(0), CODER_FAR);
        assert_int_equal(coder_reach_of(1), CODER_NEAR);
        grains_fill(&grains, BLOCK);
        meet(&ends, CODER_NEAR);
        noise(ends.sent, 1);
        assert_int_equal(pass(&ends, 3, CODER_FAR, &grains, &err), -1);
        assert_int_equal(err.code, ERROR_PROTOCOL);
        assert_non_null(strstr(err.message, "memory"));
        part(&ends);
}

static void fault_55_bytes_that_are_no_frame_are_refused(void **state) {
        (void) state;
        struct ends ends;
        struct error err = ERROR_INIT;
        struct grains grains;
        grains_fill(&grains, BLOCK);
        meet(&ends, CODER_FAR);
        noise(ends.sent, 1);
        assert_int_equal(decoder_begin(ends.decoder, false, ends.got, BLOCK, &grains, &err), -1);
        assert_string_equal(err.message, "a compressed block goes on where nothing began");
        assert_int_equal(decoder_begin(ends.decoder, true, ends.got, BLOCK, &grains, NULL), 0);
        assert_int_equal(decoder_take(ends.decoder, ends.sent, PORTION, &err), -1);
        assert_int_equal(err.code, ERROR_PROTOCOL);
        part(&ends);
}

static void refuse(struct decoder *decoder, uint8_t *block, size_t length, const uint8_t *bytes, size_t n, size_t step,
                   const char *message) {
        struct error err = ERROR_INIT;
        struct grains grains;
        int result = 0;
        grains_fill(&grains, length);
        assert_int_equal(decoder_begin(decoder, true, block, length, &grains, NULL), 0);
        for (size_t at = 0; at < n && result == 0; at += step)
                result = decoder_take(decoder, bytes + at, n - at < step ? n - at : step, &err);
        assert_int_equal(result, -1);
        assert_int_equal(err.code, ERROR_PROTOCOL);
        assert_string_equal(err.message, message);
}

// zstd 0.7: its decoder would take a window of 128 MiB, whatever the stream may have.
static void fault_55_a_frame_of_an_older_format_is_refused(void **state) {
        (void) state;
        static const uint8_t old[] = {0x27, 0xb5, 0x2f, 0xfd, 0, (27 - 10) << 3, 0, 0, 0, 0, 0, 0};
        struct ends ends;
        meet(&ends, CODER_NEAR);
        for (size_t step = 1; step <= sizeof old; step++)
                refuse(ends.decoder, ends.got, BLOCK, old, sizeof old, step,
                       "a compressed block begins no frame of zstd");
        part(&ends);
}

// A whole frame, and then one that nobody announced.
static void a_frame_that_ends_is_refused(void **state) {
        (void) state;
        uint8_t bytes[64];
        struct ends ends;
        meet(&ends, CODER_NEAR);
        size_t n = ZSTD_compress(bytes, sizeof bytes, "drover", 6, 3);
        assert_false(ZSTD_isError(n));
        refuse(ends.decoder, ends.got, 6, bytes, n, n, "a frame of zstd ends, which should go on");
        refuse(ends.decoder, ends.got, 6, bytes, n, 1, "a frame of zstd ends, which should go on");
        part(&ends);
}

static void a_block_of_one_byte_more_is_refused(void **state) {
        (void) state;
        const uint8_t *bytes;
        struct ends ends;
        struct grains grains;
        size_t n;
        bool begins;
        meet(&ends, CODER_NEAR);
        noise(ends.sent, 3);
        grains_fill(&grains, 5001);
        assert_int_equal(coder_code(ends.coder, 3, CODER_NEAR, ends.sent, 5001, &grains, &bytes, &n, &begins, NULL), 0);
        refuse(ends.decoder, ends.got, 5000, bytes, n, PORTION, "a compressed block holds more than it should");
        refuse(ends.decoder, ends.got, 5000, bytes, n, n, "a compressed block holds more than it should");
        part(&ends);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_coded_comes_back_at_every_level),
                cmocka_unit_test(content_that_comes_again_is_found_as_far_back_as_the_reach_goes),
                cmocka_unit_test(a_change_of_level_or_reach_begins_a_frame),
                cmocka_unit_test(only_the_grains_that_are_there_travel),
                cmocka_unit_test(fault_55_a_frame_that_wants_more_memory_than_its_stream_may_have_is_refused),
                cmocka_unit_test(fault_55_bytes_that_are_no_frame_are_refused),
                cmocka_unit_test(fault_55_a_frame_of_an_older_format_is_refused),
                cmocka_unit_test(a_frame_that_ends_is_refused),
                cmocka_unit_test(a_block_of_one_byte_more_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
