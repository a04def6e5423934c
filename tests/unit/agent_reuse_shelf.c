// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/reuse/shelf: what is remembered of an image counts for that state of it only, and only as far as it is whole.
 */
#include "agent/reuse/shelf.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include "scratch.h"

static const struct candidate_version image = {
        .device = 1, .inode = 0x22, .birth = 3, .bytes = 1 << 30, .modified = 5, .changed = 6};
#define BOOK "shelf/1-22-3"

static struct shelf *shelf_here(uint64_t bytes_max) {
        struct shelf *shelf = NULL;
        assert_int_equal(shelf_open(scratch_path("shelf"), bytes_max, &shelf, NULL), 0);
        return shelf;
}

static void write_book(struct shelf *shelf, const struct candidate_version *version, unsigned chunks) {
        uint32_t tags[SHELF_CHUNK], rest[SHELF_CHUNK];
        uint64_t first;
        unsigned n;
        struct shelf_book *book = shelf_book_open(shelf, version);
        assert_non_null(book);
        assert_false(shelf_book_read(book, &first, rest, &n));
        for (unsigned i = 0; i < chunks; i++) {
                for (unsigned k = 0; k < SHELF_CHUNK; k++)
                        tags[k] = i * SHELF_CHUNK + k;
                assert_true(shelf_book_append(book, (uint64_t) i * 2 * SHELF_CHUNK, tags, SHELF_CHUNK));
        }
        shelf_book_close(book);
}

// How many chunks there are of this version; each is looked at.
static unsigned count_chunks(struct shelf *shelf, const struct candidate_version *version) {
        uint32_t tags[SHELF_CHUNK];
        uint64_t first;
        unsigned chunks = 0, n;
        struct shelf_book *book = shelf_book_open(shelf, version);
        assert_non_null(book);
        for (; shelf_book_read(book, &first, tags, &n); chunks++) {
                assert_int_equal(first, (uint64_t) chunks * 2 * SHELF_CHUNK);
                assert_int_equal(n, SHELF_CHUNK);
                for (unsigned k = 0; k < n; k++)
                        assert_int_equal(tags[k], chunks * SHELF_CHUNK + k);
        }
        shelf_book_close(book);
        return chunks;
}

static void damage(const char *name, off_t offset) {
        uint8_t byte;
        int fd = open(scratch_path(name), O_RDWR | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(pread(fd, &byte, 1, offset), 1);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
        close(fd);
}

static off_t length_of(const char *name) {
        struct stat status;
        assert_int_equal(stat(scratch_path(name), &status), 0);
        return status.st_size;
}

static void a_book_says_what_was_written_into_it(void **state) {
        (void) state;
        struct shelf *shelf = shelf_here(1 << 20);
        write_book(shelf, &image, 3);
        assert_int_equal(count_chunks(shelf, &image), 3);
        shelf_free(shelf);
        shelf = shelf_here(1 << 20);
        assert_int_equal(count_chunks(shelf, &image), 3);
        shelf_free(shelf);
}

static void what_is_appended_after_reading_comes_behind_it(void **state) {
        (void) state;
        uint32_t tags[SHELF_CHUNK];
        uint64_t first;
        unsigned n;
        struct shelf *shelf = shelf_here(1 << 20);
        write_book(shelf, &image, 2);
        struct shelf_book *book = shelf_book_open(shelf, &image);
        while (shelf_book_read(book, &first, tags, &n))
                ;
        for (unsigned k = 0; k < SHELF_CHUNK; k++)
                tags[k] = 2 * SHELF_CHUNK + k;
        assert_true(shelf_book_append(book, 4 * SHELF_CHUNK, tags, SHELF_CHUNK));
        shelf_book_close(book);
        assert_int_equal(count_chunks(shelf, &image), 3);
        shelf_free(shelf);
}

static void a_book_of_another_state_of_the_image_is_thrown_away(void **state) {
        (void) state;
        struct shelf *shelf = shelf_here(1 << 20);
        for (unsigned i = 0; i < 3; i++) {
                struct candidate_version changed = image;
                *(uint64_t *[]){&changed.bytes, &changed.modified, &changed.changed}[i] += 1;
                write_book(shelf, &image, 1);
                assert_int_equal(count_chunks(shelf, &changed), 0);
                assert_int_equal(count_chunks(shelf, &image), 0);
        }
        shelf_free(shelf);
}

static void fault_22_a_torn_book_ends_before_the_tear(void **state) {
        (void) state;
        struct shelf *shelf = shelf_here(1 << 20);
        write_book(shelf, &image, 3);
        off_t length = length_of(BOOK);
        assert_int_equal(truncate(scratch_path(BOOK), length - 1), 0);
        assert_int_equal(count_chunks(shelf, &image), 2);
        damage(BOOK, length / 2);
        assert_int_equal(count_chunks(shelf, &image), 1);
        damage(BOOK, 20);
        assert_int_equal(count_chunks(shelf, &image), 0);
        shelf_free(shelf);
}

static void a_file_that_is_no_book_counts_for_nothing(void **state) {
        (void) state;
        struct shelf *shelf = shelf_here(1 << 20);
        scratch_write(BOOK, "no book at all, but a line of text that somebody left here\n");
        assert_int_equal(count_chunks(shelf, &image), 0);
        write_book(shelf, &image, 1);
        assert_int_equal(count_chunks(shelf, &image), 1);
        shelf_free(shelf);
}

static void fault_49_a_link_in_the_place_of_a_book_is_not_followed(void **state) {
        (void) state;
        struct shelf *shelf = shelf_here(1 << 20);
        scratch_write("other", "precious");
        assert_int_equal(symlink(scratch_path("other"), scratch_path(BOOK)), 0);
        assert_null(shelf_book_open(shelf, &image));
        assert_int_equal(length_of("other"), 8);
        shelf_free(shelf);
}

static void a_book_has_one_reader_at_a_time(void **state) {
        (void) state;
        struct shelf *shelf = shelf_here(1 << 20);
        struct shelf_book *book = shelf_book_open(shelf, &image);
        assert_non_null(book);
        assert_null(shelf_book_open(shelf, &image));
        shelf_book_close(book);
        book = shelf_book_open(shelf, &image);
        assert_non_null(book);
        shelf_book_drop(book);
        assert_false(scratch_has(BOOK));
        shelf_free(shelf);
}

static void a_book_is_bounded(void **state) {
        (void) state;
        uint32_t tags[SHELF_CHUNK] = {1};
        uint64_t first = 0;
        struct shelf *shelf = shelf_here(1 << 20);
        struct shelf_book *book = shelf_book_open(shelf, &image);
        while (shelf_book_append(book, first, tags, SHELF_CHUNK))
                first += SHELF_CHUNK;
        assert_in_range(length_of(BOOK), SHELF_BOOK_MAX - 8192, SHELF_BOOK_MAX);
        shelf_book_close(book);
        shelf_free(shelf);
}

static void what_was_not_used_for_longest_goes_first(void **state) {
        (void) state;
        struct candidate_version second = image, third = image;
        second.inode = 0x33;
        third.inode = 0x44;
        struct shelf *shelf = shelf_here(3 * 4200);
        write_book(shelf, &image, 1);
        write_book(shelf, &second, 1);
        write_book(shelf, &third, 1);
        shelf_trim(shelf);
        assert_true(scratch_has(BOOK) && scratch_has("shelf/1-33-3") && scratch_has("shelf/1-44-3"));
        const struct timespec old[] = {{.tv_sec = 1000}, {.tv_sec = 1000}}, older[] = {{.tv_sec = 10}, {.tv_sec = 10}};
        assert_int_equal(utimensat(AT_FDCWD, scratch_path(BOOK), older, 0), 0);
        assert_int_equal(utimensat(AT_FDCWD, scratch_path("shelf/1-33-3"), old, 0), 0);
        assert_int_equal(count_chunks(shelf, &image), 1); // used again
        third.inode = 0x55;
        write_book(shelf, &third, 1);
        shelf_trim(shelf);
        assert_false(scratch_has("shelf/1-33-3"));
        assert_true(scratch_has(BOOK) && scratch_has("shelf/1-44-3") && scratch_has("shelf/1-55-3"));
        shelf_free(shelf);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                SCRATCH_TEST(a_book_says_what_was_written_into_it),
                SCRATCH_TEST(what_is_appended_after_reading_comes_behind_it),
                SCRATCH_TEST(a_book_of_another_state_of_the_image_is_thrown_away),
                SCRATCH_TEST(fault_22_a_torn_book_ends_before_the_tear),
                SCRATCH_TEST(a_file_that_is_no_book_counts_for_nothing),
                SCRATCH_TEST(fault_49_a_link_in_the_place_of_a_book_is_not_followed),
                SCRATCH_TEST(a_book_has_one_reader_at_a_time),
                SCRATCH_TEST(a_book_is_bounded),
                SCRATCH_TEST(what_was_not_used_for_longest_goes_first),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
