// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Discarding on a file system that keeps no time of birth, as NFS does: nothing but an inode number tells this job's
 * file from another, and that number comes again. Here every file has the same.
 */
#include "agent/host/custody_domain.h"
#include "agent_custody_scene.h"
#include <dlfcn.h>

// This stands before the C library's when the program is linked.
int statx(int dir_fd, const char *path, int flags, unsigned mask, struct statx *ret) {
        int (*real)(int, const char *, int, unsigned, struct statx *);
        *(void **) &real = dlsym(RTLD_NEXT, "statx");
        int result = real(dir_fd, path, flags, mask, ret);
        if (result == 0) {
                ret->stx_mask &= ~STATX_BTIME;
                ret->stx_ino = 7;
        }
        return result;
}

static int discard(struct scene *scene) {
        error_clear(&scene->err);
        return placement_discard(&scene->custody, &scene->err);
}

// As a define leaves it.
static void publish(struct scene *scene) {
        struct hold hold = {.job = SCENE_JOB,
                            .vm_uuid = SCENE_UUID,
                            .vm_name = "erp",
                            .item = "vda",
                            .kind = HOLD_PUBLISHED,
                            .name = "erp.raw"};
        char identity[HOLD_IDENTITY_MAX];
        snprintf(hold.directory, sizeof(hold.directory), "%s", scene->images);
        scene_write(scene, "erp.raw", "system");
        scene_must(scene, hold_file_identity(&hold, HOLD_IN_PLACE, identity, &scene->err));
        assert_string_equal(identity, "7:0.0");
        scene_must(scene, custody_set_fact(&scene->custody, FACT_IDENTITY "vda", identity, &scene->err));
        scene_must(scene, journal_hold_put(scene->journal, &hold, &scene->err));
}

static void break_off(struct scene *scene, const char *point) {
        scene_fail_at(scene, point);
        assert_int_equal(discard(scene), -1);
        if (!scene_failed_at(scene, point))
                fail_msg("%s was not met", point);
}

static void a_file_of_which_only_a_number_is_known_is_discarded(void **state) {
        struct scene *scene = *state;
        publish(scene);
        scene_must(scene, discard(scene));
        assert_false(scene_exists(scene, "erp.raw"));
        assert_false(scene_exists(scene, ".drover"));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
}

static void a_copy_that_was_begun_again_beside_it_goes_as_well(void **state) {
        struct scene *scene = *state;
        struct hold hold;
        int fd;
        publish(scene);
        assert_int_equal(custody_hold(&scene->custody, "vda", &hold, &scene->err), 1);
        scene_must(scene, hold_file_create(&hold, &fd, &scene->err));
        close(fd);
        scene_must(scene, discard(scene));
        assert_false(scene_exists(scene, "erp.raw"));
        assert_false(scene_exists(scene, ".drover"));
}

static const char *const points[] = {"agent.discard.taken-back", "agent.discard.partial-removed",
                                     "agent.discard.removed"};

static void a_discard_by_number_broken_off_anywhere_is_finished(void **state) {
        struct scene *scene = *state;
        for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
                publish(scene);
                break_off(scene, points[i]);
                scene_must(scene, discard(scene));
                assert_false(scene_exists(scene, "erp.raw"));
                assert_false(scene_exists(scene, ".drover"));
                assert_int_equal(scene_holds(scene, NULL, 0), 0);
        }
}

static void a_file_made_since_with_the_same_number_is_left_by_a_discard_that_is_repeated(void **state) {
        struct scene *scene = *state;
        for (unsigned i = 1; i < ARRAY_SIZE(points); i++) { // from when the number is free again
                publish(scene);
                break_off(scene, points[i]);
                assert_false(scene_exists(scene, "erp.raw"));
                scene_write(scene, "erp.raw", "theirs");
                scene_must(scene, discard(scene));
                assert_true(scene_has(scene, "erp.raw", "theirs"));
                assert_int_equal(scene_holds(scene, NULL, 0), 0);
        }
}

#define DISCARD_TEST(name) cmocka_unit_test_setup_teardown(name, scene_set_up, scene_tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                DISCARD_TEST(a_file_of_which_only_a_number_is_known_is_discarded),
                DISCARD_TEST(a_copy_that_was_begun_again_beside_it_goes_as_well),
                DISCARD_TEST(a_discard_by_number_broken_off_anywhere_is_finished),
                DISCARD_TEST(a_file_made_since_with_the_same_number_is_left_by_a_discard_that_is_repeated),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
