// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A committed move taken back at the host that the VM left, against libvirt's test driver: revived, put away again,
 * settled, and each of these broken off at each of its fault points; and the versions of images that say whether a VM
 * has run since.
 */
#include "agent_custody_scene.h"
#include "agent/host/collect.h"
#include "agent/host/custody_domain.h"
#include "agent/host/revive.h"
#include "common/clock.h"
#include "scratch.h"
#include <endian.h>
#include <pthread.h>
#include <time.h>

#define UNDO  "job2"
#define OTHER "11111111-2222-4333-8444-555555555555"

static void define_erp(struct scene *scene) {
        scene_define_vm(scene, "erp", SCENE_UUID, "");
}

static void set_autostart(struct scene *scene, bool autostart) {
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, SCENE_UUID);
        assert_int_equal(virDomainSetAutostart(domain, autostart), 0);
}

static bool has_autostart(struct scene *scene) {
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, SCENE_UUID);
        int autostart = -1;
        assert_int_equal(virDomainGetAutostart(domain, &autostart), 0);
        return autostart;
}

static int fence(struct scene *scene, const char *version) {
        Drover__MoveFence request = DROVER__MOVE_FENCE__INIT;
        Drover__MoveFenceResult *result = NULL;
        request.targets = both;
        request.n_targets = 2;
        request.images_version = (char *) version;
        error_clear(&scene->err);
        int status = custody_fence(&scene->custody, &request, &result, &scene->err);
        if (status == 0)
                proto_free(&result->base);
        return status;
}

// What a committed move leaves at its source; from here on the scene's job is the one that undoes it.
static char *move_away(struct scene *scene) {
        Drover__MoveRetire retire = DROVER__MOVE_RETIRE__INIT;
        define_erp(scene);
        set_autostart(scene, true);
        char *xml = scene_definition(scene);
        scene_must(scene, fence(scene, ""));
        scene_must(scene, custody_retire(&scene->custody, &retire, &scene->err));
        scene->custody.job = UNDO;
        return xml;
}

static int revive(struct scene *scene) {
        Drover__MoveRevive request = DROVER__MOVE_REVIVE__INIT;
        request.retired_job = SCENE_JOB;
        error_clear(&scene->err);
        return revive_run(&scene->custody, &request, &scene->err);
}

static int unrevive(struct scene *scene) {
        Drover__MoveUnrevive request = DROVER__MOVE_UNREVIVE__INIT;
        request.retired_job = SCENE_JOB;
        error_clear(&scene->err);
        return revive_undo(&scene->custody, &request, &scene->err);
}

static int settle(struct scene *scene, char **ret_version) {
        Drover__MoveSettle request = DROVER__MOVE_SETTLE__INIT;
        Drover__MoveSettleResult *result = NULL;
        error_clear(&scene->err);
        int status = placement_settle(&scene->custody, &request, &result, &scene->err);
        if (status == 0) {
                if (ret_version)
                        *ret_version = memory_string(result->images_version);
                proto_free(&result->base);
        }
        return status;
}

static void assert_revived(struct scene *scene, const char *xml) {
        _cleanup_(free_p) char *now = scene_definition(scene);
        assert_string_equal(now, xml);
        assert_true(scene_has(scene, "erp.raw", "system"));
        assert_true(scene_has(scene, "erp-data.raw", "data"));
        assert_false(scene_active(scene, SCENE_UUID));
        assert_false(has_autostart(scene));
        assert_int_equal(scene_holds(scene, SCENE_JOB, HOLD_REVIVED), 2);
        assert_int_equal(scene_holds(scene, NULL, 0), 2);
}

static void assert_retired(struct scene *scene) {
        assert_false(scene_defined(scene, SCENE_UUID));
        assert_false(scene_exists(scene, "erp.raw"));
        assert_true(scene_has(scene, ".drover/job1.vda.held", "system"));
        assert_true(scene_has(scene, ".drover/job1.vdb.held", "data"));
        assert_int_equal(scene_holds(scene, SCENE_JOB, HOLD_RETIRED), 2);
        assert_int_equal(scene_holds(scene, NULL, 0), 2);
}

static void assert_settled(struct scene *scene, const char *xml) {
        _cleanup_(free_p) char *now = scene_definition(scene);
        assert_string_equal(now, xml);
        assert_true(scene_has(scene, "erp.raw", "system"));
        assert_true(has_autostart(scene));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
        assert_false(scene_exists(scene, ".drover"));
}

// ---- there and back ----

static void what_was_retired_comes_back_as_it_was(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene);
        scene_must(scene, revive(scene));
        assert_revived(scene, xml);
        scene_must(scene, revive(scene));
        assert_revived(scene, xml);
}

static void it_is_no_longer_among_what_can_be_purged(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene);
        Drover__RetiredPurge purge = DROVER__RETIRED_PURGE__INIT;
        Drover__RetiredPurgeResult *result = NULL;
        Drover__Retired **retired = NULL;
        size_t n = 9;
        scene_must(scene, revive(scene));
        scene_must(scene, collect_retired(scene->journal, &retired, &n, &scene->err));
        assert_int_equal(n, 0);
        free(retired);
        purge.all = true;
        scene_must(scene, custody_purge(&scene->custody, &purge, &result, &scene->err));
        assert_int_equal(result->count, 0);
        proto_free(&result->base);
        assert_revived(scene, xml);
}

static void settling_it_makes_it_an_ordinary_vm_again(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene);
        scene_must(scene, revive(scene));
        scene_must(scene, settle(scene, NULL));
        assert_settled(scene, xml);
        scene_must(scene, settle(scene, NULL));
        assert_settled(scene, xml);
        assert_int_equal(unrevive(scene), -1);
        assert_error(scene->err, ERROR_CONFLICT, "job job2 is committed: VM " SCENE_UUID " belongs to this host now");
        assert_settled(scene, xml);
}

static void put_away_again_it_is_as_it_was_retired(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene);
        scene_must(scene, unrevive(scene)); // before it began: nothing to do
        assert_retired(scene);
        scene_must(scene, revive(scene));
        scene_must(scene, unrevive(scene));
        assert_retired(scene);
        scene_must(scene, unrevive(scene));
        assert_retired(scene);
        scene_must(scene, revive(scene));
        assert_revived(scene, xml);
}

static void what_came_back_is_not_taken_for_what_never_began(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene);
        scene_must(scene, revive(scene));
        scene_must(scene, journal_fact_remove(scene->journal, UNDO, JOURNAL_FACT_REVIVES, &scene->err));
        assert_int_equal(unrevive(scene), -1);
        assert_error(scene->err, ERROR_CONFLICT,
                     "erp was brought back here, and it is not known any more by which job");
        assert_string_equal(scene->err.hints[0], "see whether it is defined here as well: virsh dominfo " SCENE_UUID);
        assert_revived(scene, xml);
}

static void what_runs_is_not_put_away(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene);
        scene_must(scene, revive(scene));
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, SCENE_UUID);
        assert_int_equal(virDomainCreate(domain), 0);
        assert_int_equal(unrevive(scene), -1);
        assert_error(scene->err, ERROR_CONFLICT, "erp runs where it was brought back");
        assert_string_equal(scene->err.hints[0], "stop it, then: drover job retry job2");
        assert_int_equal(virDomainDestroy(domain), 0);
        scene_must(scene, unrevive(scene));
        assert_retired(scene);
}

// ---- in the way ----

static void a_file_that_stands_in_the_way_is_not_replaced(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene);
        scene_write(scene, "erp-data.raw", "another");
        assert_int_equal(revive(scene), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        assert_non_null(strstr(scene->err.message, "erp-data.raw exists: the retired one is not put in its place"));
        assert_true(scene_has(scene, "erp-data.raw", "another"));
        assert_false(scene_exists(scene, "erp.raw"));
        _cleanup_(free_p) char *path = scene_path(scene, "erp-data.raw");
        unlink(path);
        scene_must(scene, revive(scene));
        assert_revived(scene, xml);
}

static void another_vm_with_its_uuid_or_name_is_left_alone(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene);
        scene_define(scene, "erp", OTHER, SCENE_MAC, "");
        assert_int_equal(revive(scene), -1);
        assert_error(scene->err, ERROR_CONFLICT, "another VM named erp exists here");
        _cleanup_(domain_free_p) virDomainPtr other = scene_domain(scene, OTHER);
        assert_int_equal(virDomainUndefine(other), 0);
        scene_define(scene, "erp2", SCENE_UUID, SCENE_MAC, "");
        assert_int_equal(revive(scene), -1);
        assert_error(scene->err, ERROR_CONFLICT, "its UUID is in use here by the VM erp2");
        _cleanup_(domain_free_p) virDomainPtr twin = scene_domain(scene, SCENE_UUID);
        assert_int_equal(virDomainUndefine(twin), 0);
        assert_retired(scene);
}

static void what_was_purged_cannot_come_back(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene);
        Drover__RetiredPurge purge = DROVER__RETIRED_PURGE__INIT;
        Drover__RetiredPurgeResult *result = NULL;
        purge.retired_job = SCENE_JOB;
        scene_must(scene, custody_purge(&scene->custody, &purge, &result, &scene->err));
        proto_free(&result->base);
        assert_int_equal(revive(scene), -1);
        assert_error(scene->err, ERROR_NOT_FOUND, "nothing that job job1 retired is left on this host");
}

static int purge(struct scene *scene) {
        Drover__RetiredPurge purge = DROVER__RETIRED_PURGE__INIT;
        Drover__RetiredPurgeResult *result = NULL;
        purge.all = true;
        error_clear(&scene->err);
        int status = custody_purge(&scene->custody, &purge, &result, &scene->err);
        proto_free((ProtobufCMessage *) result);
        return status;
}

static void assert_partial(struct scene *scene) {
        assert_int_equal(revive(scene), -1);
        assert_error(scene->err, ERROR_NOT_FOUND, "what job job1 retired was purged in part");
        assert_string_equal(scene->err.hints[0], "move the VM back instead: drover vm move erp HOST");
        assert_false(scene_defined(scene, SCENE_UUID));
        assert_int_equal(scene_holds(scene, NULL, HOLD_REVIVED), 0);
}

static void what_was_purged_in_part_does_not_come_back(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene);
        _cleanup_(free_p) char *point = memory_format("%s/agent.purge.before-remove", scene->faults);
        assert_int_equal(file_write(point, "nth 2 fail", 10, 0600, NULL), 0);
        assert_int_equal(purge(scene), -1);
        assert_int_equal(scene_holds(scene, SCENE_JOB, HOLD_RETIRED), 1);
        assert_partial(scene);
        // As a version left it that did not note that it began.
        scene_must(scene, journal_fact_remove(scene->journal, SCENE_JOB, FACT_PURGING, &scene->err));
        assert_partial(scene);
        assert_true(scene_has(scene, ".drover/job1.vdb.held", "data"));
        scene_must(scene, purge(scene));
}

static void a_purge_that_began_is_noted_before_anything_is_removed(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene);
        scene_fail_at(scene, "agent.purge.before-remove");
        assert_int_equal(purge(scene), -1);
        assert_int_equal(scene_holds(scene, SCENE_JOB, HOLD_RETIRED), 2);
        assert_partial(scene);
}

static void a_vm_whose_nvram_was_purged_does_not_come_back(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene);
        scene_must(scene, journal_fact_set(scene->journal, SCENE_JOB, FACT_PURGED NVRAM_ITEM, "yes", 3, &scene->err));
        assert_partial(scene);
}

static void put32(uint8_t *at, uint32_t value) {
        value = htobe32(value);
        memcpy(at, &value, sizeof(value));
}

// erp.qcow2, laid over base.raw.
static void write_overlay(struct scene *scene) {
        uint8_t header[1024] = {0};
        _cleanup_(free_p) char *path = scene_path(scene, "erp.qcow2");
        put32(header, 0x514649fb);
        put32(header + 4, 3);
        put32(header + 12, 512); // where the name of what is below it stands, and its length
        put32(header + 16, 8);
        put32(header + 20, 16);
        put32(header + 28, 1u << 20);
        put32(header + 100, 112);
        put32(header + 112, 0xe2792aca); // the format of what is below it
        put32(header + 116, 3);
        memcpy(header + 120, "raw", 3);
        memcpy(header + 512, "base.raw", 8);
        scene_write(scene, "base.raw", "base");
        assert_int_equal(file_write(path, header, sizeof(header), 0600, NULL), 0);
}

// A move with --format makes one image of the two at its target.
static void move_overlay_away(struct scene *scene) {
        Drover__MoveFence request = DROVER__MOVE_FENCE__INIT;
        Drover__MoveFenceResult *result = NULL;
        Drover__MoveRetire retire = DROVER__MOVE_RETIRE__INIT;
        _cleanup_(free_p) char *disk =
                memory_format("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
                              "<source file='%s/erp.qcow2'/><target dev='vda' bus='virtio'/></disk>",
                              scene->images);
        write_overlay(scene);
        scene_define(scene, "erp", SCENE_UUID, SCENE_MAC, disk);
        request.targets = request.converted = both;
        request.n_targets = request.n_converted = 1;
        scene_must(scene, custody_fence(&scene->custody, &request, &result, &scene->err));
        proto_free(&result->base);
        scene_must(scene, custody_retire(&scene->custody, &retire, &scene->err));
        scene->custody.job = UNDO;
}

static void an_image_over_another_one_does_not_come_back(void **state) {
        struct scene *scene = *state;
        move_overlay_away(scene);
        assert_int_equal(revive(scene), -1);
        _cleanup_(free_p) char *message =
                memory_format("vda: %s/erp.qcow2 is not whole without base.raw, which may have changed", scene->images);
        assert_error(scene->err, ERROR_CONFLICT, message);
        assert_string_equal(scene->err.hints[0], "move the VM back instead: drover vm move erp HOST");
        assert_true(scene_exists(scene, ".drover/job1.vda.held"));
        assert_false(scene_exists(scene, "erp.qcow2"));
        assert_false(scene_defined(scene, SCENE_UUID));
        assert_int_equal(scene_holds(scene, SCENE_JOB, HOLD_RETIRED), 1);
}

// ---- a purge and an undo at once ----

// One of the two on a thread of its own, with an error of its own.
struct beside {
        pthread_t thread;
        struct scene scene;
        int (*run)(struct scene *scene);
        int status;
};

static void *beside_main(void *data) {
        struct beside *beside = data;
        beside->status = beside->run(&beside->scene);
        return NULL;
}

static void start_beside(struct beside *beside, const struct scene *scene, int (*run)(struct scene *scene)) {
        *beside = (struct beside){.scene = *scene, .run = run};
        error_clear(&beside->scene.err);
        assert_int_equal(pthread_create(&beside->thread, NULL, beside_main, beside), 0);
}

static void end_beside(struct beside *beside) {
        assert_int_equal(pthread_join(beside->thread, NULL), 0);
}

static void hold_at(const struct scene *scene, const char *point) {
        _cleanup_(free_p) char *path = memory_format("%s/%s", scene->faults, point);
        assert_int_equal(file_write(path, "hold", 4, 0600, NULL), 0);
}

static void let_go(const struct scene *scene, const char *point) {
        _cleanup_(free_p) char *path = memory_format("%s/%s", scene->faults, point);
        assert_int_equal(unlink(path), 0);
}

static bool is_held_within(const struct scene *scene, const char *point, unsigned ms) {
        _cleanup_(free_p) char *held = memory_format("%s/%s.held", scene->faults, point);
        uint64_t until = clock_ms(&system_clock) + ms;
        while (access(held, F_OK) < 0 && clock_ms(&system_clock) < until)
                nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        return access(held, F_OK) == 0;
}

// Another VM, whose purge comes first.
static void retire_another(struct scene *scene) {
        struct hold hold = {.job = "job0", .vm_name = "crm", .item = "vda", .kind = HOLD_RETIRED, .name = "crm.raw"};
        snprintf(hold.vm_uuid, sizeof(hold.vm_uuid), OTHER);
        snprintf(hold.directory, sizeof(hold.directory), "%s", scene->images);
        scene_write(scene, ".drover/job0.vda.held", "crm");
        scene_must(scene, journal_hold_put(scene->journal, &hold, &scene->err));
}

static void a_purge_that_has_begun_leaves_what_comes_back_meanwhile(void **state) {
        struct scene *scene = *state;
        struct beside beside;
        _cleanup_(free_p) char *xml = move_away(scene);
        retire_another(scene);
        hold_at(scene, "agent.purge.before-remove");
        start_beside(&beside, scene, purge);
        assert_true(is_held_within(scene, "agent.purge.before-remove", 20000));
        scene_must(scene, revive(scene));
        let_go(scene, "agent.purge.before-remove");
        end_beside(&beside);
        scene_must(&beside.scene, beside.status);
        assert_false(scene_exists(scene, ".drover/job0.vda.held"));
        assert_revived(scene, xml);
}

static void a_purge_waits_for_an_undo_of_the_same(void **state) {
        struct scene *scene = *state;
        struct beside reviving, purging;
        _cleanup_(free_p) char *xml = move_away(scene);
        hold_at(scene, "agent.revive.begun"); // nothing is noted as revived yet
        start_beside(&reviving, scene, revive);
        assert_true(is_held_within(scene, "agent.revive.begun", 20000));
        hold_at(scene, "agent.purge.before-remove");
        start_beside(&purging, scene, purge);
        assert_false(is_held_within(scene, "agent.purge.before-remove", 50));
        let_go(scene, "agent.purge.before-remove");
        let_go(scene, "agent.revive.begun");
        end_beside(&reviving);
        end_beside(&purging);
        scene_must(&reviving.scene, reviving.status);
        scene_must(&purging.scene, purging.status);
        assert_revived(scene, xml);
}

static void a_revival_broken_off_halfway_keeps_the_rest_from_a_purge(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene);
        scene_fail_at(scene, "agent.revive.after-rename");
        assert_int_equal(revive(scene), -1);
        scene_must(scene, purge(scene));
        scene_must(scene, revive(scene));
        assert_revived(scene, xml);
}

static void two_undos_do_not_meet(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene);
        scene_must(scene, revive(scene));
        scene->custody.job = "job3";
        assert_int_equal(revive(scene), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        scene_must(scene, unrevive(scene)); // not its own
        scene->custody.job = UNDO;
        assert_revived(scene, xml);
}

// ---- crashes ----

static const char *const revive_points[] = {"agent.revive.begun",        "agent.revive.before-rename",
                                            "agent.revive.after-rename", "agent.revive.before-define",
                                            "agent.revive.defined",      "agent.revive.done"};
static const char *const undo_points[] = {"agent.unrevive.renamed", "agent.unrevive.undefined", "agent.unrevive.noted",
                                          "agent.unrevive.done"};

static void a_revival_broken_off_anywhere_is_finished_when_asked_again(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene);
        for (unsigned i = 0; i < ARRAY_SIZE(revive_points); i++) {
                scene_fail_at(scene, revive_points[i]);
                assert_int_equal(revive(scene), -1);
                assert_true(scene_failed_at(scene, revive_points[i]));
                scene_must(scene, revive(scene));
                assert_revived(scene, xml);
                scene_must(scene, unrevive(scene));
                assert_retired(scene);
        }
}

static void a_revival_broken_off_anywhere_can_be_taken_back(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene);
        for (unsigned i = 0; i < ARRAY_SIZE(revive_points); i++) {
                scene_fail_at(scene, revive_points[i]);
                assert_int_equal(revive(scene), -1);
                scene_must(scene, unrevive(scene));
                assert_retired(scene);
        }
}

static void taking_it_back_broken_off_anywhere_is_finished_when_asked_again(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene);
        for (unsigned i = 0; i < ARRAY_SIZE(undo_points); i++) {
                scene_must(scene, revive(scene));
                scene_fail_at(scene, undo_points[i]);
                assert_int_equal(unrevive(scene), -1);
                assert_true(scene_failed_at(scene, undo_points[i]));
                scene_must(scene, unrevive(scene));
                assert_retired(scene);
        }
}

static void settling_broken_off_is_finished_when_asked_again(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene);
        scene_must(scene, revive(scene));
        scene_fail_at(scene, "agent.revive.settled");
        assert_int_equal(settle(scene, NULL), -1);
        scene_must(scene, settle(scene, NULL));
        assert_settled(scene, xml);
}

static void undefine_erp(struct scene *scene) {
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, SCENE_UUID);
        assert_int_equal(virDomainUndefine(domain), 0);
}

static void a_vm_that_was_undefined_since_the_commit_is_settled(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene), *version = NULL;
        scene_must(scene, revive(scene));
        undefine_erp(scene);
        scene_must(scene, settle(scene, &version));
        assert_string_equal(version, "");
        assert_false(scene_defined(scene, SCENE_UUID));
        assert_true(scene_has(scene, "erp.raw", "system"));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
        scene_must(scene, settle(scene, NULL));
}

static void a_vm_that_was_undefined_while_it_runs_is_settled(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene);
        scene_must(scene, revive(scene));
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, SCENE_UUID);
        assert_int_equal(virDomainCreate(domain), 0);
        undefine_erp(scene);
        scene_must(scene, settle(scene, NULL));
        assert_true(scene_active(scene, SCENE_UUID));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
}

// ---- versions ----

static char *version_now(struct scene *scene) {
        Drover__Domain *domain = NULL;
        scene_must(scene, collect_domain_by_uuid(scene->conn, SCENE_UUID, scene->journal, &domain, &scene->err));
        char *version = memory_string(domain->images_version);
        proto_free(&domain->base);
        return version;
}

static void images_have_another_version_when_one_was_written(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        _cleanup_(free_p) char *before = version_now(scene);
        _cleanup_(free_p) char *again = version_now(scene);
        assert_int_equal(strlen(before), 32);
        assert_string_equal(before, again);
        scene_write(scene, "erp-data.raw", "DATA");
        _cleanup_(free_p) char *after = version_now(scene);
        assert_int_equal(strlen(after), 32);
        assert_string_not_equal(before, after);
}

static void a_vm_that_runs_has_no_version(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, SCENE_UUID);
        assert_int_equal(virDomainCreate(domain), 0);
        _cleanup_(free_p) char *version = version_now(scene);
        assert_string_equal(version, "");
        assert_int_equal(virDomainDestroy(domain), 0);
}

static void settling_tells_the_version_that_the_inventory_will_show(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *xml = move_away(scene), *told = NULL;
        scene_must(scene, revive(scene));
        scene_must(scene, settle(scene, &told));
        _cleanup_(free_p) char *shown = version_now(scene);
        assert_int_equal(strlen(told), 32);
        assert_string_equal(told, shown);
}

static void a_fence_refuses_images_that_have_changed_since(void **state) {
        struct scene *scene = *state;
        define_erp(scene);
        _cleanup_(free_p) char *version = version_now(scene);
        scene_write(scene, "erp.raw", "SYSTEM");
        assert_int_equal(fence(scene, version), -1);
        assert_error(scene->err, ERROR_STALE, "erp has run, or its images were changed, since it was moved");
        assert_true(scene_exists(scene, "erp.raw"));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
        _cleanup_(free_p) char *now = version_now(scene);
        // Broken off after the first rename, which changes what is compared: it goes on all the same.
        scene_fail_at(scene, "agent.fence.after-rename");
        assert_int_equal(fence(scene, now), -1);
        scene_must(scene, fence(scene, now));
        assert_int_equal(scene_holds(scene, SCENE_JOB, HOLD_FENCED), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_set_up, scene_tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(what_was_retired_comes_back_as_it_was),
                TEST(it_is_no_longer_among_what_can_be_purged),
                TEST(settling_it_makes_it_an_ordinary_vm_again),
                TEST(put_away_again_it_is_as_it_was_retired),
                TEST(what_came_back_is_not_taken_for_what_never_began),
                TEST(what_runs_is_not_put_away),
                TEST(a_file_that_stands_in_the_way_is_not_replaced),
                TEST(another_vm_with_its_uuid_or_name_is_left_alone),
                TEST(what_was_purged_cannot_come_back),
                TEST(what_was_purged_in_part_does_not_come_back),
                TEST(a_purge_that_began_is_noted_before_anything_is_removed),
                TEST(a_vm_whose_nvram_was_purged_does_not_come_back),
                TEST(an_image_over_another_one_does_not_come_back),
                TEST(a_purge_that_has_begun_leaves_what_comes_back_meanwhile),
                TEST(a_purge_waits_for_an_undo_of_the_same),
                TEST(a_revival_broken_off_halfway_keeps_the_rest_from_a_purge),
                TEST(two_undos_do_not_meet),
                TEST(a_revival_broken_off_anywhere_is_finished_when_asked_again),
                TEST(a_revival_broken_off_anywhere_can_be_taken_back),
                TEST(taking_it_back_broken_off_anywhere_is_finished_when_asked_again),
                TEST(settling_broken_off_is_finished_when_asked_again),
                TEST(a_vm_that_was_undefined_since_the_commit_is_settled),
                TEST(a_vm_that_was_undefined_while_it_runs_is_settled),
                TEST(images_have_another_version_when_one_was_written),
                TEST(a_vm_that_runs_has_no_version),
                TEST(settling_tells_the_version_that_the_inventory_will_show),
                TEST(a_fence_refuses_images_that_have_changed_since),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
