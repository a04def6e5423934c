// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * agent/transfer when something breaks: disks, the line, the peer, the administrator's mind. Both ends end soon, and
 * both say why. pread, pwrite and fsync are this program's own, so that a test can make the n-th of them fail.
 */
#include "transfer_rig.h"
#include "scratch.h"
#include "common/fault.h"
#include <errno.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define DIRECT DROVER__TRANSFER_PATH__PATH_DIRECT

static atomic_int reads_left, writes_left, syncs_left; // the one that brings it to zero fails; negative: none does
static atomic_int failure_number, syncs;

static bool strikes(atomic_int *left) {
        return atomic_load(left) > 0 && atomic_fetch_sub(left, 1) == 1;
}

ssize_t pread(int fd, void *bytes, size_t length, off_t offset) {
        if (strikes(&reads_left)) {
                errno = atomic_load(&failure_number);
                return -1;
        }
        return syscall(SYS_pread64, fd, bytes, length, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
        if (strikes(&writes_left)) {
                errno = atomic_load(&failure_number);
                return -1;
        }
        return syscall(SYS_pwrite64, fd, bytes, length, offset);
}

int fsync(int fd) {
        atomic_fetch_add(&syncs, 1);
        if (strikes(&syncs_left)) {
                errno = EIO;
                return -1;
        }
        return (int) syscall(SYS_fsync, fd);
}

static int nothing_strikes(void **state) {
        (void) state;
        atomic_store(&reads_left, -1);
        atomic_store(&writes_left, -1);
        atomic_store(&syncs_left, -1);
        atomic_store(&syncs, 0);
        atomic_store(&failure_number, EIO);
        atomic_store(&rig_later_ms, 0);
        return 0;
}

static void pair_of(struct rig_pair *pair, uint64_t bytes) {
        int fd = rig_file();
        rig_fill(fd, 0, bytes, 1);
        rig_pair(pair, DIRECT, fd, rig_file(), 1);
}

static void end(struct rig_pair *pair) {
        close(pair->source.fd);
        close(pair->sink.fd);
        rig_pair_end(pair);
}

// Two threads read and two write, so the n-th may be one of two blocks.
static void assert_failed_at(const struct rig_side *side, enum error_code code, const char *before, const char *after) {
        const char *message = side->err.message;
        size_t length = strlen(message), tail = strlen(after);
        assert_int_equal(side->result, -1);
        assert_int_equal(side->err.code, code);
        assert_true(strncmp(message, before, strlen(before)) == 0);
        assert_true(length > tail && strcmp(message + length - tail, after) == 0);
}

static void fault_20_a_read_error_names_disk_and_offset(void **state) {
        (void) state;
        struct rig_pair pair;
        pair_of(&pair, 20 * MIB);
        atomic_store(&reads_left, 13);
        rig_pair_run(&pair);
        assert_failed_at(&pair.source, ERROR_IO, "vda: read at ", " MiB: Input/output error");
        assert_failed_at(&pair.sink, ERROR_IO, "vda: the source failed: read at ", " MiB: Input/output error");
        end(&pair);
}

static void fault_20_an_image_that_shrinks_is_not_filled_with_zeros(void **state) {
        (void) state;
        struct rig_pair pair;
        struct error err = ERROR_INIT;
        pair_of(&pair, 60 * MIB);
        pair.source.order.rate_bytes_per_second = 64 * MIB;
        rig_side_start(&pair.sink);
        rig_side_start(&pair.source);
        RIG_UNTIL(atomic_load(&pair.source.reports) > 0);
        assert_int_equal(ftruncate(pair.source.fd, 40 * (off_t) MIB + 512), 0);
        pthread_join(pair.source.thread, NULL);
        pthread_join(pair.sink.thread, NULL);
        assert_int_equal(pair.source.result, -1);
        assert_non_null(strstr(pair.source.err.message, "the image ends there"));
        assert_int_equal(pair.sink.result, -1);
        struct source *source = NULL;
        assert_int_equal(source_file_new(pair.source.fd, 60 * MIB, &source, &err), -1);
        assert_string_equal(err.message, "the image is 40.0 MiB (41943552 bytes) long, not 60.0 MiB (62914560 bytes)");
        end(&pair);
}

static void fault_21_a_write_error_names_disk_and_offset(void **state) {
        (void) state;
        struct rig_pair pair;
        pair_of(&pair, 20 * MIB);
        atomic_store(&writes_left, 6);
        rig_pair_run(&pair);
        assert_failed_at(&pair.sink, ERROR_IO, "vda: write at ", " MiB: Input/output error");
        assert_failed_at(&pair.source, ERROR_IO, "vda: the sink failed: write at ", " MiB: Input/output error");
        end(&pair);
}

static void fault_21_a_file_system_that_turned_read_only_is_named(void **state) {
        (void) state;
        struct rig_pair pair;
        pair_of(&pair, 9 * MIB);
        atomic_store(&failure_number, EROFS);
        atomic_store(&writes_left, 2);
        rig_pair_run(&pair);
        assert_failed_at(&pair.sink, ERROR_IO, "vda: write at ", ": Read-only file system");
        end(&pair);
}

static void fault_19_no_space_at_the_sink_is_named(void **state) {
        (void) state;
        struct rig_pair pair;
        pair_of(&pair, 20 * MIB);
        atomic_store(&failure_number, ENOSPC);
        atomic_store(&writes_left, 11);
        rig_pair_run(&pair);
        assert_failed_at(&pair.sink, ERROR_NO_SPACE, "vda: write at ", " MiB: No space left on device");
        assert_failed_at(&pair.source, ERROR_NO_SPACE, "vda: the sink failed: write at ",
                         " MiB: No space left on device");
        end(&pair);
}

static void fault_19_a_full_file_system_fails_both_ends(void **state) {
        (void) state;
        char directory[64], path[96];
        struct rig_pair pair;
        assert_int_equal(scratch_new(directory, sizeof directory), 0);
        if (mount("none", directory, "tmpfs", 0, "size=4m") < 0) {
                rmdir(directory);
                skip(); // needs root
        }
        snprintf(path, sizeof path, "%s/image", directory);
        int sink_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), fd = rig_file();
        rig_fill(fd, 0, 20 * MIB, 1);
        rig_pair(&pair, DIRECT, fd, sink_fd, 2);
        rig_pair_run(&pair);
        end(&pair);
        assert_int_equal(umount2(directory, MNT_DETACH), 0);
        rmdir(directory);
        assert_int_equal(pair.sink.err.code, ERROR_NO_SPACE);
        assert_int_equal(pair.source.err.code, ERROR_NO_SPACE);
        assert_non_null(strstr(pair.source.err.message, "vda: the sink failed: write at "));
        assert_non_null(strstr(pair.source.err.message, ": No space left on device"));
}

static void a_sink_that_cannot_be_written_fails_at_once(void **state) {
        (void) state;
        struct rig_pair pair;
        pair_of(&pair, 3 * MIB);
        close(pair.sink.fd);
        pair.sink.fd = open("/dev/full", O_RDWR | O_CLOEXEC);
        rig_pair_run(&pair);
        rig_assert_failed(&pair.sink, ERROR_IO, "vda: make room for 3.0 MiB: Invalid argument");
        rig_assert_failed(&pair.source, ERROR_IO, "vda: the sink failed: make room for 3.0 MiB: Invalid argument");
        end(&pair);
}

static void fault_23_a_failed_sync_loses_the_copy_and_is_not_tried_again(void **state) {
        (void) state;
        struct rig_pair pair;
        pair_of(&pair, 3 * MIB);
        atomic_store(&syncs_left, 1); // the next one would succeed
        rig_pair_run(&pair);
        rig_assert_failed(&pair.sink, ERROR_IO, "vda: sync: Input/output error");
        rig_assert_failed(&pair.source, ERROR_IO, "vda: the sink failed: sync: Input/output error");
        assert_int_equal(atomic_load(&syncs), 1);
        end(&pair);
}

static void the_source_is_told_only_after_the_sync(void **state) {
        (void) state;
        struct rig_pair pair;
        pair_of(&pair, 3 * MIB);
        rig_pair_run(&pair);
        rig_assert_ok(&pair.source);
        assert_in_range(atomic_load(&syncs), 1, 2);
        end(&pair);
}

static void fault_01_a_line_that_is_cut_ends_both_sides(void **state) {
        (void) state;
        static const uint64_t places[] = {700, 40000, 3 * MIB + 5, 19 * MIB};
        for (size_t i = 0; i < 4; i++) {
                struct rig_pair pair;
                struct rig_wires wires;
                pair_of(&pair, 20 * MIB);
                exchange_set_patience(rig.agents[RIG_SINK], 100, 500);
                rig_wires_start(&wires, RIG_CUT, places[i], rig.ports[RIG_SINK]);
                pair.source.order.peer_port = wires.port;
                pair.source.order.streams = pair.sink.order.streams = 2;
                rig_pair_run(&pair);
                rig_wires_end(&wires);
                assert_true(atomic_load(&wires.spoilt));
                assert_int_equal(pair.source.result, -1);
                assert_int_equal(pair.source.err.code, ERROR_UNREACHABLE);
                assert_int_equal(pair.sink.result, -1);
                assert_int_equal(pair.sink.err.code, ERROR_UNREACHABLE);
                end(&pair);
        }
        exchange_set_patience(rig.agents[RIG_SINK], EXCHANGE_PATIENCE_MS, EXCHANGE_CALL_MS);
}

static void a_byte_that_changes_on_the_way_is_found(void **state) {
        (void) state;
        struct rig_pair pair;
        struct rig_wires wires;
        pair_of(&pair, 20 * MIB);
        rig_wires_start(&wires, RIG_FLIP, 5 * MIB, rig.ports[RIG_SINK]);
        pair.source.order.peer_port = wires.port;
        rig_pair_run(&pair);
        rig_wires_end(&wires);
        assert_true(atomic_load(&wires.spoilt));
        assert_int_equal(pair.sink.result, -1);
        assert_int_equal(pair.sink.err.code, ERROR_TLS);
        assert_non_null(strstr(pair.sink.err.message, ": a record was damaged or forged on its way"));
        assert_int_equal(pair.source.result, -1);
        end(&pair);
}

static void fault_02_a_black_hole_is_left_after_5_seconds(void **state) {
        (void) state;
        struct rig_pair pair;
        struct rig_wires wires;
        pair_of(&pair, 20 * MIB);
        rig_wires_start(&wires, RIG_HOLE, 5 * MIB, rig.ports[RIG_SINK]);
        pair.source.order.peer_port = wires.port;
        rig_side_start(&pair.sink);
        rig_side_start(&pair.source);
        RIG_UNTIL(atomic_load(&wires.spoilt));
        while (!atomic_load(&pair.source.ended) || !atomic_load(&pair.sink.ended)) {
                atomic_fetch_add(&rig_later_ms, 31000); // again, if a byte arrived after the last time
                nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        }
        pthread_join(pair.source.thread, NULL);
        pthread_join(pair.sink.thread, NULL);
        rig_wires_end(&wires);
        assert_int_equal(pair.sink.err.code, ERROR_TIMEOUT);
        assert_non_null(strstr(pair.sink.err.message, ": nothing has arrived for 5 seconds"));
        assert_int_equal(pair.source.err.code, ERROR_TIMEOUT);
        assert_non_null(strstr(pair.source.err.message, ": nothing has arrived for 5 seconds"));
        end(&pair);
}

static void a_cancel_at_the_source_reaches_the_sink(void **state) {
        (void) state;
        struct rig_pair pair;
        pair_of(&pair, 30 * MIB);
        pair.source.order.rate_bytes_per_second = 4 * MIB;
        pair.source.cancel_at = 1;
        rig_pair_run(&pair);
        rig_assert_failed(&pair.source, ERROR_CANCELLED, "vda: cancelled");
        rig_assert_failed(&pair.sink, ERROR_CANCELLED, "vda: the source failed: cancelled");
        assert_true(pair.source.reported_done < 30 * MIB);
        end(&pair);
}

static void a_cancel_at_the_sink_reaches_the_source(void **state) {
        (void) state;
        struct rig_pair pair;
        pair_of(&pair, 30 * MIB);
        pair.source.order.rate_bytes_per_second = 4 * MIB;
        pair.source.order.streams = pair.sink.order.streams = 2;
        pair.sink.cancel_at = 1;
        rig_pair_run(&pair);
        rig_assert_failed(&pair.sink, ERROR_CANCELLED, "vda: cancelled");
        assert_int_equal(pair.source.result, -1);
        rig_assert_failed(&pair.source, ERROR_CANCELLED, "vda: the sink failed: cancelled");
        end(&pair);
}

static void a_cancel_while_waiting_for_the_peer_is_heard(void **state) {
        (void) state;
        struct rig_pair pair;
        pair_of(&pair, MIB);
        atomic_store(&pair.sink.cancel, true);
        rig_side_start(&pair.sink);
        pthread_join(pair.sink.thread, NULL);
        rig_assert_failed(&pair.sink, ERROR_CANCELLED, "vda: cancelled");
        end(&pair);
}

static void a_fault_before_the_sync_fails_both_ends(void **state) {
        (void) state;
        char directory[64], path[96];
        static const char *const points[] = {"agent.send.block", "agent.receive.block", "agent.receive.before-sync",
                                             "agent.receive.after-sync"};
        assert_int_equal(scratch_new(directory, sizeof directory), 0);
        setenv("DROVER_FAULT_DIR", directory, 1);
        fault_init();
        for (size_t i = 0; i < 4; i++) {
                struct rig_pair pair;
                snprintf(path, sizeof path, "%s/%s", directory, points[i]);
                FILE *file = fopen(path, "w");
                fprintf(file, "nth 1 fail no-space\n");
                fclose(file);
                pair_of(&pair, 3 * MIB);
                rig_pair_run(&pair);
                assert_int_equal(pair.source.err.code, ERROR_NO_SPACE);
                assert_int_equal(pair.sink.err.code, ERROR_NO_SPACE);
                assert_non_null(strstr((i == 0 ? &pair.source : &pair.sink)->err.message, points[i]));
                end(&pair);
        }
        unsetenv("DROVER_FAULT_DIR");
        fault_init();
        rmdir(directory);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(fault_20_a_read_error_names_disk_and_offset, nothing_strikes),
                cmocka_unit_test_setup(fault_20_an_image_that_shrinks_is_not_filled_with_zeros, nothing_strikes),
                cmocka_unit_test_setup(fault_21_a_write_error_names_disk_and_offset, nothing_strikes),
                cmocka_unit_test_setup(fault_21_a_file_system_that_turned_read_only_is_named, nothing_strikes),
                cmocka_unit_test_setup(fault_19_no_space_at_the_sink_is_named, nothing_strikes),
                cmocka_unit_test_setup(fault_19_a_full_file_system_fails_both_ends, nothing_strikes),
                cmocka_unit_test_setup(a_sink_that_cannot_be_written_fails_at_once, nothing_strikes),
                cmocka_unit_test_setup(fault_23_a_failed_sync_loses_the_copy_and_is_not_tried_again, nothing_strikes),
                cmocka_unit_test_setup(the_source_is_told_only_after_the_sync, nothing_strikes),
                cmocka_unit_test_setup(fault_01_a_line_that_is_cut_ends_both_sides, nothing_strikes),
                cmocka_unit_test_setup(a_byte_that_changes_on_the_way_is_found, nothing_strikes),
                cmocka_unit_test_setup(fault_02_a_black_hole_is_left_after_5_seconds, nothing_strikes),
                cmocka_unit_test_setup(a_cancel_at_the_source_reaches_the_sink, nothing_strikes),
                cmocka_unit_test_setup(a_cancel_at_the_sink_reaches_the_source, nothing_strikes),
                cmocka_unit_test_setup(a_cancel_while_waiting_for_the_peer_is_heard, nothing_strikes),
                cmocka_unit_test_setup(a_fault_before_the_sync_fails_both_ends, nothing_strikes),
        };
        return cmocka_run_group_tests(tests, rig_up, rig_down);
}
