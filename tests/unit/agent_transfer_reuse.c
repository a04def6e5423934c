// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * agent/transfer/asking, answering: over a slow link what the sink's host has already does not travel, and
 * whatever becomes of it meanwhile, the image that arrives is the source's.
 */
#include "agent/blocks/verified.h"
#include "agent/transfer/answering.h"
#include "agent/transfer/asking.h"
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include "transfer_rig.h"

#define DIRECT DROVER__TRANSFER_PATH__PATH_DIRECT
#define MIB    (1ull << 20)
#define PIECE  65536ull
#define GRAIN  4096ull
#define SLOW   (4u << 20) // bytes a second: everything is asked from the first block on

// A file of its own, with a name for as long as the descriptor is open.
static int copy_of(int fd, uint64_t bytes) {
        static uint8_t buffer[1 << 20];
        int copy = rig_file();
        for (uint64_t at = 0; at < bytes; at += sizeof buffer) {
                ssize_t n = pread(fd, buffer, sizeof buffer, (off_t) at);
                assert_true(n > 0);
                assert_int_equal(pwrite(copy, buffer, (size_t) n, (off_t) at), n);
        }
        return copy;
}

static int reopen(int fd) {
        char path[32];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        return open(path, O_RDONLY | O_CLOEXEC);
}

struct trial {
        int source, candidate, sink;
        struct reuse *reuse;
        struct rig_pair pair;
};

static void trial_open(struct trial *trial, int source, int candidate) {
        int fd = reopen(candidate);
        *trial = (struct trial){.source = source, .candidate = candidate, .sink = rig_file()};
        trial->reuse = reuse_new(&fd, 1, &(struct reuse_config){0});
        rig_pair(&trial->pair, DIRECT, source, trial->sink, 2);
        trial->pair.source.order.rate_bytes_per_second = SLOW;
        trial->pair.sink.answerer = answering_new(trial->reuse);
}

static void trial_run(struct trial *trial, struct reuse_counts *ret) {
        rig_pair_run(&trial->pair);
        rig_assert_ok(&trial->pair.source);
        rig_assert_ok(&trial->pair.sink);
        rig_assert_same(trial->source, trial->sink);
        reuse_counts(trial->reuse, ret);
}

static void trial_close(struct trial *trial) {
        rig_pair_end(&trial->pair);
        answering_free(trial->pair.sink.answerer);
        reuse_free(trial->reuse);
        close(trial->source);
        close(trial->candidate);
        close(trial->sink);
}

static void what_the_sinks_host_has_does_not_travel(void **state) {
        (void) state;
        struct trial trial;
        struct reuse_counts counts;
        uint64_t bytes = 300 * MIB + 5 * PIECE + 100;
        int fd = rig_file();
        rig_fill(fd, 0, bytes, 1);
        trial_open(&trial, fd, copy_of(fd, bytes));
        trial_run(&trial, &counts);
        assert_true(trial.pair.source.state.bytes_wire < 300 * 400 + 65536);
        assert_int_equal(trial.pair.source.state.bytes_reused, bytes);
        assert_int_equal(trial.pair.sink.state.bytes_reused, bytes);
        assert_int_equal(trial.pair.source.state.bytes_done, bytes);
        assert_int_equal(trial.pair.sink.state.bytes_done, bytes);
        assert_int_equal(counts.found, counts.pieces);
        trial_close(&trial);
}

static void what_is_asked_keeps_to_the_rate(void **state) {
        (void) state;
        struct trial trial;
        struct reuse_counts counts;
        uint64_t bytes = 64 * MIB, begun = clock_ms(&system_clock);
        int fd = rig_file();
        rig_fill(fd, 0, bytes, 1);
        trial_open(&trial, fd, copy_of(fd, bytes));
        trial.pair.source.order.rate_bytes_per_second = 10000;
        trial_run(&trial, &counts);
        assert_int_equal(trial.pair.source.state.bytes_reused, bytes);
        assert_true(clock_ms(&system_clock) - begun >= 1200); // its names take 16 KiB
        trial_close(&trial);
}

static void only_the_grains_that_differ_travel(void **state) {
        (void) state;
        struct trial trial;
        struct reuse_counts counts;
        uint64_t bytes = 64 * MIB;
        int fd = rig_file();
        rig_fill(fd, 0, bytes, 1);
        int old = copy_of(fd, bytes);
        for (uint64_t at = 0; at < bytes; at += 4 * PIECE)
                rig_fill(old, at + at / PIECE / 4 % 16 * GRAIN, GRAIN, (uint32_t) at + 7);
        trial_open(&trial, fd, old);
        trial_run(&trial, &counts);
        assert_in_range(trial.pair.source.state.bytes_wire, 256 * GRAIN / 2, 256 * (GRAIN + 300) + 64 * 600 + 65536);
        assert_int_equal(trial.pair.source.state.bytes_reused, bytes - 256 * GRAIN);
        assert_int_equal(trial.pair.sink.state.bytes_reused, bytes - 256 * GRAIN);
        assert_int_equal(counts.same, 256 * 15);
        assert_int_equal(counts.wrong, 0);
        trial_close(&trial);
}

static void zeros_where_the_candidate_has_something_stay_holes(void **state) {
        (void) state;
        struct trial trial;
        struct reuse_counts counts;
        struct stat status;
        uint64_t bytes = 32 * MIB;
        int fd = rig_file(), old = rig_file();
        assert_int_equal(ftruncate(fd, (off_t) bytes), 0);
        rig_fill(old, 0, bytes, 1);
        for (uint64_t at = 0; at < bytes; at += MIB) { // a piece the same, one alike with zeros within, one another
                rig_fill(fd, at, PIECE, 3);
                rig_fill(old, at, PIECE, 3);
                rig_fill(fd, at + 2 * PIECE, 5 * GRAIN, 4);
                rig_fill(old, at + 2 * PIECE, 5 * GRAIN, 4);
                rig_fill(fd, at + 4 * PIECE, PIECE, 5);
        }
        trial_open(&trial, fd, old);
        trial_run(&trial, &counts);
        assert_int_equal(fstat(trial.sink, &status), 0);
        assert_true((uint64_t) status.st_blocks * 512 <= 32 * (2 * PIECE + 8 * GRAIN) + MIB);
        trial_close(&trial);
}

// An earlier attempt has left something everywhere, and one verified block.
static void leave_an_attempt(int sink, int record, uint64_t bytes) {
        static const uint8_t hash[VERIFIED_HASH] = {1};
        struct verified *verified;
        bool fresh;
        rig_fill(sink, 0, bytes, 1);
        assert_int_equal(verified_open(record, "image", bytes, &verified, &fresh, NULL), 0);
        verified_note(verified, 0, hash);
        assert_int_equal(verified_commit(verified, verified_mark(verified), NULL), 0);
        verified_free(verified);
}

// What is found is written over it before the rest of the block comes.
static void what_stood_there_before_is_gone(void **state) {
        (void) state;
        struct trial trial;
        struct reuse_counts counts;
        uint64_t bytes = 24 * MIB;
        int fd = rig_file(), record = rig_file();
        assert_int_equal(ftruncate(fd, (off_t) bytes), 0);
        for (uint64_t at = 0; at < bytes; at += MIB) { // found with zeros within; alike; not there; nothing in it
                rig_fill(fd, at + GRAIN, 5 * GRAIN, (uint32_t) at + 2);
                rig_fill(fd, at + PIECE, PIECE, (uint32_t) at + 3);
                rig_fill(fd, at + 4 * PIECE, PIECE, (uint32_t) at + 4);
        }
        int candidate = copy_of(fd, bytes);
        for (uint64_t at = 0; at < bytes; at += MIB) {
                rig_fill(candidate, at + PIECE + GRAIN, GRAIN, 7);
                rig_fill(candidate, at + 4 * PIECE, PIECE, 8);
        }
        trial_open(&trial, fd, candidate);
        leave_an_attempt(trial.sink, record, bytes);
        trial.pair.sink.verified_fd = record;
        trial_run(&trial, &counts);
        assert_in_range(counts.found, 20, 48);
        assert_in_range(counts.same, 1, 24 * 15);
        trial_close(&trial);
        close(record);
}

static void what_is_elsewhere_in_the_candidate_is_found_by_the_index(void **state) {
        (void) state;
        struct trial trial;
        struct reuse_counts counts;
        uint64_t bytes = 96 * MIB;
        int fd = rig_file(), old = rig_file();
        rig_fill(old, 0, 4 * PIECE, 99); // pushed away by four pieces
        for (uint64_t at = 0; at < bytes; at += MIB) {
                rig_fill(fd, at, MIB, (uint32_t) (at / MIB));
                rig_fill(old, at + 4 * PIECE, MIB, (uint32_t) (at / MIB));
        }
        trial_open(&trial, fd, old);
        trial.pair.source.order.rate_bytes_per_second = 12u << 20;
        trial_run(&trial, &counts);
        assert_true(counts.indexed > 0);
        trial_close(&trial);
}

static void where_nothing_is_found_asking_ends(void **state) {
        (void) state;
        struct trial trial;
        struct reuse_counts counts;
        uint64_t bytes = 64 * MIB;
        int fd = rig_file(), other = rig_file();
        rig_fill(fd, 0, bytes, 1);
        for (uint64_t at = 0; at < bytes; at += MIB)
                rig_fill(other, at, MIB, 1000 + (uint32_t) at);
        trial_open(&trial, fd, other);
        trial.pair.source.order.rate_bytes_per_second = 32u << 20;
        trial_run(&trial, &counts);
        assert_in_range(counts.pieces, 8 * 16, 48 * 16);
        assert_int_equal(trial.pair.source.state.bytes_reused, 0);
        trial_close(&trial);
}

// The candidate is overwritten, cut short and grown while the transfer runs.
struct vandal {
        int fd;
        uint64_t bytes;
        atomic_bool ended;
        pthread_t thread;
};

static void *vandal_main(void *data) {
        struct vandal *vandal = data;
        for (uint32_t i = 0; !atomic_load(&vandal->ended); i++) {
                rig_fill(vandal->fd, i * 37 % (vandal->bytes / GRAIN) * GRAIN, GRAIN, i);
                if (i % 512 == 511 && (ftruncate(vandal->fd, (off_t) (vandal->bytes / 2)) < 0 ||
                                       ftruncate(vandal->fd, (off_t) vandal->bytes) < 0))
                        abort();
        }
        return NULL;
}

static void a_candidate_that_changes_meanwhile_harms_nothing(void **state) {
        (void) state;
        struct trial trial;
        struct reuse_counts counts;
        struct vandal vandal = {.bytes = 48 * MIB};
        int fd = rig_file();
        rig_fill(fd, 0, vandal.bytes, 1);
        vandal.fd = copy_of(fd, vandal.bytes);
        trial_open(&trial, fd, vandal.fd);
        trial.pair.source.order.rate_bytes_per_second = 48u << 20;
        assert_int_equal(pthread_create(&vandal.thread, NULL, vandal_main, &vandal), 0);
        trial_run(&trial, &counts);
        atomic_store(&vandal.ended, true);
        pthread_join(vandal.thread, NULL);
        trial_close(&trial);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_the_sinks_host_has_does_not_travel),
                cmocka_unit_test(what_is_asked_keeps_to_the_rate),
                cmocka_unit_test(only_the_grains_that_differ_travel),
                cmocka_unit_test(zeros_where_the_candidate_has_something_stay_holes),
                cmocka_unit_test(what_stood_there_before_is_gone),
                cmocka_unit_test(what_is_elsewhere_in_the_candidate_is_found_by_the_index),
                cmocka_unit_test(where_nothing_is_found_asking_ends),
                cmocka_unit_test(a_candidate_that_changes_meanwhile_harms_nothing),
        };
        return cmocka_run_group_tests(tests, rig_up, rig_down);
}
