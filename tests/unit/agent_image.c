// SPDX-License-Identifier: LGPL-2.1-or-later
/* Image headers: what is read from them, and what of a hostile one is refused. */
#include "agent/host/image_chain.h"
#include "common/cleanup.h"
#include "common/file.h"
#include <endian.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "scratch.h"

#define GIB (1ull << 30)

struct scene {
        char directory[64];
        int fd;
        uint8_t header[4096]; // of the image that the test makes
        size_t length;
        struct image image;
        struct error err;
};

static void put32(struct scene *scene, size_t offset, uint32_t value) {
        value = htobe32(value);
        memcpy(scene->header + offset, &value, sizeof(value));
}

static void put64(struct scene *scene, size_t offset, uint64_t value) {
        value = htobe64(value);
        memcpy(scene->header + offset, &value, sizeof(value));
}

// A version 3 header as qemu-img makes it: 10 GiB, clusters of 64 KiB.
static void qcow2(struct scene *scene) {
        put32(scene, 0, 0x514649fb);
        put32(scene, 4, 3);
        put32(scene, 20, 16);
        put64(scene, 24, 10 * GIB);
        put32(scene, 96, 4);
        put32(scene, 100, 112);
}

static void backing(struct scene *scene, const char *name) {
        put64(scene, 8, 512);
        put32(scene, 16, (uint32_t) strlen(name));
        memcpy(scene->header + 512, name, strlen(name));
}

static void backing_format(struct scene *scene, const char *format) {
        put32(scene, 112, 0xe2792aca);
        put32(scene, 116, (uint32_t) strlen(format));
        memcpy(scene->header + 120, format, strlen(format));
}

static void write_as(struct scene *scene, const char *name) {
        _cleanup_(close_p) int fd = openat(scene->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, scene->header, scene->length), (ssize_t) scene->length);
}

// An image that lies over another one, whose format (NULL: none) it states; written under its name.
static void write_over(struct scene *scene, const char *name, const char *base, const char *format) {
        backing(scene, base);
        if (format)
                backing_format(scene, format);
        else
                memset(scene->header + 112, 0, 8);
        write_as(scene, name);
}

static int inspect(struct scene *scene, const char *format) {
        write_as(scene, "image");
        return image_inspect_at(scene->fd, "image", format, &scene->image, &scene->err);
}

static void assert_refused(struct scene *scene, const char *format, const char *message) {
        memset(&scene->image, 0x5a, sizeof(scene->image));
        assert_int_equal(inspect(scene, format), -1);
        assert_int_equal(scene->err.code, ERROR_REFUSED);
        assert_string_equal(scene->err.message, message);
        assert_int_equal(scene->image.snapshots, 0x5a5a5a5a); // outputs stay untouched on failure
}

static int set_up(void **state) {
        struct scene *scene = calloc(1, sizeof(*scene));
        assert_int_equal(scratch_new(scene->directory, sizeof(scene->directory)), 0);
        scene->fd = open(scene->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        scene->length = sizeof(scene->header);
        qcow2(scene);
        *state = scene;
        return 0;
}

static int tear_down(void **state) {
        struct scene *scene = *state;
        close(scene->fd);
        file_remove_tree(scene->directory, NULL);
        free(scene);
        return 0;
}

static void a_qcow2_tells_its_size(void **state) {
        struct scene *scene = *state;
        put32(scene, 60, 2);
        assert_int_equal(inspect(scene, "qcow2"), 0);
        assert_int_equal(scene->image.virtual_bytes, 10 * GIB);
        assert_int_equal(scene->image.file_bytes, 4096);
        assert_int_equal(scene->image.snapshots, 2);
        assert_false(scene->image.has_backing);
        assert_false(scene->image.encrypted);
}

static void a_version_2_header_is_shorter(void **state) {
        struct scene *scene = *state;
        put32(scene, 4, 2);
        memset(scene->header + 72, 0, 100);
        scene->length = 80;
        assert_int_equal(inspect(scene, "qcow2"), 0);
        assert_int_equal(scene->image.virtual_bytes, 10 * GIB);
}

static void features_are_told(void **state) {
        struct scene *scene = *state;
        put64(scene, 72, 1 | 2 | 4 | 8 | 16);
        put32(scene, 32, 2);
        assert_int_equal(inspect(scene, "qcow2"), 0);
        assert_true(scene->image.dirty);
        assert_true(scene->image.corrupt);
        assert_true(scene->image.has_data_file);
        assert_true(scene->image.extended_l2);
        assert_true(scene->image.encrypted);
}

// After a backing format, as qemu-img writes them: three bitmaps, whose directory lies elsewhere.
static void bitmaps(struct scene *scene) {
        backing_format(scene, "qcow2");
        put32(scene, 128, 0x23852875);
        put32(scene, 132, 24);
        put32(scene, 136, 3);
}

static void dirty_bitmaps_are_counted_unless_the_image_was_written_without_them(void **state) {
        struct scene *scene = *state;
        bitmaps(scene);
        put64(scene, 88, 1);
        assert_int_equal(inspect(scene, "qcow2"), 0);
        assert_int_equal(scene->image.bitmaps, 3);
        put64(scene, 88, 2);
        assert_int_equal(inspect(scene, "qcow2"), 0);
        assert_int_equal(scene->image.bitmaps, 0);
        put64(scene, 88, 1);
        put32(scene, 132, 3); // too short to hold their number
        assert_int_equal(inspect(scene, "qcow2"), 0);
        assert_int_equal(scene->image.bitmaps, 0);
}

static void fault_53_unknown_features_are_refused(void **state) {
        put64(*state, 72, 1ull << 40);
        assert_refused(*state, "qcow2", "image: unknown qcow2 features 0x10000000000");
}

static void fault_53_a_backing_file_is_told_with_its_format(void **state) {
        struct scene *scene = *state;
        backing(scene, "/etc/shadow");
        backing_format(scene, "raw");
        assert_int_equal(inspect(scene, "qcow2"), 0);
        assert_true(scene->image.has_backing);
        assert_string_equal(scene->image.backing, "/etc/shadow");
        assert_string_equal(scene->image.backing_format, "raw");
}

static void fault_53_a_backing_name_outside_the_header_is_refused(void **state) {
        backing(*state, "base");
        put64(*state, 8, UINT64_MAX - 1);
        assert_refused(*state, "qcow2", "image: the name of its backing file lies outside the header");
}

static void a_backing_name_that_is_too_long_is_refused(void **state) {
        backing(*state, "base");
        put32(*state, 16, 1024);
        assert_refused(*state, "qcow2", "image: the name of its backing file lies outside the header");
}

static void a_backing_name_with_nul_is_refused(void **state) {
        backing(*state, "base");
        put32(*state, 16, 6);
        assert_refused(*state, "qcow2", "image: the name of its backing file holds a NUL");
}

static void an_extension_longer_than_the_header_is_refused(void **state) {
        backing_format(*state, "raw");
        put32(*state, 116, UINT32_MAX);
        assert_refused(*state, "qcow2", "image: a header extension is longer than the header");
}

static void impossible_numbers_are_refused(void **state) {
        struct scene *scene = *state;
        put32(scene, 20, 40);
        assert_refused(scene, "qcow2", "image: impossible qcow2 cluster size 2^40");
        put32(scene, 20, 16);
        put64(scene, 24, UINT64_MAX);
        assert_refused(scene, "qcow2", "image: impossible qcow2 disk size");
        put64(scene, 24, GIB);
        put32(scene, 100, 0xfffffff8);
        assert_refused(scene, "qcow2", "image: impossible qcow2 header length 4294967288");
        put32(scene, 4, 7);
        assert_refused(scene, "qcow2", "image: unknown qcow2 version 7");
        put32(scene, 4, 3);
        scene->length = 100;
        assert_refused(scene, "qcow2", "image: the qcow2 header is cut short");
}

static void fault_54_what_is_no_qcow2_is_refused(void **state) {
        struct scene *scene = *state;
        memset(scene->header, 0, sizeof(scene->header));
        assert_refused(scene, "qcow2", "image is not a qcow2 image, although the definition says so");
        scene->length = 0;
        assert_refused(scene, "qcow2", "image is not a qcow2 image, although the definition says so");
}

static void fault_34_a_qcow2_header_in_a_raw_disk_means_nothing(void **state) {
        struct scene *scene = *state;
        backing(scene, "/etc/shadow");
        assert_int_equal(inspect(scene, "raw"), 0);
        assert_false(scene->image.has_backing);
        assert_int_equal(scene->image.virtual_bytes, 4096);
        assert_string_equal(scene->image.backing, "");
}

static void allocation_is_what_the_file_takes(void **state) {
        struct scene *scene = *state;
        write_as(scene, "sparse");
        _cleanup_(close_p) int fd = openat(scene->fd, "sparse", O_WRONLY | O_CLOEXEC);
        assert_int_equal(ftruncate(fd, (off_t) GIB), 0);
        assert_int_equal(image_inspect_at(scene->fd, "sparse", "raw", &scene->image, &scene->err), 0);
        assert_int_equal(scene->image.virtual_bytes, GIB);
        assert_true(scene->image.allocated_bytes < 1 << 20);
}

static void fault_49_a_symbolic_link_is_refused(void **state) {
        struct scene *scene = *state;
        write_as(scene, "image");
        assert_int_equal(symlinkat("image", scene->fd, "link"), 0);
        assert_int_equal(image_inspect_at(scene->fd, "link", "qcow2", &scene->image, &scene->err), -1);
        assert_int_equal(scene->err.code, ERROR_REFUSED);
        assert_string_equal(scene->err.message, "link is a symbolic link");
}

static void a_fifo_is_refused_and_does_not_hang(void **state) {
        struct scene *scene = *state;
        assert_int_equal(mkfifoat(scene->fd, "fifo", 0600), 0);
        assert_int_equal(image_inspect_at(scene->fd, "fifo", "raw", &scene->image, &scene->err), -1);
        assert_string_equal(scene->err.message, "fifo is not a regular file");
}

static void a_missing_image_is_not_found(void **state) {
        struct scene *scene = *state;
        assert_int_equal(image_inspect_at(scene->fd, "none", "raw", &scene->image, &scene->err), -1);
        assert_int_equal(scene->err.code, ERROR_NOT_FOUND);
}

// ---- chains ----

static void assert_chain(struct scene *scene, const char *const *expected, unsigned n, enum image_chain_end how) {
        char path[128];
        struct image_chain chain;
        snprintf(path, sizeof(path), "%s/image", scene->directory);
        image_chain_read(path, "qcow2", &chain);
        assert_int_equal(chain.n, n);
        assert_int_equal(chain.end, how);
        for (unsigned i = 0; i < n; i++) {
                char wanted[128];
                if (expected[i][0] == '+')
                        snprintf(wanted, sizeof(wanted), "%s/%s", scene->directory, expected[i] + 1);
                else
                        snprintf(wanted, sizeof(wanted), "%s", expected[i]);
                assert_string_equal(chain.paths[i], wanted);
        }
        image_chain_fini(&chain);
}

static void an_image_without_backing_has_no_chain(void **state) {
        write_as(*state, "image");
        assert_chain(*state, NULL, 0, IMAGE_CHAIN_WHOLE);
}

static void a_chain_is_followed_to_its_end(void **state) {
        struct scene *scene = *state;
        write_as(scene, "base00");
        write_over(scene, "middle", "base00", "qcow2");
        write_over(scene, "image", "middle", "qcow2");
        assert_chain(scene, (const char *const[]){"+middle", "+base00"}, 2, IMAGE_CHAIN_WHOLE);
}

static void a_member_of_no_stated_format_is_followed_if_it_begins_like_a_qcow2(void **state) {
        struct scene *scene = *state;
        _cleanup_(close_p) int fd = openat(scene->fd, "base00", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(write(fd, "raw", 3), 3);
        write_over(scene, "middle", "base00", NULL);
        write_over(scene, "image", "middle", NULL);
        assert_chain(scene, (const char *const[]){"+middle", "+base00"}, 2, IMAGE_CHAIN_WHOLE);
}

static void fault_54_a_member_that_is_said_to_be_raw_is_not_followed(void **state) {
        struct scene *scene = *state;
        write_over(scene, "middle", "base00", NULL);
        write_over(scene, "image", "middle", "raw");
        assert_chain(scene, (const char *const[]){"+middle"}, 1, IMAGE_CHAIN_WHOLE);
}

static void a_chain_goes_through_links(void **state) {
        struct scene *scene = *state;
        write_as(scene, "base00");
        write_over(scene, "middle", "base00", NULL);
        assert_int_equal(symlinkat("middle", scene->fd, "linked"), 0);
        write_over(scene, "image", "linked", "qcow2");
        assert_chain(scene, (const char *const[]){"+linked", "+base00"}, 2, IMAGE_CHAIN_WHOLE);
}

static void a_name_with_a_colon_behind_a_slash_is_a_file(void **state) {
        struct scene *scene = *state;
        write_over(scene, "image", "./a:b", NULL);
        assert_chain(scene, (const char *const[]){"+./a:b"}, 1, IMAGE_CHAIN_MISSING);
}

static void what_cannot_be_read_is_not_taken_for_the_end(void **state) {
        struct scene *scene = *state;
        write_over(scene, "image", "middle", NULL);
        assert_chain(scene, (const char *const[]){"+middle"}, 1, IMAGE_CHAIN_MISSING);
        assert_int_equal(mkfifoat(scene->fd, "middle", 0600), 0);
        assert_chain(scene, (const char *const[]){"+middle"}, 1, IMAGE_CHAIN_UNKNOWN);
        assert_int_equal(unlinkat(scene->fd, "middle", 0), 0);
        put64(scene, 72, 1ull << 63); // a feature that nobody knows
        write_as(scene, "middle");
        put64(scene, 72, 0);
        assert_chain(scene, (const char *const[]){"+middle"}, 1, IMAGE_CHAIN_UNKNOWN);
}

static void fault_53_a_chain_that_leaves_the_host_is_named_and_not_followed(void **state) {
        struct scene *scene = *state;
        write_over(scene, "image", "nbd://example.org/secret", "qcow2");
        assert_chain(scene, (const char *const[]){"nbd://example.org/secret"}, 1, IMAGE_CHAIN_WHOLE);
        write_over(scene, "image", "json:{\"driver\":\"file\"}   ", "qcow2");
        assert_chain(scene, (const char *const[]){"json:{\"driver\":\"file\"}   "}, 1, IMAGE_CHAIN_UNKNOWN);
}

static void a_chain_that_goes_in_a_circle_has_no_end(void **state) {
        struct scene *scene = *state;
        struct image_chain chain;
        char path[128];
        write_over(scene, "image", "image", "qcow2");
        snprintf(path, sizeof(path), "%s/image", scene->directory);
        image_chain_read(path, "qcow2", &chain);
        assert_int_equal(chain.n, IMAGE_CHAIN_MAX);
        assert_int_equal(chain.end, IMAGE_CHAIN_UNKNOWN);
        assert_non_null(strstr(chain.why, "has more than 16 backing files"));
        image_chain_fini(&chain);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(a_qcow2_tells_its_size),
                TEST(a_version_2_header_is_shorter),
                TEST(features_are_told),
                TEST(dirty_bitmaps_are_counted_unless_the_image_was_written_without_them),
                TEST(fault_53_unknown_features_are_refused),
                TEST(fault_53_a_backing_file_is_told_with_its_format),
                TEST(fault_53_a_backing_name_outside_the_header_is_refused),
                TEST(a_backing_name_that_is_too_long_is_refused),
                TEST(a_backing_name_with_nul_is_refused),
                TEST(an_extension_longer_than_the_header_is_refused),
                TEST(impossible_numbers_are_refused),
                TEST(fault_54_what_is_no_qcow2_is_refused),
                TEST(fault_34_a_qcow2_header_in_a_raw_disk_means_nothing),
                TEST(allocation_is_what_the_file_takes),
                TEST(fault_49_a_symbolic_link_is_refused),
                TEST(a_fifo_is_refused_and_does_not_hang),
                TEST(a_missing_image_is_not_found),
                TEST(an_image_without_backing_has_no_chain),
                TEST(a_chain_is_followed_to_its_end),
                TEST(a_member_of_no_stated_format_is_followed_if_it_begins_like_a_qcow2),
                TEST(fault_54_a_member_that_is_said_to_be_raw_is_not_followed),
                TEST(a_chain_goes_through_links),
                TEST(a_name_with_a_colon_behind_a_slash_is_a_file),
                TEST(what_cannot_be_read_is_not_taken_for_the_end),
                TEST(fault_53_a_chain_that_leaves_the_host_is_named_and_not_followed),
                TEST(a_chain_that_goes_in_a_circle_has_no_end),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
