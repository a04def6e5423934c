// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/repository/chunk: the names of content are those that the standards say, on every thread. */
#include "agent/repository/chunk.h"
#include "common/memory.h"
#include <pthread.h>
#include <stdlib.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

static void assert_name(const void *content, size_t length, const struct chunk_key *key, const char *hex) {
        char is[CHUNK_HEX];
        struct chunk_name name = chunk_name_of(content, length, key);
        chunk_name_to_hex(&name, is);
        assert_string_equal(is, hex);
}

static void names_are_sha256(void **state) {
        (void) state;
        // The first is the example of FIPS 180-4.
        assert_name("abc", 3, NULL, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_name("a", 1, NULL, "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb");
}

static void names_of_a_sealed_repository_are_hmac_sha256(void **state) {
        (void) state;
        // Key 00 01 ... 1f, the message "drover".
        struct chunk_key key;
        for (uint8_t i = 0; i < sizeof key.bytes; i++)
                key.bytes[i] = i;
        assert_name("drover", 6, &key, "b3c69c1840893d1e9d513ff7ca9ad8f0f4642137bba7766a546b309e56ba4258");
        for (uint8_t i = 0; i < sizeof key.bytes; i++)
                key.bytes[i] = (uint8_t) (i + 1);
        assert_name("drover", 6, &key, "78efc4a49cfc6878cd358c07e3133720514d08ebce229e73b6d3d2f10a673b04");
}

static void zeros_have_the_name_of_zeros_whatever_the_key_and_length(void **state) {
        (void) state;
        static uint8_t content[CHUNK_BYTES];
        struct chunk_key key = {.bytes = {1}};
        for (size_t length = 1; length <= CHUNK_BYTES; length = length * 3 < CHUNK_BYTES ? length * 3 : length + 6487) {
                struct chunk_name name = chunk_name_of(content, length, NULL);
                assert_true(chunk_name_is_zero(&name));
                name = chunk_name_of(content, length, &key);
                assert_true(chunk_name_is_zero(&name));
        }
        assert_true(chunk_is_zero(content, 0));
        for (size_t at = 0; at < CHUNK_BYTES; at += 4369) {
                content[at] = 1;
                assert_false(chunk_is_zero(content, CHUNK_BYTES));
                assert_true(chunk_is_zero(content, at));
                struct chunk_name name = chunk_name_of(content, CHUNK_BYTES, NULL);
                assert_false(chunk_name_is_zero(&name));
                content[at] = 0;
        }
}

static void hex_is_lower_case_and_nothing_else(void **state) {
        (void) state;
        char hex[CHUNK_HEX];
        struct chunk_name name = chunk_name_of("abc", 3, NULL), again = {0};
        chunk_name_to_hex(&name, hex);
        assert_true(chunk_name_from_hex(hex, &again));
        assert_true(chunk_name_equal(&name, &again) && chunk_name_compare(&name, &again) == 0);
        assert_true(chunk_name_compare(&chunk_zero_name, &name) < 0 && chunk_name_compare(&name, &chunk_zero_name) > 0);
        const char wrong[] = {'\0', 'A', 'g', '/', ':', '`', ' ', '\xff'};
        for (size_t at = 0; at < CHUNK_HEX - 1; at++)
                for (size_t i = 0; i < sizeof wrong; i++) {
                        char was = hex[at];
                        hex[at] = wrong[i];
                        again = chunk_zero_name;
                        assert_false(chunk_name_from_hex(hex, &again));
                        assert_true(chunk_name_is_zero(&again));
                        hex[at] = was;
                }
}

static void *hash_many(void *content) {
        struct chunk_key key = {.bytes = {7}};
        struct chunk_name *names = new_array(struct chunk_name, 2);
        for (unsigned i = 0; i < 200; i++) {
                names[0] = chunk_name_of(content, 1000, NULL);
                names[1] = chunk_name_of(content, 1000, &key);
        }
        return names;
}

static void threads_agree(void **state) {
        (void) state;
        uint8_t content[1000];
        memset(content, 'x', sizeof content);
        struct chunk_name *names[4];
        pthread_t threads[4];
        for (unsigned i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, hash_many, content), 0);
        for (unsigned i = 0; i < 4; i++)
                pthread_join(threads[i], (void **) &names[i]);
        for (unsigned i = 0; i < 4; i++)
                assert_memory_equal(names[i], names[0], 2 * sizeof **names);
        assert_false(chunk_name_equal(&names[0][0], &names[0][1]));
        for (unsigned i = 0; i < 4; i++)
                free(names[i]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_are_sha256),
                cmocka_unit_test(names_of_a_sealed_repository_are_hmac_sha256),
                cmocka_unit_test(zeros_have_the_name_of_zeros_whatever_the_key_and_length),
                cmocka_unit_test(hex_is_lower_case_and_nothing_else),
                cmocka_unit_test(threads_agree),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
