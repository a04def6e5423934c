// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Placement at the target against libvirt's test driver: refusals, publishing, defining, settling, and all of it broken
 * off at each fault point and asked again, or discarded.
 */
#include "agent/host/custody_domain.h"
#include "agent_custody_scene.h"
#include "agent/host/pool.h"
#include "agent_driver.h"

#define OTHER "11111111-2222-4333-8444-555555555555"

// What the controller would ask for a VM with the disks vda and vdb.
struct ask {
        Drover__MoveDisk disks[2];
        Drover__MoveDisk *list[2];
        Drover__MoveReserve reserve;
        Drover__MoveDefine define;
        char *xml;
};

static void ask_fini(struct ask *ask) {
        free(ask->xml);
}

static void ask_init(struct scene *scene, struct ask *ask) {
        static char *volumes[] = {"erp.raw", "erp-data.raw"}, *targets[] = {"vda", "vdb"};
        for (unsigned i = 0; i < 2; i++) {
                drover__move_disk__init(&ask->disks[i]);
                ask->disks[i].target = targets[i];
                ask->disks[i].format = "raw";
                ask->disks[i].pool = "images";
                ask->disks[i].volume = volumes[i];
                ask->disks[i].file_bytes = ask->disks[i].allocation_bytes = 4096;
                ask->list[i] = &ask->disks[i];
        }
        drover__move_reserve__init(&ask->reserve);
        ask->reserve.vm_name = "erp";
        ask->reserve.disks = ask->list;
        ask->reserve.n_disks = 2;
        drover__move_define__init(&ask->define);
        ask->define.vm_name = "erp";
        ask->define.disks = ask->list;
        ask->define.n_disks = 2;
        // As it stood on the source, with that host's paths.
        struct scene source = {.images = "/srv/vm"};
        _cleanup_(free_p) char *vda = scene_disk(&source, "vda", "erp.raw", "");
        _cleanup_(free_p) char *vdb = scene_disk(&source, "vdb", "data.raw", "");
        _cleanup_(free_p) char *disks = memory_format("%s%s", vda, vdb);
        ask->xml = scene_xml(scene, "erp", SCENE_UUID, SCENE_MAC, disks);
        memcpy(strstr(ask->xml, "'test'"), "'qemu'", 6);
        ask->define.definition_xml.data = (uint8_t *) ask->xml;
        ask->define.definition_xml.len = strlen(ask->xml);
}

static int reserve(struct scene *scene, const struct ask *ask) {
        error_clear(&scene->err);
        return placement_reserve(&scene->custody, &ask->reserve, &scene->err);
}

static int define(struct scene *scene, const struct ask *ask) {
        Drover__MoveDefineResult *result = NULL;
        error_clear(&scene->err);
        int status = placement_define(&scene->custody, &ask->define, &result, &scene->err);
        if (status == 0) {
                assert_int_equal(strlen(result->definition_sha256), 64);
                proto_free(&result->base);
        }
        return status;
}

static int copy(struct scene *scene, const char *item, const char *text) {
        int fd = -1;
        error_clear(&scene->err);
        if (placement_open(&scene->custody, item, &fd, &scene->err) < 0)
                return -1;
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t) strlen(text));
        close(fd);
        return 0;
}

static int settle(struct scene *scene, bool autostart) {
        Drover__MoveSettle request = DROVER__MOVE_SETTLE__INIT;
        request.autostart = autostart;
        error_clear(&scene->err);
        Drover__MoveSettleResult *result = NULL;
        int status = placement_settle(&scene->custody, &request, &result, &scene->err);
        if (status == 0)
                proto_free(&result->base);
        return status;
}

static int start(struct scene *scene) {
        error_clear(&scene->err);
        return placement_start(&scene->custody, &scene->err);
}

static int discard(struct scene *scene) {
        error_clear(&scene->err);
        return placement_discard(&scene->custody, &scene->err);
}

static void bring(struct scene *scene, const struct ask *ask) {
        scene_must(scene, reserve(scene, ask));
        scene_must(scene, copy(scene, "vda", "system"));
        scene_must(scene, copy(scene, "vdb", "data"));
}

static struct scene *with_ask(void **state, struct ask *ask) {
        ask_init(*state, ask);
        return *state;
}

static struct scene *with_images(void **state, struct ask *ask) {
        struct scene *scene = with_ask(state, ask);
        bring(scene, ask);
        return scene;
}

static void place(struct scene *scene, const struct ask *ask) {
        bring(scene, ask);
        scene_must(scene, define(scene, ask));
}

static void place_and_start(struct scene *scene, const struct ask *ask) {
        place(scene, ask);
        scene_must(scene, start(scene));
}

static void assert_failed(const struct scene *scene, int status, enum error_code code, const char *message) {
        assert_int_equal(status, -1);
        assert_string_equal(scene->err.message, message);
        assert_int_equal(scene->err.code, code);
}

static void assert_nothing(struct scene *scene) {
        assert_false(scene_defined(scene, SCENE_UUID));
        assert_false(scene_exists(scene, "erp.raw"));
        assert_false(scene_exists(scene, "erp-data.raw"));
        assert_false(scene_exists(scene, ".drover"));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
}

static void assert_placed(struct scene *scene) {
        assert_true(scene_defined(scene, SCENE_UUID));
        assert_true(scene_has(scene, "erp.raw", "system"));
        assert_true(scene_has(scene, "erp-data.raw", "data"));
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, SCENE_UUID);
        _cleanup_(free_p) char *xml = virDomainGetXMLDesc(domain, 0);
        _cleanup_(free_p) char *path = scene_path(scene, "erp-data.raw");
        assert_non_null(strstr(xml, path));
        assert_null(strstr(xml, "/srv/vm"));
        assert_non_null(strstr(xml, SCENE_MAC));
}

static void assert_starts_with_the_host(struct scene *scene) {
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, SCENE_UUID);
        int autostart = 0;
        assert_int_equal(virDomainGetAutostart(domain, &autostart), 0);
        assert_int_equal(autostart, 1);
}

static void a_vm_is_brought_started_and_settled(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_images(state, &ask);
        assert_false(scene_exists(scene, "erp.raw"));
        assert_true(scene_has(scene, ".drover/job1.vda.part", "system"));
        scene_must(scene, define(scene, &ask));
        assert_placed(scene);
        assert_false(scene_active(scene, SCENE_UUID));
        int fd = -1;
        uint64_t bytes = 0;
        scene_must(scene, placement_open_published(&scene->custody, "vda", &fd, &bytes, &scene->err));
        assert_int_equal(bytes, 6);
        close(fd);
        scene_must(scene, start(scene));
        assert_true(scene_active(scene, SCENE_UUID));
        scene_must(scene, start(scene));
        scene_must(scene, settle(scene, true));
        assert_placed(scene);
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
        assert_false(scene_exists(scene, ".drover"));
        assert_starts_with_the_host(scene);
}

static void a_settled_vm_is_never_discarded(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_ask(state, &ask);
        place(scene, &ask);
        scene_must(scene, settle(scene, false));
        assert_failed(scene, discard(scene), ERROR_CONFLICT,
                      "job job1 is committed: VM " SCENE_UUID " belongs to this host now");
        assert_placed(scene);
        scene_must(scene, settle(scene, false));
}

static void a_vm_takes_another_name_at_the_target(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_ask(state, &ask);
        ask.reserve.vm_name = ask.define.vm_name = "erp-nantes";
        place(scene, &ask);
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, SCENE_UUID);
        assert_string_equal(virDomainGetName(domain), "erp-nantes");
}

static void fault_70_name_and_mac_in_use_are_refused_together_with_the_rest(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_ask(state, &ask);
        char *macs[] = {"52:54:00:AB:CD:EF"}, *bridges[] = {"drover-none0"}, *networks[] = {"nowhere"};
        scene_define(scene, "erp", OTHER, "52:54:00:ab:cd:ef", "");
        ask.reserve.macs = macs;
        ask.reserve.bridges = bridges;
        ask.reserve.networks = networks;
        ask.reserve.n_macs = ask.reserve.n_bridges = ask.reserve.n_networks = 1;
        ask.disks[1].pool = "image";
        scene_write(scene, "erp.raw", "somebody's");
        assert_int_equal(reserve(scene, &ask), -1);
        assert_int_equal(scene->err.code, ERROR_REFUSED);
        assert_string_equal(scene->err.message,
                            "this host cannot take erp: a VM named erp exists here; the MAC address 52:54:00:AB:CD:EF "
                            "is in use here by the VM erp; there is no bridge drover-none0 here; there is no network "
                            "nowhere here; pool images has a volume erp.raw already; no pool image on this host");
        assert_string_equal(scene->err.hints[0], "give it another name: --as NAME");
        assert_string_equal(scene->err.hints[1], "give one of them another address: virsh edit erp");
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
        assert_false(scene_exists(scene, ".drover"));
        assert_true(scene_has(scene, "erp.raw", "somebody's"));
}

static void fault_70_a_uuid_in_use_is_refused(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_ask(state, &ask);
        scene_define(scene, "web", SCENE_UUID, "52:54:00:ab:cd:ef", "");
        assert_int_equal(reserve(scene, &ask), -1);
        assert_string_equal(scene->err.message, "this host cannot take erp: its UUID is in use here by the VM web");
}

static void fault_71_room_is_counted_with_what_other_jobs_were_promised(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_ask(state, &ask);
        struct pool_directory directory = {.fd = -1};
        scene_must(scene, pool_open_path(scene->images, &directory, &scene->err));
        pool_directory_fini(&directory);
        ask.reserve.n_disks = 1;
        ask.disks[0].allocation_bytes = directory.available_bytes - (directory.available_bytes / 4);
        scene_must(scene, reserve(scene, &ask));
        scene_must(scene, reserve(scene, &ask)); // its own promise does not stand in its way
        scene->custody.job = "job2";
        ask.reserve.vm_name = "web";
        ask.disks[0].volume = "web.raw";
        ask.disks[0].allocation_bytes = directory.available_bytes / 2;
        assert_int_equal(reserve(scene, &ask), -1);
        assert_int_equal(scene->err.code, ERROR_REFUSED);
        assert_non_null(strstr(scene->err.message, "this host cannot take web: pool images has "));
        assert_string_equal(scene->err.hints[0], "free some of it, or choose another pool: --pool POOL");
        assert_int_equal(scene_holds(scene, "job2", 0), 0);
        scene->custody.job = SCENE_JOB;
        scene_must(scene, discard(scene));
        scene->custody.job = "job2";
        scene_must(scene, reserve(scene, &ask));
}

static void fault_73_an_unknown_pool_is_refused_with_the_nearest_name(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_ask(state, &ask);
        ask.disks[0].pool = ask.disks[1].pool = "imagse";
        assert_int_equal(reserve(scene, &ask), -1);
        assert_string_equal(scene->err.message,
                            "this host cannot take erp: no pool imagse on this host; no pool imagse on this host");
        assert_string_equal(scene->err.hints[0], "did you mean images?");
}

static void a_name_promised_to_another_job_is_refused(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_ask(state, &ask);
        scene_must(scene, reserve(scene, &ask));
        scene->custody.job = "job2";
        scene->custody.vm_uuid = OTHER;
        assert_int_equal(reserve(scene, &ask), -1);
        assert_string_equal(scene->err.message,
                            "this host cannot take erp: job job1 is bringing a VM named erp here; volume erp.raw of "
                            "pool images is promised to job job1; volume erp-data.raw of pool images is promised to "
                            "job job1");
        assert_string_equal(scene->err.hints[0], "see how far it is: drover job show job1");
}

static void a_vm_comes_back_to_where_its_retired_copy_lies(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_ask(state, &ask);
        struct hold retired = {.job = "job0",
                               .vm_uuid = SCENE_UUID,
                               .vm_name = "erp",
                               .item = "vda",
                               .kind = HOLD_RETIRED,
                               .name = "erp.raw"};
        snprintf(retired.directory, sizeof retired.directory, "%s", scene->images);
        scene_must(scene, journal_hold_put(scene->custody.journal, &retired, &scene->err));
        scene_must(scene, reserve(scene, &ask));
        retired.kind = HOLD_FENCED; // whereas a VM that is on its way from here may yet need its name again
        scene_must(scene, journal_hold_put(scene->custody.journal, &retired, &scene->err));
        scene->custody.job = "job2";
        scene->custody.vm_uuid = OTHER;
        ask.reserve.vm_name = "web";
        assert_int_equal(reserve(scene, &ask), -1);
        assert_non_null(strstr(scene->err.message, "volume erp.raw of pool images is promised to job job0"));
}

static void fault_48_a_volume_with_a_slash_is_refused(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_ask(state, &ask);
        ask.disks[0].volume = "../erp.raw";
        assert_int_equal(reserve(scene, &ask), -1);
        assert_int_equal(scene->err.code, ERROR_INVALID);
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
}

static void what_was_not_reserved_is_not_opened(void **state) {
        struct scene *scene = *state;
        assert_failed(scene, copy(scene, "vda", "x"), ERROR_CONFLICT, "vda is not reserved for job job1 on this host");
        assert_false(scene_exists(scene, ".drover"));
}

static void a_copy_that_begins_again_begins_empty(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_ask(state, &ask);
        scene_must(scene, reserve(scene, &ask));
        scene_must(scene, copy(scene, "vda", "half of something longer"));
        scene_must(scene, copy(scene, "vda", "system"));
        assert_true(scene_has(scene, ".drover/job1.vda.part", "system"));
}

static void a_definition_of_another_vm_is_refused(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_images(state, &ask);
        memcpy(strstr(ask.xml, SCENE_UUID), OTHER, strlen(OTHER));
        assert_failed(scene, define(scene, &ask), ERROR_REFUSED,
                      "the definition that came is of VM " OTHER ", not of " SCENE_UUID);
        assert_false(scene_exists(scene, "erp.raw"));
}

static void fault_53_a_qcow2_that_refers_to_another_file_is_refused(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_ask(state, &ask);
        static const char backing[] = "/etc/shadow";
        uint8_t header[192] = {'Q', 'F', 'I', 0xfb, 0, 0, 0, 2};
        header[15] = 128;                 // backing_file_offset
        header[19] = sizeof(backing) - 1; // backing_file_size
        header[23] = 16;                  // cluster_bits
        header[29] = 1;                   // size: 64 KiB
        header[39] = 1;                   // l1_size
        memcpy(header + 128, backing, sizeof(backing) - 1);
        scene_must(scene, reserve(scene, &ask));
        scene_must(scene, copy(scene, "vdb", "data"));
        int fd = -1;
        scene_must(scene, placement_open(&scene->custody, "vda", &fd, &scene->err));
        assert_int_equal(write(fd, header, sizeof(header)), sizeof(header));
        close(fd);
        ask.disks[0].format = "qcow2";
        assert_failed(scene, define(scene, &ask), ERROR_REFUSED,
                      "vda: the image refers to /etc/shadow, which no image that moves may do");
        assert_false(scene_exists(scene, "erp.raw"));
        assert_false(scene_defined(scene, SCENE_UUID));
}

static void a_domain_type_that_the_host_does_not_offer_is_refused(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_images(state, &ask);
        memcpy(strstr(ask.xml, "type='qemu'"), "type='kvm' ", 11);
        assert_failed(scene, define(scene, &ask), ERROR_REFUSED, "erp is of type kvm, which this host does not offer");
}

static void a_file_that_only_root_may_read_is_not_shown_to_a_guest(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_images(state, &ask);
        scene_write(scene, "secret", "root's own");
        _cleanup_(free_p) char *path = scene_path(scene, "secret");
        char *end = strstr(ask.xml, "</os>");
        char *xml = memory_format("%.*s<kernel>%s</kernel>%s", (int) (end - ask.xml), ask.xml, path, end);
        free(ask.xml);
        ask.xml = xml;
        ask.define.definition_xml.data = (uint8_t *) xml;
        ask.define.definition_xml.len = strlen(xml);
        assert_int_equal(define(scene, &ask), -1);
        assert_int_equal(scene->err.code, ERROR_REFUSED);
        _cleanup_(free_p) char *expected =
                memory_format("erp needs files that this host does not have, or not for everybody to read: %s", path);
        assert_string_equal(scene->err.message, expected);
        assert_false(scene_exists(scene, "erp.raw"));
}

static void a_file_that_took_the_name_meanwhile_is_not_replaced(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_images(state, &ask);
        scene_write(scene, "erp.raw", "theirs");
        assert_int_equal(define(scene, &ask), -1);
        assert_int_equal(scene->err.code, ERROR_CONFLICT);
        assert_true(scene_has(scene, "erp.raw", "theirs"));
        scene_must(scene, discard(scene));
        assert_true(scene_has(scene, "erp.raw", "theirs"));
        assert_false(scene_exists(scene, "erp-data.raw"));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
}

static void a_uuid_that_was_taken_meanwhile_is_neither_replaced_nor_removed(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_images(state, &ask);
        scene_define(scene, "web", SCENE_UUID, "52:54:00:ab:cd:ef", "");
        assert_failed(scene, define(scene, &ask), ERROR_CONFLICT,
                      "the UUID " SCENE_UUID " is in use here by the VM web");
        assert_int_equal(start(scene), -1);
        assert_string_equal(scene->err.message, "VM web on this host is not the one that job job1 made");
        scene_must(scene, discard(scene));
        assert_true(scene_defined(scene, SCENE_UUID));
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
}

static void a_discard_of_nothing_is_fine(void **state) {
        struct scene *scene = *state;
        scene_must(scene, discard(scene));
        assert_nothing(scene);
}

// Hundreds of MiB lie there when the agent dies while a guest's identity is emptied.
static void fault_10_what_a_reset_that_was_cut_short_left_goes_with_the_discard(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) char *directory = memory_format("%s/reset", scene->root);
        _cleanup_(free_p) char *within = memory_format("%s/root.img", directory);
        assert_int_equal(mkdir(directory, 0700), 0);
        assert_int_equal(mkdir(within, 0700), 0);
        scene_must(scene, custody_set_fact(&scene->custody, "reset-directory", directory, &scene->err));
        scene_must(scene, discard(scene));
        assert_int_equal(access(directory, F_OK), -1);
        assert_nothing(scene);
}

static void a_running_vm_of_this_job_is_discarded_whole(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_ask(state, &ask);
        place_and_start(scene, &ask);
        scene_must(scene, discard(scene));
        assert_nothing(scene);
        place(scene, &ask);
        assert_placed(scene);
}

static void a_file_put_in_the_place_of_ours_survives_the_discard(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_ask(state, &ask);
        place(scene, &ask);
        _cleanup_(free_p) char *path = scene_path(scene, "erp.raw");
        assert_int_equal(unlink(path), 0);
        scene_write(scene, "erp.raw", "theirs");
        scene_must(scene, discard(scene));
        assert_true(scene_has(scene, "erp.raw", "theirs"));
        assert_false(scene_exists(scene, "erp-data.raw"));
        assert_false(scene_defined(scene, SCENE_UUID));
}

// ---- broken off at each point ----

static void must_fail_at(struct scene *scene, const char *point, int status) {
        if (!scene_failed_at(scene, point))
                fail_msg("%s was not met", point);
        assert_int_equal(status, -1);
}

static const char *const reserve_points[] = {"agent.reserve.before-hold", "agent.reserve.done"};
static const char *const define_points[] = {"agent.define.before-publish", "agent.define.published",
                                            "agent.define.all-published",  "agent.define.before-define",
                                            "agent.define.defined",        "agent.define.done"};
static const char *const start_points[] = {"agent.start.before", "agent.start.started"};
static const char *const discard_points[] = {"agent.discard.before-destroy", "agent.discard.destroyed",
                                             "agent.discard.undefined",      "agent.discard.partial-removed",
                                             "agent.discard.removed",        "agent.discard.done"};

// Both ways on from each point: asked again, and discarded.
static void fault_10_a_placement_broken_off_anywhere_is_finished_or_undone(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_ask(state, &ask);
        for (unsigned i = 0; i < 2 * ARRAY_SIZE(reserve_points); i++) {
                scene_fail_at(scene, reserve_points[i / 2]);
                must_fail_at(scene, reserve_points[i / 2], reserve(scene, &ask));
                if (i % 2)
                        bring(scene, &ask);
                scene_must(scene, discard(scene));
                assert_nothing(scene);
        }
        for (unsigned i = 0; i < 2 * ARRAY_SIZE(define_points); i++) {
                bring(scene, &ask);
                scene_fail_at(scene, define_points[i / 2]);
                must_fail_at(scene, define_points[i / 2], define(scene, &ask));
                scene_must(scene, reserve(scene, &ask));
                if (i % 2) {
                        scene_must(scene, define(scene, &ask));
                        assert_placed(scene);
                }
                scene_must(scene, discard(scene));
                assert_nothing(scene);
        }
        for (unsigned i = 0; i < 2 * ARRAY_SIZE(start_points); i++) {
                place(scene, &ask);
                scene_fail_at(scene, start_points[i / 2]);
                must_fail_at(scene, start_points[i / 2], start(scene));
                if (i % 2) {
                        scene_must(scene, start(scene));
                        assert_true(scene_active(scene, SCENE_UUID));
                }
                scene_must(scene, discard(scene));
                assert_nothing(scene);
        }
}

static void fault_13_a_discard_broken_off_anywhere_is_finished(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_ask(state, &ask);
        for (unsigned i = 0; i < ARRAY_SIZE(discard_points); i++) {
                place_and_start(scene, &ask);
                scene_fail_at(scene, discard_points[i]);
                must_fail_at(scene, discard_points[i], discard(scene));
                scene_must(scene, discard(scene));
                assert_nothing(scene);
        }
}

static void fault_17_a_settling_broken_off_anywhere_only_goes_forward(void **state) {
        static const char *const points[] = {"agent.settle.before", "agent.settle.settled", "agent.settle.forgotten"};
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_ask(state, &ask);
        char jobs[ARRAY_SIZE(points)][8];
        for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
                snprintf(jobs[i], sizeof(jobs[i]), "job%u", i + 1);
                scene->custody.job = jobs[i];
                place(scene, &ask);
                scene_fail_at(scene, points[i]);
                must_fail_at(scene, points[i], settle(scene, true));
                scene_must(scene, settle(scene, true));
                assert_placed(scene);
                assert_int_equal(scene_holds(scene, NULL, 0), 0);
                assert_int_equal(discard(scene), -1);
                _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, SCENE_UUID);
                assert_int_equal(virDomainUndefine(domain), 0);
                _cleanup_(free_p) char *vda = scene_path(scene, "erp.raw"), *vdb = scene_path(scene, "erp-data.raw");
                assert_int_equal(unlink(vda), 0);
                assert_int_equal(unlink(vdb), 0);
        }
}

// ---- between the commit and the settling, which the source's retiring can hold up for days ----

static void assert_settled(struct scene *scene) {
        assert_int_equal(scene_holds(scene, NULL, 0), 0);
        assert_true(scene_has(scene, "erp.raw", "system"));
        assert_int_equal(discard(scene), -1);
        assert_string_equal(scene->err.message, "job job1 is committed: VM " SCENE_UUID " belongs to this host now");
        scene_must(scene, settle(scene, true));
}

static void a_vm_with_another_image_since_the_commit_is_settled(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_ask(state, &ask);
        place_and_start(scene, &ask);
        _cleanup_(free_p) char *overlay = scene_disk(scene, "vda", "erp.snapshot", "");
        scene_define(scene, "erp", SCENE_UUID, SCENE_MAC, overlay);
        scene_must(scene, settle(scene, true));
        assert_settled(scene);
        assert_starts_with_the_host(scene);
}

static void a_vm_that_was_undefined_since_the_commit_is_settled(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_ask(state, &ask);
        place_and_start(scene, &ask);
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, SCENE_UUID);
        assert_int_equal(virDomainDestroy(domain), 0);
        assert_int_equal(virDomainUndefine(domain), 0);
        scene_must(scene, settle(scene, true));
        assert_settled(scene);
        assert_false(scene_defined(scene, SCENE_UUID));
}

static void a_vm_that_was_undefined_while_it_runs_is_settled(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_ask(state, &ask);
        place_and_start(scene, &ask);
        _cleanup_(domain_free_p) virDomainPtr domain = scene_domain(scene, SCENE_UUID);
        assert_int_equal(virDomainUndefine(domain), 0);
        scene_must(scene, settle(scene, true));
        assert_settled(scene);
        assert_true(scene_active(scene, SCENE_UUID));
}

static void what_this_job_did_not_define_is_not_settled(void **state) {
        _cleanup_(ask_fini) struct ask ask;
        struct scene *scene = with_images(state, &ask);
        scene_define(scene, "web", SCENE_UUID, "52:54:00:ab:cd:ef", "");
        assert_failed(scene, settle(scene, true), ERROR_CONFLICT,
                      "job job1 has not defined VM " SCENE_UUID " on this host");
        scene_must(scene, discard(scene));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_set_up, scene_tear_down)
        const struct CMUnitTest tests[] = {
                TEST(a_vm_is_brought_started_and_settled),
                TEST(a_settled_vm_is_never_discarded),
                TEST(a_vm_takes_another_name_at_the_target),
                TEST(fault_70_name_and_mac_in_use_are_refused_together_with_the_rest),
                TEST(fault_70_a_uuid_in_use_is_refused),
                TEST(fault_71_room_is_counted_with_what_other_jobs_were_promised),
                TEST(fault_73_an_unknown_pool_is_refused_with_the_nearest_name),
                TEST(a_name_promised_to_another_job_is_refused),
                TEST(a_vm_comes_back_to_where_its_retired_copy_lies),
                TEST(fault_48_a_volume_with_a_slash_is_refused),
                TEST(what_was_not_reserved_is_not_opened),
                TEST(a_copy_that_begins_again_begins_empty),
                TEST(a_definition_of_another_vm_is_refused),
                TEST(fault_53_a_qcow2_that_refers_to_another_file_is_refused),
                TEST(a_domain_type_that_the_host_does_not_offer_is_refused),
                TEST(a_file_that_only_root_may_read_is_not_shown_to_a_guest),
                TEST(a_file_that_took_the_name_meanwhile_is_not_replaced),
                TEST(a_uuid_that_was_taken_meanwhile_is_neither_replaced_nor_removed),
                TEST(a_discard_of_nothing_is_fine),
                TEST(fault_10_what_a_reset_that_was_cut_short_left_goes_with_the_discard),
                TEST(a_running_vm_of_this_job_is_discarded_whole),
                TEST(a_file_put_in_the_place_of_ours_survives_the_discard),
                TEST(fault_10_a_placement_broken_off_anywhere_is_finished_or_undone),
                TEST(fault_13_a_discard_broken_off_anywhere_is_finished),
                TEST(fault_17_a_settling_broken_off_anywhere_only_goes_forward),
                TEST(a_vm_with_another_image_since_the_commit_is_settled),
                TEST(a_vm_that_was_undefined_since_the_commit_is_settled),
                TEST(a_vm_that_was_undefined_while_it_runs_is_settled),
                TEST(what_this_job_did_not_define_is_not_settled),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
