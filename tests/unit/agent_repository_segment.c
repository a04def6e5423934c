// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/repository/segment and filter: what was written is found with one read, what was not is known without one, and
 * whatever else is in the files is found out. */
#include "agent/repository/filter.h"
#include "agent/repository/segment.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include "scratch.h"

static const uint8_t repository[16] = {7}, other_repository[16] = {8};

static int directory_open(void) {
        int fd = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        return fd;
}

static struct chunk_name hashed(uint64_t number) {
        return chunk_name_of(&number, sizeof number, NULL);
}

static struct chunk_name clustered(uint64_t number) { // all at one place of the numbers
        struct chunk_name name = {.bytes = {[0] = 0x40}};
        for (unsigned i = 0; i < 8; i++)
                name.bytes[24 + i] = (uint8_t) (number >> (56 - 8 * i));
        return name;
}

static struct chunk_name at_both_ends(uint64_t number) {
        struct chunk_name name = clustered(number);
        name.bytes[0] = number % 2 ? 0xff : 0;
        return name;
}

static int by_name(const void *a, const void *b) {
        return chunk_name_compare(a, b);
}

// Every second number of 0 to 2 n is in it.
static struct segment_head write_segment(int directory, uint64_t n, struct chunk_name (*name_of)(uint64_t)) {
        struct error err = ERROR_INIT;
        struct segment_writer *writer = NULL;
        struct segment_head head = {0};
        _cleanup_(free_p) struct segment_record *records = new_array(struct segment_record, n);
        for (uint64_t i = 0; i < n; i++)
                records[i] =
                        (struct segment_record){name_of(2 * i), (uint32_t) i, (uint32_t) i * 3, (uint8_t) (i % 16)};
        qsort(records, n, sizeof *records, by_name);
        if (segment_writer_new(directory, repository, 5, n, &writer, &err) < 0)
                fail_msg("%s", err.message);
        for (uint64_t i = 0; i < n; i++)
                assert_int_equal(segment_writer_add(writer, &records[i], &err), 0);
        assert_int_equal(segment_writer_add(writer, &records[0], &err), -1);
        assert_int_equal(err.code, ERROR_TOO_LARGE);
        if (segment_writer_close(writer, &head, &err) < 0)
                fail_msg("%s", err.message);
        segment_writer_free(writer);
        assert_int_equal(head.records, n);
        return head;
}

static bool any(void *context, const struct segment_record *record) {
        (void) context;
        (void) record;
        return true;
}

static bool look(const struct segment *segment, const struct chunk_name *name, uint64_t number, unsigned *pages) {
        struct error err = ERROR_INIT;
        struct segment_record record;
        bool found = false;
        if (segment_find(segment, name, any, NULL, &record, &found, pages, &err) < 0)
                fail_msg("%s", err.message);
        if (found) {
                assert_int_equal(record.pack, number / 2);
                assert_int_equal(record.offset, number / 2 * 3);
                assert_int_equal(record.place, number / 2 % 16);
        }
        return found;
}

static void try_names(uint64_t n, struct chunk_name (*name_of)(uint64_t), unsigned *ret_there, unsigned *ret_absent) {
        struct error err = ERROR_INIT;
        struct segment *segment = NULL;
        _cleanup_(close_p) int directory = directory_open();
        struct segment_head head = write_segment(directory, n, name_of);
        if (segment_open(directory, repository, &head, &segment, &err) < 0)
                fail_msg("%s", err.message);
        *ret_there = *ret_absent = 0;
        for (uint64_t i = 0; i < 2 * n; i++) {
                struct chunk_name name = name_of(i);
                assert_int_equal(look(segment, &name, i, i % 2 ? ret_absent : ret_there), i % 2 == 0);
        }
        segment_free(segment);
        segment_remove(directory, 5);
}

static void what_is_in_it_is_found_with_one_read_and_the_rest_with_none(void **state) {
        (void) state;
        static const uint64_t numbers[] = {1, 2, 98, 99, 100, 198, 199, 20000};
        for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
                unsigned there, absent;
                try_names(numbers[i], hashed, &there, &absent);
                assert_in_range(there, numbers[i], numbers[i] + numbers[i] / 1000 + 1);
                assert_in_range(absent, 0, numbers[i] / 1000 + 1);
        }
}

static void names_that_are_no_hashes_cost_reads_and_are_found(void **state) {
        (void) state;
        unsigned there, absent;
        try_names(1000, clustered, &there, &absent);
        try_names(1000, at_both_ends, &there, &absent);
}

static void the_largest_shape_is_wrong_once_in_256_and_takes_11_bits(void **state) {
        (void) state;
        struct filter_shape shape = filter_shape_for(168000000);
        uint8_t leaf[FILTER_LEAF_MAX];
        uint64_t positions[FILTER_PAGE];
        size_t bytes = 0, gaps = 0;
        assert_int_equal(shape.rice, 8);
        for (unsigned page = 0; page < 2000; page++) {
                for (unsigned i = 0; i < FILTER_PAGE; i++) {
                        struct chunk_name name = hashed(page * FILTER_PAGE + i);
                        positions[i] = (uint64_t) name.bytes[0] << 8 | name.bytes[1]; // 256 a name, 99 of them
                        positions[i] = positions[i] * 256 * FILTER_PAGE >> 16;
                }
                for (unsigned i = 1; i < FILTER_PAGE; i++) // in order
                        for (unsigned k = i; k > 0 && positions[k - 1] > positions[k]; k--) {
                                uint64_t larger = positions[k - 1];
                                positions[k - 1] = positions[k];
                                positions[k] = larger;
                        }
                size_t length = filter_leaf(&shape, positions, FILTER_PAGE, leaf) - FILTER_LEAF_HEAD;
                gaps += length;
                bytes += length + 12;
        }
        assert_in_range(bytes * 8 * 100 / (2000 * FILTER_PAGE), 1000, 1100);
        // What may be written can be loaded, where gaps are counted in 32 bits; with a twentieth to spare.
        assert_in_range(FILTER_NAMES_MAX / FILTER_PAGE * gaps / 2000, 1, UINT32_MAX / 20 * 19);
}

static void flip(const char *name, off_t offset) {
        uint8_t byte;
        _cleanup_(close_p) int fd = open(scratch_path(name), O_RDWR | O_CLOEXEC);
        assert_int_equal(pread(fd, &byte, 1, offset), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
}

static int open_and_find(int directory, const struct segment_head *head, uint64_t n, struct error *err) {
        struct segment *segment = NULL;
        int result = segment_open(directory, repository, head, &segment, err);
        for (uint64_t i = 0; result == 0 && i < n; i++) {
                struct chunk_name name = hashed(2 * i);
                struct segment_record record;
                unsigned pages = 0;
                bool found = false;
                result = segment_find(segment, &name, any, NULL, &record, &found, &pages, err);
                assert_true(result < 0 || (found && record.pack == i));
        }
        segment_free(segment);
        return result;
}

static void fault_60_every_flipped_byte_is_found(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct stat status;
        _cleanup_(close_p) int directory = directory_open();
        struct segment_head head = write_segment(directory, 250, hashed);
        assert_int_equal(stat(scratch_path("00000005.filter"), &status), 0);
        for (off_t i = 0; i < status.st_size; i++) {
                flip("00000005.filter", i);
                assert_int_equal(open_and_find(directory, &head, 250, &err), -1);
                assert_int_equal(err.code, ERROR_CORRUPT);
                flip("00000005.filter", i);
        }
        for (off_t i = 0; i < 3 * SEGMENT_PAGE + 88; i += i < 3 * SEGMENT_PAGE ? 61 : 1) {
                flip("00000005.records", i);
                assert_int_equal(open_and_find(directory, &head, 250, &err), -1);
                assert_int_equal(err.code, ERROR_CORRUPT);
                flip("00000005.records", i);
        }
        flip("00000005.records", SEGMENT_PAGE + 100);
        assert_int_equal(open_and_find(directory, &head, 250, &err), -1);
        assert_error(err, ERROR_CORRUPT, "index: 00000005.records at 4096: expected another check sum");
        flip("00000005.records", SEGMENT_PAGE + 100);
        assert_int_equal(open_and_find(directory, &head, 250, &err), 0);
}

static void fault_60_a_file_that_is_cut_short_or_gone_is_found(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct segment *segment = NULL;
        _cleanup_(close_p) int directory = directory_open();
        struct segment_head head = write_segment(directory, 250, hashed);
        assert_int_equal(segment_open(directory, other_repository, &head, &segment, &err), -1);
        assert_error(err, ERROR_CORRUPT, "index: 00000005.records at 12288: expected this segment's last page");
        assert_int_equal(truncate(scratch_path("00000005.filter"), 100), 0);
        assert_int_equal(segment_open(directory, repository, &head, &segment, &err), -1);
        assert_int_equal(err.code, ERROR_CORRUPT);
        assert_int_equal(unlink(scratch_path("00000005.filter")), 0);
        assert_int_equal(segment_open(directory, repository, &head, &segment, &err), -1);
        assert_error(err, ERROR_CORRUPT, "index: 00000005.filter is missing");
        assert_int_equal(truncate(scratch_path("00000005.records"), 3 * SEGMENT_PAGE), 0);
        assert_int_equal(segment_open(directory, repository, &head, &segment, &err), -1);
        assert_error(err, ERROR_CORRUPT, "index: 00000005.records has 12288 bytes: expected 4 pages of 4096");
        head.number = 6;
        assert_int_equal(segment_open(directory, repository, &head, &segment, &err), -1);
        assert_error(err, ERROR_CORRUPT, "index: 00000006.records is missing");
}

static void a_writer_that_is_given_up_leaves_nothing(void **state) {
        (void) state;
        struct segment_writer *writer = NULL, *second = NULL;
        struct error err = ERROR_INIT;
        _cleanup_(close_p) int directory = directory_open();
        assert_int_equal(segment_writer_new(directory, repository, 5, 10, &writer, NULL), 0);
        assert_int_equal(segment_writer_new(directory, repository, 5, 10, &second, &err), -1);
        assert_error(err, ERROR_IO, "index: make 00000005.records: File exists");
        assert_true(scratch_has("00000005.records"));
        segment_writer_free(writer);
        assert_false(scratch_has("00000005.records") || scratch_has("00000005.filter"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                SCRATCH_TEST(what_is_in_it_is_found_with_one_read_and_the_rest_with_none),
                SCRATCH_TEST(names_that_are_no_hashes_cost_reads_and_are_found),
                cmocka_unit_test(the_largest_shape_is_wrong_once_in_256_and_takes_11_bits),
                SCRATCH_TEST(fault_60_every_flipped_byte_is_found),
                SCRATCH_TEST(fault_60_a_file_that_is_cut_short_or_gone_is_found),
                SCRATCH_TEST(a_writer_that_is_given_up_leaves_nothing),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
