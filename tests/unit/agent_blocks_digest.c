// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/blocks/digest, grains, lanes: hashing side by side gives what hashing one by one does, in whatever order. */
#include "agent/blocks/digest.h"
#include "agent/blocks/lanes.h"
#include "common/buffer.h"
#include "common/memory.h"
#include <openssl/sha.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#define BLOCK ((size_t) BLOCKS_BLOCK)

static uint8_t *noise(size_t length, uint32_t seed) {
        uint8_t *bytes = memory_new(length + 1);
        for (size_t i = 0; i < length; i++) {
                seed = seed * 1664525u + 1013904223u;
                bytes[i] = (uint8_t) (seed >> 24);
        }
        return bytes;
}

// The definition in digest.h, in the plainest way.
static void plain_hash(const uint8_t *bytes, size_t length, uint8_t ret_hash[16]) {
        XXH128_hash_t hash = XXH3_128bits(bytes, length);
        for (unsigned i = 0; i < 8; i++) {
                ret_hash[i] = (uint8_t) (hash.high64 >> (56 - 8 * i));
                ret_hash[8 + i] = (uint8_t) (hash.low64 >> (56 - 8 * i));
        }
}

static void plain_block(const uint8_t *bytes, size_t length, uint8_t ret_hash[16]) {
        uint8_t pieces[16 * 16];
        size_t n = 0;
        for (size_t at = 0; at < length; at += 65536, n++)
                plain_hash(bytes + at, length - at < 65536 ? length - at : 65536, pieces + 16 * n);
        plain_hash(pieces, 16 * n, ret_hash);
}

static void plain_digest(const uint8_t *bytes, size_t length, char ret_text[DIGEST_TEXT]) {
        struct buffer all;
        uint8_t size[8], hash[32];
        buffer_init(&all, 0);
        for (unsigned i = 0; i < 8; i++)
                size[i] = (uint8_t) ((uint64_t) length >> (8 * i));
        assert_int_equal(buffer_append(&all, size, 8, NULL), 0);
        for (size_t at = 0; at < length; at += BLOCK) {
                plain_block(bytes + at, length - at < BLOCK ? length - at : BLOCK, hash);
                assert_int_equal(buffer_append(&all, hash, 16, NULL), 0);
        }
        SHA256(all.data, all.length, hash);
        digest_text(hash, ret_text);
        buffer_fini(&all);
}

static void lanes_hash_what_openssl_hashes(void **state) {
        (void) state;
        enum { MOST = 70, LENGTH = 512 };
        uint8_t *bytes = noise(MOST * LENGTH, 1);
        const uint8_t *messages[MOST];
        uint8_t digests[MOST][32], expected[32];
        for (size_t i = 0; i < MOST; i++)
                messages[i] = bytes + i * LENGTH;
        static const size_t lengths[] = {0, 1, 63, 64, 65, 128, 448, 512};
        for (size_t k = 0; k < 8; k++)
                for (size_t n = 0; n <= MOST; n++) {
                        memset(digests, 0, sizeof digests);
                        lanes_sha256(messages, n, lengths[k], digests);
                        for (size_t i = 0; i < n; i++) {
                                SHA256(messages[i], lengths[k], expected);
                                assert_memory_equal(digests[i], expected, 32);
                        }
                }
        free(bytes);
}

static void a_known_message_has_its_published_hash(void **state) {
        (void) state; // FIPS 180-4: one million times "a"; here in sixteen lanes of 1,000,000 = 64 * 15625 bytes
        static const uint8_t expected[32] = {0xcd, 0xc7, 0x6e, 0x5c, 0x99, 0x14, 0xfb, 0x92, 0x81, 0xa1, 0xc7,
                                             0xe2, 0x84, 0xd7, 0x3e, 0x67, 0xf1, 0x80, 0x9a, 0x48, 0xa4, 0x97,
                                             0x20, 0x0e, 0x04, 0x6d, 0x39, 0xcc, 0xc7, 0x11, 0x2c, 0xd0};
        uint8_t *bytes = memory_new(1000000), digests[LANES][32];
        const uint8_t *messages[LANES];
        memset(bytes, 'a', 1000000);
        for (size_t i = 0; i < LANES; i++)
                messages[i] = bytes;
        lanes_sha256(messages, LANES, 1000000, digests);
        for (size_t i = 0; i < LANES; i++)
                assert_memory_equal(digests[i], expected, 32);
        free(bytes);
}

static void a_block_is_hashed_as_defined(void **state) {
        (void) state;
        static const size_t lengths[] = {1, 4095, 65536, 65537, 300000, 1048575, 1048576};
        for (size_t i = 0; i < 7; i++) {
                uint8_t *bytes = noise(lengths[i], 7), hash[16], expected[16];
                struct grains grains;
                for (unsigned zeros = 0; zeros < 3; zeros++) {
                        if (zeros == 1 && lengths[i] > 200000)
                                memset(bytes + 65536, 0, 80000); // one piece of zeros and a part of the next
                        if (zeros == 2)
                                memset(bytes, 0, lengths[i]);
                        grains_find(bytes, lengths[i], &grains);
                        digest_block(bytes, lengths[i], &grains, hash);
                        plain_block(bytes, lengths[i], expected);
                        assert_memory_equal(hash, expected, 16);
                }
                digest_zeros(lengths[i], hash);
                assert_memory_equal(hash, expected, 16);
                free(bytes);
        }
}

static void grains_are_what_holds_something(void **state) {
        (void) state;
        uint8_t *bytes = memory_new(BLOCK);
        struct grains grains;
        grains_find(bytes, BLOCK, &grains);
        assert_true(grains_empty(&grains));
        bytes[4095] = 1;
        bytes[4096 * 5] = 1;
        bytes[BLOCK - 1] = 1;
        grains_find(bytes, BLOCK, &grains);
        for (size_t i = 0; i < 256; i++)
                assert_int_equal(grains_has(&grains, i), i == 0 || i == 5 || i == 255);
        assert_int_equal(grains_bytes(&grains, BLOCK), 3 * 4096);
        grains_find(bytes, BLOCK - 1, &grains);
        assert_false(grains_has(&grains, 255));
        bytes[0] = 9;
        grains_find(bytes, 1, &grains);
        assert_int_equal(grains_bytes(&grains, 1), 1);
        free(bytes);
}

static void runs_of_grains_cover_the_block(void **state) {
        (void) state;
        struct grains grains = {0};
        struct grains_run run;
        size_t at = 0;
        for (size_t i = 2; i < 5; i++)
                grains_set(&grains, i, true);
        grains_set(&grains, 24, true);
        assert_true(grains_next(&grains, 100000, true, &at, &run));
        assert_true(run.begin == 2 * 4096 && run.end == 5 * 4096 && at == 5 * 4096);
        assert_true(grains_next(&grains, 100000, true, &at, &run));
        assert_true(run.begin == 24 * 4096 && run.end == 100000);
        assert_false(grains_next(&grains, 100000, true, &at, &run));
        at = 0;
        assert_true(grains_next(&grains, 100000, false, &at, &run));
        assert_true(run.begin == 0 && run.end == 2 * 4096);
        assert_true(grains_next(&grains, 100000, false, &at, &run));
        assert_true(run.begin == 5 * 4096 && run.end == 24 * 4096);
        assert_false(grains_next(&grains, 100000, false, &at, &run));
}

static void grains_travel_in_32_bytes(void **state) {
        (void) state;
        struct grains grains = {0}, other;
        uint8_t bytes[GRAINS_BYTES];
        grains_set(&grains, 0, true);
        grains_set(&grains, 9, true);
        grains_set(&grains, 255, true);
        grains_pack(&grains, bytes);
        assert_true(bytes[0] == 1 && bytes[1] == 2 && bytes[31] == 128);
        grains_unpack(&other, bytes, sizeof bytes);
        assert_memory_equal(&grains, &other, sizeof grains);
        assert_true(grains_within(&other, BLOCK));
        assert_false(grains_within(&other, BLOCK - 4096));
        grains_unpack(&other, bytes, 2);
        assert_true(grains_within(&other, 10 * 4096) && grains_bytes(&other, 10 * 4096) == 8192);
        grains_fill(&other, 4097);
        assert_int_equal(grains_bytes(&other, 4097), 4097);
}

static void add_block(struct digest *digest, const uint8_t *bytes, size_t length, size_t number) {
        uint8_t hash[16];
        struct grains grains;
        size_t at = number * BLOCK, n = length - at < BLOCK ? length - at : BLOCK;
        grains_find(bytes + at, n, &grains);
        digest_block(bytes + at, n, &grains, hash);
        assert_int_equal(digest_add(digest, at, n, hash, NULL), 0);
}

static void the_digest_does_not_depend_on_the_order(void **state) {
        (void) state;
        size_t length = 5 * BLOCK + 12345;
        uint8_t *bytes = noise(length, 3), hash[32];
        char expected[DIGEST_TEXT], text[DIGEST_TEXT];
        plain_digest(bytes, length, expected);
        static const size_t orders[][6] = {
                {0, 1, 2, 3, 4, 5}, {5, 4, 3, 2, 1, 0}, {1, 0, 3, 2, 5, 4}, {3, 5, 0, 4, 1, 2}};
        for (size_t k = 0; k < 4; k++) {
                struct digest *digest = digest_new(length);
                for (size_t i = 0; i < 6; i++)
                        add_block(digest, bytes, length, orders[k][i]);
                assert_int_equal(digest_finish(digest, hash, NULL), 0);
                assert_string_equal(digest_text(hash, text), expected);
                assert_int_equal(digest_wait(digest, hash, NULL), 0);
                assert_string_equal(digest_text(hash, text), expected);
                digest_free(digest);
        }
        free(bytes);
}

static void ranges_of_zeros_count_as_their_blocks(void **state) {
        (void) state;
        size_t length = 9 * BLOCK + 77;
        uint8_t *bytes = memory_new(length), hash[32];
        char expected[DIGEST_TEXT], text[DIGEST_TEXT];
        bytes[4 * BLOCK + 5] = 1;
        plain_digest(bytes, length, expected);
        struct digest *digest = digest_new(length);
        assert_int_equal(digest_add(digest, 5 * BLOCK, length - 5 * BLOCK, NULL, NULL), 0);
        assert_int_equal(digest_add(digest, 0, 4 * BLOCK, NULL, NULL), 0);
        add_block(digest, bytes, length, 4);
        assert_int_equal(digest_finish(digest, hash, NULL), 0);
        assert_string_equal(digest_text(hash, text), expected);
        digest_free(digest);
        free(bytes);
}

static void an_empty_image_has_a_digest(void **state) {
        (void) state;
        uint8_t hash[32];
        char expected[DIGEST_TEXT], text[DIGEST_TEXT];
        struct digest *digest = digest_new(0);
        plain_digest(NULL, 0, expected);
        assert_int_equal(digest_finish(digest, hash, NULL), 0);
        assert_string_equal(digest_text(hash, text), expected);
        digest_free(digest);
        digest_free(NULL);
}

static void assert_not_added(struct digest *digest, uint64_t offset, uint64_t length, const uint8_t *hash,
                             const char *message) {
        struct error err = ERROR_INIT;
        assert_int_equal(digest_add(digest, offset, length, hash, &err), -1);
        assert_int_equal(err.code, ERROR_PROTOCOL);
        assert_string_equal(err.message, message);
}

static void what_comes_twice_is_refused(void **state) {
        (void) state;
        uint8_t hash[32] = {0};
        struct digest *digest = digest_new(100 * BLOCK);
        assert_int_equal(digest_add(digest, 0, BLOCK, hash, NULL), 0);
        assert_not_added(digest, 0, BLOCK, hash, "the range at 0 B came twice");
        assert_int_equal(digest_add(digest, 10 * BLOCK, BLOCK, hash, NULL), 0);
        assert_not_added(digest, 10 * BLOCK, BLOCK, hash, "the range at 10.0 MiB came twice");
        assert_not_added(digest, 5 * BLOCK, 6 * BLOCK, NULL, "the range at 5.0 MiB came twice");
        digest_free(digest);
}

static void what_is_outside_is_refused(void **state) {
        (void) state;
        uint8_t hash[32] = {0};
        struct digest *digest = digest_new(2 * BLOCK + 5);
        assert_not_added(digest, 1, BLOCK, hash, "a range of 1048576 bytes at 1 is none of this image");
        assert_not_added(digest, 0, 0, hash, "a range of 0 bytes at 0 is none of this image");
        assert_not_added(digest, 0, BLOCK - 1, hash, "a range of 1048575 bytes at 0 is none of this image");
        assert_not_added(digest, 0, 2 * BLOCK, hash, "a range of 2097152 bytes at 0 is none of this image");
        assert_not_added(digest, 2 * BLOCK, BLOCK, hash, "a range of 1048576 bytes at 2097152 is none of this image");
        assert_not_added(digest, 8 * BLOCK, BLOCK, hash, "a range of 1048576 bytes at 8388608 is none of this image");
        assert_not_added(digest, BLOCK, UINT64_MAX - BLOCK + 1, NULL,
                         "a range of 18446744073708503040 bytes at 1048576 is none of this image");
        digest_free(digest);
}

static void an_image_that_is_not_complete_has_no_digest(void **state) {
        (void) state;
        uint8_t hash[32] = {0};
        struct error err = ERROR_INIT;
        struct digest *digest = digest_new(4 * BLOCK);
        assert_int_equal(digest_add(digest, 0, BLOCK, hash, NULL), 0);
        assert_int_equal(digest_add(digest, 2 * BLOCK, 2 * BLOCK, NULL, NULL), 0);
        assert_int_equal(digest_finish(digest, hash, &err), -1);
        assert_int_equal(err.code, ERROR_PROTOCOL);
        assert_string_equal(err.message, "the image is not complete: nothing came for the range at 1.0 MiB");
        digest_free(digest);
}

struct adder {
        struct digest *digest;
        uint64_t first, step, n;
        int result;
};

static void *add_many(void *data) {
        struct adder *adder = data;
        uint8_t hash[32];
        for (uint64_t i = adder->first; i < adder->n && adder->result == 0; i += adder->step) {
                memset(hash, (int) (i & 0xff), sizeof hash);
                adder->result = digest_add(adder->digest, i * BLOCK, BLOCK, hash, NULL);
        }
        return NULL;
}

static void a_stream_far_ahead_waits_for_the_missing_part(void **state) {
        (void) state;
        enum { N = 4 * DIGEST_EARLY_MAX };
        struct digest *together = digest_new(N * BLOCK), *alone = digest_new(N * BLOCK);
        struct adder odd = {together, 1, 2, N, 0}, even = {together, 0, 2, N, 0}, all = {alone, 0, 1, N, 0};
        uint8_t one[32], other[32];
        pthread_t thread;
        pthread_create(&thread, NULL, add_many, &odd); // fills every place and waits
        add_many(&even);
        assert_int_equal(digest_wait(together, one, NULL), 0);
        pthread_join(thread, NULL);
        add_many(&all);
        assert_int_equal(digest_finish(alone, other, NULL), 0);
        assert_memory_equal(one, other, 32);
        assert_int_equal(odd.result | even.result | all.result, 0);
        digest_free(together);
        digest_free(alone);
}

static void hash_of(uint64_t n, uint8_t ret[DIGEST_HASH]) {
        memset(ret, 0, DIGEST_HASH);
        memcpy(ret, &n, sizeof n);
}

// However early they come, and however many there are.
static void a_run_of_blocks_counts_as_its_blocks_and_takes_one_place(void **state) {
        (void) state;
        uint64_t runs = DIGEST_EARLY_MAX, blocks = 1 + 3 * runs, bytes = blocks * BLOCK - 5;
        struct digest *together = digest_new(bytes), *alone = digest_new(bytes);
        uint8_t hashes[3][DIGEST_HASH], first[DIGEST_HASH], one[32], other[32];
        struct error err = ERROR_INIT;
        for (uint64_t run = runs; run-- > 0;) {
                for (unsigned i = 0; i < 3; i++)
                        hash_of(1 + 3 * run + i, hashes[i]);
                uint64_t offset = (1 + 3 * run) * BLOCK, left = bytes - offset;
                assert_int_equal(digest_add_run(together, offset, left < 3 * BLOCK ? left : 3 * BLOCK,
                                                (const uint8_t(*)[DIGEST_HASH]) hashes, &err),
                                 0);
        }
        for (uint64_t n = 0; n < blocks; n++) {
                uint8_t hash[DIGEST_HASH];
                hash_of(n, hash);
                assert_int_equal(digest_add(alone, n * BLOCK, n == blocks - 1 ? BLOCK - 5 : BLOCK, hash, &err), 0);
        }
        hash_of(0, first);
        assert_int_equal(digest_add(together, 0, BLOCK, first, &err), 0);
        assert_int_equal(digest_add_run(together, 5 * BLOCK, 2 * BLOCK, (const uint8_t(*)[DIGEST_HASH]) hashes, &err),
                         -1);
        assert_int_equal(err.code, ERROR_PROTOCOL);
        assert_int_equal(digest_finish(together, one, &err) | digest_finish(alone, other, &err), 0);
        assert_memory_equal(one, other, sizeof one);
        digest_free(together);
        digest_free(alone);
}

static void what_has_been_added_is_known(void **state) {
        (void) state;
        struct digest *digest = digest_new(9 * BLOCK);
        uint8_t hash[DIGEST_HASH] = {1};
        assert_int_equal(
                digest_add(digest, 0, BLOCK, hash, NULL) | digest_add(digest, 3 * BLOCK, 2 * BLOCK, NULL, NULL), 0);
        static const bool there[9] = {true, false, false, true, true};
        for (unsigned i = 0; i < 9; i++) {
                assert_int_equal(digest_has(digest, i * BLOCK), there[i]);
                assert_int_equal(digest_has(digest, i * BLOCK + BLOCK - 1), there[i]);
        }
        digest_free(digest);
}

static void stopping_wakes_who_waits(void **state) {
        (void) state;
        struct digest *digest = digest_new(1000 * BLOCK);
        struct adder ahead = {digest, 1, 1, 1000, 0};
        struct error err = ERROR_INIT;
        uint8_t hash[32];
        pthread_t thread;
        pthread_create(&thread, NULL, add_many, &ahead);
        digest_stop(digest);
        pthread_join(thread, NULL);
        assert_int_equal(ahead.result, -1);
        assert_int_equal(digest_wait(digest, hash, &err), -1);
        assert_int_equal(err.code, ERROR_CANCELLED);
        digest_free(digest);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(lanes_hash_what_openssl_hashes),
                cmocka_unit_test(a_known_message_has_its_published_hash),
                cmocka_unit_test(a_block_is_hashed_as_defined),
                cmocka_unit_test(grains_are_what_holds_something),
                cmocka_unit_test(runs_of_grains_cover_the_block),
                cmocka_unit_test(grains_travel_in_32_bytes),
                cmocka_unit_test(the_digest_does_not_depend_on_the_order),
                cmocka_unit_test(ranges_of_zeros_count_as_their_blocks),
                cmocka_unit_test(an_empty_image_has_a_digest),
                cmocka_unit_test(what_comes_twice_is_refused),
                cmocka_unit_test(what_is_outside_is_refused),
                cmocka_unit_test(an_image_that_is_not_complete_has_no_digest),
                cmocka_unit_test(a_stream_far_ahead_waits_for_the_missing_part),
                cmocka_unit_test(a_run_of_blocks_counts_as_its_blocks_and_takes_one_place),
                cmocka_unit_test(what_has_been_added_is_known),
                cmocka_unit_test(stopping_wakes_who_waits),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
