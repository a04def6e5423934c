// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/transfer: what arrives is what was sent, whatever the image looks like and whoever dials. */
#include "transfer_rig.h"

#define DIRECT  DROVER__TRANSFER_PATH__PATH_DIRECT
#define REVERSE DROVER__TRANSFER_PATH__PATH_REVERSE

// Moves the file and compares; returns what the sink takes on its disk.
static uint64_t move(int source_fd, int path, unsigned streams, Drover__TransferState *ret_state) {
        struct rig_pair pair;
        struct stat status;
        char digest[80];
        int sink_fd = rig_file();
        rig_pair(&pair, path, source_fd, sink_fd, streams);
        rig_pair_run(&pair);
        rig_assert_ok(&pair.source);
        rig_assert_ok(&pair.sink);
        rig_assert_same(source_fd, sink_fd);
        assert_int_equal(rig_digest(sink_fd, pair.source.bytes, NULL, NULL, digest, NULL), 0);
        assert_string_equal(pair.source.digest, digest);
        assert_string_equal(pair.sink.digest, digest);
        assert_true(strncmp(digest, "d2:", 3) == 0 && strlen(digest) == 67);
        assert_int_equal(pair.sink.state.bytes_total, pair.source.bytes);
        assert_int_equal(pair.sink.state.bytes_done, pair.source.bytes);
        assert_int_equal(pair.source.state.bytes_done, pair.source.bytes);
        assert_int_equal(pair.sink.state.bytes_zero, pair.source.state.bytes_zero);
        assert_int_equal((int) pair.sink.state.path, path);
        assert_true(atomic_load(&pair.source.reports) > 0);
        if (ret_state)
                *ret_state = pair.sink.state;
        assert_int_equal(fstat(sink_fd, &status), 0);
        rig_pair_end(&pair);
        close(sink_fd);
        return (uint64_t) status.st_blocks * 512;
}

static void an_image_of_many_blocks_arrives(void **state) {
        (void) state;
        Drover__TransferState moved;
        int fd = rig_file();
        rig_fill(fd, 0, 37 * MIB, 1);
        for (unsigned streams = 1; streams < FLOW_STREAMS_MAX; streams *= 2) {
                move(fd, DIRECT, streams, &moved);
                assert_in_range(moved.bytes_wire, 37 * MIB, 38 * MIB);
                assert_int_equal(moved.bytes_zero, 0);
        }
        close(fd);
}

static void the_sink_may_dial(void **state) {
        (void) state;
        int fd = rig_file();
        rig_fill(fd, 0, 9 * MIB + 4096, 2);
        move(fd, REVERSE, 2, NULL);
        close(fd);
}

static void an_image_of_odd_length_arrives(void **state) {
        (void) state;
        static const uint64_t lengths[] = {1, 511, 513, 4097, 16385, MIB - 1, MIB + 1, 3 * MIB + 12345};
        for (size_t i = 0; i < 8; i++) {
                int fd = rig_file();
                rig_fill(fd, 0, lengths[i], (uint32_t) i);
                move(fd, DIRECT, 2, NULL);
                close(fd);
        }
}

static void an_empty_image_arrives(void **state) {
        (void) state;
        int fd = rig_file();
        assert_int_equal(move(fd, DIRECT, 2, NULL), 0);
        close(fd);
}

static void an_image_of_nothing_but_a_hole_is_not_sent(void **state) {
        (void) state;
        Drover__TransferState moved;
        int fd = rig_file();
        assert_int_equal(ftruncate(fd, 100 * (off_t) MIB + 1), 0);
        assert_int_equal(move(fd, DIRECT, 2, &moved), 0);
        assert_true(moved.bytes_wire < 64 * 1024);
        assert_int_equal(moved.bytes_zero, 100 * MIB + 1);
        close(fd);
}

static void written_zeros_are_neither_sent_nor_stored(void **state) {
        (void) state;
        Drover__TransferState moved;
        uint8_t *zeros = memory_new(MIB);
        int fd = rig_file();
        for (unsigned i = 0; i < 20; i++)
                assert_int_equal(pwrite(fd, zeros, MIB, (off_t) (i * MIB)), MIB);
        assert_int_equal(move(fd, DIRECT, 2, &moved), 0);
        assert_true(moved.bytes_wire < 64 * 1024);
        close(fd);
        free(zeros);
}

static void holes_stay_holes(void **state) {
        (void) state;
        Drover__TransferState moved;
        struct stat status;
        int fd = rig_file();
        assert_int_equal(ftruncate(fd, 200 * (off_t) MIB + 777), 0);
        rig_fill(fd, 3 * MIB, 2 * MIB, 5);
        rig_fill(fd, 50 * MIB + 65536, 16384, 6); // one leaf in the middle of a block
        rig_fill(fd, 90 * MIB + 500, 40000, 7);
        rig_fill(fd, 200 * MIB + 700, 77, 8);
        uint64_t stored = move(fd, DIRECT, 2, &moved);
        assert_int_equal(fstat(fd, &status), 0);
        // What is stored comes in pieces of 16 KiB, so at most one more at each end of what holds something.
        assert_in_range(stored, 2 * MIB, (uint64_t) status.st_blocks * 512 + 4 * 2 * 16384);
        assert_in_range(moved.bytes_wire, 2 * MIB, 2 * MIB + 256 * 1024);
        close(fd);
}

static void a_huge_sparse_image_takes_the_time_of_its_data(void **state) {
        (void) state;
        struct rig_pair pair;
        struct stat status;
        uint8_t there[32], here[32];
        int fd = rig_file(), sink_fd = rig_file();
        if (ftruncate(fd, (off_t) 1 << 40) < 0)
                skip(); // not on this file system
        rig_fill(fd, 700ull << 30, MIB, 5);
        rig_pair(&pair, DIRECT, fd, sink_fd, 2);
        rig_pair_run(&pair);
        rig_assert_ok(&pair.source);
        rig_assert_ok(&pair.sink);
        assert_string_equal(pair.source.digest, pair.sink.digest);
        assert_int_equal(fstat(sink_fd, &status), 0);
        assert_int_equal(status.st_size, (off_t) 1 << 40);
        assert_in_range((uint64_t) status.st_blocks * 512, MIB, 2 * MIB);
        assert_int_equal(pread(fd, there, 32, 700ll << 30), 32);
        assert_int_equal(pread(sink_fd, here, 32, 700ll << 30), 32);
        assert_memory_equal(there, here, 32);
        rig_pair_end(&pair);
        close(fd);
        close(sink_fd);
}

static void what_the_sink_held_before_is_gone(void **state) {
        (void) state;
        struct rig_pair pair;
        int fd = rig_file(), sink_fd = rig_file();
        rig_fill(sink_fd, 0, 5 * MIB, 1);
        rig_fill(fd, MIB, MIB, 2);
        rig_pair(&pair, DIRECT, fd, sink_fd, 2);
        rig_pair_run(&pair);
        rig_assert_ok(&pair.sink);
        rig_assert_same(fd, sink_fd);
        rig_pair_end(&pair);
        close(fd);
        close(sink_fd);
}

static void a_file_system_without_direct_io_serves_as_well(void **state) {
        (void) state;
        struct rig_pair pair;
        int fd = memfd_create("source", 0), sink_fd = memfd_create("sink", 0);
        rig_fill(fd, 0, 40 * MIB + 99, 1);
        rig_pair(&pair, DIRECT, fd, sink_fd, 2);
        rig_pair_run(&pair);
        rig_assert_ok(&pair.source);
        rig_assert_ok(&pair.sink);
        rig_assert_same(fd, sink_fd);
        rig_pair_end(&pair);
        close(fd);
        close(sink_fd);
}

static void the_callers_descriptors_stay_as_they_were(void **state) {
        (void) state;
        int fd = rig_file();
        rig_fill(fd, 0, 2 * MIB, 1);
        int before = fcntl(fd, F_GETFL);
        move(fd, DIRECT, 1, NULL);
        assert_int_equal(fcntl(fd, F_GETFL), before);
        close(fd);
}

static void a_rate_limits_all_streams_together(void **state) {
        (void) state;
        struct rig_pair pair;
        struct timespec began, ended;
        int fd = rig_file(), sink_fd = rig_file();
        rig_fill(fd, 0, 6 * MIB, 1);
        rig_pair(&pair, DIRECT, fd, sink_fd, 2);
        pair.source.order.rate_bytes_per_second = 8 * MIB;
        clock_gettime(CLOCK_MONOTONIC, &began);
        rig_pair_run(&pair);
        clock_gettime(CLOCK_MONOTONIC, &ended);
        rig_assert_ok(&pair.sink);
        uint64_t took = (uint64_t) ((ended.tv_sec - began.tv_sec) * 1000 + (ended.tv_nsec - began.tv_nsec) / 1000000);
        assert_true(took >= 600); // 0.75 s less what the bucket may hold; no upper bound: the machine may be busy
        rig_pair_end(&pair);
        close(fd);
        close(sink_fd);
}

static void several_transfers_run_at_once(void **state) {
        (void) state;
        enum { N = 3 };
        struct rig_pair pairs[N];
        int sources[N], sinks[N];
        for (unsigned i = 0; i < N; i++) {
                sources[i] = rig_file();
                sinks[i] = rig_file();
                rig_fill(sources[i], 0, 5 * MIB, i);
                rig_pair(&pairs[i], i % 2 ? REVERSE : DIRECT, sources[i], sinks[i], 2);
                rig_side_start(&pairs[i].source);
        }
        for (unsigned i = 0; i < N; i++)
                rig_side_start(&pairs[i].sink);
        for (unsigned i = 0; i < N; i++) {
                pthread_join(pairs[i].source.thread, NULL);
                pthread_join(pairs[i].sink.thread, NULL);
                rig_assert_ok(&pairs[i].source);
                rig_assert_ok(&pairs[i].sink);
                rig_assert_same(sources[i], sinks[i]);
                rig_pair_end(&pairs[i]);
                close(sources[i]);
                close(sinks[i]);
        }
}

static void the_digest_of_a_file_can_be_read_back(void **state) {
        (void) state;
        char one[80], other[80];
        struct error err = ERROR_INIT;
        int fd = rig_file();
        rig_fill(fd, 0, 3 * MIB + 5, 1);
        assert_int_equal(rig_digest(fd, 3 * MIB + 5, NULL, NULL, one, NULL), 0);
        rig_fill(fd, 2 * MIB, 1, 99);
        assert_int_equal(rig_digest(fd, 3 * MIB + 5, NULL, NULL, other, NULL), 0);
        assert_string_not_equal(one, other);
        assert_int_equal(rig_digest(fd, 4 * MIB, NULL, NULL, other, &err), -1);
        assert_string_equal(err.message, "the image is 3.0 MiB (3145733 bytes) long, not 4.0 MiB (4194304 bytes)");
        struct rig_side side = {.cancel = true};
        assert_int_equal(rig_digest(fd, 3 * MIB + 5, rig_cancelled, &side, other, &err), -1);
        assert_int_equal(err.code, ERROR_CANCELLED);
        close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_image_of_many_blocks_arrives),
                cmocka_unit_test(the_sink_may_dial),
                cmocka_unit_test(an_image_of_odd_length_arrives),
                cmocka_unit_test(an_empty_image_arrives),
                cmocka_unit_test(an_image_of_nothing_but_a_hole_is_not_sent),
                cmocka_unit_test(written_zeros_are_neither_sent_nor_stored),
                cmocka_unit_test(holes_stay_holes),
                cmocka_unit_test(a_huge_sparse_image_takes_the_time_of_its_data),
                cmocka_unit_test(what_the_sink_held_before_is_gone),
                cmocka_unit_test(a_file_system_without_direct_io_serves_as_well),
                cmocka_unit_test(the_callers_descriptors_stay_as_they_were),
                cmocka_unit_test(a_rate_limits_all_streams_together),
                cmocka_unit_test(several_transfers_run_at_once),
                cmocka_unit_test(the_digest_of_a_file_can_be_read_back),
        };
        return cmocka_run_group_tests(tests, rig_up, rig_down);
}
