// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Volumes that are made for what comes, against libvirt's test driver: whose a volume is, after every way in which the
 * making or the removing of one can be cut short.
 */
#include "agent/blocks/image_tool.h"
#include "agent/host/custody_domain.h"
#include "agent/host/version.h"
#include "agent/host/volume.h"
#include "agent_custody_scene.h"
#include <dlfcn.h>
#include <libvirt/virterror.h>

#define BYTES     (UINT64_C(8) << 20)
#define DIRECTORY "/dev/drover-unit" // libvirt gives a pool of this type the directory of its source's name
#define VOLUME    "erp"

// The driver gives a volume its path for a key; LVM gives it one that no other volume has had. These stand before
// libvirt's own when the program is linked.
static unsigned volumes_made;
static bool goes_away; // libvirt, once it has made the volume
static bool went_away;
static bool info_fails, long_key;
static bool taken_meanwhile; // the name, by somebody, right before libvirt is asked to make ours

static void *next(const char *name) {
        void *function = dlsym(RTLD_NEXT, name);
        assert_non_null(function);
        return function;
}

virErrorPtr virGetLastError(void) {
        static char words[] = "client socket is closed";
        static virError closed = {.code = VIR_ERR_INTERNAL_ERROR, .domain = VIR_FROM_RPC, .message = words};
        virErrorPtr (*last)(void);
        *(void **) &last = next("virGetLastError");
        return went_away ? &closed : last();
}

virStorageVolPtr virStorageVolCreateXML(virStoragePoolPtr pool, const char *xml, unsigned flags) {
        virStorageVolPtr (*create)(virStoragePoolPtr, const char *, unsigned);
        *(void **) &create = next("virStorageVolCreateXML");
        _cleanup_(volume_free_p) virStorageVolPtr theirs = taken_meanwhile ? create(pool, xml, flags) : NULL;
        volumes_made += theirs != NULL;
        virStorageVolPtr volume = create(pool, xml, flags);
        volumes_made += volume != NULL;
        if (!volume || !goes_away)
                return volume;
        went_away = true;
        virStorageVolFree(volume);
        return NULL;
}

const char *virStorageVolGetKey(virStorageVolPtr volume) {
        static char key[2 * VOLUME_KEY_MAX];
        (void) volume;
        snprintf(key, sizeof(key), "key-%0*u", long_key ? VOLUME_KEY_MAX : 1, volumes_made);
        return key;
}

int virStorageVolGetInfo(virStorageVolPtr volume, virStorageVolInfoPtr info) {
        int (*get)(virStorageVolPtr, virStorageVolInfoPtr);
        *(void **) &get = next("virStorageVolGetInfo");
        return info_fails ? -1 : get(volume, info);
}

static int set_up(void **state) {
        scene_set_up(state);
        struct scene *scene = *state;
        volumes_made = 0;
        goes_away = went_away = info_fails = long_key = taken_meanwhile = false;
        _cleanup_(pool_free_p) virStoragePoolPtr pool =
                virStoragePoolCreateXML(scene->conn,
                                        "<pool type='logical'><name>vg</name><source><name>drover-unit</name></source>"
                                        "<target><path>" DIRECTORY "</path></target></pool>",
                                        0);
        assert_non_null(pool);
        return 0;
}

static int reserve(struct scene *scene) {
        Drover__MoveDisk disk = DROVER__MOVE_DISK__INIT, *list[] = {&disk};
        Drover__MoveReserve request = DROVER__MOVE_RESERVE__INIT;
        disk.target = (char *) "vda";
        disk.format = (char *) "raw";
        disk.pool = (char *) "vg";
        disk.volume = (char *) VOLUME;
        disk.file_bytes = disk.capacity_bytes = disk.allocation_bytes = BYTES;
        request.vm_name = (char *) "erp";
        request.disks = list;
        request.n_disks = 1;
        error_clear(&scene->err);
        return placement_reserve(&scene->custody, &request, &scene->err);
}

static void reserve_without_an_answer(struct scene *scene) {
        goes_away = true;
        assert_int_equal(reserve(scene), -1);
        goes_away = went_away = false;
        assert_int_equal(scene->err.code, ERROR_UNREACHABLE);
        assert_string_equal(scene->err.message, "vda: pool vg: make the volume: client socket is closed");
}

static int discard(struct scene *scene) {
        error_clear(&scene->err);
        return placement_discard(&scene->custody, &scene->err);
}

static virStorageVolPtr volume_there(struct scene *scene) {
        _cleanup_(pool_free_p) virStoragePoolPtr pool = virStoragePoolLookupByName(scene->conn, "vg");
        return virStorageVolLookupByName(pool, VOLUME);
}

static bool is_there(struct scene *scene) {
        _cleanup_(volume_free_p) virStorageVolPtr volume = volume_there(scene);
        return volume;
}

// Somebody on the host makes one of that name and size.
static void make_by_hand(struct scene *scene) {
        _cleanup_(pool_free_p) virStoragePoolPtr pool = virStoragePoolLookupByName(scene->conn, "vg");
        _cleanup_(free_p) char *xml = memory_format("<volume><name>" VOLUME "</name><capacity>%llu</capacity></volume>",
                                                    (unsigned long long) BYTES);
        _cleanup_(volume_free_p) virStorageVolPtr made = virStorageVolCreateXML(pool, xml, 0);
        assert_non_null(made);
}

static void replace_by_hand(struct scene *scene) {
        _cleanup_(volume_free_p) virStorageVolPtr old = volume_there(scene);
        assert_int_equal(virStorageVolDelete(old, 0), 0);
        make_by_hand(scene);
}

static void a_volume_is_made_when_it_is_reserved_and_goes_when_it_is_discarded(void **state) {
        struct scene *scene = *state;
        scene_must(scene, reserve(scene));
        scene_must(scene, reserve(scene)); // once
        assert_true(is_there(scene));
        assert_int_equal(volumes_made, 1);
        scene_must(scene, discard(scene));
        assert_false(is_there(scene));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
}

static void a_volume_of_somebody_else_stays_however_often_a_discard_is_broken_off(void **state) {
        struct scene *scene = *state;
        static const char *const points[] = {"agent.discard.partial-removed", "agent.discard.removed"};
        scene_must(scene, reserve(scene));
        replace_by_hand(scene);
        for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
                scene_fail_at(scene, points[i]);
                assert_int_equal(discard(scene), -1);
                assert_true(scene_failed_at(scene, points[i]));
        }
        scene_must(scene, discard(scene));
        assert_true(is_there(scene));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
}

static void a_volume_that_libvirt_made_before_it_went_away_is_found_again(void **state) {
        struct scene *scene = *state;
        reserve_without_an_answer(scene);
        assert_true(is_there(scene));
        scene_must(scene, reserve(scene));
        assert_int_equal(volumes_made, 1);
        scene_must(scene, discard(scene));
        assert_false(is_there(scene));
}

static void a_volume_that_libvirt_made_before_it_went_away_is_taken_away_again(void **state) {
        struct scene *scene = *state;
        reserve_without_an_answer(scene);
        scene_must(scene, discard(scene));
        assert_false(is_there(scene));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
}

static void fault_10_a_reservation_of_a_volume_broken_off_anywhere_is_finished_or_taken_away(void **state) {
        struct scene *scene = *state;
        static const char *const points[] = {"agent.reserve.before-hold", "agent.reserve.before-volume",
                                             "agent.reserve.making", "agent.reserve.volume", "agent.reserve.done"};
        for (unsigned i = 0; i < 2 * ARRAY_SIZE(points); i++) {
                unsigned before = volumes_made;
                scene_fail_at(scene, points[i / 2]);
                assert_int_equal(reserve(scene), -1);
                assert_true(scene_failed_at(scene, points[i / 2]));
                if (i % 2) {
                        scene_must(scene, reserve(scene));
                        assert_true(is_there(scene));
                        assert_int_equal(volumes_made, before + 1);
                }
                scene_must(scene, discard(scene));
                assert_false(is_there(scene));
                assert_int_equal(scene_holds(scene, NULL, 0), 0);
        }
}

static void a_volume_that_was_made_is_not_forgotten_because_libvirt_fails_then(void **state) {
        struct scene *scene = *state;
        info_fails = true;
        scene_must(scene, reserve(scene));
        info_fails = false;
        assert_true(is_there(scene));
        scene_must(scene, reserve(scene));
        assert_int_equal(volumes_made, 1);
        scene_must(scene, discard(scene));
        assert_false(is_there(scene));
}

static void a_volume_that_could_not_be_told_from_others_is_not_kept(void **state) {
        struct scene *scene = *state;
        long_key = true;
        assert_int_equal(reserve(scene), -1);
        assert_string_equal(scene->err.message, "vda: volume erp has a key that is too long");
        assert_int_equal(scene->err.n_hints, 0);
        assert_false(is_there(scene));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
}

static void assert_theirs(struct scene *scene) {
        assert_int_equal(scene_holds(scene, NULL, 0), 1);
        assert_int_equal(reserve(scene), -1);
        assert_string_equal(scene->err.message, "this host cannot take erp: pool vg has a volume erp already");
        scene_must(scene, discard(scene));
        assert_true(is_there(scene));
        assert_int_equal(volumes_made, 1);
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
}

static void a_volume_that_somebody_made_before_ours_was_begun_is_theirs(void **state) {
        struct scene *scene = *state;
        scene_fail_at(scene, "agent.reserve.before-volume");
        assert_int_equal(reserve(scene), -1);
        assert_true(scene_failed_at(scene, "agent.reserve.before-volume"));
        make_by_hand(scene);
        assert_theirs(scene);
}

static void a_volume_in_the_way_of_ours_is_theirs_after_the_agent_died_as_well(void **state) {
        struct scene *scene = *state;
        taken_meanwhile = true;
        scene_fail_at(scene, "agent.reserve.given-up");
        assert_int_equal(reserve(scene), -1);
        assert_true(scene_failed_at(scene, "agent.reserve.given-up"));
        taken_meanwhile = false;
        assert_theirs(scene);
}

static void a_volume_in_the_way_of_ours_is_told(void **state) {
        struct scene *scene = *state;
        taken_meanwhile = true;
        assert_int_equal(reserve(scene), -1);
        assert_non_null(strstr(scene->err.message, "vda: pool vg: make the volume: "));
        assert_true(is_there(scene));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
}

// ---- what was retired ----

// The volume, as a committed move leaves it at its source.
static void retire_volume(struct scene *scene) {
        struct hold hold = {.job = "job0",
                            .vm_uuid = SCENE_UUID,
                            .vm_name = "erp",
                            .item = "vda",
                            .kind = HOLD_RETIRED,
                            .directory = DIRECTORY,
                            .name = VOLUME,
                            .device = true};
        const struct version version = {.bytes = BYTES, .device = true};
        char text[VERSION_TEXT_MAX];
        make_by_hand(scene);
        version_format(&version, text);
        _cleanup_(free_p) char *fact = memory_format("key-%u %s", volumes_made, text);
        scene_must(scene, journal_hold_put(scene->journal, &hold, &scene->err));
        scene_must(scene, journal_fact_set(scene->journal, "job0", "device.vda", fact, strlen(fact), &scene->err));
}

// An image that another job has in its hands, laid over the volume.
static void hold_over(struct scene *scene) {
        struct hold hold = {.job = "job2",
                            .vm_uuid = "11111111-2222-4333-8444-555555555555",
                            .vm_name = "over",
                            .item = "vda",
                            .kind = HOLD_FENCED,
                            .name = "over.qcow2"};
        _cleanup_(free_p) char *sidecar = scene_path(scene, ".drover"),
                               *held = scene_path(scene, ".drover/job2.vda.held");
        assert_int_equal(mkdir(sidecar, 0700), 0);
        int fd = open(held, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        scene_must(scene, image_tool_create_over(fd, BYTES, DIRECTORY "/" VOLUME, "raw", &scene->err));
        close(fd);
        snprintf(hold.directory, sizeof(hold.directory), "%s", scene->images);
        scene_must(scene, journal_hold_put(scene->journal, &hold, &scene->err));
}

static void a_volume_below_an_image_that_a_job_holds_is_not_purged(void **state) {
        struct scene *scene = *state;
        Drover__RetiredPurge request = DROVER__RETIRED_PURGE__INIT;
        Drover__RetiredPurgeResult *result = NULL;
        request.retired_job = (char *) "job0";
        retire_volume(scene);
        hold_over(scene);
        assert_int_equal(custody_purge(&scene->custody, &request, &result, &scene->err), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        assert_string_equal(scene->err.message,
                            "purge vda of erp: vda: " DIRECTORY "/" VOLUME " is used by over as well");
        assert_string_equal(scene->err.hints[0], "wait until the other job is done: drover job show job2");
        assert_true(is_there(scene));
        assert_int_equal(scene_holds(scene, "job0", HOLD_RETIRED), 1);
}

#define VOLUME_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, scene_tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                VOLUME_TEST(a_volume_is_made_when_it_is_reserved_and_goes_when_it_is_discarded),
                VOLUME_TEST(a_volume_of_somebody_else_stays_however_often_a_discard_is_broken_off),
                VOLUME_TEST(a_volume_that_libvirt_made_before_it_went_away_is_found_again),
                VOLUME_TEST(a_volume_that_libvirt_made_before_it_went_away_is_taken_away_again),
                VOLUME_TEST(fault_10_a_reservation_of_a_volume_broken_off_anywhere_is_finished_or_taken_away),
                VOLUME_TEST(a_volume_that_was_made_is_not_forgotten_because_libvirt_fails_then),
                VOLUME_TEST(a_volume_that_could_not_be_told_from_others_is_not_kept),
                VOLUME_TEST(a_volume_that_somebody_made_before_ours_was_begun_is_theirs),
                VOLUME_TEST(a_volume_in_the_way_of_ours_is_theirs_after_the_agent_died_as_well),
                VOLUME_TEST(a_volume_in_the_way_of_ours_is_told),
                VOLUME_TEST(a_volume_below_an_image_that_a_job_holds_is_not_purged),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
