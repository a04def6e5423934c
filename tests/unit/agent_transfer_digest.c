// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/transfer/digest, lanes, rate: hashing side by side gives what hashing one by one does, in whatever order. */
#include "agent/transfer/digest.h"
#include "agent/transfer/lanes.h"
#include "agent/transfer/rate.h"
#include "common/memory.h"
#include <openssl/sha.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#define BLOCK ((size_t) TRANSFER_BLOCK)

static uint8_t *noise(size_t length, uint32_t seed) {
        uint8_t *bytes = memory_new(length + 1);
        for (size_t i = 0; i < length; i++) {
                seed = seed * 1664525u + 1013904223u;
                bytes[i] = (uint8_t) (seed >> 24);
        }
        return bytes;
}

// The definition in transfer.h, in the plainest way.
static void plain_block(const uint8_t *bytes, size_t length, uint8_t ret_hash[32]) {
        uint8_t leaves[64 * 32];
        size_t n = 0;
        for (size_t at = 0; at < length; at += 16384, n++)
                SHA256(bytes + at, length - at < 16384 ? length - at : 16384, leaves + 32 * n);
        SHA256(leaves, 32 * n, ret_hash);
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
                assert_int_equal(buffer_append(&all, hash, 32, NULL), 0);
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
        static const size_t lengths[] = {1, 4095, 16384, 16385, 300000, 1048575, 1048576};
        for (size_t i = 0; i < 7; i++) {
                uint8_t *bytes = noise(lengths[i], 7), hash[32], expected[32];
                for (unsigned zeros = 0; zeros < 2; zeros++) {
                        if (zeros && lengths[i] > 40000)
                                memset(bytes + 16384, 0, 20000); // one leaf of zeros and a part of the next
                        digest_block(bytes, lengths[i], digest_pieces(bytes, lengths[i]), hash);
                        plain_block(bytes, lengths[i], expected);
                        assert_memory_equal(hash, expected, 32);
                }
                free(bytes);
        }
}

static void pieces_are_the_leaves_that_hold_something(void **state) {
        (void) state;
        uint8_t *bytes = memory_new(BLOCK);
        assert_int_equal(digest_pieces(bytes, BLOCK), 0);
        bytes[16383] = 1;
        bytes[16384 * 5] = 1;
        bytes[BLOCK - 1] = 1;
        assert_true(digest_pieces(bytes, BLOCK) == (1ull | 1ull << 5 | 1ull << 63));
        assert_true(digest_pieces(bytes, BLOCK - 1) == (1ull | 1ull << 5));
        assert_int_equal(digest_pieces(bytes, 1), 0);
        bytes[0] = 9;
        assert_int_equal(digest_pieces(bytes, 1), 1);
        free(bytes);
}

static void add_block(struct digest *digest, const uint8_t *bytes, size_t length, size_t number) {
        uint8_t hash[32];
        size_t at = number * BLOCK, n = length - at < BLOCK ? length - at : BLOCK;
        digest_block(bytes + at, n, digest_pieces(bytes + at, n), hash);
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

static uint64_t now_ms;
static uint64_t told_ms(void *data) {
        (void) data;
        return now_ms;
}
static const struct clock told_clock = {.monotonic_ms = told_ms};

// Bytes that may be sent within so many seconds, asking every millisecond.
static uint64_t sent_within(struct rate *rate, unsigned seconds) {
        uint64_t sent = 0;
        for (unsigned i = 0; i < seconds * 1000; i++, now_ms++)
                while (rate_take(rate, RATE_PORTION) == 0)
                        sent += RATE_PORTION;
        return sent;
}

static void a_rate_is_held(void **state) {
        (void) state;
        struct rate rate;
        rate_init(&rate, 10 * BLOCK, &told_clock);
        uint64_t sent = sent_within(&rate, 10);
        assert_in_range(sent, 99 * BLOCK, 101 * BLOCK);
        now_ms += 3600 * 1000; // an hour of rest does not save up an hour of bytes
        sent = sent_within(&rate, 1);
        assert_in_range(sent, 9 * BLOCK, 13 * BLOCK);
        rate_fini(&rate);
}

static void no_rate_never_waits_and_a_tiny_one_is_raised(void **state) {
        (void) state;
        struct rate rate;
        rate_init(&rate, 0, &told_clock);
        for (unsigned i = 0; i < 1000; i++)
                assert_int_equal(rate_take(&rate, RATE_PORTION), 0);
        rate_fini(&rate);
        rate_init(&rate, 1, &told_clock);
        uint64_t sent = sent_within(&rate, 10);
        assert_in_range(sent, 9 * RATE_LEAST, 11 * RATE_LEAST);
        rate_fini(&rate);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(lanes_hash_what_openssl_hashes),
                cmocka_unit_test(a_known_message_has_its_published_hash),
                cmocka_unit_test(a_block_is_hashed_as_defined),
                cmocka_unit_test(pieces_are_the_leaves_that_hold_something),
                cmocka_unit_test(the_digest_does_not_depend_on_the_order),
                cmocka_unit_test(ranges_of_zeros_count_as_their_blocks),
                cmocka_unit_test(an_empty_image_has_a_digest),
                cmocka_unit_test(what_comes_twice_is_refused),
                cmocka_unit_test(what_is_outside_is_refused),
                cmocka_unit_test(an_image_that_is_not_complete_has_no_digest),
                cmocka_unit_test(a_stream_far_ahead_waits_for_the_missing_part),
                cmocka_unit_test(stopping_wakes_who_waits),
                cmocka_unit_test(a_rate_is_held),
                cmocka_unit_test(no_rate_never_waits_and_a_tiny_one_is_raised),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
