// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/host/reach, and who asks it: a server that is gone holds up nobody who is not about its files. */
#include "agent/host/reach.h"
#include "agent/host/collect.h"
#include "agent/host/mount.h"
#include "agent_custody_scene.h"
#include "common/clock.h"
#include "gone.h"

#define FAR_UUID "22222222-2222-4333-8444-555555555555"

static struct gone gone;

static int set_up(void **state) {
        reach_limits = (struct reach_limits){.wait_ms = 300};
        return scene_set_up(state);
}

static void lose(struct scene *scene) {
        struct mount mount;
        gone_begin(&gone, scene->root, false);
        assert_true(mount_of(gone.path, &mount) && mount.remote);
}

static void a_disk_of_this_host_is_not_asked(void **state) {
        struct scene *scene = *state;
        reach_limits.wait_ms = 0;
        assert_true(reach_answers(scene->images));
        assert_true(reach_answers("/nonexistent"));
        assert_true(reach_answers("relative"));
        assert_true(reach_answers(""));
}

static void a_server_that_is_gone_is_waited_for_once(void **state) {
        struct scene *scene = *state;
        lose(scene);
        _cleanup_(free_p) char *file = memory_format("%s/erp.raw", gone.path);
        _cleanup_(free_p) char *message = memory_format("the file system of %s does not answer", file);
        uint64_t begun = clock_ms(&system_clock);
        assert_false(reach_answers(file));
        assert_true(clock_ms(&system_clock) - begun >= reach_limits.wait_ms);
        gone_wait(&gone);
        unsigned asked = atomic_load(gone.waiting);
        begun = clock_ms(&system_clock);
        for (unsigned i = 0; i < 100; i++)
                assert_int_equal(reach_check(file, &scene->err), -1);
        assert_int_equal(scene->err.code, ERROR_REFUSED);
        assert_string_equal(scene->err.message, message);
        assert_true(clock_ms(&system_clock) - begun < 100 * reach_limits.wait_ms);
        assert_int_equal(atomic_load(gone.waiting), asked);
        gone_end(&gone);
}

static void one_that_comes_back_answers(void **state) {
        struct scene *scene = *state;
        lose(scene);
        char path[sizeof(gone.path)];
        memcpy(path, gone.path, sizeof(path));
        assert_false(reach_answers(path));
        gone_end(&gone);
        assert_true(reach_answers(path));
}

// ---- who asks

static void far_pool(struct scene *scene) {
        _cleanup_(free_p) char *xml =
                memory_format("<pool type='dir'><name>far</name><target><path>%s</path></target></pool>", gone.path);
        _cleanup_(pool_free_p) virStoragePoolPtr pool = virStoragePoolCreateXML(scene->conn, xml, 0);
        assert_non_null(pool);
}

static void far_hold(struct scene *scene) {
        struct hold hold = {.job = "job9", .vm_uuid = FAR_UUID, .vm_name = "far", .item = "vda", .kind = HOLD_INCOMING};
        snprintf(hold.directory, sizeof(hold.directory), "%s", gone.path);
        snprintf(hold.name, sizeof(hold.name), "far.raw");
        hold.bytes = UINT64_C(1) << 60;
        scene_must(scene, journal_hold_put(scene->journal, &hold, &scene->err));
}

static int reserve(struct scene *scene, char *pool) {
        Drover__MoveDisk disk = DROVER__MOVE_DISK__INIT, *disks[] = {&disk};
        Drover__MoveReserve request = DROVER__MOVE_RESERVE__INIT;
        disk.target = "vda";
        disk.format = "raw";
        disk.pool = pool;
        disk.volume = "erp.raw";
        disk.file_bytes = disk.allocation_bytes = 4096;
        request.vm_name = "erp";
        request.disks = disks;
        request.n_disks = 1;
        error_clear(&scene->err);
        return placement_reserve(&scene->custody, &request, &scene->err);
}

static void a_move_into_another_pool_is_reserved(void **state) {
        struct scene *scene = *state;
        lose(scene);
        far_pool(scene);
        far_hold(scene);
        _cleanup_(free_p) char *message =
                memory_format("this host cannot take erp: pool far: the file system of %s does not answer", gone.path);
        assert_int_equal(reserve(scene, "far"), -1);
        assert_int_equal(scene->err.code, ERROR_REFUSED);
        assert_string_equal(scene->err.message, message);
        scene_must(scene, reserve(scene, "images"));
        gone_end(&gone);
}

static void define_both(struct scene *scene) {
        _cleanup_(free_p) char *near = scene_disk(scene, "vda", "erp.raw", "");
        _cleanup_(free_p) char *far =
                memory_format("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
                              "<source file='%s/far.qcow2'/><target dev='vda' bus='virtio'/></disk>"
                              "<disk type='file' device='cdrom'><source file='%s/far.iso'/><target dev='sda' "
                              "bus='sata'/><readonly/></disk>",
                              gone.path, gone.path);
        scene_write(scene, "erp.raw", "system");
        scene_define(scene, "erp", SCENE_UUID, "52:54:00:00:00:01", near);
        scene_define(scene, "far", FAR_UUID, "52:54:00:00:00:02", far);
}

static void other_vms_are_still_seen(void **state) {
        struct scene *scene = *state;
        Drover__Domain **domains = NULL;
        Drover__Pool **pools = NULL;
        size_t n = 0, n_pools = 0, seen = 0;
        lose(scene);
        far_pool(scene);
        define_both(scene);
        _cleanup_(free_p) char *message =
                memory_format("disk vda: the file system of %s/far.qcow2 does not answer", gone.path);
        scene_must(scene, collect_pools(scene->conn, &pools, &n_pools, &scene->err));
        assert_int_equal(n_pools, 2);
        scene_must(scene, collect_domains(scene->conn, scene->journal, &domains, &n, &scene->err));
        for (size_t i = 0; i < n; i++) {
                if (strcmp(domains[i]->uuid, SCENE_UUID) == 0) {
                        assert_int_equal(domains[i]->disks[0]->file_bytes, 6);
                        assert_string_equal(domains[i]->disks[0]->pool, "images");
                        seen++;
                } else if (strcmp(domains[i]->uuid, FAR_UUID) == 0) {
                        for (size_t k = 0; k < domains[i]->n_obstacles; k++)
                                if (strcmp(domains[i]->obstacles[k]->code, "image") == 0) {
                                        assert_string_equal(domains[i]->obstacles[k]->message, message);
                                        seen++; // of the medium nothing is told
                                }
                }
                proto_free(&domains[i]->base);
        }
        for (size_t i = 0; i < n_pools; i++)
                proto_free(&pools[i]->base);
        free(pools);
        free(domains);
        assert_int_equal(seen, 2);
        gone_end(&gone);
}

static void another_vm_is_fenced(void **state) {
        struct scene *scene = *state;
        char *targets[] = {"vda"};
        Drover__MoveFence request = DROVER__MOVE_FENCE__INIT;
        Drover__MoveFenceResult *result = NULL;
        lose(scene);
        far_pool(scene);
        define_both(scene);
        request.targets = targets;
        request.n_targets = 1;
        scene_must(scene, custody_fence(&scene->custody, &request, &result, &scene->err));
        proto_free(&result->base);
        assert_true(scene_has(scene, ".drover/job1.vda.held", "system"));
        gone_end(&gone);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, scene_tear_down)
        const struct CMUnitTest tests[] = {
                TEST(a_disk_of_this_host_is_not_asked), TEST(a_server_that_is_gone_is_waited_for_once),
                TEST(one_that_comes_back_answers),      TEST(a_move_into_another_pool_is_reserved),
                TEST(other_vms_are_still_seen),         TEST(another_vm_is_fenced),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
