// SPDX-License-Identifier: LGPL-2.1-or-later
/* Two reservations at once, of which the first hangs while it looks at what this host has. */
#include "agent/host/pool.h"
#include "agent_custody_scene.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define OTHER   "11111111-2222-4333-8444-555555555555"
#define SECONDS 20

// The first to ask for the pool "slow" waits. This stands before libvirt's own when the program is linked.
static atomic_bool hangs, released;

static void pause_briefly(void) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

virStoragePoolPtr virStoragePoolLookupByName(virConnectPtr conn, const char *name) {
        virStoragePoolPtr (*lookup)(virConnectPtr, const char *);
        *(void **) &lookup = dlsym(RTLD_NEXT, "virStoragePoolLookupByName");
        if (strcmp(name, "slow") == 0 && !atomic_exchange(&hangs, true))
                while (!atomic_load(&released))
                        pause_briefly();
        return lookup(conn, name);
}

struct reservation {
        struct custody custody;
        Drover__MoveDisk disk, *list[1];
        Drover__MoveReserve request;
        pthread_t thread;
        struct error err;
        int status;
};

static void *reserve(void *data) {
        struct reservation *reservation = data;
        reservation->status = placement_reserve(&reservation->custody, &reservation->request, &reservation->err);
        return NULL;
}

static void begin(const struct scene *scene, struct reservation *reservation, const char *job, const char *uuid,
                  const char *vm, const char *pool, uint64_t bytes) {
        *reservation = (struct reservation){.custody = scene->custody};
        reservation->custody.job = job;
        reservation->custody.vm_uuid = uuid;
        drover__move_disk__init(&reservation->disk);
        reservation->disk.target = (char *) "vda";
        reservation->disk.format = (char *) "raw";
        reservation->disk.pool = (char *) pool;
        reservation->disk.volume = (char *) "system.raw";
        reservation->disk.file_bytes = reservation->disk.allocation_bytes = bytes;
        reservation->list[0] = &reservation->disk;
        drover__move_reserve__init(&reservation->request);
        reservation->request.vm_name = (char *) vm;
        reservation->request.disks = reservation->list;
        reservation->request.n_disks = 1;
        assert_int_equal(pthread_create(&reservation->thread, NULL, reserve, reservation), 0);
}

static bool ends(struct reservation *reservation) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += SECONDS;
        return pthread_timedjoin_np(reservation->thread, NULL, &until) == 0;
}

static void begin_that_hangs(struct scene *scene, struct reservation *reservation, uint64_t bytes) {
        begin(scene, reservation, SCENE_JOB, SCENE_UUID, "erp", "slow", bytes);
        for (unsigned ms = 0; ms < SECONDS * 1000 && !atomic_load(&hangs); ms++)
                pause_briefly();
        assert_true(atomic_load(&hangs));
}

static bool release_and_end(struct reservation *reservation) {
        atomic_store(&released, true);
        return ends(reservation);
}

// One that hangs, and another meanwhile, which does not wait for it.
static void reserve_twice(struct scene *scene, struct reservation *slow, uint64_t slow_bytes, const char *quick_vm,
                          uint64_t quick_bytes) {
        struct reservation quick;
        begin_that_hangs(scene, slow, slow_bytes);
        begin(scene, &quick, "job2", OTHER, quick_vm, "images", quick_bytes);
        bool waited = !ends(&quick);
        assert_true(release_and_end(slow));
        assert_false(waited);
        assert_int_equal(quick.status, 0);
}

static int set_up(void **state) {
        scene_set_up(state);
        struct scene *scene = *state;
        atomic_store(&hangs, false);
        atomic_store(&released, false);
        _cleanup_(free_p) char *directory = memory_format("%s/slow", scene->root);
        assert_int_equal(mkdir(directory, 0755), 0);
        _cleanup_(free_p) char *xml =
                memory_format("<pool type='dir'><name>slow</name><target><path>%s</path></target></pool>", directory);
        _cleanup_(pool_free_p) virStoragePoolPtr pool = virStoragePoolCreateXML(scene->conn, xml, 0);
        assert_non_null(pool);
        return 0;
}

static void a_reservation_that_hangs_holds_up_no_other(void **state) {
        struct scene *scene = *state;
        struct reservation slow;
        reserve_twice(scene, &slow, 4096, "web", 4096);
        assert_int_equal(slow.status, 0);
        assert_int_equal(scene_holds(scene, NULL, HOLD_INCOMING), 2);
}

static void two_reservations_at_once_do_not_count_the_same_room_twice(void **state) {
        struct scene *scene = *state;
        struct reservation slow;
        struct pool_directory directory = {.fd = -1};
        scene_must(scene, pool_open_path(scene->images, &directory, &scene->err));
        pool_directory_fini(&directory);
        reserve_twice(scene, &slow, directory.available_bytes / 2, "web", directory.available_bytes / 4 * 3);
        assert_int_equal(slow.status, -1);
        assert_int_equal(slow.err.code, ERROR_REFUSED);
        assert_non_null(strstr(slow.err.message, "this host cannot take erp: pool slow has "));
        assert_int_equal(scene_holds(scene, SCENE_JOB, 0), 0);
}

static void of_two_reservations_of_a_name_at_once_one_is_refused(void **state) {
        struct scene *scene = *state;
        struct reservation slow;
        reserve_twice(scene, &slow, 4096, "erp", 4096);
        assert_int_equal(slow.status, -1);
        assert_string_equal(slow.err.message, "this host cannot take erp: job job2 is bringing a VM named erp here");
}

#define RESERVE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, scene_tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                RESERVE_TEST(a_reservation_that_hangs_holds_up_no_other),
                RESERVE_TEST(two_reservations_at_once_do_not_count_the_same_room_twice),
                RESERVE_TEST(of_two_reservations_of_a_name_at_once_one_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
