// SPDX-License-Identifier: LGPL-2.1-or-later
/* Clones laid over their source's images, which nobody may change or take away meanwhile. */
#include "agent_clone_scene.h"
#include "agent/host/collect.h"
#include "scratch.h"
#include <pthread.h>

static struct scene *with_template(void **state) {
        struct scene *scene = *state;
        need_immutable(scene);
        define_template(scene);
        return scene;
}

static struct scene *with_linked_clone(void **state, struct ask *ask) {
        struct scene *scene = with_template(state);
        ask_init(scene, ask, "qcow2", "");
        link_clone(scene, ask);
        return scene;
}

static void a_base_is_immutable_while_a_clone_is_laid_over_it(void **state) {
        struct ask ask;
        struct scene *scene = with_linked_clone(state, &ask);
        assert_true(is_immutable(scene, "erp.raw") && is_immutable(scene, "erp-data.raw"));
        _cleanup_(free_p) char *path = scene_path(scene, "erp.raw");
        assert_int_equal(open(path, O_RDWR), -1);
        struct stat status;
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_uid, 64055); // QEMU may read it: libvirt could not let it any more
        // Another owner and a flag are no other content.
        scene_must(scene, confirm(scene));
        scene_must(scene, define(scene, &ask, 0));
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        assert_false(is_immutable(scene, "erp.raw") || is_immutable(scene, "erp-data.raw"));
        assert_true(scene_has(scene, "erp.raw", "system"));
        assert_false(scene_exists(scene, "web"));
        free(ask.xml);
}

// By another job, which goes as far as its images.
static void give_up_another_clone(struct scene *scene) {
        struct custody own = scene->custody;
        struct ask other;
        ask_init(scene, &other, "qcow2", "");
        other.reserve.vm_name = "web2";
        other.disks[0].volume = "web2";
        other.disks[1].volume = "web2-data";
        scene->custody.job = "job2";
        scene->custody.vm_uuid = "22222222-2222-4333-8444-555555555555";
        link_clone(scene, &other);
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        scene->custody = own;
        free(other.xml);
}

static void a_base_stays_immutable_for_the_clones_that_stay(void **state) {
        struct ask ask;
        struct scene *scene = with_linked_clone(state, &ask);
        scene_must(scene, define(scene, &ask, 0));
        give_up_another_clone(scene);
        assert_true(is_immutable(scene, "erp.raw"));
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        assert_false(is_immutable(scene, "erp.raw") || is_immutable(scene, "erp-data.raw"));
        free(ask.xml);
}

static void a_base_stays_immutable_for_a_clone_that_is_being_moved_away(void **state) {
        struct ask ask;
        struct scene *scene = with_linked_clone(state, &ask);
        Drover__MoveSettle settle = DROVER__MOVE_SETTLE__INIT;
        Drover__MoveSettleResult *settled = NULL;
        scene_must(scene, define(scene, &ask, 0));
        scene_must(scene, placement_settle(&scene->custody, &settle, &settled, &scene->err));
        proto_free(&settled->base);
        // Another job has the first clone's images in its hands, to write them in another format elsewhere ...
        struct custody moving = scene->custody;
        Drover__MoveFence fence = DROVER__MOVE_FENCE__INIT;
        Drover__MoveRelease release = DROVER__MOVE_RELEASE__INIT;
        Drover__MoveFenceResult *fenced = NULL;
        moving.job = "job9";
        fence.targets = fence.converted = both;
        fence.n_targets = fence.n_converted = 2;
        scene_must(scene, custody_fence(&moving, &fence, &fenced, &scene->err));
        proto_free(&fenced->base);
        // ... while a second clone is given up.
        give_up_another_clone(scene);
        assert_true(is_immutable(scene, "erp.raw") && is_immutable(scene, "erp-data.raw"));
        scene_must(scene, custody_release(&moving, &release, &scene->err));
        make_mutable(scene, "erp.raw");
        make_mutable(scene, "erp-data.raw");
        free(ask.xml);
}

struct discarder {
        struct custody custody;
        struct error err;
        int status;
        pthread_t thread;
};

static void *discard(void *data) {
        struct discarder *discarder = data;
        discarder->status = placement_discard(&discarder->custody, &discarder->err);
        return NULL;
}

static void link_and_discard_two_at_once(struct scene *scene) {
        static const char *const uuids[] = {SCENE_UUID, "22222222-2222-4333-8444-555555555555"};
        static const char *const jobs[] = {SCENE_JOB, "job2"};
        static char *const volumes[][2] = {{"web", "web-data"}, {"web2", "web2-data"}};
        struct discarder discarders[2] = {0};
        struct ask asks[2];
        for (unsigned i = 0; i < 2; i++) {
                ask_init(scene, &asks[i], "qcow2", "");
                asks[i].reserve.vm_name = volumes[i][0];
                asks[i].disks[0].volume = volumes[i][0];
                asks[i].disks[1].volume = volumes[i][1];
                scene->custody.job = jobs[i];
                scene->custody.vm_uuid = uuids[i];
                link_clone(scene, &asks[i]);
                discarders[i].custody = scene->custody;
        }
        for (unsigned i = 0; i < 2; i++)
                assert_int_equal(pthread_create(&discarders[i].thread, NULL, discard, &discarders[i]), 0);
        for (unsigned i = 0; i < 2; i++) {
                pthread_join(discarders[i].thread, NULL);
                scene_must(scene, discarders[i].status);
                free(asks[i].xml);
        }
}

static void a_base_of_clones_that_are_given_up_at_once_can_be_written_again(void **state) {
        struct scene *scene = with_template(state);
        for (unsigned rounds = 0; rounds < 2; rounds++) { // one finds the other's in few of them
                link_and_discard_two_at_once(scene);
                assert_false(is_immutable(scene, "erp.raw") || is_immutable(scene, "erp-data.raw"));
        }
}

// ---- bases that were left over

static void sweep(struct scene *scene) {
        scene_must(scene, clone_base_sweep(scene->conn, scene->journal, &scene->err));
}

static bool are_immutable(const struct scene *scene) {
        bool first = is_immutable(scene, "erp.raw");
        assert_int_equal(is_immutable(scene, "erp-data.raw"), first);
        return first;
}

// A clone that is done, its VM gone again by hand.
static struct scene *with_clone_undefined(void **state, struct ask *ask) {
        struct scene *scene = with_linked_clone(state, ask);
        Drover__MoveSettle settle = DROVER__MOVE_SETTLE__INIT;
        Drover__MoveSettleResult *settled = NULL;
        scene_must(scene, define(scene, ask, 0));
        scene_must(scene, placement_settle(&scene->custody, &settle, &settled, &scene->err));
        proto_free(&settled->base);
        sweep(scene);
        assert_true(are_immutable(scene));
        _cleanup_(domain_free_p) virDomainPtr web = scene_domain(scene, SCENE_UUID);
        assert_int_equal(virDomainUndefine(web), 0);
        return scene;
}

static void remove_file(const struct scene *scene, const char *name) {
        _cleanup_(free_p) char *path = scene_path(scene, name);
        assert_int_equal(unlink(path), 0);
}

static void a_base_whose_clones_were_removed_by_hand_can_be_written_again(void **state) {
        struct ask ask;
        struct scene *scene = with_clone_undefined(state, &ask);
        sweep(scene); // the images are still there, and may be those of a VM again
        assert_true(are_immutable(scene));
        remove_file(scene, "web");
        sweep(scene);
        assert_false(is_immutable(scene, "erp.raw"));
        assert_true(is_immutable(scene, "erp-data.raw"));
        remove_file(scene, "web-data");
        sweep(scene);
        assert_false(are_immutable(scene));
        free(ask.xml);
}

static void a_base_that_was_left_is_found_when_another_clone_is_given_up(void **state) {
        struct ask ask, other;
        struct scene *scene = with_clone_undefined(state, &ask);
        remove_file(scene, "web");
        remove_file(scene, "web-data");
        // Of another original: it is not the base itself that is given up.
        scene_write(scene, "other.raw", "other");
        _cleanup_(free_p) char *key = memory_format("base.vda"), *path = scene_path(scene, "other.raw");
        ask_init(scene, &other, "qcow2", "");
        scene->custody.job = "job2";
        scene->custody.vm_uuid = "22222222-2222-4333-8444-555555555555";
        other.reserve.vm_name = "web2";
        scene_must(scene, placement_reserve(&scene->custody, &other.reserve, &scene->err));
        scene_must(scene, journal_fact_set(scene->journal, "job2", key, path, strlen(path), &scene->err));
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        assert_false(are_immutable(scene));
        free(ask.xml);
        free(other.xml);
}

static void a_base_stays_immutable_while_an_image_cannot_be_read(void **state) {
        struct ask ask;
        struct scene *scene = with_clone_undefined(state, &ask);
        remove_file(scene, "web");
        remove_file(scene, "web-data");
        scene_write(scene, "broken", "QFI\xfb");
        sweep(scene);
        assert_true(are_immutable(scene));
        remove_file(scene, "broken");
        // A pool that is not active may hold anything.
        _cleanup_(pool_free_p) virStoragePoolPtr pool = virStoragePoolDefineXML(
                scene->conn, "<pool type='dir'><name>away</name><target><path>/nowhere</path></target></pool>", 0);
        assert_non_null(pool);
        sweep(scene);
        assert_true(are_immutable(scene));
        assert_int_equal(virStoragePoolUndefine(pool), 0);
        sweep(scene);
        assert_false(are_immutable(scene));
        free(ask.xml);
}

static void a_base_stays_immutable_for_a_clone_that_is_under_way(void **state) {
        struct ask ask;
        struct scene *scene = with_linked_clone(state, &ask);
        sweep(scene);
        assert_true(are_immutable(scene));
        scene_must(scene, define(scene, &ask, 0));
        sweep(scene);
        assert_true(are_immutable(scene));
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        assert_false(are_immutable(scene));
        free(ask.xml);
}

// Without the flag it would be another version than the one that was held.
static void a_base_that_is_being_copied_keeps_its_flag(void **state) {
        struct ask ask, other;
        struct scene *scene = with_clone_undefined(state, &ask);
        remove_file(scene, "web");
        remove_file(scene, "web-data");
        ask_init(scene, &other, "raw", "");
        scene->custody.job = "job2";
        scene->custody.vm_uuid = "22222222-2222-4333-8444-555555555555";
        other.reserve.vm_name = "web2";
        scene_must(scene, hold(scene));
        scene_must(scene, placement_reserve(&scene->custody, &other.reserve, &scene->err));
        sweep(scene);
        assert_true(are_immutable(scene));
        scene_must(scene, confirm(scene));
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        sweep(scene);
        assert_false(are_immutable(scene));
        free(ask.xml);
        free(other.xml);
}

static void what_somebody_else_made_immutable_is_not_swept(void **state) {
        struct scene *scene = with_template(state);
        make_immutable(scene, "erp.raw");
        sweep(scene);
        assert_true(is_immutable(scene, "erp.raw"));
        make_mutable(scene, "erp.raw");
}

static void what_somebody_else_made_immutable_stays_so(void **state) {
        struct scene *scene = with_template(state);
        struct ask ask;
        make_immutable(scene, "erp.raw");
        ask_init(scene, &ask, "qcow2", "");
        link_clone(scene, &ask);
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        assert_true(is_immutable(scene, "erp.raw"));
        make_mutable(scene, "erp.raw");
        free(ask.xml);
}

static void a_base_cannot_be_moved_away(void **state) {
        struct ask ask;
        struct scene *scene = with_linked_clone(state, &ask);
        scene_must(scene, define(scene, &ask, 0));
        struct custody other = scene->custody;
        other.job = "job9";
        other.vm_uuid = SOURCE;
        Drover__Domain **domains = NULL;
        size_t n = 0;
        bool said = false;
        scene_must(scene, collect_domains(scene->conn, scene->journal, &domains, &n, &scene->err));
        for (size_t i = 0; i < n; i++) {
                bool base = strcmp(domains[i]->uuid, SOURCE) == 0;
                assert_true(domains[i]->disks[0]->is_backing == base);
                assert_false(domains[i]->disks[0]->in_use_elsewhere);
                for (size_t k = 0; base && k < domains[i]->n_obstacles; k++)
                        said = said || (strcmp(domains[i]->obstacles[k]->code, "is-backing") == 0 &&
                                        strcmp(domains[i]->obstacles[k]->message,
                                               "disk vda: an image of web is laid over it") == 0);
                proto_free(&domains[i]->base);
        }
        free(domains);
        assert_true(said);
        Drover__MoveFence fence = DROVER__MOVE_FENCE__INIT;
        Drover__MoveFenceResult *fenced = NULL;
        fence.targets = both;
        fence.n_targets = 2;
        assert_int_equal(custody_fence(&other, &fence, &fenced, &scene->err), -1);
        assert_non_null(strstr(scene->err.message, "is used by web as well"));
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        free(ask.xml);
}

static void what_is_immutable_is_not_fenced(void **state) {
        struct scene *scene = with_template(state);
        _cleanup_(free_p) char *path = scene_path(scene, "erp.raw");
        _cleanup_(free_p) char *message = memory_format("vda: %s is immutable", path);
        make_immutable(scene, "erp.raw");
        Drover__MoveFence fence = DROVER__MOVE_FENCE__INIT;
        Drover__MoveFenceResult *fenced = NULL;
        fence.targets = both;
        fence.n_targets = 2;
        scene->custody.vm_uuid = SOURCE;
        assert_int_equal(custody_fence(&scene->custody, &fence, &fenced, &scene->err), -1);
        assert_error(scene->err, ERROR_REFUSED, message);
        make_mutable(scene, "erp.raw");
}

static void fault_53_an_image_laid_over_anything_else_is_refused(void **state) {
        struct ask ask;
        struct scene *scene = with_linked_clone(state, &ask);
        _cleanup_(close_p) int sink = -1;
        scene_must(scene, placement_open(&scene->custody, "vda", &sink, &scene->err));
        scene_must(scene, image_tool_create_over(sink, 512, "/etc/shadow", "raw", &scene->err));
        assert_int_equal(define(scene, &ask, 0), -1);
        assert_error(scene->err, ERROR_REFUSED,
                     "vda: the image refers to /etc/shadow, which no image that moves may do");
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        free(ask.xml);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CLONE_TEST(a_base_is_immutable_while_a_clone_is_laid_over_it),
                CLONE_TEST(a_base_stays_immutable_for_the_clones_that_stay),
                CLONE_TEST(a_base_stays_immutable_for_a_clone_that_is_being_moved_away),
                CLONE_TEST(a_base_of_clones_that_are_given_up_at_once_can_be_written_again),
                CLONE_TEST(a_base_whose_clones_were_removed_by_hand_can_be_written_again),
                CLONE_TEST(a_base_that_was_left_is_found_when_another_clone_is_given_up),
                CLONE_TEST(a_base_stays_immutable_while_an_image_cannot_be_read),
                CLONE_TEST(a_base_stays_immutable_for_a_clone_that_is_under_way),
                CLONE_TEST(a_base_that_is_being_copied_keeps_its_flag),
                CLONE_TEST(what_somebody_else_made_immutable_is_not_swept),
                CLONE_TEST(what_somebody_else_made_immutable_stays_so),
                CLONE_TEST(a_base_cannot_be_moved_away),
                CLONE_TEST(what_is_immutable_is_not_fenced),
                CLONE_TEST(fault_53_an_image_laid_over_anything_else_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
