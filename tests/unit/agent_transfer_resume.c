// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * agent/transfer after a cut: the next attempt goes on where the last one ended, sends what has changed, and nothing
 * is believed that is not on the disk. fsync is this program's own, so that a test can make it fail.
 */
#include "transfer_rig.h"
#include "agent/blocks/verified.h"
#include <sys/syscall.h>

#define DIRECT DROVER__TRANSFER_PATH__PATH_DIRECT

static atomic_int syncs_left; // the one that brings it to zero fails; negative: none does

int fsync(int fd) {
        if (atomic_load(&syncs_left) > 0 && atomic_fetch_sub(&syncs_left, 1) == 1) {
                errno = EIO;
                return -1;
        }
        return (int) syscall(SYS_fsync, fd);
}

static int nothing_strikes(void **state) {
        (void) state;
        atomic_store(&syncs_left, -1);
        return 0;
}

// An image, a partial image and its record, which stay from attempt to attempt.
struct scene {
        int source, sink, record;
        struct rig_pair pair;
};

static void open_scene(struct scene *scene, uint64_t bytes) {
        scene->source = rig_file();
        scene->sink = rig_file();
        scene->record = rig_file();
        rig_fill(scene->source, 0, bytes, 1);
}

static void close_scene(struct scene *scene) {
        close(scene->source);
        close(scene->sink);
        close(scene->record);
}

static void prepare(struct scene *scene, unsigned streams) {
        rig_pair(&scene->pair, DIRECT, scene->source, scene->sink, streams);
        scene->pair.sink.verified_fd = scene->record;
}

// One attempt that is cut when so many bytes have gone to the sink.
static void cut_at(struct scene *scene, uint64_t bytes, unsigned streams) {
        struct rig_wires wires;
        prepare(scene, streams);
        rig_wires_start(&wires, RIG_CUT, bytes, rig.ports[RIG_SINK]);
        scene->pair.source.order.peer_port = wires.port;
        rig_pair_run(&scene->pair);
        rig_wires_end(&wires);
        assert_true(atomic_load(&wires.spoilt));
        assert_int_equal(scene->pair.source.result, -1);
        assert_int_equal(scene->pair.sink.result, -1);
        assert_int_equal(scene->pair.source.err.code, ERROR_UNREACHABLE);
        assert_int_equal(scene->pair.sink.err.code, ERROR_UNREACHABLE);
        rig_pair_end(&scene->pair);
}

static void finish(struct scene *scene, unsigned streams) {
        prepare(scene, streams);
        rig_pair_run(&scene->pair);
        rig_assert_ok(&scene->pair.source);
        rig_assert_ok(&scene->pair.sink);
        rig_assert_same(scene->source, scene->sink);
        assert_string_equal(scene->pair.source.digest, scene->pair.sink.digest);
        rig_pair_end(&scene->pair);
}

static void fault_01_a_cut_copy_goes_on_where_it_was(void **state) {
        (void) state;
        struct scene scene;
        open_scene(&scene, 40 * MIB);
        cut_at(&scene, 20 * MIB, 2);
        finish(&scene, 2);
        const Drover__TransferState *done = &scene.pair.sink.state;
        assert_in_range(done->bytes_kept, 4 * MIB, 20 * MIB); // the rest was still in the sockets
        assert_in_range(done->bytes_wire, 40 * MIB - done->bytes_kept, 41 * MIB - done->bytes_kept);
        assert_int_equal(done->bytes_done, 40 * MIB);
        assert_int_equal(scene.pair.source.state.bytes_kept, done->bytes_kept);
        assert_true(scene.pair.source.state.bytes_resent <= 16 * MIB);
        assert_int_equal(scene.pair.sink.resumed, 1);
        close_scene(&scene);
}

// A small image, cut behind each of its first bytes and then every so often, until none is left to cut.
static void fault_01_a_cut_at_any_frame_loses_nothing(void **state) {
        (void) state;
        struct scene scene;
        open_scene(&scene, 3 * MIB + 4321);
        exchange_set_patience(rig.agents[RIG_SINK], 100, 300);
        for (uint64_t at = 100; at < 3 * MIB; at += at < 6000 ? 900 : 620000) {
                scene.record = (close(scene.record), rig_file());
                cut_at(&scene, at, 1);
                finish(&scene, 1);
        }
        exchange_set_patience(rig.agents[RIG_SINK], EXCHANGE_PATIENCE_MS, EXCHANGE_CALL_MS);
        close_scene(&scene);
}

static void fault_01_a_copy_that_is_cut_ten_times_sends_little_twice(void **state) {
        (void) state;
        struct scene scene;
        uint64_t wire = 0;
        open_scene(&scene, 60 * MIB);
        for (unsigned i = 0; i < 10; i++) {
                cut_at(&scene, 5 * MIB, 2);
                wire += 5 * MIB;
        }
        finish(&scene, 2);
        wire += scene.pair.sink.state.bytes_wire;
        assert_true(scene.pair.sink.resumed >= 9);
        assert_in_range(wire, 60 * MIB, 60 * MIB + 10 * 4 * MIB); // in flight at a cut: a block or two a stream
        close_scene(&scene);
}

static void what_changed_at_the_source_is_sent_again(void **state) {
        (void) state;
        struct scene scene;
        open_scene(&scene, 40 * MIB);
        cut_at(&scene, 20 * MIB, 2);
        rig_fill(scene.source, 2 * MIB + 500, 1000, 77);
        finish(&scene, 2);
        assert_in_range(scene.pair.sink.state.bytes_kept, 3 * MIB, 19 * MIB);
        close_scene(&scene);
}

static void what_became_a_hole_at_the_source_is_zeros_at_the_sink(void **state) {
        (void) state;
        struct scene scene;
        open_scene(&scene, 40 * MIB);
        cut_at(&scene, 20 * MIB, 2);
        assert_int_equal(fallocate(scene.source, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MIB, 5 * (off_t) MIB), 0);
        assert_int_equal(fallocate(scene.source, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8 * MIB + 8192, 40960), 0);
        finish(&scene, 2);
        close_scene(&scene);
}

static void an_image_that_changes_while_it_is_copied_is_noticed(void **state) {
        (void) state;
        struct scene scene;
        open_scene(&scene, 60 * MIB);
        prepare(&scene, 2);
        scene.pair.source.order.rate_bytes_per_second = 32 * MIB;
        rig_side_start(&scene.pair.sink);
        rig_side_start(&scene.pair.source);
        RIG_UNTIL(atomic_load(&scene.pair.source.reports) > 1);
        rig_fill(scene.source, 0, 4096, 99);
        pthread_join(scene.pair.source.thread, NULL);
        pthread_join(scene.pair.sink.thread, NULL);
        rig_assert_failed(&scene.pair.source, ERROR_STALE, "vda: the image was changed while it was copied");
        rig_assert_failed(&scene.pair.sink, ERROR_STALE,
                          "vda: the source failed: the image was changed while it was copied");
        rig_pair_end(&scene.pair);
        finish(&scene, 2);
        assert_true(scene.pair.sink.state.bytes_wire <
                    46 * MIB); // what changed, and what was not sent yet: parcels and two queues
        close_scene(&scene);
}

static void the_record_of_another_image_is_not_believed(void **state) {
        (void) state;
        struct scene scene;
        open_scene(&scene, 10 * MIB);
        finish(&scene, 1);
        assert_int_equal(ftruncate(scene.source, 9 * (off_t) MIB), 0); // another length: another image
        finish(&scene, 1);
        assert_int_equal(scene.pair.sink.state.bytes_kept, 0);
        finish(&scene, 1);
        assert_int_equal(scene.pair.sink.state.bytes_kept, 9 * MIB);
        assert_true(scene.pair.sink.state.bytes_wire < MIB);
        close_scene(&scene);
}

// Somebody, or what repaired the file system, has cut it: its record speaks of what is not there any more.
static void fault_22_a_partial_image_that_was_cut_is_not_believed(void **state) {
        (void) state;
        static const off_t lengths[] = {0, 5 * MIB + 100, 40 * MIB - 1};
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
                struct scene scene;
                open_scene(&scene, 40 * MIB);
                cut_at(&scene, 20 * MIB, 2);
                assert_int_equal(ftruncate(scene.sink, lengths[i]), 0);
                finish(&scene, 2);
                assert_int_equal(scene.pair.sink.state.bytes_kept, 0);
                assert_int_equal(scene.pair.sink.resumed, 0);
                close_scene(&scene);
        }
}

static void an_agent_that_was_restarted_reads_what_it_has_forgotten(void **state) {
        (void) state;
        struct scene scene;
        open_scene(&scene, 20 * MIB);
        cut_at(&scene, 10 * MIB, 1);
        scene.pair.ticket.ticket.job = (char *) "k3f7";
        prepare(&scene, 1);
        rig_pair_end(&scene.pair);
        prepare(&scene, 1);
        scene.pair.ticket.ticket.job = (char *) "other"; // nothing is remembered under this name
        rig_sign(&scene.pair.ticket);
        scene.pair.source.order.ticket = scene.pair.sink.order.ticket =
                (ProtobufCBinaryData){scene.pair.ticket.bytes.length, scene.pair.ticket.bytes.data};
        rig_pair_run(&scene.pair);
        rig_assert_ok(&scene.pair.source);
        rig_assert_ok(&scene.pair.sink);
        rig_assert_same(scene.source, scene.sink);
        assert_true(scene.pair.sink.state.bytes_kept >= 5 * MIB);
        assert_int_equal(scene.pair.source.state.bytes_resent, 0);
        rig_pair_end(&scene.pair);
        close_scene(&scene);
}

static void fault_23_what_a_failed_sync_covered_is_never_believed(void **state) {
        (void) state;
        struct scene scene;
        open_scene(&scene, 12 * MIB);
        prepare(&scene, 1);
        atomic_store(&syncs_left, 1); // the next one would succeed
        rig_pair_run(&scene.pair);
        rig_assert_failed(&scene.pair.sink, ERROR_IO, "vda: sync: Input/output error");
        rig_assert_failed(&scene.pair.source, ERROR_IO, "vda: the sink failed: sync: Input/output error");
        assert_true(atomic_load(&syncs_left) == 0);
        rig_pair_end(&scene.pair);
        finish(&scene, 1);
        assert_int_equal(scene.pair.sink.state.bytes_kept, 0);
        assert_int_equal(scene.pair.sink.resumed, 0);
        close_scene(&scene);
}

static void a_cancelled_copy_can_go_on_as_well(void **state) {
        (void) state;
        struct scene scene;
        open_scene(&scene, 30 * MIB);
        prepare(&scene, 2);
        scene.pair.source.order.rate_bytes_per_second = 16 * MIB;
        scene.pair.sink.cancel_at = 6 * MIB;
        rig_pair_run(&scene.pair);
        rig_assert_failed(&scene.pair.sink, ERROR_CANCELLED, "vda: cancelled");
        rig_pair_end(&scene.pair);
        finish(&scene, 2);
        assert_true(scene.pair.sink.state.bytes_kept >= 6 * MIB);
        close_scene(&scene);
}

static void a_copy_on_one_host_goes_through_the_same_hands(void **state) {
        (void) state;
        struct scene scene;
        struct source *source = NULL;
        struct transfer_target target = {.image = "image"};
        Drover__TransferResult *result = NULL;
        char digest[80];
        open_scene(&scene, 25 * MIB + 777);
        assert_int_equal(ftruncate(scene.source, 90 * (off_t) MIB), 0);
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(source_file_new(scene.source, 90 * MIB, &source, NULL), 0);
                assert_int_equal(sink_file_new(scene.sink, &target.sink, NULL), 0);
                target.verified_fd = scene.record;
                assert_int_equal(transfer_local(source, &target, "vda", NULL, &result, NULL), 0);
                rig_assert_same(scene.source, scene.sink);
                assert_int_equal(rig_digest(scene.sink, 90 * MIB, NULL, NULL, digest, NULL), 0);
                assert_string_equal(result->digest, digest);
                assert_int_equal(result->state->bytes_done, 90 * MIB);
                assert_int_equal(result->state->bytes_kept, i * 26 * MIB);
                assert_int_equal(result->state->bytes_wire, 0);
                proto_free(&result->base);
                sink_free(target.sink);
                source_free(source);
        }
        close_scene(&scene);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(fault_01_a_cut_copy_goes_on_where_it_was, nothing_strikes),
                cmocka_unit_test_setup(fault_01_a_cut_at_any_frame_loses_nothing, nothing_strikes),
                cmocka_unit_test_setup(fault_01_a_copy_that_is_cut_ten_times_sends_little_twice, nothing_strikes),
                cmocka_unit_test_setup(what_changed_at_the_source_is_sent_again, nothing_strikes),
                cmocka_unit_test_setup(what_became_a_hole_at_the_source_is_zeros_at_the_sink, nothing_strikes),
                cmocka_unit_test_setup(an_image_that_changes_while_it_is_copied_is_noticed, nothing_strikes),
                cmocka_unit_test_setup(the_record_of_another_image_is_not_believed, nothing_strikes),
                cmocka_unit_test_setup(fault_22_a_partial_image_that_was_cut_is_not_believed, nothing_strikes),
                cmocka_unit_test_setup(an_agent_that_was_restarted_reads_what_it_has_forgotten, nothing_strikes),
                cmocka_unit_test_setup(fault_23_what_a_failed_sync_covered_is_never_believed, nothing_strikes),
                cmocka_unit_test_setup(a_cancelled_copy_can_go_on_as_well, nothing_strikes),
                cmocka_unit_test_setup(a_copy_on_one_host_goes_through_the_same_hands, nothing_strikes),
        };
        return cmocka_run_group_tests(tests, rig_up, rig_down);
}
