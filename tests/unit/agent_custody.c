// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Custody at the source against libvirt's test driver: fencing, releasing, retiring, and each of them broken off at
 * each of its fault points and asked again, or undone.
 */
#include "agent_custody_scene.h"
#include "agent/host/definition.h"

#define OTHER "11111111-2222-4333-8444-555555555555"

static void define_erp(struct scene *scene) {
        scene_define_vm(scene, "erp", SCENE_UUID, "");
}

static int fence_targets(struct scene *scene, const char *sha256, char **targets, size_t n) {
        Drover__MoveFence request = DROVER__MOVE_FENCE__INIT;
        Drover__MoveFenceResult *result = NULL;
        request.definition_sha256 = (char *) sha256;
        request.targets = targets;
        request.n_targets = n;
        error_clear(&scene->err);
        int status = custody_fence(&scene->custody, &request, &result, &scene->err);
        if (status == 0) {
                assert_int_equal(result->n_disks, n);
                for (size_t i = 0; i < n; i++) {
                        assert_string_equal(result->disks[i]->format, "raw");
                        assert_true(result->disks[i]->file_bytes > 0);
                }
                proto_free(&result->base);
        }
        return status;
}

static int fence(struct scene *scene) {
        return fence_targets(scene, "", both, 2);
}

static int release(struct scene *scene, bool start) {
        Drover__MoveRelease request = DROVER__MOVE_RELEASE__INIT;
        request.start = start;
        error_clear(&scene->err);
        return custody_release(&scene->custody, &request, &scene->err);
}

static int retire(struct scene *scene, bool purge) {
        Drover__MoveRetire request = DROVER__MOVE_RETIRE__INIT;
        request.purge = purge;
        error_clear(&scene->err);
        return custody_retire(&scene->custody, &request, &scene->err);
}

static int stop(struct scene *scene, Drover__StopMode mode, bool *was_running) {
        Drover__MoveStop request = DROVER__MOVE_STOP__INIT;
        Drover__MoveStopResult *result = NULL;
        request.mode = mode;
        error_clear(&scene->err);
        int status = custody_stop(&scene->custody, &request, &result, &scene->err);
        if (status == 0) {
                if (was_running)
                        *was_running = result->was_running;
                proto_free(&result->base);
        }
        return status;
}

static void start(struct scene *scene) {
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, SCENE_UUID);
        assert_int_equal(virDomainCreate(domain), 0);
}

static void assert_as_before(struct scene *scene, const char *xml) {
        _cleanup_(free_p) char *now = scene_definition(scene);
        assert_true(scene_has(scene, "erp.raw", "system"));
        assert_true(scene_has(scene, "erp-data.raw", "data"));
        assert_false(scene_exists(scene, ".drover"));
        assert_string_equal(now, xml);
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
}

static void assert_fenced(struct scene *scene) {
        assert_true(scene_has(scene, ".drover/job1.vda.held", "system"));
        assert_true(scene_has(scene, ".drover/job1.vdb.held", "data"));
        assert_false(scene_exists(scene, "erp.raw"));
        assert_false(scene_exists(scene, "erp-data.raw"));
        assert_int_equal(scene_holds(scene, SCENE_JOB, HOLD_FENCED), 2);
        scene_must(scene, custody_confirm(&scene->custody, &scene->err));
}

static void a_fence_puts_all_disks_out_of_reach(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        scene_must(scene, fence(scene));
        assert_fenced(scene);
        assert_true(scene_defined(scene, SCENE_UUID));
        scene_must(scene, fence(scene));
        assert_fenced(scene);
        char job[33];
        scene_must(scene, journal_fenced_by(scene->journal, SCENE_UUID, job, &scene->err));
        assert_string_equal(job, SCENE_JOB);
}

static void a_fenced_image_can_be_opened_for_the_copy(void **state) {
        struct scene *scene = *state;
        int fd = -1;
        uint64_t bytes = 0;
        char text[8] = "";
        define_erp(scene);
        assert_int_equal(custody_open(&scene->custody, "vda", &fd, &bytes, &scene->err), -1);
        assert_string_equal(scene->err.message, "vda of VM " SCENE_UUID " is not fenced by job job1");
        scene_must(scene, fence(scene));
        scene_must(scene, custody_open(&scene->custody, "vda", &fd, &bytes, &scene->err));
        assert_int_equal(bytes, 6);
        assert_int_equal(read(fd, text, sizeof(text)), 6);
        assert_string_equal(text, "system");
        assert_int_equal(write(fd, "x", 1), -1);
        close(fd);
}

static void a_release_brings_back_what_was(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        _cleanup_(free_p) char *xml = scene_definition(scene);
        scene_must(scene, fence(scene));
        scene_must(scene, release(scene, true));
        assert_as_before(scene, xml);
        assert_false(scene_active(scene, SCENE_UUID));
        scene_must(scene, release(scene, true));
        assert_as_before(scene, xml);
}

static void a_release_without_a_fence_changes_nothing(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        _cleanup_(free_p) char *xml = scene_definition(scene);
        scene_must(scene, release(scene, true));
        assert_as_before(scene, xml);
}

static void fault_72_a_running_vm_is_refused_without_leave_to_stop_it(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        start(scene);
        assert_int_equal(stop(scene, DROVER__STOP_MODE__STOP_MODE_NONE, NULL), -1);
        assert_int_equal(scene->err.code, ERROR_REFUSED);
        assert_string_equal(scene->err.message, "erp is running");
        assert_string_equal(scene->err.hints[0], "let the move shut it down: --shutdown");
        assert_string_equal(scene->err.hints[1], "or switch it off hard: --stop");
        assert_true(scene_active(scene, SCENE_UUID));
}

static void a_vm_that_ran_is_started_again_by_a_release(void **state) {
        struct scene *scene = *state;
        bool was_running = false;
        define_erp(scene);
        start(scene);
        scene_must(scene, stop(scene, DROVER__STOP_MODE__STOP_HARD, &was_running));
        assert_true(was_running);
        assert_false(scene_active(scene, SCENE_UUID));
        // Asked again after a crash it still says that the VM ran.
        was_running = false;
        scene_must(scene, stop(scene, DROVER__STOP_MODE__STOP_HARD, &was_running));
        assert_true(was_running);
        scene_must(scene, fence(scene));
        scene_must(scene, release(scene, true));
        assert_true(scene_active(scene, SCENE_UUID));
}

static void a_vm_that_was_off_stays_off(void **state) {
        struct scene *scene = *state;
        bool was_running = true;
        define_erp(scene);
        scene_must(scene, stop(scene, DROVER__STOP_MODE__STOP_MODE_NONE, &was_running));
        assert_false(was_running);
        scene_must(scene, fence(scene));
        scene_must(scene, release(scene, true));
        assert_false(scene_active(scene, SCENE_UUID));
}

static void a_running_vm_is_not_fenced(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        start(scene);
        assert_int_equal(fence(scene), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        assert_string_equal(scene->err.message, "erp runs");
        assert_true(scene_has(scene, "erp.raw", "system"));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
}

static void fault_30_a_definition_that_changed_since_the_plan_is_stale(void **state) {
        struct scene *scene = *state;
        char sha256[65];
        define_erp(scene);
        _cleanup_(free_p) char *xml = scene_definition(scene);
        definition_sha256(xml, strlen(xml), sha256);
        scene_must(scene, fence_targets(scene, sha256, both, 2));
        scene_must(scene, release(scene, false));
        sha256[0] = sha256[0] == 'a' ? 'b' : 'a';
        assert_int_equal(fence_targets(scene, sha256, both, 2), -1);
        assert_int_equal(scene->err.code, ERROR_STALE);
        assert_string_equal(scene->err.message, "the definition of erp changed since the plan");
        assert_string_equal(scene->err.hints[0], "run the move again");
        assert_as_before(scene, xml);
}

static void fault_30_a_disk_that_the_plan_does_not_know_is_stale(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        assert_int_equal(fence_targets(scene, "", both, 1), -1);
        assert_int_equal(scene->err.code, ERROR_STALE);
        assert_string_equal(scene->err.message, "the list of disks of erp changed since the plan");
        assert_true(scene_has(scene, "erp.raw", "system"));
}

static void fault_30_a_definition_changed_while_fenced_is_not_confirmed(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        scene_must(scene, fence(scene));
        _cleanup_(free_p) char *vda = scene_disk(scene, "vda", "other.raw", "");
        scene_define(scene, "erp", SCENE_UUID, SCENE_MAC, vda);
        assert_int_equal(custody_confirm(&scene->custody, &scene->err), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        assert_string_equal(scene->err.message, "the definition of erp was changed at the source");
}

static void fault_30_a_vm_undefined_while_fenced_is_not_confirmed_and_comes_back(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        _cleanup_(free_p) char *xml = scene_definition(scene);
        scene_must(scene, fence(scene));
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, SCENE_UUID);
        assert_int_equal(virDomainUndefine(domain), 0);
        assert_int_equal(custody_confirm(&scene->custody, &scene->err), -1);
        assert_string_equal(scene->err.message, "erp was undefined at the source");
        scene_must(scene, release(scene, true));
        assert_as_before(scene, xml);
}

static void fault_31_a_vm_started_while_fenced_is_not_confirmed(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        scene_must(scene, fence(scene));
        start(scene); // the test driver needs no disks to start
        assert_int_equal(custody_confirm(&scene->custody, &scene->err), -1);
        assert_string_equal(scene->err.message, "erp runs at the source");
        assert_int_equal(retire(scene, false), -1);
        assert_string_equal(scene->err.message, "erp runs at the source: it cannot be retired");
        assert_true(scene_defined(scene, SCENE_UUID));
}

static void fault_31_an_image_that_is_back_in_its_place_is_not_confirmed(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        scene_must(scene, fence(scene));
        scene_write(scene, "erp.raw", "restored by somebody");
        assert_int_equal(custody_confirm(&scene->custody, &scene->err), -1);
        _cleanup_(free_p) char *expected =
                memory_format("%s/erp.raw is back in its place: erp is not out of reach", scene->images);
        assert_string_equal(scene->err.message, expected);
}

static void a_foreign_file_at_the_name_is_kept_by_a_release_and_so_is_ours(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        scene_must(scene, fence(scene));
        scene_write(scene, "erp.raw", "theirs");
        assert_int_equal(release(scene, true), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        _cleanup_(free_p) char *expected = memory_format(
                "vda: %s/erp.raw exists: ours stays at %s/.drover/job1.vda.held", scene->images, scene->images);
        assert_string_equal(scene->err.message, expected);
        assert_true(scene_has(scene, "erp.raw", "theirs"));
        assert_true(scene_has(scene, ".drover/job1.vda.held", "system"));
        assert_true(scene_has(scene, "erp-data.raw", "data"));
        _cleanup_(free_p) char *path = scene_path(scene, "erp.raw");
        assert_int_equal(unlink(path), 0);
        scene_must(scene, release(scene, true));
        assert_true(scene_has(scene, "erp.raw", "system"));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
}

static void an_image_that_another_vm_uses_is_not_fenced(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        _cleanup_(free_p) char *disk = scene_disk(scene, "vdc", "../images/erp-data.raw", "");
        scene_define(scene, "web", OTHER, "52:54:00:00:00:01", disk);
        assert_int_equal(fence(scene), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        _cleanup_(free_p) char *expected = memory_format("vdb: %s/erp-data.raw is used by web as well", scene->images);
        assert_string_equal(scene->err.message, expected);
        assert_true(scene_has(scene, "erp.raw", "system"));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
}

static void fault_49_a_symbolic_link_for_an_image_is_not_fenced(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        _cleanup_(free_p) char *path = scene_path(scene, "erp.raw"), *real = scene_path(scene, "real.raw");
        assert_int_equal(rename(path, real), 0);
        assert_int_equal(symlink(real, path), 0);
        assert_int_equal(fence(scene), -1);
        assert_int_equal(scene->err.code, ERROR_REFUSED);
        _cleanup_(free_p) char *expected = memory_format("vda: %s is a symbolic link", path);
        assert_string_equal(scene->err.message, expected);
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
}

static void a_missing_image_is_named(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        _cleanup_(free_p) char *path = scene_path(scene, "erp-data.raw");
        assert_int_equal(unlink(path), 0);
        assert_int_equal(fence(scene), -1);
        _cleanup_(free_p) char *expected = memory_format("vdb: %s does not exist", path);
        assert_string_equal(scene->err.message, expected);
        assert_true(scene_has(scene, "erp.raw", "system"));
}

static void a_saved_state_is_not_lost(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        start(scene);
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, SCENE_UUID);
        assert_int_equal(virDomainManagedSave(domain, 0), 0);
        assert_int_equal(fence(scene), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        assert_string_equal(scene->err.message, "erp has a saved state (managed save), which would be lost");
}

static void a_vm_held_by_another_job_is_left_to_it(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        scene_must(scene, fence(scene));
        scene->custody.job = "job2";
        assert_int_equal(fence(scene), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        assert_string_equal(scene->err.message, "VM " SCENE_UUID " is held by job job1");
        scene_must(scene, release(scene, true));
        scene->custody.job = SCENE_JOB;
        assert_fenced(scene);
}

static void a_vm_without_a_disk_to_miss_is_undefined_while_fenced(void **state) {
        struct scene *scene = *state;
        scene_define(scene, "erp", SCENE_UUID, SCENE_MAC, "");
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, SCENE_UUID);
        assert_int_equal(virDomainSetAutostart(domain, 1), 0);
        _cleanup_(free_p) char *xml = scene_definition(scene);
        scene_must(scene, fence_targets(scene, "", NULL, 0));
        assert_false(scene_defined(scene, SCENE_UUID));
        scene_must(scene, custody_confirm(&scene->custody, &scene->err));
        scene_must(scene, fence_targets(scene, "", NULL, 0));
        scene_must(scene, release(scene, true));
        _cleanup_(free_p) char *now = scene_definition(scene);
        assert_string_equal(now, xml);
        _cleanup_(domain_free_p) virDomainPtr again = scene_domain(scene, SCENE_UUID);
        int autostart = 0;
        assert_int_equal(virDomainGetAutostart(again, &autostart), 0);
        assert_int_equal(autostart, 1);
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
}

static void a_vm_whose_disks_are_all_optional_is_undefined_while_fenced(void **state) {
        struct scene *scene = *state;
        scene_define_vm(scene, "erp", SCENE_UUID, "startupPolicy='optional'");
        _cleanup_(free_p) char *xml = scene_definition(scene);
        scene_must(scene, fence(scene));
        assert_false(scene_defined(scene, SCENE_UUID));
        assert_true(scene_has(scene, ".drover/job1.vda.held", "system"));
        scene_must(scene, fence(scene));
        scene_must(scene, custody_confirm(&scene->custody, &scene->err));
        scene_must(scene, release(scene, true));
        assert_as_before(scene, xml);
}

static void a_retired_vm_is_gone_and_its_disks_are_kept(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        _cleanup_(free_p) char *xml = scene_definition(scene);
        scene_must(scene, fence(scene));
        scene_must(scene, retire(scene, false));
        assert_false(scene_defined(scene, SCENE_UUID));
        assert_true(scene_has(scene, ".drover/job1.vda.held", "system"));
        assert_int_equal(scene_holds(scene, SCENE_JOB, HOLD_RETIRED), 2);
        _cleanup_(free_p) uint8_t *kept = NULL;
        size_t length = 0;
        assert_int_equal(journal_fact_get(scene->journal, SCENE_JOB, "definition", &kept, &length, &scene->err), 1);
        assert_string_equal((const char *) kept, xml);
        scene_must(scene, retire(scene, false));
        assert_int_equal(release(scene, true), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        assert_string_equal(scene->err.message, "job job1 is committed: VM " SCENE_UUID " cannot be given back here");
        assert_int_equal(fence(scene), -1);
        assert_string_equal(scene->err.message, "job job1 is committed: VM " SCENE_UUID " is no longer here");
}

static void what_was_never_fenced_is_not_retired(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        assert_int_equal(retire(scene, false), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        assert_string_equal(scene->err.message, "VM " SCENE_UUID " is not fenced by job job1");
        assert_true(scene_defined(scene, SCENE_UUID));
}

static void a_retirement_asked_again_leaves_a_vm_that_came_back(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        scene_must(scene, fence(scene));
        scene_must(scene, retire(scene, false));
        define_erp(scene);
        scene_must(scene, retire(scene, false));
        assert_true(scene_defined(scene, SCENE_UUID));
        assert_true(scene_has(scene, "erp.raw", "system"));
}

static int purge(struct scene *scene, const char *job, uint32_t *count, uint64_t *bytes) {
        Drover__RetiredPurge request = DROVER__RETIRED_PURGE__INIT;
        Drover__RetiredPurgeResult *result = NULL;
        request.all = !job;
        request.retired_job = job ? (char *) job : request.retired_job;
        error_clear(&scene->err);
        int status = custody_purge(&scene->custody, &request, &result, &scene->err);
        if (status == 0) {
                *count = result->count;
                *bytes = result->bytes;
                proto_free(&result->base);
        }
        return status;
}

static void purging_removes_what_is_retired_and_nothing_else(void **state) {
        struct scene *scene = *state;
        uint32_t count = 0;
        uint64_t bytes = 0;
        define_erp(scene);
        scene_must(scene, fence(scene));
        scene_must(scene, purge(scene, NULL, &count, &bytes));
        assert_int_equal(count, 0);
        assert_fenced(scene);
        scene_must(scene, retire(scene, false));
        scene_must(scene, purge(scene, "job2", &count, &bytes));
        assert_int_equal(count, 0);
        scene_must(scene, purge(scene, SCENE_JOB, &count, &bytes));
        assert_int_equal(count, 1);
        assert_true(bytes > 0);
        assert_false(scene_exists(scene, ".drover"));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
        scene_must(scene, purge(scene, SCENE_JOB, &count, &bytes));
        assert_int_equal(count, 0);
}

static void purging_on_a_file_system_that_is_not_mounted_forgets_nothing(void **state) {
        struct scene *scene = *state;
        uint32_t count = 0;
        uint64_t bytes = 0;
        define_erp(scene);
        scene_must(scene, fence(scene));
        scene_must(scene, retire(scene, false));
        _cleanup_(free_p) char *sidecar = scene_path(scene, ".drover"), *away = scene_path(scene, "away");
        assert_int_equal(rename(sidecar, away), 0);
        assert_int_equal(purge(scene, NULL, &count, &bytes), -1);
        assert_int_equal(scene->err.code, ERROR_NOT_FOUND);
        assert_int_equal(scene_holds(scene, SCENE_JOB, HOLD_RETIRED), 2);
        assert_int_equal(rename(away, sidecar), 0);
        scene_must(scene, purge(scene, NULL, &count, &bytes));
        assert_int_equal(count, 1);
}

// Its volume is in use, its file system is gone: that may stay so for ever.
static void a_vm_that_cannot_be_purged_does_not_keep_the_others(void **state) {
        struct scene *scene = *state;
        uint32_t count = 0;
        uint64_t bytes = 0;
        struct custody own = scene->custody;
        const char *const jobs[] = {"job1", "job2", "job3"};
        for (unsigned i = 0; i < ARRAY_SIZE(jobs); i++) {
                scene->custody.job = jobs[i];
                define_erp(scene);
                scene_must(scene, fence(scene));
                scene_must(scene, retire(scene, false));
        }
        scene->custody = own;
        _cleanup_(free_p) char *held = scene_path(scene, ".drover/job2.vda.held"), *away = scene_path(scene, "away");
        assert_int_equal(rename(held, away), 0);
        assert_int_equal(purge(scene, NULL, &count, &bytes), -1);
        assert_int_equal(scene->err.code, ERROR_NOT_FOUND);
        assert_int_equal(scene_holds(scene, "job1", 0), 0);
        assert_int_equal(scene_holds(scene, "job2", HOLD_RETIRED), 2);
        assert_int_equal(scene_holds(scene, "job3", 0), 0);
        assert_int_equal(rename(away, held), 0);
        scene_must(scene, purge(scene, NULL, &count, &bytes));
        assert_int_equal(count, 1);
}

static void retiring_with_purge_leaves_nothing(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        scene_must(scene, fence(scene));
        scene_must(scene, retire(scene, true));
        assert_false(scene_defined(scene, SCENE_UUID));
        assert_false(scene_exists(scene, ".drover"));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
        scene_must(scene, retire(scene, true));
}

// ---- broken off at each point ----

static void run_to(struct scene *scene, const char *point, int (*step)(struct scene *)) {
        scene_fail_at(scene, point);
        int status = step(scene);
        if (!scene_failed_at(scene, point))
                fail_msg("%s was not met", point);
        assert_int_equal(status, -1);
}

static int release_and_start(struct scene *scene) {
        return release(scene, true);
}
static int retire_and_purge(struct scene *scene) {
        return retire(scene, true);
}
static int fence_diskless(struct scene *scene) {
        return fence_targets(scene, "", NULL, 0);
}

static const char *const fence_points[] = {"agent.fence.before-rename", "agent.fence.after-rename",
                                           "agent.fence.renamed", "agent.fence.done"};

static void fault_09_a_fence_broken_off_anywhere_is_finished(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        _cleanup_(free_p) char *xml = scene_definition(scene);
        for (unsigned i = 0; i < ARRAY_SIZE(fence_points); i++) {
                run_to(scene, fence_points[i], fence);
                scene_must(scene, fence(scene));
                assert_fenced(scene);
                scene_must(scene, release(scene, true));
                assert_as_before(scene, xml);
        }
}

static void fault_09_a_fence_broken_off_anywhere_is_undone(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        _cleanup_(free_p) char *xml = scene_definition(scene);
        for (unsigned i = 0; i < ARRAY_SIZE(fence_points); i++) {
                start(scene);
                scene_must(scene, stop(scene, DROVER__STOP_MODE__STOP_HARD, NULL));
                run_to(scene, fence_points[i], fence);
                scene_must(scene, release(scene, true));
                assert_as_before(scene, xml);
                assert_true(scene_active(scene, SCENE_UUID));
                scene_must(scene, stop(scene, DROVER__STOP_MODE__STOP_HARD, NULL));
                scene_must(scene, release(scene, false));
        }
}

static void fault_13_a_release_broken_off_anywhere_is_finished(void **state) {
        static const char *const points[] = {"agent.release.before-rename", "agent.release.after-rename",
                                             "agent.release.restored", "agent.release.before-start",
                                             "agent.release.started"};
        struct scene *scene = *state;
        define_erp(scene);
        _cleanup_(free_p) char *xml = scene_definition(scene);
        for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
                start(scene);
                scene_must(scene, stop(scene, DROVER__STOP_MODE__STOP_HARD, NULL));
                scene_must(scene, fence(scene));
                // One file that cannot go back does not keep the others from it: the error comes all the same.
                run_to(scene, points[i], release_and_start);
                scene_must(scene, release(scene, true));
                assert_as_before(scene, xml);
                assert_true(scene_active(scene, SCENE_UUID));
                scene_must(scene, stop(scene, DROVER__STOP_MODE__STOP_HARD, NULL));
                scene_must(scene, release(scene, false));
        }
}

static void fault_09_a_diskless_fence_broken_off_anywhere_is_finished_or_undone(void **state) {
        static const char *const points[] = {"agent.fence.renamed", "agent.fence.before-undefine", "agent.fence.done"};
        struct scene *scene = *state;
        scene_define(scene, "erp", SCENE_UUID, SCENE_MAC, "");
        _cleanup_(free_p) char *xml = scene_definition(scene);
        for (unsigned i = 0; i < 2 * ARRAY_SIZE(points); i++) {
                run_to(scene, points[i / 2], fence_diskless);
                if (i % 2) {
                        scene_must(scene, fence_diskless(scene));
                        assert_false(scene_defined(scene, SCENE_UUID));
                        run_to(scene, "agent.release.defined", release_and_start);
                }
                scene_must(scene, release(scene, true));
                _cleanup_(free_p) char *now = scene_definition(scene);
                assert_string_equal(now, xml);
                assert_int_equal(scene_holds(scene, NULL, 0), 0);
        }
}

static void fault_17_a_retirement_broken_off_anywhere_only_goes_forward(void **state) {
        static const char *const points[] = {"agent.retire.begun",  "agent.retire.undefined",
                                             "agent.retire.noted",  "agent.purge.before-remove",
                                             "agent.purge.removed", "agent.retire.done"};
        struct scene *scene = *state;
        char jobs[ARRAY_SIZE(points)][8];
        for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
                snprintf(jobs[i], sizeof(jobs[i]), "job%u", i + 1);
                scene->custody.job = jobs[i];
                define_erp(scene);
                scene_must(scene, fence(scene));
                run_to(scene, points[i], retire_and_purge);
                assert_int_equal(release(scene, true), -1);
                scene_must(scene, retire(scene, true));
                assert_false(scene_defined(scene, SCENE_UUID));
                assert_false(scene_exists(scene, "erp.raw"));
                assert_false(scene_exists(scene, ".drover"));
                assert_int_equal(scene_holds(scene, NULL, 0), 0);
        }
}

static int stop_hard(struct scene *scene) {
        return stop(scene, DROVER__STOP_MODE__STOP_HARD, NULL);
}

static void fault_09_a_stop_broken_off_anywhere_still_knows_that_the_vm_ran(void **state) {
        static const char *const points[] = {"agent.stop.noted", "agent.stop.stopped"};
        struct scene *scene = *state;
        define_erp(scene);
        for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
                bool was_running = false;
                start(scene);
                run_to(scene, points[i], stop_hard);
                scene_must(scene, stop(scene, DROVER__STOP_MODE__STOP_HARD, &was_running));
                assert_true(was_running);
                scene_must(scene, release(scene, true));
                assert_true(scene_active(scene, SCENE_UUID));
                scene_must(scene, stop(scene, DROVER__STOP_MODE__STOP_HARD, NULL));
                scene_must(scene, release(scene, false));
        }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_set_up, scene_tear_down)
        const struct CMUnitTest tests[] = {
                TEST(a_fence_puts_all_disks_out_of_reach),
                TEST(a_fenced_image_can_be_opened_for_the_copy),
                TEST(a_release_brings_back_what_was),
                TEST(a_release_without_a_fence_changes_nothing),
                TEST(fault_72_a_running_vm_is_refused_without_leave_to_stop_it),
                TEST(a_vm_that_ran_is_started_again_by_a_release),
                TEST(a_vm_that_was_off_stays_off),
                TEST(a_running_vm_is_not_fenced),
                TEST(fault_30_a_definition_that_changed_since_the_plan_is_stale),
                TEST(fault_30_a_disk_that_the_plan_does_not_know_is_stale),
                TEST(fault_30_a_definition_changed_while_fenced_is_not_confirmed),
                TEST(fault_30_a_vm_undefined_while_fenced_is_not_confirmed_and_comes_back),
                TEST(fault_31_a_vm_started_while_fenced_is_not_confirmed),
                TEST(fault_31_an_image_that_is_back_in_its_place_is_not_confirmed),
                TEST(a_foreign_file_at_the_name_is_kept_by_a_release_and_so_is_ours),
                TEST(an_image_that_another_vm_uses_is_not_fenced),
                TEST(fault_49_a_symbolic_link_for_an_image_is_not_fenced),
                TEST(a_missing_image_is_named),
                TEST(a_saved_state_is_not_lost),
                TEST(a_vm_held_by_another_job_is_left_to_it),
                TEST(a_vm_without_a_disk_to_miss_is_undefined_while_fenced),
                TEST(a_vm_whose_disks_are_all_optional_is_undefined_while_fenced),
                TEST(a_retired_vm_is_gone_and_its_disks_are_kept),
                TEST(what_was_never_fenced_is_not_retired),
                TEST(a_retirement_asked_again_leaves_a_vm_that_came_back),
                TEST(purging_removes_what_is_retired_and_nothing_else),
                TEST(purging_on_a_file_system_that_is_not_mounted_forgets_nothing),
                TEST(a_vm_that_cannot_be_purged_does_not_keep_the_others),
                TEST(retiring_with_purge_leaves_nothing),
                TEST(fault_09_a_fence_broken_off_anywhere_is_finished),
                TEST(fault_09_a_fence_broken_off_anywhere_is_undone),
                TEST(fault_13_a_release_broken_off_anywhere_is_finished),
                TEST(fault_09_a_diskless_fence_broken_off_anywhere_is_finished_or_undone),
                TEST(fault_17_a_retirement_broken_off_anywhere_only_goes_forward),
                TEST(fault_09_a_stop_broken_off_anywhere_still_knows_that_the_vm_ran),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
