// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/blocks/source_file: an image file as it is, from the page cache or around it. */
#include "agent/blocks/source_file.h"
#include "common/memory.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#define BLOCK  ((size_t) BLOCKS_BLOCK)
#define BLOCKS 6u

// A file of BLOCKS blocks and a bit, block n full of 'a' + n; on a disk, unlike /tmp, which may be memory.
static int image(size_t more) {
        char path[] = "/var/tmp/drover-source-XXXXXX";
        uint8_t *block = memory_new(BLOCK);
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        unlink(path);
        for (unsigned n = 0; n <= BLOCKS; n++) {
                size_t length = n < BLOCKS ? BLOCK : more;
                memset(block, 'a' + (int) n, length);
                assert_int_equal(pwrite(fd, block, length, (off_t) (n * BLOCK)), length);
        }
        free(block);
        assert_int_equal(fsync(fd), 0);
        return fd;
}

static void assert_reads(struct source *source, unsigned n, size_t length) {
        uint8_t *buffer = blocks_buffer();
        memset(buffer, 0, BLOCK);
        assert_int_equal(source_read(source, n * BLOCK, buffer, length, NULL), 0);
        for (size_t i = 0; i < length; i++)
                assert_int_equal(buffer[i], 'a' + (int) n);
        free(buffer);
}

static long blocks_read(void) {
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        return usage.ru_inblock;
}

static bool is_resident(int fd, unsigned n) {
        uint8_t pages[BLOCK / 4096];
        void *map = mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, fd, (off_t) (n * BLOCK));
        assert_true(map != MAP_FAILED);
        assert_int_equal(mincore(map, BLOCK, pages), 0);
        munmap(map, BLOCK);
        return pages[0] & 1;
}

static bool goes_direct(int fd) {
        char path[32];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        int direct = open(path, O_RDONLY | O_DIRECT);
        if (direct >= 0)
                close(direct);
        return direct >= 0;
}

static void what_is_cached_costs_the_disk_nothing(void **state) {
        (void) state;
        int fd = image(100);
        struct source *source = NULL;
        assert_int_equal(source_file_new(fd, BLOCKS * BLOCK + 100, &source, NULL), 0);
        long before = blocks_read();
        for (unsigned n = 0; n < BLOCKS; n++)
                assert_reads(source, n, BLOCK);
        assert_reads(source, BLOCKS, 100);
        assert_int_equal(blocks_read(), before);
        source_free(source);
        close(fd);
}

static void what_is_not_cached_is_read_around_the_cache(void **state) {
        (void) state;
        int fd = image(0);
        struct source *source = NULL;
        assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
        if (!goes_direct(fd) || is_resident(fd, 0)) {
                close(fd);
                skip(); // a file system that lives in memory
        }
        assert_int_equal(source_file_new(fd, BLOCKS * BLOCK, &source, NULL), 0);
        for (unsigned n = 0; n < BLOCKS; n++) {
                assert_reads(source, n, BLOCK);
                assert_false(is_resident(fd, n));
        }
        source_free(source);
        close(fd);
}

static void what_was_just_written_is_what_is_read(void **state) {
        (void) state;
        int fd = image(0);
        struct source *source = NULL;
        assert_int_equal(source_file_new(fd, BLOCKS * BLOCK, &source, NULL), 0);
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        uint8_t *block = memory_new(BLOCK);
        memset(block, 'a' + 5, BLOCK);
        assert_int_equal(pwrite(fd, block, BLOCK, 0), BLOCK); // cached, not yet on the disk
        uint8_t *buffer = blocks_buffer();
        assert_int_equal(source_read(source, 0, buffer, BLOCK, NULL), 0);
        assert_memory_equal(buffer, block, BLOCK);
        assert_reads(source, 1, BLOCK);
        free(buffer);
        free(block);
        source_free(source);
        close(fd);
}

static void an_image_of_another_length_is_refused(void **state) {
        (void) state;
        int fd = image(0);
        struct source *source = NULL;
        struct error err = ERROR_INIT;
        assert_int_equal(source_file_new(fd, BLOCKS * BLOCK + 1, &source, &err), -1);
        assert_int_equal(err.code, ERROR_CONFLICT);
        close(fd);
}

static void fault_20_an_image_that_ends_early_is_told_with_its_place(void **state) {
        (void) state;
        int fd = image(0);
        struct source *source = NULL;
        struct error err = ERROR_INIT;
        assert_int_equal(source_file_new(fd, BLOCKS * BLOCK, &source, NULL), 0);
        assert_int_equal(ftruncate(fd, (off_t) (2 * BLOCK)), 0);
        uint8_t *buffer = blocks_buffer();
        assert_int_equal(source_read(source, 3 * BLOCK, buffer, BLOCK, &err), -1);
        assert_int_equal(err.code, ERROR_IO);
        assert_string_equal(err.message, "read at 3.0 MiB: the image ends there");
        free(buffer);
        source_free(source);
        close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_cached_costs_the_disk_nothing),
                cmocka_unit_test(what_is_not_cached_is_read_around_the_cache),
                cmocka_unit_test(what_was_just_written_is_what_is_read),
                cmocka_unit_test(an_image_of_another_length_is_refused),
                cmocka_unit_test(fault_20_an_image_that_ends_early_is_told_with_its_place),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
