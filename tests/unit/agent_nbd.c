// SPDX-License-Identifier: LGPL-2.1-or-later
/* Guest-visible blocks through a confined qemu-nbd: what is read and written, and what a hostile image gets. */
#include "agent/blocks/image_tool.h"
#include "agent/blocks/nbd_server.h"
#include "agent/blocks/sink_nbd.h"
#include "agent/blocks/source_nbd.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <endian.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <cmocka.h>
#include "scratch.h"

#define MIB (1ull << 20)

DEFINE_CLEANUP(source_free, struct source *)
DEFINE_CLEANUP(sink_free, struct sink *)

// ---- images ----

static int open_image(const char *name, int flags) {
        int fd = open(scratch_path(name), flags | O_CLOEXEC, 0600);
        if (fd < 0)
                fail_msg("%s cannot be opened", name);
        return fd;
}

static void __attribute__((format(printf, 1, 2))) shell(const char *format, ...) {
        char command[1024], text[900];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        snprintf(command, sizeof(command), "cd %s && exec >/dev/null && %s", scratch, text);
        if (system(command) != 0)
                fail_msg("failed: %s", text);
}

static void fill(uint8_t *buffer, size_t length, unsigned seed) {
        for (size_t i = 0; i < length; i++)
                buffer[i] = (uint8_t) (seed + i * 7 + i / 251);
}

static struct source *source_of(int fd, enum nbd_format format) {
        struct nbd_image image = {.fds = {fd}, .formats = {format}, .n = 1};
        struct source *source = NULL;
        struct error err = ERROR_INIT;
        if (source_nbd_new(&image, &source, &err) < 0)
                fail_msg("%s", err.message);
        return source;
}

static struct sink *sink_begun(int fd, uint64_t bytes, bool fresh) {
        struct sink *sink = NULL;
        struct error err = ERROR_INIT;
        if (sink_nbd_new(fd, &sink, &err) < 0 || sink_begin(sink, bytes, fresh, &err) < 0)
                fail_msg("%s", err.message);
        return sink;
}

static void assert_all(struct source *source, uint64_t offset, size_t length, uint8_t value) {
        _cleanup_(free_p) uint8_t *buffer = blocks_buffer();
        struct error err = ERROR_INIT;
        if (source_read(source, offset, buffer, length, &err) < 0)
                fail_msg("%s", err.message);
        for (size_t i = 0; i < length; i++)
                if (buffer[i] != value)
                        fail_msg("byte %zu is %u", i, buffer[i]);
}

static int source_fails(int fd, enum nbd_format format, struct error *err) {
        struct nbd_image image = {.fds = {fd}, .formats = {format}, .n = 1};
        struct source *source = NULL;
        *err = ERROR_INIT;
        return source_nbd_new(&image, &source, err);
}

// ---- reading ----

static void a_qcow2_gives_what_the_guest_sees(void **state) {
        (void) state;
        shell("qemu-img create -q -f qcow2 a 16M && qemu-io -f qcow2 -c 'write -P 7 1M 2M' -c 'write -P 9 10M 4k' a");
        _cleanup_(close_p) int fd = open_image("a", O_RDONLY);
        _cleanup_(source_free_p) struct source *source = source_of(fd, NBD_QCOW2);
        assert_int_equal(source->bytes, 16 * MIB);
        assert_all(source, 2 * MIB, MIB, 7);
        assert_all(source, 10 * MIB, 4096, 9);
        assert_all(source, 10 * MIB + 4096, 4096, 0);
}

static void ranges_that_are_not_allocated_are_zero(void **state) {
        (void) state;
        shell("qemu-img create -q -f qcow2 a 16M && qemu-io -f qcow2 -c 'write -P 7 1M 2M' -c 'write -P 9 10M 4k' a");
        _cleanup_(close_p) int fd = open_image("a", O_RDONLY);
        _cleanup_(source_free_p) struct source *source = source_of(fd, NBD_QCOW2);
        static const struct source_range expected[] = {
                {0, MIB, SOURCE_ZERO},           {MIB, MIB, SOURCE_DATA},      {2 * MIB, MIB, SOURCE_DATA},
                {3 * MIB, 7 * MIB, SOURCE_ZERO}, {10 * MIB, MIB, SOURCE_DATA}, {11 * MIB, 5 * MIB, SOURCE_ZERO},
        };
        struct source_range range;
        struct error err = ERROR_INIT;
        for (unsigned i = 0; i < ARRAY_SIZE(expected); i++) {
                assert_int_equal(source_next(source, &range, &err), 1);
                assert_int_equal(range.offset, expected[i].offset);
                assert_int_equal(range.length, expected[i].length);
                assert_int_equal(range.kind, expected[i].kind);
        }
        assert_int_equal(source_next(source, &range, &err), 0);
}

static void a_chain_is_flattened(void **state) {
        (void) state;
        shell("qemu-img create -q -f raw base 8M && qemu-io -f raw -c 'write -P 1 0 4M' base && "
              "qemu-img create -q -f qcow2 -b base -F raw middle && qemu-io -f qcow2 -c 'write -P 2 1M 1M' middle && "
              "qemu-img create -q -f qcow2 -b middle -F qcow2 top && qemu-io -f qcow2 -c 'write -P 3 2M 64k' top");
        struct nbd_image image = {
                .fds = {open_image("top", O_RDONLY), open_image("middle", O_RDONLY), open_image("base", O_RDONLY)},
                .formats = {NBD_QCOW2, NBD_QCOW2, NBD_RAW},
                .n = 3};
        shell("mv base elsewhere && mv middle elsewhere2"); // the names in the headers are not followed
        struct error err = ERROR_INIT;
        struct source *source = NULL;
        if (source_nbd_new(&image, &source, &err) < 0)
                fail_msg("%s", err.message);
        assert_all(source, 0, MIB, 1);
        assert_all(source, MIB, MIB, 2);
        assert_all(source, 2 * MIB, 65536, 3);
        assert_all(source, 2 * MIB + 65536, 65536, 1);
        assert_all(source, 5 * MIB, MIB, 0);
        source_free(source);
        for (unsigned i = 0; i < image.n; i++)
                close(image.fds[i]);
}

static void a_vmdk_is_read(void **state) {
        (void) state;
        shell("qemu-img create -q -f raw a 8M && qemu-io -f raw -c 'write -P 5 3M 1M' a && "
              "qemu-img convert -f raw -O vmdk -o subformat=streamOptimized a b.vmdk");
        _cleanup_(close_p) int fd = open_image("b.vmdk", O_RDONLY);
        _cleanup_(source_free_p) struct source *source = source_of(fd, NBD_VMDK);
        assert_int_equal(source->bytes, 8 * MIB);
        assert_all(source, 3 * MIB, MIB, 5);
        assert_all(source, 4 * MIB, MIB, 0);
}

static void the_version_changes_with_any_file_of_the_chain(void **state) {
        (void) state;
        shell("qemu-img create -q -f raw base 1M && qemu-img create -q -f qcow2 -b base -F raw top");
        struct nbd_image image = {.fds = {open_image("top", O_RDONLY), open_image("base", O_RDWR)},
                                  .formats = {NBD_QCOW2, NBD_RAW},
                                  .n = 2};
        struct error err = ERROR_INIT;
        struct source *source = NULL;
        uint8_t before[SOURCE_VERSION_BYTES], same[SOURCE_VERSION_BYTES], after[SOURCE_VERSION_BYTES];
        assert_int_equal(source_nbd_new(&image, &source, &err), 0);
        assert_int_equal(source_version(source, before, &err), 1);
        assert_int_equal(source_version(source, same, &err), 1);
        assert_memory_equal(before, same, sizeof(before));
        assert_int_equal(ftruncate(image.fds[1], 2 << 20), 0);
        assert_int_equal(source_version(source, after, &err), 1);
        assert_memory_not_equal(before, after, sizeof(before));
        source_free(source);
        close(image.fds[0]);
        close(image.fds[1]);
}

// ---- writing ----

static void what_is_written_is_in_the_image(void **state) {
        (void) state;
        _cleanup_(free_p) uint8_t *buffer = blocks_buffer(), *back = blocks_buffer();
        struct error err = ERROR_INIT;
        int fd = open_image("a", O_RDWR | O_CREAT);
        struct sink *sink = sink_begun(fd, 8 * MIB, true);
        assert_true(sink->starts_zero);
        fill(buffer, MIB, 3);
        assert_int_equal(sink_write(sink, 2 * MIB, buffer, MIB, &err), 0);
        assert_int_equal(sink_write(sink, 3 * MIB, buffer, MIB, &err), 0);
        assert_int_equal(sink_zero(sink, 3 * MIB, MIB, &err), 0);
        assert_int_equal(sink_read(sink, 2 * MIB, back, MIB, &err), 0);
        assert_memory_equal(buffer, back, MIB);
        assert_int_equal(sink_flush(sink, &err), 0);
        sink_free(sink);
        close(fd);
        shell("qemu-img check -q -f qcow2 a && qemu-img info -f qcow2 a | grep -q 'cluster_size: 65536'");
        int again = open_image("a", O_RDONLY);
        struct source *source = source_of(again, NBD_QCOW2);
        assert_int_equal(source_read(source, 2 * MIB, back, MIB, &err), 0);
        assert_memory_equal(buffer, back, MIB);
        assert_all(source, 3 * MIB, MIB, 0);
        source_free(source);
        close(again);
}

static void a_length_of_no_whole_sectors_is_kept(void **state) {
        (void) state;
        _cleanup_(free_p) uint8_t *buffer = blocks_buffer(), *back = blocks_buffer();
        struct error err = ERROR_INIT;
        uint64_t bytes = MIB + 1001;
        _cleanup_(close_p) int fd = open_image("a", O_RDWR | O_CREAT);
        struct sink *sink = sink_begun(fd, bytes, true);
        fill(buffer, MIB, 1);
        assert_int_equal(sink_write(sink, 0, buffer, MIB, &err), 0);
        assert_int_equal(sink_write(sink, MIB, buffer, 1001, &err), 0);
        assert_int_equal(sink_read(sink, MIB, back, 1001, &err), 0);
        assert_memory_equal(buffer, back, 1001);
        assert_int_equal(sink_flush(sink, &err), 0);
        sink_free(sink);
        struct nbd_image image = {.fds = {fd}, .formats = {NBD_QCOW2}, .n = 1, .bytes = bytes};
        struct source *source = NULL;
        assert_int_equal(source_nbd_new(&image, &source, &err), 0);
        assert_int_equal(source->bytes, bytes);
        assert_int_equal(source_read(source, MIB, back, 1001, &err), 0);
        assert_memory_equal(buffer, back, 1001);
        source_free(source);
        image.bytes = 2 * MIB;
        assert_int_equal(source_nbd_new(&image, &source, &err), -1);
        assert_error(err, ERROR_CONFLICT, "the image has a disk of 1049600 bytes, not of 2097152");
}

// The id of our child that is a qemu-nbd; 0: there is none.
static pid_t server_id(void) {
        char command[96], line[32] = "";
        snprintf(command, sizeof(command), "pgrep -P %d -x qemu-nbd", (int) getpid());
        FILE *answer = popen(command, "r");
        assert_non_null(answer);
        bool found = fgets(line, sizeof(line), answer);
        pclose(answer);
        return found ? atoi(line) : 0;
}

static void kill_the_server(void) {
        pid_t id = server_id();
        assert_true(id > 0);
        assert_int_equal(kill(id, SIGKILL), 0);
}

static void what_was_flushed_survives_a_killed_server_and_is_gone_on_with(void **state) {
        (void) state;
        _cleanup_(free_p) uint8_t *buffer = blocks_buffer(), *back = blocks_buffer();
        struct error err = ERROR_INIT;
        _cleanup_(close_p) int fd = open_image("a", O_RDWR | O_CREAT);
        struct sink *sink = sink_begun(fd, 64 * MIB, true);
        fill(buffer, MIB, 9);
        for (unsigned i = 0; i < 8; i++)
                assert_int_equal(sink_write(sink, i * MIB, buffer, MIB, &err), 0);
        assert_int_equal(sink_flush(sink, &err), 0);
        for (unsigned i = 20; i < 40; i++)
                assert_int_equal(sink_write(sink, i * MIB, buffer, MIB, &err), 0);
        kill_the_server();
        assert_int_equal(sink_write(sink, 8 * MIB, buffer, MIB, &err), -1);
        assert_error(err, ERROR_IO, "write at 8.0 MiB: qemu-nbd was ended by signal 9");
        sink_free(sink);
        sink = sink_begun(fd, 64 * MIB, false);
        assert_false(sink->starts_zero);
        for (unsigned i = 0; i < 8; i++) {
                assert_int_equal(sink_read(sink, i * MIB, back, MIB, &err), 0);
                assert_memory_equal(buffer, back, MIB);
        }
        assert_int_equal(sink_flush(sink, &err), 0);
        sink_free(sink);
        shell("qemu-img check -q -f qcow2 a"); // nothing leaks
}

static void a_ruin_is_emptied_and_refused(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct stat status;
        scratch_write("a", "this was never an image");
        _cleanup_(close_p) int fd = open_image("a", O_RDWR);
        struct sink *sink = NULL;
        assert_int_equal(sink_nbd_new(fd, &sink, &err), 0);
        assert_int_equal(sink_begin(sink, MIB, false, &err), -1);
        assert_int_equal(err.code, ERROR_CORRUPT);
        assert_int_equal(fstat(fd, &status), 0);
        assert_int_equal(status.st_size, 0);
        assert_int_equal(sink_begin(sink, MIB, true, &err), 0);
        sink_free(sink);
}

static void an_image_that_another_program_has_open_is_left_as_it_is(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct stat status;
        _cleanup_(close_p) int fd = open_image("a", O_RDWR | O_CREAT);
        _cleanup_(sink_free_p) struct sink *sink = sink_begun(fd, MIB, true);
        struct sink *second = NULL;
        assert_non_null(sink);
        assert_int_equal(sink_nbd_new(fd, &second, &err), 0);
        assert_int_equal(sink_begin(second, MIB, false, &err), -1);
        assert_error(err, ERROR_BUSY, "another program still has the image open");
        sink_free(second);
        assert_int_equal(fstat(fd, &status), 0);
        assert_true(status.st_size > 0);
}

static void a_server_ends_with_its_sink(void **state) {
        (void) state;
        _cleanup_(close_p) int fd = open_image("a", O_RDWR | O_CREAT);
        sink_free(sink_begun(fd, MIB, true));
        assert_int_equal(server_id(), 0);
        shell("test -z \"$(find /tmp -maxdepth 1 -name 'drover-nbd-*' -newer %s/a)\"", scratch);
}

// ---- hostile images ----

static void fault_34_a_qcow2_header_in_a_raw_disk_is_its_content(void **state) {
        (void) state;
        shell("echo secret > outside && qemu-img create -q -f qcow2 -b %s/outside -F raw -u evil 1M && truncate -s 1M "
              "evil",
              scratch);
        _cleanup_(close_p) int fd = open_image("evil", O_RDONLY);
        _cleanup_(source_free_p) struct source *source = source_of(fd, NBD_RAW);
        _cleanup_(free_p) uint8_t *buffer = blocks_buffer();
        struct error err = ERROR_INIT;
        assert_int_equal(source->bytes, MIB);
        assert_int_equal(source_read(source, 0, buffer, 4096, &err), 0);
        assert_memory_equal(buffer, "QFI\xfb", 4);
}

static void fault_53_a_backing_file_in_the_header_is_not_opened(void **state) {
        (void) state;
        shell("yes secret | head -c 1M > outside && qemu-img create -q -f qcow2 -b %s/outside -F raw top", scratch);
        _cleanup_(close_p) int fd = open_image("top", O_RDONLY);
        _cleanup_(source_free_p) struct source *source = source_of(fd, NBD_QCOW2);
        assert_all(source, 0, MIB, 0);
}

static void fault_53_an_external_data_file_cannot_be_opened(void **state) {
        (void) state;
        struct error err;
        shell("qemu-img create -q -f qcow2 -o data_file=%s/data.raw,data_file_raw=on evil 1M && "
              "yes secret | head -c 1M > data.raw",
              scratch);
        _cleanup_(close_p) int fd = open_image("evil", O_RDONLY);
        assert_int_equal(source_fails(fd, NBD_QCOW2, &err), -1);
        assert_non_null(strstr(err.message, "Permission denied"));
}

static void fault_54_a_file_of_another_format_is_refused(void **state) {
        (void) state;
        struct error err;
        shell("qemu-img create -q -f vmdk a 1M");
        _cleanup_(close_p) int fd = open_image("a", O_RDONLY);
        assert_int_equal(source_fails(fd, NBD_QCOW2, &err), -1);
        assert_int_equal(err.code, ERROR_IO);
        assert_string_equal(err.message, "open the image: Image is not in qcow2 format");
}

static void fault_55_a_small_file_that_claims_64_tib_costs_little(void **state) {
        (void) state;
        struct source_range range;
        struct error err = ERROR_INIT;
        struct rusage usage;
        shell("qemu-img create -q -f qcow2 bomb 64T");
        _cleanup_(close_p) int fd = open_image("bomb", O_RDONLY);
        _cleanup_(source_free_p) struct source *source = source_of(fd, NBD_QCOW2);
        uint64_t zeros = 0;
        while (source_next(source, &range, &err) > 0) {
                assert_int_equal(range.kind, SOURCE_ZERO);
                zeros += range.length;
        }
        assert_int_equal(zeros, 64ull << 40);
        source_free(steal(&source));
        assert_int_equal(getrusage(RUSAGE_CHILDREN, &usage), 0);
        assert_in_range(usage.ru_maxrss, 0, 256 << 10);
}

static void fault_55_more_than_64_tib_is_refused(void **state) {
        (void) state;
        struct error err;
        shell("qemu-img create -q -f qcow2 bomb 65T");
        _cleanup_(close_p) int fd = open_image("bomb", O_RDONLY);
        assert_int_equal(source_fails(fd, NBD_QCOW2, &err), -1);
        assert_error(err, ERROR_TOO_LARGE, "the image claims 65.0 TiB; at most 64.0 TiB are carried");
}

static void fault_57_only_fixed_words_and_numbers_reach_qemu(void **state) {
        (void) state;
        shell("qemu-img create -q -f qcow2 -- '-r,file.filename=\"x\"}' 1M");
        _cleanup_(close_p) int fd = open_image("-r,file.filename=\"x\"}", O_RDONLY);
        struct nbd_image image = {.fds = {fd, fd}, .formats = {NBD_QCOW2, NBD_RAW}, .n = 2};
        _cleanup_(free_p) char *told = nbd_server_describe(&image);
        assert_string_equal(told, "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"/proc/self/"
                                  "fd/4\"},\"backing\":{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":"
                                  "\"/proc/self/fd/5\"}}}");
        _cleanup_(source_free_p) struct source *source = source_of(fd, NBD_QCOW2);
        assert_int_equal(source->bytes, MIB);
        enum nbd_format format;
        struct error err = ERROR_INIT;
        assert_int_equal(nbd_format_parse("qcow2,file.filename=/etc/shadow", &format, &err), -1);
        assert_int_equal(err.code, ERROR_REFUSED);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                SCRATCH_TEST(a_qcow2_gives_what_the_guest_sees),
                SCRATCH_TEST(ranges_that_are_not_allocated_are_zero),
                SCRATCH_TEST(a_chain_is_flattened),
                SCRATCH_TEST(a_vmdk_is_read),
                SCRATCH_TEST(the_version_changes_with_any_file_of_the_chain),
                SCRATCH_TEST(what_is_written_is_in_the_image),
                SCRATCH_TEST(a_length_of_no_whole_sectors_is_kept),
                SCRATCH_TEST(what_was_flushed_survives_a_killed_server_and_is_gone_on_with),
                SCRATCH_TEST(a_ruin_is_emptied_and_refused),
                SCRATCH_TEST(an_image_that_another_program_has_open_is_left_as_it_is),
                SCRATCH_TEST(a_server_ends_with_its_sink),
                SCRATCH_TEST(fault_34_a_qcow2_header_in_a_raw_disk_is_its_content),
                SCRATCH_TEST(fault_53_a_backing_file_in_the_header_is_not_opened),
                SCRATCH_TEST(fault_53_an_external_data_file_cannot_be_opened),
                SCRATCH_TEST(fault_54_a_file_of_another_format_is_refused),
                SCRATCH_TEST(fault_55_a_small_file_that_claims_64_tib_costs_little),
                SCRATCH_TEST(fault_55_more_than_64_tib_is_refused),
                SCRATCH_TEST(fault_57_only_fixed_words_and_numbers_reach_qemu),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
