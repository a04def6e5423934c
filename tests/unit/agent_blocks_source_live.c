// SPDX-License-Identifier: LGPL-2.1-or-later
/* What is told of a disk that changed in part: to one who has the base, and to one who has not. */
#include "agent/blocks/source_live.h"
#include "common/cleanup.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "scratch.h"

#define KIB 1024u
#define MIB (1u << 20)

static void shell(const char *command) {
        char all[1200];
        snprintf(all, sizeof all, "cd %s && exec >/dev/null && %s", scratch, command);
        if (system(all) != 0)
                fail_msg("failed: %s", command);
}

static int tear_down(void **state) {
        shell("{ test ! -e pid || kill $(cat pid); }"); // by its own id, which qemu-nbd writes down
        return scratch_remove(state);
}

// 4 MiB, written before the bitmap was made; then 64 KiB at 1 MiB, and 4 KiB at 3 MiB + 100 KiB made zeros.
static struct source *serve(const char *bitmap) {
        shell("qemu-img create -q -f qcow2 a 8M && qemu-io -f qcow2 -c 'write -P 1 0 4M' a && "
              "qemu-img bitmap --add -f qcow2 a since && qemu-io -f qcow2 -c 'write -P 2 1M 64k' "
              "-c 'write -z 3M 128k' -c 'write -P 3 5000k 4k' a && "
              "qemu-nbd -f qcow2 -r -t -e 8 -x vda -B since -k $PWD/socket --fork --pid-file=pid a");
        struct nbd_export export = {.socket = scratch_path("socket"), .name = "vda", .bitmap = bitmap};
        struct source *source = NULL;
        struct error err = ERROR_INIT;
        if (source_live_new(&export, &source, &err) < 0)
                fail_msg("%s", err.message);
        return source;
}

static void assert_ranges(struct source *source, const struct source_range *expected, unsigned n) {
        struct source_range range;
        struct error err = ERROR_INIT;
        for (unsigned i = 0; i < n; i++) {
                assert_int_equal(source_next(source, &range, &err), 1);
                assert_int_equal(range.offset, expected[i].offset);
                assert_int_equal(range.length, expected[i].length);
                assert_int_equal(range.kind, expected[i].kind);
        }
        assert_int_equal(source_next(source, &range, &err), 0);
}

static void one_who_has_the_base_is_told_what_is_the_same(void **state) {
        (void) state;
        struct source *source = serve("since");
        static const struct source_range expected[] = {
                {0, MIB, SOURCE_SAME},
                {MIB, 64 * KIB, SOURCE_DATA},
                {MIB + 64 * KIB, 2 * MIB - 64 * KIB, SOURCE_SAME},
                {3 * MIB, 128 * KIB, SOURCE_ZERO},
                {3 * MIB + 128 * KIB, 4992 * KIB - 3 * MIB - 128 * KIB, SOURCE_SAME},
                {4992 * KIB, 64 * KIB, SOURCE_DATA},
                {5056 * KIB, 8 * MIB - 5056 * KIB, SOURCE_SAME},
        };
        source_tell_same(source, BLOCKS_PIECE);
        assert_ranges(source, expected, ARRAY_SIZE(expected));
        uint8_t version[SOURCE_VERSION_BYTES];
        assert_int_equal(source_version(source, version, NULL), 0);
        source_free(source);
}

static void one_who_has_not_is_given_everything(void **state) {
        (void) state;
        struct source *source = serve("since");
        struct source_range range;
        struct error err = ERROR_INIT;
        _cleanup_(free_p) uint8_t *buffer = blocks_buffer();
        uint64_t at = 0;
        while (source_next(source, &range, &err) > 0) {
                assert_int_equal(range.offset, at);
                assert_int_not_equal(range.kind, SOURCE_SAME);
                at += range.length;
                if (range.kind == SOURCE_ZERO)
                        continue;
                assert_int_equal(range.length, MIB);
                assert_int_equal(source_read(source, range.offset, buffer, MIB, &err), 0);
                uint8_t first = range.offset == MIB ? 2 : range.offset == 3 * MIB ? 0 : range.offset < 4 * MIB ? 1 : 0;
                assert_int_equal(buffer[0], first);
        }
        assert_int_equal(at, 8 * MIB);
        source_free(source);
}

static void without_a_bitmap_there_is_data_and_zeros(void **state) {
        (void) state;
        struct source *source = serve(NULL);
        static const struct source_range expected[] = {
                {0, MIB, SOURCE_DATA},
                {MIB, MIB, SOURCE_DATA},
                {2 * MIB, MIB, SOURCE_DATA},
                {3 * MIB, 128 * KIB, SOURCE_ZERO},
                {3 * MIB + 128 * KIB, MIB - 128 * KIB, SOURCE_DATA},
                {4 * MIB, 4992 * KIB - 4 * MIB, SOURCE_ZERO},
                {4992 * KIB, 64 * KIB, SOURCE_DATA},
                {5056 * KIB, 8 * MIB - 5056 * KIB, SOURCE_ZERO},
        };
        source_tell_same(source, BLOCKS_PIECE);
        assert_ranges(source, expected, ARRAY_SIZE(expected));
        source_free(source);
}

#define STRIPES 3000u // of 4 KiB each, as far from one another

static void more_runs_than_are_remembered_at_once_are_all_told(void **state) {
        (void) state;
        FILE *writes = fopen(scratch_path("writes"), "w");
        assert_non_null(writes);
        for (unsigned i = 0; i < STRIPES; i++)
                fprintf(writes, "write -q -P %u %uk 4k\n", 1 + i % 251, 8 * i);
        assert_int_equal(fclose(writes), 0);
        shell("qemu-img create -q -f qcow2 -o cluster_size=4k a 24000k && qemu-img bitmap --add -g 4k -f qcow2 a since "
              "&& "
              "qemu-io -f qcow2 -t unsafe a <writes && "
              "qemu-nbd -f qcow2 -r -t -e 8 -x vda -B since -k $PWD/socket --fork --pid-file=pid a");
        struct nbd_export export = {.socket = scratch_path("socket"), .name = "vda", .bitmap = "since"};
        struct source *source = NULL;
        struct source_range range;
        struct error err = ERROR_INIT;
        assert_true(STRIPES > NBD_RUNS_MAX);
        assert_int_equal(source_live_new(&export, &source, &err), 0);
        source_tell_same(source, 4 * KIB);
        _cleanup_(free_p) uint8_t *buffer = blocks_buffer();
        for (unsigned i = 0; i < 2 * STRIPES; i++) {
                assert_int_equal(source_next(source, &range, &err), 1);
                assert_int_equal(range.offset, i * 4ull * KIB);
                assert_int_equal(range.length, 4 * KIB);
                assert_int_equal(range.kind, i % 2 == 0 ? SOURCE_DATA : SOURCE_SAME);
                if (i % 2 == 1)
                        continue;
                assert_int_equal(source_read(source, range.offset, buffer, range.length, &err), 0);
                assert_int_equal(buffer[0], 1 + i / 2 % 251);
        }
        assert_int_equal(source_next(source, &range, &err), 0);
        source_free(source);
}

static void fault_28_a_bitmap_that_is_not_shown_is_an_error(void **state) {
        (void) state;
        source_free(serve("since"));
        struct nbd_export export = {.socket = scratch_path("socket"), .name = "vda", .bitmap = "other"};
        struct source *source = NULL;
        struct error err = ERROR_INIT;
        assert_int_equal(source_live_new(&export, &source, &err), -1);
        assert_int_equal(err.code, ERROR_CONFLICT);
        assert_string_equal(err.message, "open the disk: QEMU does not show which blocks have changed");
        assert_null(source);
}

static void fault_27_a_server_that_dies_is_an_error_with_its_place(void **state) {
        (void) state;
        struct source *source = serve("since");
        struct error err = ERROR_INIT;
        _cleanup_(free_p) uint8_t *buffer = blocks_buffer();
        assert_int_equal(source_read(source, 0, buffer, MIB, &err), 0);
        shell("kill -9 $(cat pid) && rm pid");
        for (unsigned i = 0; i < 4; i++) // each of its connections
                assert_int_equal(source_read(source, 2 * MIB, buffer, MIB, &err), -1);
        assert_int_equal(err.code, ERROR_IO);
        assert_memory_equal(err.message, "read at 2.0 MiB: ", strlen("read at 2.0 MiB: "));
        source_free(source);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(one_who_has_the_base_is_told_what_is_the_same, scratch_make, tear_down),
                cmocka_unit_test_setup_teardown(one_who_has_not_is_given_everything, scratch_make, tear_down),
                cmocka_unit_test_setup_teardown(without_a_bitmap_there_is_data_and_zeros, scratch_make, tear_down),
                cmocka_unit_test_setup_teardown(more_runs_than_are_remembered_at_once_are_all_told, scratch_make,
                                                tear_down),
                cmocka_unit_test_setup_teardown(fault_28_a_bitmap_that_is_not_shown_is_an_error, scratch_make,
                                                tear_down),
                cmocka_unit_test_setup_teardown(fault_27_a_server_that_dies_is_an_error_with_its_place, scratch_make,
                                                tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
