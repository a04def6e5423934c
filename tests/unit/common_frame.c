// SPDX-License-Identifier: LGPL-2.1-or-later
/* Frames: fault 39 (lengths that lie), fault 5 (any division of the bytes), and memory that follows what has come. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/frame.h"
#include "scratch.h"

static void decode_nothing(struct frame_decoder *decoder, const void *data, size_t size) {
        const uint8_t *bytes = data, *frame;
        size_t length = size, frame_length;
        assert_int_equal(frame_decode(decoder, &bytes, &length, &frame, &frame_length, NULL), 0);
        assert_int_equal(length, 0);
        assert_ptr_equal(bytes, (const uint8_t *) data + size);
}

static void refuses_length(uint32_t announced, uint32_t max, const char *message) {
        struct error err = ERROR_INIT;
        struct frame_decoder decoder;
        uint8_t header[FRAME_HEADER];
        const uint8_t *bytes = header, *frame = NULL;
        size_t length = sizeof(header), frame_length = 77;
        frame_decoder_init(&decoder, max);
        frame_encode_header(header, announced);
        assert_int_equal(frame_decode(&decoder, &bytes, &length, &frame, &frame_length, &err), -1);
        assert_error(err, ERROR_PROTOCOL, message);
        assert_int_equal(decoder.body.capacity, 0);
        assert_null(decoder.body.data);
        assert_null(frame);
        assert_int_equal(frame_length, 77);
        // And again: nothing behind a broken header is taken for a frame.
        const uint8_t good[] = {0, 0, 0, 1, 'x'};
        bytes = good;
        length = sizeof(good);
        assert_int_equal(frame_decode(&decoder, &bytes, &length, &frame, &frame_length, &err), -1);
        assert_int_equal(decoder.body.capacity, 0);
        frame_decoder_fini(&decoder);
}

static void fault_39_length_0_is_refused_before_anything_is_allocated(void **state) {
        (void) state;
        refuses_length(0, FRAME_MAX, "frame length 0 is outside 1..4194304");
}

static void fault_39_length_2_to_31_is_refused_before_anything_is_allocated(void **state) {
        (void) state;
        refuses_length(1u << 31, FRAME_MAX, "frame length 2147483648 is outside 1..4194304");
}

static void fault_39_length_2_to_32_less_1_is_refused_before_anything_is_allocated(void **state) {
        (void) state;
        refuses_length(UINT32_MAX, FRAME_MAX, "frame length 4294967295 is outside 1..4194304");
}

static void fault_39_one_byte_over_the_bound_is_refused_and_the_bound_is_not(void **state) {
        (void) state;
        refuses_length(FRAME_MAX_JOIN + 1, FRAME_MAX_JOIN, "frame length 16385 is outside 1..16384");
        struct frame_decoder decoder;
        uint8_t header[FRAME_HEADER];
        frame_decoder_init(&decoder, FRAME_MAX_JOIN);
        frame_encode_header(header, FRAME_MAX_JOIN);
        decode_nothing(&decoder, header, sizeof(header));
        frame_decoder_fini(&decoder);
}

static void memory_follows_what_has_arrived_not_what_was_announced(void **state) {
        (void) state;
        struct frame_decoder decoder;
        uint8_t header[FRAME_HEADER], some[1000] = {0};
        frame_decoder_init(&decoder, FRAME_MAX);
        frame_encode_header(header, FRAME_MAX);
        decode_nothing(&decoder, header, sizeof(header));
        assert_in_range(decoder.body.capacity, 0, 64);
        decode_nothing(&decoder, some, sizeof(some));
        assert_in_range(decoder.body.capacity, 1000, 2000);
        frame_decoder_fini(&decoder);
}

#define FRAMES 40

static size_t frame_size(unsigned i) {
        return i % 7 == 0 ? 70000u + i : 1 + i * i;
}

static uint8_t frame_byte(unsigned i, size_t at) {
        return (uint8_t) (i * 31 + at * 7);
}

static void encode_all(struct buffer *stream) {
        buffer_init(stream, 0);
        for (unsigned i = 0; i < FRAMES; i++) {
                uint8_t header[FRAME_HEADER];
                frame_encode_header(header, (uint32_t) frame_size(i));
                buffer_append(stream, header, sizeof(header), NULL);
                for (size_t at = 0; at < frame_size(i); at++) {
                        uint8_t byte = frame_byte(i, at);
                        buffer_append(stream, &byte, 1, NULL);
                }
        }
}

// Give the whole stream in reads of at most `most` bytes; every frame must come out as it went in.
static void parses_in_reads_of(size_t most) {
        struct buffer stream;
        struct frame_decoder decoder;
        unsigned i = 0;
        encode_all(&stream);
        frame_decoder_init(&decoder, FRAME_MAX);
        for (size_t done = 0; done < stream.length;) {
                size_t length = stream.length - done < most ? stream.length - done : most;
                const uint8_t *bytes = stream.data + done;
                done += length;
                for (;;) {
                        const uint8_t *frame;
                        size_t frame_length;
                        int result = frame_decode(&decoder, &bytes, &length, &frame, &frame_length, NULL);
                        assert_in_range(result, 0, 1);
                        if (result == 0)
                                break;
                        assert_false(frame_decoder_midway(&decoder));
                        assert_int_equal(frame_length, frame_size(i));
                        for (size_t at = 0; at < frame_length; at++)
                                if (frame[at] != frame_byte(i, at))
                                        fail_msg("frame %u differs at %zu", i, at);
                        i++;
                }
                assert_int_equal(length, 0);
        }
        assert_int_equal(i, FRAMES);
        assert_false(frame_decoder_midway(&decoder));
        frame_decoder_fini(&decoder);
        buffer_fini(&stream);
}

static void fault_05_one_byte_reads_parse_the_same(void **state) {
        (void) state;
        parses_in_reads_of(1);
}

static void fault_05_coalesced_frames_parse_the_same(void **state) {
        (void) state;
        parses_in_reads_of(SIZE_MAX);
}

static void fault_05_reads_of_any_size_parse_the_same(void **state) {
        (void) state;
        for (size_t most = 2; most < 30; most++)
                parses_in_reads_of(most);
        parses_in_reads_of(4096);
        parses_in_reads_of(65536);
}

static void midway_is_from_the_first_byte_to_the_last(void **state) {
        (void) state;
        struct frame_decoder decoder;
        const uint8_t bytes[] = {0, 0, 0, 2, 'a', 'b'};
        frame_decoder_init(&decoder, FRAME_MAX);
        assert_false(frame_decoder_midway(&decoder));
        for (size_t i = 0; i < sizeof(bytes) - 1; i++) {
                decode_nothing(&decoder, bytes + i, 1);
                assert_true(frame_decoder_midway(&decoder));
        }
        const uint8_t *last = bytes + sizeof(bytes) - 1, *frame;
        size_t length = 1, frame_length;
        assert_int_equal(frame_decode(&decoder, &last, &length, &frame, &frame_length, NULL), 1);
        assert_false(frame_decoder_midway(&decoder));
        frame_decoder_fini(&decoder);
}

static void a_large_frames_memory_is_released_by_the_next_call(void **state) {
        (void) state;
        struct frame_decoder decoder;
        uint8_t header[FRAME_HEADER], *body = calloc(1, FRAME_MAX);
        const uint8_t *bytes = body, *frame;
        size_t length = FRAME_MAX, frame_length;
        frame_decoder_init(&decoder, FRAME_MAX);
        frame_encode_header(header, FRAME_MAX);
        decode_nothing(&decoder, header, sizeof(header));
        assert_int_equal(frame_decode(&decoder, &bytes, &length, &frame, &frame_length, NULL), 1);
        assert_int_equal(frame_length, FRAME_MAX);
        decode_nothing(&decoder, NULL, 0);
        assert_int_equal(decoder.body.capacity, 0);
        frame_decoder_fini(&decoder);
        free(body);
}

static void headers_are_big_endian(void **state) {
        (void) state;
        uint8_t header[FRAME_HEADER];
        frame_encode_header(header, 0x01020304);
        assert_memory_equal(header, "\1\2\3\4", 4);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(fault_39_length_0_is_refused_before_anything_is_allocated),
                cmocka_unit_test(fault_39_length_2_to_31_is_refused_before_anything_is_allocated),
                cmocka_unit_test(fault_39_length_2_to_32_less_1_is_refused_before_anything_is_allocated),
                cmocka_unit_test(fault_39_one_byte_over_the_bound_is_refused_and_the_bound_is_not),
                cmocka_unit_test(memory_follows_what_has_arrived_not_what_was_announced),
                cmocka_unit_test(fault_05_one_byte_reads_parse_the_same),
                cmocka_unit_test(fault_05_coalesced_frames_parse_the_same),
                cmocka_unit_test(fault_05_reads_of_any_size_parse_the_same),
                cmocka_unit_test(midway_is_from_the_first_byte_to_the_last),
                cmocka_unit_test(a_large_frames_memory_is_released_by_the_next_call),
                cmocka_unit_test(headers_are_big_endian),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
