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

static void a_base_stays_immutable_for_the_clones_that_stay(void **state) {
        struct ask ask, other;
        struct scene *scene = with_linked_clone(state, &ask);
        scene_must(scene, define(scene, &ask, 0));
        // Another clone, by another job, goes as far and is given up.
        ask_init(scene, &other, "qcow2", "");
        other.reserve.vm_name = "web2";
        other.disks[0].volume = "web2";
        other.disks[1].volume = "web2-data";
        scene->custody.job = "job2";
        scene->custody.vm_uuid = "22222222-2222-4333-8444-555555555555";
        link_clone(scene, &other);
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        assert_true(is_immutable(scene, "erp.raw"));
        scene->custody.job = SCENE_JOB;
        scene->custody.vm_uuid = SCENE_UUID;
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        assert_false(is_immutable(scene, "erp.raw") || is_immutable(scene, "erp-data.raw"));
        free(ask.xml);
        free(other.xml);
}

static void a_base_stays_immutable_for_a_clone_that_is_being_moved_away(void **state) {
        struct ask ask, other;
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
        ask_init(scene, &other, "qcow2", "");
        other.reserve.vm_name = "web2";
        other.disks[0].volume = "web2";
        other.disks[1].volume = "web2-data";
        scene->custody.job = "job2";
        scene->custody.vm_uuid = "22222222-2222-4333-8444-555555555555";
        link_clone(scene, &other);
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        assert_true(is_immutable(scene, "erp.raw") && is_immutable(scene, "erp-data.raw"));
        scene_must(scene, custody_release(&moving, &release, &scene->err));
        make_mutable(scene, "erp.raw");
        make_mutable(scene, "erp-data.raw");
        free(ask.xml);
        free(other.xml);
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
                CLONE_TEST(what_somebody_else_made_immutable_stays_so),
                CLONE_TEST(a_base_cannot_be_moved_away),
                CLONE_TEST(what_is_immutable_is_not_fenced),
                CLONE_TEST(fault_53_an_image_laid_over_anything_else_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
