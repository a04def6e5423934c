// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Block devices: what is counted of them, written to them, and done with them at the source of a move. A loop device on
 * a file of the test's; without the right to make one the tests are skipped.
 */
#include "agent/blocks/image_tool.h"
#include "agent/blocks/sink_file.h"
#include "agent/host/custody_domain.h"
#include "agent/host/device.h"
#include "agent/host/revive.h"
#include "agent/host/sharing.h"
#include "agent/host/version.h"
#include "agent_custody_scene.h"
#include <linux/loop.h>
#include <pthread.h>
#include <sys/ioctl.h>

#define BYTES (3u << 20)

struct loop {
        struct scene *scene;
        int fd; // with it the device goes
        char path[32];
};

static int open_loop(struct loop *loop, int backing) {
        _cleanup_(close_p) int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
        struct loop_config config = {.fd = (uint32_t) backing, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
        for (unsigned tries = 0; control >= 0 && tries < 100; tries++) {
                int number = ioctl(control, LOOP_CTL_GET_FREE);
                snprintf(loop->path, sizeof(loop->path), "/dev/loop%d", number);
                loop->fd = number < 0 ? -1 : open(loop->path, O_RDWR | O_CLOEXEC);
                if (loop->fd >= 0 && ioctl(loop->fd, LOOP_CONFIGURE, &config) == 0)
                        return 0;
                close_p(&loop->fd); // somebody was faster
        }
        return -1;
}

// Filled with what others left.
static int set_up(void **state) {
        struct loop *loop = new (struct loop);
        void *scene = NULL;
        scene_set_up(&scene);
        loop->scene = scene;
        loop->fd = -1;
        _cleanup_(free_p) char *path = memory_format("%s/disk", loop->scene->root);
        _cleanup_(free_p) char *old = memory_new(BYTES);
        memset(old, 0xa5, BYTES);
        assert_int_equal(file_write(path, old, BYTES, 0600, NULL), 0);
        _cleanup_(close_p) int backing = open(path, O_RDWR | O_CLOEXEC);
        open_loop(loop, backing);
        *state = loop;
        return 0;
}

static int tear_down(void **state) {
        struct loop *loop = *state;
        void *scene = loop->scene;
        close_p(&loop->fd);
        free(loop);
        return scene_tear_down(&scene);
}

static struct loop *loop_of(void **state) {
        struct loop *loop = *state;
        if (loop->fd < 0)
                skip();
        return loop;
}

static void write_to(const struct loop *loop) {
        assert_int_equal(pwrite(loop->fd, "x", 1, 4096), 1);
        assert_int_equal(fsync(loop->fd), 0);
}

// ---- the device ----

static void a_device_is_told_from_a_file(void **state) {
        struct loop *loop = loop_of(state);
        uint64_t bytes = 0;
        _cleanup_(free_p) char *link = memory_format("%s/link", loop->scene->root);
        assert_int_equal(symlink(loop->path, link), 0);
        assert_true(device_is(loop->path) && device_is(link));
        assert_false(device_is("/dev/null") || device_is("/etc/passwd") || device_is("loop0"));
        scene_must(loop->scene, device_bytes(link, &bytes, &loop->scene->err));
        assert_int_equal(bytes, BYTES);
        struct sharing_image one, other;
        assert_true(sharing_image_of(loop->path, &one) && sharing_image_of(link, &other));
        assert_true(one.device == other.device && one.inode == other.inode);
}

static void a_device_that_is_claimed_is_not_free(void **state) {
        struct loop *loop = loop_of(state);
        int fd = -1;
        uint64_t bytes;
        scene_must(loop->scene, device_check_free(loop->path, &loop->scene->err));
        scene_must(loop->scene, device_open(loop->path, O_RDWR | O_EXCL, &fd, &bytes, &loop->scene->err));
        assert_int_equal(device_check_free(loop->path, &loop->scene->err), -1);
        assert_int_equal(loop->scene->err.code, ERROR_CONFLICT);
        _cleanup_(free_p) char *message = memory_format("%s is mounted here, or belongs to another device", loop->path);
        assert_string_equal(loop->scene->err.message, message);
        close(fd);
}

static void *claim_for_a_moment(void *data) {
        int *claimed = data;
        usleep(100000);
        close_p(claimed);
        return NULL;
}

// Another clone of the same original that looks, blkid when a device has been written to.
static void a_device_that_somebody_only_looks_at_is_free(void **state) {
        struct loop *loop = loop_of(state);
        int fd = -1;
        uint64_t bytes;
        pthread_t other;
        scene_must(loop->scene, device_open(loop->path, O_RDONLY | O_EXCL, &fd, &bytes, &loop->scene->err));
        assert_int_equal(pthread_create(&other, NULL, claim_for_a_moment, &fd), 0);
        scene_must(loop->scene, device_check_free(loop->path, &loop->scene->err));
        pthread_join(other, NULL);
}

static void its_version_changes_with_what_is_written(void **state) {
        struct loop *loop = loop_of(state);
        struct version before, same, after, parsed;
        char text[VERSION_TEXT_MAX];
        scene_must(loop->scene, version_of_fd(loop->fd, &before, &loop->scene->err));
        scene_must(loop->scene, version_of_device(loop->path, &same, &loop->scene->err));
        assert_true(version_same(&before, &same) && version_comparable(&before, &same));
        version_format(&before, text);
        assert_true(version_parse(text, &parsed) && version_same(&before, &parsed));
        write_to(loop);
        scene_must(loop->scene, version_of_fd(loop->fd, &after, &loop->scene->err));
        assert_false(version_same(&before, &after));
        assert_true(version_comparable(&before, &after));
        after.changed_ns++; // another boot
        assert_false(version_comparable(&before, &after));
}

// ---- as a sink ----

static void what_others_left_is_zeroed_where_the_image_has_zeros(void **state) {
        struct loop *loop = loop_of(state);
        struct error *err = &loop->scene->err;
        struct sink *sink = NULL;
        const uint64_t image = (2u << 20) + 512; // the device is longer
        uint8_t *block = blocks_buffer(), *seen = blocks_buffer();
        memset(block, 7, BLOCKS_BLOCK);
        scene_must(loop->scene, sink_file_new(loop->fd, &sink, err));
        scene_must(loop->scene, sink_begin(sink, image, true, err));
        assert_false(sink->starts_zero);
        scene_must(loop->scene, sink_write(sink, 0, block, BLOCKS_BLOCK, err));
        scene_must(loop->scene, sink_zero(sink, BLOCKS_BLOCK, image - BLOCKS_BLOCK, err));
        scene_must(loop->scene, sink_flush(sink, err));
        sink_free(sink);
        for (uint64_t at = 0; at < BYTES; at += BLOCKS_BLOCK) {
                assert_int_equal(pread(loop->fd, seen, BLOCKS_BLOCK, (off_t) at), BLOCKS_BLOCK);
                for (size_t i = 0; i < BLOCKS_BLOCK; i++)
                        if (seen[i] != (at == 0 ? 7 : 0))
                                fail_msg("%llu is %u", (unsigned long long) at + i, seen[i]);
        }
        free(block);
        free(seen);
}

static void an_image_that_is_longer_than_the_device_is_refused(void **state) {
        struct loop *loop = loop_of(state);
        struct sink *sink = NULL;
        scene_must(loop->scene, sink_file_new(loop->fd, &sink, &loop->scene->err));
        assert_int_equal(sink_begin(sink, BYTES + 1, true, &loop->scene->err), -1);
        assert_int_equal(loop->scene->err.code, ERROR_NO_SPACE);
        sink_free(sink);
}

// ---- in custody ----

static void define_erp(struct loop *loop) {
        _cleanup_(free_p) char *disk = memory_format("<disk type='block' device='disk'><driver name='qemu' type='raw'/>"
                                                     "<source dev='%s'/><target dev='vda' bus='virtio'/></disk>",
                                                     loop->path);
        scene_define(loop->scene, "erp", SCENE_UUID, "52:54:00:12:34:56", disk);
}

static int fence(struct scene *scene) {
        static char *targets[] = {"vda"};
        Drover__MoveFence request = DROVER__MOVE_FENCE__INIT;
        Drover__MoveFenceResult *result = NULL;
        request.targets = targets;
        request.n_targets = 1;
        error_clear(&scene->err);
        int status = custody_fence(&scene->custody, &request, &result, &scene->err);
        if (status == 0) {
                assert_int_equal(result->disks[0]->file_bytes, BYTES);
                proto_free(&result->base);
        }
        return status;
}

static int release(struct scene *scene) {
        Drover__MoveRelease request = DROVER__MOVE_RELEASE__INIT;
        error_clear(&scene->err);
        return custody_release(&scene->custody, &request, &scene->err);
}

static int retire(struct scene *scene) {
        Drover__MoveRetire request = DROVER__MOVE_RETIRE__INIT;
        error_clear(&scene->err);
        return custody_retire(&scene->custody, &request, &scene->err);
}

static void fault_31_a_vm_with_a_device_is_undefined_while_fenced(void **state) {
        struct loop *loop = loop_of(state);
        struct scene *scene = loop->scene;
        int fd = -1;
        uint64_t bytes = 0;
        define_erp(loop);
        scene_must(scene, fence(scene));
        assert_false(scene_defined(scene, SCENE_UUID));
        assert_true(device_is(loop->path));
        scene_must(scene, custody_confirm(&scene->custody, &scene->err));
        scene_must(scene, custody_open(&scene->custody, "vda", &fd, &bytes, &scene->err));
        assert_int_equal(bytes, BYTES);
        close(fd);
        scene_must(scene, release(scene));
        assert_true(scene_defined(scene, SCENE_UUID));
        assert_int_equal(scene_holds(scene, SCENE_JOB, 0), 0);
}

static void fault_09_a_fence_of_a_device_broken_off_anywhere_is_finished_or_released(void **state) {
        struct loop *loop = loop_of(state);
        struct scene *scene = loop->scene;
        static const char *const points[] = {"agent.fence.before-rename", "agent.fence.after-rename",
                                             "agent.fence.renamed", "agent.fence.before-undefine", "agent.fence.done"};
        define_erp(loop);
        for (unsigned i = 0; i < 2 * ARRAY_SIZE(points); i++) {
                scene_fail_at(scene, points[i / 2]);
                assert_int_equal(fence(scene), -1);
                assert_true(scene_failed_at(scene, points[i / 2]));
                if (i % 2) {
                        scene_must(scene, fence(scene));
                        scene_must(scene, custody_confirm(&scene->custody, &scene->err));
                }
                scene_must(scene, release(scene));
                assert_true(scene_defined(scene, SCENE_UUID));
        }
}

static void what_is_written_to_a_fenced_device_is_noticed(void **state) {
        struct loop *loop = loop_of(state);
        struct scene *scene = loop->scene;
        define_erp(loop);
        scene_must(scene, fence(scene));
        write_to(loop);
        assert_int_equal(custody_confirm(&scene->custody, &scene->err), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        _cleanup_(free_p) char *message = memory_format("vda: %s was written to since it was held", loop->path);
        assert_string_equal(scene->err.message, message);
        scene_must(scene, release(scene));
}

static void a_device_of_two_vms_is_not_fenced(void **state) {
        struct loop *loop = loop_of(state);
        struct scene *scene = loop->scene;
        _cleanup_(free_p) char *disk = memory_format(
                "<disk type='block' device='disk'><source dev='%s'/><target dev='vdb'/></disk>", loop->path);
        define_erp(loop);
        scene_define(scene, "other", "11111111-2222-4333-8444-555555555555", "52:54:00:12:34:57", disk);
        assert_int_equal(fence(scene), -1);
        _cleanup_(free_p) char *message = memory_format("vda: %s is used by other as well", loop->path);
        assert_string_equal(scene->err.message, message);
}

static void a_device_of_no_pool_is_left_when_it_is_purged(void **state) {
        struct loop *loop = loop_of(state);
        struct scene *scene = loop->scene;
        define_erp(loop);
        scene_must(scene, fence(scene));
        scene_must(scene, retire(scene));
        assert_false(scene_defined(scene, SCENE_UUID));
        Drover__RetiredPurge request = DROVER__RETIRED_PURGE__INIT;
        Drover__RetiredPurgeResult *result = NULL;
        request.all = true;
        scene_must(scene, custody_purge(&scene->custody, &request, &result, &scene->err));
        assert_int_equal(result->count, 1);
        assert_int_equal(result->bytes, 0);
        assert_int_equal(result->n_left, 1);
        assert_string_equal(result->left[0], loop->path);
        proto_free(&result->base);
        assert_int_equal(scene_holds(scene, SCENE_JOB, 0), 0);
        assert_true(device_is(loop->path));
}

// An image that another job has in its hands, laid over the device.
static void hold_over(struct loop *loop) {
        struct scene *scene = loop->scene;
        struct hold hold = {.job = "job2",
                            .vm_uuid = "11111111-2222-4333-8444-555555555555",
                            .vm_name = "over",
                            .item = "vda",
                            .kind = HOLD_RETIRED,
                            .name = "over.qcow2"};
        _cleanup_(free_p) char *sidecar = scene_path(scene, ".drover"),
                               *held = scene_path(scene, ".drover/job2.vda.held");
        assert_int_equal(mkdir(sidecar, 0700), 0);
        int fd = open(held, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        scene_must(scene, image_tool_create_over(fd, BYTES, loop->path, "raw", &scene->err));
        close(fd);
        snprintf(hold.directory, sizeof(hold.directory), "%s", scene->images);
        scene_must(scene, journal_hold_put(scene->journal, &hold, &scene->err));
}

static void a_device_below_an_image_that_a_job_holds_is_not_taken(void **state) {
        struct loop *loop = loop_of(state);
        struct scene *scene = loop->scene;
        Drover__MoveRevive request = DROVER__MOVE_REVIVE__INIT;
        struct custody undo = scene->custody;
        request.retired_job = (char *) SCENE_JOB;
        undo.job = "job9";
        define_erp(loop);
        scene_must(scene, fence(scene));
        scene_must(scene, retire(scene));
        hold_over(loop);
        assert_int_equal(revive_run(&undo, &request, &scene->err), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        _cleanup_(free_p) char *message = memory_format("vda: %s is used by over as well", loop->path);
        assert_string_equal(scene->err.message, message);
        assert_false(scene_defined(scene, SCENE_UUID));
        error_clear(&scene->err);
        scene_must(scene, journal_hold_remove(scene->journal, "job2", "vda", &scene->err));
        scene_must(scene, revive_run(&undo, &request, &scene->err));
        assert_true(scene_defined(scene, SCENE_UUID));
}

#define LOOP_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                LOOP_TEST(a_device_is_told_from_a_file),
                LOOP_TEST(a_device_that_is_claimed_is_not_free),
                LOOP_TEST(a_device_that_somebody_only_looks_at_is_free),
                LOOP_TEST(its_version_changes_with_what_is_written),
                LOOP_TEST(what_others_left_is_zeroed_where_the_image_has_zeros),
                LOOP_TEST(an_image_that_is_longer_than_the_device_is_refused),
                LOOP_TEST(fault_31_a_vm_with_a_device_is_undefined_while_fenced),
                LOOP_TEST(fault_09_a_fence_of_a_device_broken_off_anywhere_is_finished_or_released),
                LOOP_TEST(what_is_written_to_a_fenced_device_is_noticed),
                LOOP_TEST(a_device_of_two_vms_is_not_fenced),
                LOOP_TEST(a_device_of_no_pool_is_left_when_it_is_purged),
                LOOP_TEST(a_device_below_an_image_that_a_job_holds_is_not_taken),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
