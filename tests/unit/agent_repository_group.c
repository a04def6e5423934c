// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/repository/group: what is coded is decoded, and what is not as it was coded is found, within bounds. */
#include "agent/repository/bytes.h"
#include "agent/repository/group.h"
#include "common/cleanup.h"
#include <stdlib.h>
#include <zstd.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include "scratch.h"

static struct group_coder *coder;
static uint8_t content[GROUP_CHUNKS_MAX][CHUNK_BYTES];
static struct group_chunk chunks[GROUP_CHUNKS_MAX];
static uint8_t copy[GROUP_BYTES_MAX];
static size_t length; // of the copy

// Words that compress by half, other ones in each chunk; noise: nothing compresses.
static void fill(unsigned n, size_t each, bool noise, const struct chunk_key *key) {
        uint64_t state = 88172645463325252ull;
        for (unsigned i = 0; i < n; i++) {
                for (size_t k = 0; k < each; k++) {
                        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
                        content[i][k] = noise ? (uint8_t) state : (uint8_t) ('a' + (state & 15));
                }
                chunks[i] = (struct group_chunk){
                        .name = chunk_name_of(content[i], each, key), .content = content[i], .length = (uint32_t) each};
        }
}

static void encode(unsigned n, unsigned level, const struct group_seal *seal) {
        const uint8_t *bytes;
        struct error err = ERROR_INIT;
        if (group_encode(coder, chunks, n, level, seal, &bytes, &length, &err) < 0)
                fail_msg("%s", err.message);
        memcpy(copy, bytes, length);
}

static void assert_decodes(unsigned n, const struct group_seal *seal, const struct chunk_key *key) {
        struct group group;
        struct error err = ERROR_INIT;
        if (group_decode(coder, copy, length, seal, &group, &err) < 0)
                fail_msg("%s", err.message);
        assert_int_equal(group.header.chunks, n);
        assert_int_equal(group_verify(&group, key), 0);
        for (unsigned i = 0; i < n; i++) {
                uint32_t is;
                const uint8_t *bytes = group_chunk_at(&group, i, &is);
                assert_int_equal(is, chunks[i].length);
                assert_memory_equal(bytes, content[i], is);
        }
}

static void assert_refused(size_t n, enum error_code code, const char *message) {
        struct group group;
        struct error err = ERROR_INIT;
        assert_int_equal(group_decode(coder, copy, n, NULL, &group, &err), -1);
        assert_error(err, code, message);
}

static void put_check(void) {
        struct group_header header;
        assert_int_equal(group_read_header(copy, length, &header, NULL), 0);
        bytes_put32(copy + 12, group_check(coder, &header, copy + group_header_bytes(&header)));
}

static int make(void **state) {
        (void) state;
        coder = group_coder_new();
        return 0;
}

static int end(void **state) {
        (void) state;
        group_coder_free(coder);
        return 0;
}

// ---- coding
static void what_is_coded_is_decoded(void **state) {
        (void) state;
        const unsigned levels[] = {0, 1, 3, 9, GROUP_LEVEL_MAX};
        const unsigned counts[] = {1, 2, 15, GROUP_CHUNKS_MAX};
        const size_t each[] = {1, 65, 4097, CHUNK_BYTES};
        for (unsigned noise = 0; noise < 2; noise++)
                for (size_t l = 0; l < sizeof levels / sizeof *levels; l++)
                        for (size_t k = 0; k < 4; k++) {
                                fill(counts[k], each[k], noise, NULL);
                                encode(counts[k], levels[l], NULL);
                                assert_decodes(counts[k], NULL, NULL);
                        }
}

static void what_does_not_gain_stays_as_it_is(void **state) {
        (void) state;
        fill(4, CHUNK_BYTES, true, NULL);
        encode(4, 3, NULL);
        assert_int_equal(copy[4], GROUP_PLAIN);
        assert_int_equal(length, GROUP_HEAD + 4 * GROUP_ENTRY + 4 * CHUNK_BYTES);
        fill(4, CHUNK_BYTES, false, NULL);
        encode(4, 3, NULL);
        assert_int_equal(copy[4], GROUP_ZSTD);
        assert_true(length < 3 * CHUNK_BYTES);
}

// The page's words, byte for byte.
static void the_bytes_are_those_of_the_format(void **state) {
        (void) state;
        fill(2, 3, false, NULL);
        encode(2, 3, NULL);
        assert_memory_equal(copy, "GRP1\0\0\2\0\6\0\0\0", 12);
        assert_memory_equal(copy + 16, chunks[0].name.bytes, 32);
        assert_memory_equal(copy + 48, "\3\0\0\0", 4);
        assert_memory_equal(copy + 52, chunks[1].name.bytes, 32);
        assert_memory_equal(copy + 84, "\3\0\0\0", 4);
        assert_memory_equal(copy + 88, content[0], 3);
        assert_memory_equal(copy + 91, content[1], 3);
        assert_int_equal(length, 94);
}

// ---- bounds
static void a_header_out_of_bounds_is_refused(void **state) {
        (void) state;
        static const struct {
                size_t at;
                uint32_t is;
                unsigned bytes;
                const char *message;
        } cases[] = {
                {0, 0x31505251, 4, "begins with 51525031, expected GRP1"},
                {4, 2, 1, "coding is 2, expected 0 or 1"},
                {5, 2, 1, "flags are 2, expected 0 or 1"},
                {6, 0, 2, "has 0 chunks, expected 1 to 16"},
                {6, 17, 2, "has 17 chunks, expected 1 to 16"},
                {8, 0, 4, "the body has 0 bytes, expected 1 to 1114112"},
                {8, 1114113, 4, "the body has 1114113 bytes, expected 1 to 1114112"},
                {8, 599, 4, "the body has 599 bytes, expected 600"},
                {48, 0, 4, "chunk 0 has 0 bytes, expected 1 to 65536"},
                {48, 65537, 4, "chunk 0 has 65537 bytes, expected 1 to 65536"},
                {84, 0xffffffff, 4, "chunk 1 has 4294967295 bytes, expected 1 to 65536"},
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                fill(2, 300, true, NULL);
                encode(2, 0, NULL);
                memcpy(copy + cases[i].at, &cases[i].is, cases[i].bytes);
                assert_refused(length, ERROR_CORRUPT, cases[i].message);
        }
        memset(copy + 84, 0, 4);
        encode(2, 0, NULL);
        memset(copy + 52, 0, 32);
        assert_refused(length, ERROR_CORRUPT, "chunk 1 has the name of zeros, which are never stored");
}

static void a_group_cut_short_or_too_long_is_refused(void **state) {
        (void) state;
        fill(2, 300, true, NULL);
        encode(2, 0, NULL);
        assert_refused(0, ERROR_CORRUPT, "0 bytes are left, expected a header of 16");
        assert_refused(15, ERROR_CORRUPT, "15 bytes are left, expected a header of 16");
        assert_refused(87, ERROR_CORRUPT, "87 bytes are left, expected a header of 88");
        assert_refused(687, ERROR_CORRUPT, "687 bytes are there, expected 688");
        assert_refused(689, ERROR_CORRUPT, "689 bytes are there, expected 688");
}

static void fault_58_a_bit_anywhere_in_a_group_is_found(void **state) {
        (void) state;
        for (unsigned level = 0; level < 2; level++) {
                fill(3, 200, false, NULL);
                encode(3, level, NULL);
                for (size_t at = 0; at < length; at++) {
                        struct group group;
                        struct error err = ERROR_INIT;
                        copy[at] ^= (uint8_t) (1u << at % 8);
                        assert_int_equal(group_decode(coder, copy, length, NULL, &group, &err), -1);
                        assert_int_equal(err.code, ERROR_CORRUPT);
                        copy[at] ^= (uint8_t) (1u << at % 8);
                }
                assert_decodes(3, NULL, NULL);
        }
}

// ---- bombs: a frame that the check fits, as somebody would make it who wants to
static void put_frame(const uint8_t *bytes, size_t n) {
        uint8_t *body = copy + GROUP_HEAD + GROUP_ENTRY;
        fill(1, 1000, false, NULL);
        encode(1, 1, NULL);
        copy[4] = GROUP_ZSTD;
        memcpy(body, bytes, n);
        bytes_put32(copy + 8, (uint32_t) n);
        length = (size_t) (body - copy) + n;
        put_check();
}

static void put_zeros(size_t bytes, bool size_known) {
        _cleanup_(free_p) uint8_t *zeros = calloc(1, bytes);
        static uint8_t frame[GROUP_STORED_MAX];
        ZSTD_CCtx *context = ZSTD_createCCtx();
        ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, size_known);
        ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, 27);
        size_t n = ZSTD_compress2(context, frame, sizeof frame, zeros, bytes);
        ZSTD_freeCCtx(context);
        assert_false(ZSTD_isError(n));
        put_frame(frame, n);
}

static void fault_55_a_frame_gives_what_the_table_says_and_no_more(void **state) {
        (void) state;
        put_zeros(256 << 20, true);
        assert_true(length < 64 << 10);
        assert_refused(length, ERROR_CORRUPT, "zstd: Destination buffer is too small");
        put_zeros(256 << 20, false);
        assert_refused(length, ERROR_CORRUPT, "zstd: Destination buffer is too small");
        put_zeros(1001, false);
        assert_refused(length, ERROR_CORRUPT, "zstd: Destination buffer is too small");
        put_zeros(999, false);
        assert_refused(length, ERROR_CORRUPT, "the body holds 999 bytes, expected 1000");
}

static void fault_55_nothing_but_one_frame_of_the_standard_is_decoded(void **state) {
        (void) state;
        put_zeros(1000, true);
        uint8_t frame[256], *body = copy + GROUP_HEAD + GROUP_ENTRY;
        size_t n = length - (size_t) (body - copy);
        memcpy(frame, body, n);
        memcpy(frame + n, "\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00", 9); // one more, of nothing
        put_frame(frame, n + 9);
        char message[80];
        snprintf(message, sizeof message, "the frame of zstd has %zu bytes, expected %zu", n, n + 9);
        assert_refused(length, ERROR_CORRUPT, message);
        put_frame((const uint8_t *) "\x27\xb5\x2f\xfd\x20\x00\x01\x00\x00", 9); // an old format
        assert_refused(length, ERROR_CORRUPT, "the body begins no frame of zstd");
        put_frame((const uint8_t *) "\x50\x2a\x4d\x18\x01\x00\x00\x00\x00", 9); // to be skipped
        assert_refused(length, ERROR_CORRUPT, "the body begins no frame of zstd");
        put_frame((const uint8_t *) "\x28", 1);
        assert_refused(length, ERROR_CORRUPT, "the body begins no frame of zstd");
}

// ---- names
static void fault_61_a_chunk_under_another_s_name_is_found(void **state) {
        (void) state;
        struct group group;
        struct chunk_key key = {.bytes = {3}}, other = {.bytes = {4}};
        for (unsigned keyed = 0; keyed < 2; keyed++) {
                fill(4, 5000, false, keyed ? &key : NULL);
                struct chunk_name name = chunks[1].name;
                chunks[1].name = chunks[2].name;
                chunks[2].name = name;
                encode(4, 1, NULL);
                assert_int_equal(group_decode(coder, copy, length, NULL, &group, NULL), 0);
                assert_int_equal(group_verify(&group, keyed ? &key : NULL), 0x6);
                uint32_t n;
                assert_null(group_chunk_at(&group, 1, &n));
                assert_non_null(group_chunk_at(&group, 3, &n));
                assert_int_equal(group_verify(&group, &other), 0xf);
        }
}

// ---- salvage
static uint16_t salvage(const struct group_seal *seal) {
        struct group_header header;
        struct group group;
        assert_int_equal(group_read_header(copy, length, &header, NULL), 0);
        if (group_salvage(coder, &header, copy + group_header_bytes(&header), NULL, seal, &group, NULL) < 0)
                return 0xffff;
        for (unsigned i = 0; i < group.header.chunks; i++) {
                uint32_t n;
                const uint8_t *bytes = group_chunk_at(&group, i, &n);
                if (bytes)
                        assert_memory_equal(bytes, content[i], n);
        }
        return group.bad;
}

static void fault_58_what_does_not_need_a_damaged_byte_is_had(void **state) {
        (void) state;
        fill(16, CHUNK_BYTES, true, NULL);
        encode(16, 0, NULL);
        copy[GROUP_HEADER_MAX + 5 * CHUNK_BYTES + 77] ^= 4;
        assert_int_equal(salvage(NULL), 1 << 5);
        encode(16, 0, NULL);
        copy[12] ^= 1; // the check itself
        assert_int_equal(salvage(NULL), 0);
        encode(16, 0, NULL);
        copy[GROUP_HEAD + 3 * GROUP_ENTRY] ^= 1; // a name
        assert_int_equal(salvage(NULL), 1 << 3);
        // Of a frame, what lies before: at least what came in the blocks of zstd before that of the damage.
        fill(16, CHUNK_BYTES, false, NULL);
        encode(16, 1, NULL);
        assert_int_equal(copy[4], GROUP_ZSTD);
        copy[length - 100] ^= 0x55;
        assert_int_equal(salvage(NULL) & 0x3fff, 0);
        encode(16, 1, NULL);
        copy[GROUP_HEADER_MAX] ^= 1; // how it begins
        assert_int_equal(salvage(NULL), 0xffff);
}

// ---- sealing, by a toy whose tag is a sum
static void tag_of(const uint8_t *more, size_t n_more, const uint8_t *text, size_t n, uint8_t ret[4]) {
        uint32_t sum = 7;
        for (size_t i = 0; i < n_more; i++)
                sum = sum * 31 + more[i];
        for (size_t i = 0; i < n; i++)
                sum = sum * 31 + text[i];
        bytes_put32(ret, sum);
}

static int toy_encrypt(const struct group_seal *seal, const uint8_t *more, size_t n_more, const uint8_t *text, size_t n,
                       uint8_t *ret, struct error *err) {
        (void) seal;
        (void) err;
        memset(ret, 0, GROUP_SEAL_MORE);
        tag_of(more, n_more, text, n, ret);
        for (size_t i = 0; i < n; i++)
                ret[GROUP_SEAL_MORE + i] = text[i] ^ 0x5a;
        return 0;
}

static int toy_decrypt(const struct group_seal *seal, const uint8_t *more, size_t n_more, const uint8_t *sealed,
                       size_t n, uint8_t *ret, struct error *err) {
        uint8_t tag[4];
        (void) seal;
        for (size_t i = GROUP_SEAL_MORE; i < n; i++)
                ret[i - GROUP_SEAL_MORE] = sealed[i] ^ 0x5a;
        tag_of(more, n_more, ret, n - GROUP_SEAL_MORE, tag);
        return memcmp(tag, sealed, 4) == 0 ? 0 : error_set(err, ERROR_CORRUPT, "the toy's tag differs");
}

static const struct group_seal toy = {toy_encrypt, toy_decrypt};

static void a_sealed_group_opens_with_its_seal_only(void **state) {
        (void) state;
        struct chunk_key key = {.bytes = {9}};
        for (unsigned noise = 0; noise < 2; noise++) {
                fill(16, CHUNK_BYTES, noise, &key);
                encode(16, 1, &toy);
                assert_int_equal(copy[5], GROUP_SEALED);
                assert_int_equal(copy[4], noise ? GROUP_PLAIN : GROUP_ZSTD);
                assert_decodes(16, &toy, &key);
                assert_refused(length, ERROR_DENIED, "the group is sealed, and there is no key to open it with");
                assert_int_equal(salvage(NULL), 0xffff);
        }
}

static void fault_58_the_header_of_a_sealed_group_is_under_its_seal(void **state) {
        (void) state;
        struct group group;
        fill(2, 4000, false, NULL);
        encode(2, 1, &toy);
        for (size_t at = 4; at < GROUP_HEAD + 2 * GROUP_ENTRY; at++) {
                struct group_header header;
                if (at >= 12 && at < 16)
                        continue; // the check
                copy[at] ^= 1;
                if (group_read_header(copy, length, &header, NULL) == 0 && group_bytes(&header) == length) {
                        put_check();
                        assert_int_equal(group_decode(coder, copy, length, &toy, &group, NULL), -1);
                }
                copy[at] ^= 1;
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_coded_is_decoded),
                cmocka_unit_test(what_does_not_gain_stays_as_it_is),
                cmocka_unit_test(the_bytes_are_those_of_the_format),
                cmocka_unit_test(a_header_out_of_bounds_is_refused),
                cmocka_unit_test(a_group_cut_short_or_too_long_is_refused),
                cmocka_unit_test(fault_58_a_bit_anywhere_in_a_group_is_found),
                cmocka_unit_test(fault_55_a_frame_gives_what_the_table_says_and_no_more),
                cmocka_unit_test(fault_55_nothing_but_one_frame_of_the_standard_is_decoded),
                cmocka_unit_test(fault_61_a_chunk_under_another_s_name_is_found),
                cmocka_unit_test(fault_58_what_does_not_need_a_damaged_byte_is_had),
                cmocka_unit_test(a_sealed_group_opens_with_its_seal_only),
                cmocka_unit_test(fault_58_the_header_of_a_sealed_group_is_under_its_seal),
        };
        return cmocka_run_group_tests(tests, make, end);
}
