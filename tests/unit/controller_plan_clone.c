// SPDX-License-Identifier: LGPL-2.1-or-later
/* Plans of clones: what a clone has of its own, and every reason why not, in exactly the words that people read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "plan_scene.h"

#include <strings.h>

static Drover__VmClone request;
static Drover__VmMove move;

static void new_request(const char *host, const char *name) {
        drover__vm_clone__init(&request);
        drover__vm_move__init(&move);
        request.move = &move;
        move.vm = (char *) "erp";
        move.host = (char *) host;
        move.new_name = (char *) name;
}

static void ask_beside(const struct plan_others *others) {
        struct error err = ERROR_INIT;
        must(plan_clone(fleet, &request, others, &plan, &err), &err);
}

static void ask(void) {
        ask_beside(NULL);
}

static void off(void) {
        set(&erp()->state, "shut off");
}

static void a_clone_has_a_uuid_macs_and_volumes_of_its_own(void **state) {
        (void) state;
        off();
        new_request("nantes/kvm2", "erp-test");
        ask();
        assert_int_equal(plan->n_refusals, 0);
        assert_true(plan->clone && !plan->start && !plan->autostart);
        assert_string_equal(plan->vm_uuid, ERP);
        assert_string_equal(plan->new_name, "erp-test");
        assert_int_equal(name_check_uuid(plan->identity->uuid, NULL), 0);
        assert_string_not_equal(plan->identity->uuid, ERP);
        assert_int_equal(plan->identity->n_macs, 1);
        assert_string_equal(plan->identity->macs[0]->from, "52:54:00:00:00:01");
        assert_memory_equal(plan->identity->macs[0]->to, "02:00:00:", 9);
        assert_string_equal(plan->macs[0], plan->identity->macs[0]->to);
        assert_string_equal(plan->disks[0]->volume, "erp-test-vda.qcow2");
        assert_string_equal(plan->disks[1]->volume, "erp-test-vdb.raw");
        assert_string_equal(plan->steps[plan->n_steps - 1]->name, "settle");
        done();
}

static void two_plans_differ_in_what_they_choose(void **state) {
        (void) state;
        char uuid[NAME_UUID_LENGTH + 1], mac[32];
        off();
        new_request("nantes/kvm2", "erp-test");
        ask();
        snprintf(uuid, sizeof(uuid), "%s", plan->identity->uuid);
        snprintf(mac, sizeof(mac), "%s", plan->macs[0]);
        done();
        ask();
        assert_string_not_equal(plan->identity->uuid, uuid);
        assert_string_not_equal(plan->macs[0], mac);
        done();
}

static unsigned macs_taken;
static bool take_some(const char *mac, void *data) {
        (void) data;
        assert_memory_equal(mac, "02:00:00:", 9);
        return macs_taken++ < 5;
}
static bool take_all(const char *mac, void *data) {
        (void) data;
        (void) mac;
        return true;
}
static const char *no_name(const char *host, const char *name, void *data) {
        (void) host;
        (void) data;
        return strcmp(name, "erp-taken") == 0 ? "abcdefghjk" : NULL;
}

static void fault_70_addresses_and_names_of_unfinished_jobs_are_taken_too(void **state) {
        (void) state;
        const struct plan_others some = {take_some, no_name, NULL}, all = {take_all, no_name, NULL};
        off();
        macs_taken = 0;
        new_request("nantes/kvm2", "erp-test");
        ask_beside(&some);
        assert_int_equal(macs_taken, 6);
        assert_int_equal(plan->n_refusals, 0);
        done();
        ask_beside(&all);
        assert_refusal(0, "mac-exists", "no free MAC address was found in 1000 tries", "");
        done();
        macs_taken = 0;
        new_request("nantes/kvm2", "erp-taken");
        ask_beside(&some);
        assert_refusal(0, "name-exists", "job abcdefghjk is bringing a VM named erp-taken to nantes/kvm2",
                       "the clone's name is the last part of SITE/HOST/NAME: choose another");
        done();
}

static void fault_70_a_name_that_exists_there_is_refused_the_originals_too(void **state) {
        (void) state;
        off();
        new_request("nantes/kvm2", "crm");
        ask();
        assert_int_equal(plan->n_refusals, 1);
        assert_refusal(0, "name-exists", "a VM named crm exists at nantes/kvm2",
                       "the clone's name is the last part of SITE/HOST/NAME: choose another");
        done();
        new_request("lyon/kvm1", "erp");
        ask();
        assert_int_equal(plan->n_refusals, 1);
        assert_refusal(0, "name-exists", "a VM named erp exists at lyon/kvm1",
                       "the clone's name is the last part of SITE/HOST/NAME: choose another");
        done();
}

static void a_clone_beside_its_original_takes_no_volume_of_it(void **state) {
        (void) state;
        off();
        set(&erp()->disks[0]->volume, "base.img");
        Drover__Pool *pool = lyon->pools[strcmp(lyon->pools[0]->name, "default") != 0];
        pool->volumes = new_array(char *, 2);
        pool->volumes[pool->n_volumes++] = memory_string("erp-2-vdb.raw");
        new_request("lyon/kvm1", "erp-2");
        ask();
        assert_int_equal(plan->n_refusals, 0);
        assert_string_equal(plan->disks[0]->volume, "erp-2-vda.qcow2");
        assert_string_equal(plan->disks[1]->volume, "erp-2-vdb.img");
        done();
}

static void fault_72_a_running_original_needs_leave_to_be_stopped_and_is_started_again(void **state) {
        (void) state;
        new_request("nantes/kvm2", "erp-test");
        ask();
        assert_int_equal(plan->n_refusals, 1);
        assert_refusal(0, "running", "it is running",
                       "--shutdown asks the guest to shut down first, --stop stops it hard");
        done();
        move.stop = DROVER__STOP_MODE__STOP_SHUTDOWN;
        ask();
        assert_int_equal(plan->n_refusals, 0);
        assert_string_equal(plan->steps[2]->name, "stop");
        assert_string_equal(plan->steps[plan->n_steps - 1]->name, "restart");
        assert_string_equal(plan->steps[plan->n_steps - 1]->text, "start erp again");
        plan_estimate(plan, 7);
        assert_int_equal(plan->estimated_seconds, 7 + 1 + 5); // with what stopping it takes, and all the rest
        assert_int_equal(plan->estimated_downtime_seconds, plan->estimated_seconds);
        done();
}

static void fault_71_a_clone_is_counted_by_what_it_can_grow_to(void **state) {
        (void) state;
        off();
        tell_picture(nantes, NULL, 3 * GIB);
        new_request("nantes/kvm2", "erp-test");
        ask();
        assert_int_equal(plan->n_refusals, 1);
        assert_refusal(0, "no-space", "its disks can grow to 5.0 GiB and pool default at nantes/kvm2 has 3.0 GiB free",
                       "--pool POOL chooses another pool, or make room there");
        done();
}

static void fault_71_a_clone_beside_its_original_leaves_free_what_its_host_keeps(void **state) {
        (void) state;
        off();
        new_request("lyon/kvm1", "erp-test");
        for (size_t i = 0; i < lyon->n_pools; i++)
                lyon->pools[i]->available_bytes = 5 * GIB;
        ask();
        assert_int_equal(plan->n_refusals, 0);
        done();
        for (size_t i = 0; i < lyon->n_pools; i++)
                lyon->pools[i]->spare_bytes = GIB / 4;
        ask();
        assert_int_equal(plan->n_refusals, 1);
        assert_refusal(
                0, "no-space",
                "its disks can grow to 5.0 GiB and pool default at lyon/kvm1 has 5.0 GiB free, of which 256.0 MiB "
                "stay free for the VMs there",
                "--pool POOL chooses another pool, or make room there");
        done();
}

static void fault_73_a_clone_is_refused_where_its_bridge_or_pool_is_not(void **state) {
        (void) state;
        off();
        set(&erp()->interfaces[0]->source, "br1");
        new_request("nantes/kvm2", "erp-test");
        move.pool = (char *) "fats";
        ask();
        assert_int_equal(plan->n_refusals, 3);
        assert_refusal(0, "no-pool", "vda: no pool fats at nantes/kvm2", "did you mean fast? --pool POOL chooses");
        assert_refusal(2, "no-bridge", "no bridge br1 at nantes/kvm2",
                       "did you mean br0? --bridge OLD=NEW maps it to another");
        done();
}

static void a_linked_clone_lies_over_images_of_its_own_host(void **state) {
        (void) state;
        off();
        new_request("lyon/kvm1", "erp-2");
        request.linked = true;
        ask();
        assert_int_equal(plan->n_refusals, 0);
        assert_int_equal(plan->bytes_to_copy, 0);
        assert_int_equal(plan->clone_mode, DROVER__CLONE_MODE__CLONE_LINKED);
        assert_string_equal(plan->disks[1]->backing_target, "vdb");
        assert_string_equal(plan->disks[1]->format, "qcow2");
        assert_string_equal(plan->disks[1]->source_format, "raw");
        assert_string_equal(plan->disks[1]->volume, "erp-2-vdb.qcow2");
        assert_string_equal(plan->steps[4]->name, "copy");
        assert_string_equal(plan->steps[4]->text,
                            "lay default/erp-2-vdb.qcow2 over the original's vdb (raw, 256.0 MiB)");
        done();
        new_request("nantes/kvm2", "erp-2");
        request.linked = true;
        ask();
        assert_int_equal(plan->n_refusals, 1);
        assert_refusal(0, "linked", "a linked clone lies over its original's images, and these are at lyon/kvm1",
                       "leave out --linked, or name lyon/kvm1/erp-2");
        done();
}

static void a_linked_clone_of_a_running_vm_is_refused_whatever_may_be_stopped(void **state) {
        (void) state;
        new_request("lyon/kvm1", "erp-2");
        request.linked = true;
        move.stop = DROVER__STOP_MODE__STOP_HARD;
        ask();
        assert_int_equal(plan->n_refusals, 1);
        assert_refusal(0, "running", "it is running, and a VM may not run while linked clones lie over its images",
                       "shut it down for good and keep it as a template, or leave out --linked");
        done();
}

static void add_obstacle(const char *code) {
        Drover__Obstacle *obstacle = new (Drover__Obstacle);
        drover__obstacle__init(obstacle);
        obstacle->code = memory_string(code);
        obstacle->message = memory_format("%s stands in the way", code);
        erp()->obstacles = memory_grow(erp()->obstacles, erp()->n_obstacles + 1, sizeof(void *));
        erp()->obstacles[erp()->n_obstacles++] = obstacle;
}

static void what_only_keeps_a_vm_from_leaving_is_no_obstacle_to_its_clones(void **state) {
        (void) state;
        off();
        add_obstacle("is-backing");
        add_obstacle("backing-chain");
        new_request("lyon/kvm1", "erp-2");
        ask();
        assert_int_equal(plan->n_refusals, 0);
        done();
        new_request("nantes/kvm2", "erp-2");
        ask();
        assert_int_equal(plan->n_refusals, 1);
        assert_refusal(0, "backing-chain", "backing-chain stands in the way",
                       "--format qcow2, or raw, makes it one image on the way");
        done();
        add_obstacle("managed-save");
        new_request("nantes/kvm2", "erp-2");
        move.format = (char *) "qcow2";
        ask();
        assert_int_equal(plan->n_refusals, 1);
        assert_string_equal(plan->disks[1]->volume, "erp-2-vdb.qcow2");
        assert_refusal(0, "managed-save", "managed-save stands in the way", "");
        done();
}

static void clones_share_their_original_and_a_move_does_not(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        Drover__VmMove leaving = DROVER__VM_MOVE__INIT;
        off();
        leaving.vm = (char *) "erp";
        leaving.host = (char *) "nantes/kvm2";
        fleet_clone_begin(fleet, ERP, "aaaaaaaaaa");
        fleet_clone_begin(fleet, ERP, "bbbbbbbbbb");
        new_request("nantes/kvm2", "erp-3");
        ask();
        assert_int_equal(plan->n_refusals, 0);
        done();
        assert_int_equal(plan_move(fleet, &leaving, &plan, &err), -1);
        assert_error(err, ERROR_CONFLICT, "erp is being cloned by job bbbbbbbbbb");
        fleet_clone_end(fleet, ERP);
        fleet_clone_end(fleet, ERP);
        assert_null(fleet_owner(fleet, ERP));
        must(plan_move(fleet, &leaving, &plan, &err), &err);
        done();
        fleet_hold(fleet, ERP, "cccccccccc"); // by a move
        assert_int_equal(plan_clone(fleet, &request, NULL, &plan, &err), -1);
        assert_error(err, ERROR_CONFLICT, "erp is held by job cccccccccc");
}

static void assert_malformed(const char *message) {
        struct error err = ERROR_INIT;
        assert_int_equal(plan_clone(fleet, &request, NULL, &plan, &err), -1);
        assert_error(err, ERROR_INVALID, message);
}

static void blocks_that_are_read_back_are_not_shared(void **state) {
        (void) state;
        off();
        new_request("lyon/kvm1", "erp-2");
        ask();
        assert_int_equal(plan->clone_mode, DROVER__CLONE_MODE__CLONE_MODE_AUTO);
        done();
        move.read_back = true;
        ask();
        assert_int_equal(plan->n_refusals, 0);
        assert_int_equal(plan->clone_mode, DROVER__CLONE_MODE__CLONE_COPY);
        done();
}

static void a_request_that_makes_no_sense_is_refused(void **state) {
        (void) state;
        off();
        new_request("lyon/kvm1", "");
        assert_malformed("a clone needs a name: SITE/HOST/NAME");
        request.move = NULL;
        assert_malformed("a clone needs a name: SITE/HOST/NAME");
        new_request("lyon/kvm1", "erp-2");
        request.linked = true;
        move.format = (char *) "raw";
        assert_malformed("--linked and --format exclude each other");
        new_request("lyon/kvm1", "erp-2");
        request.linked = true;
        move.read_back = true;
        assert_malformed("--linked copies nothing that --verify read-back could read");
        new_request("lyon/kvm1", "erp-2");
        move.purge_source = true;
        assert_malformed("a clone keeps its original: --purge-source is not for it");
}

static void fault_48_a_clones_name_is_checked_where_it_is_decoded(void **state) {
        (void) state;
        static const char *const bad[] = {"../erp", "a/b", "a\nb", "-rf", ".hidden", "\xff"};
        char longest[4097];
        struct error err = ERROR_INIT;
        off();
        memset(longest, 'n', sizeof(longest) - 1);
        longest[sizeof(longest) - 1] = '\0';
        for (size_t i = 0; i <= ARRAY_SIZE(bad); i++) {
                new_request("lyon/kvm1", i < ARRAY_SIZE(bad) ? bad[i] : longest);
                assert_int_equal(plan_clone(fleet, &request, NULL, &plan, &err), -1);
                assert_int_equal(err.code, ERROR_INVALID);
                assert_memory_equal(err.message, "the clone's name: ", 18);
        }
}

static void a_new_image_of_a_clone_holds_no_dirty_bitmaps_and_that_is_said(void **state) {
        (void) state;
        static const char text[] = "vda: 2 dirty bitmaps of erp stay with it: the clone's image is new and holds none";
        off();
        erp()->disks[0]->bitmaps = 2;
        new_request("lyon/kvm1", "erp-test"); // its image is a copy as it is
        ask();
        assert_int_equal(plan->n_warnings, 0);
        done();
        request.linked = true;
        ask();
        assert_int_equal(plan->n_warnings, 1);
        assert_string_equal(plan->warnings[0], text);
        done();
        request.linked = false;
        move.format = (char *) "raw";
        ask();
        assert_int_equal(plan->n_warnings, 1);
        assert_string_equal(plan->warnings[0], text);
        done();
}

static void tell_reset(struct fleet_host *host, const char *refusal, unsigned n_hints) {
        static const char *const hints[] = {"on the host: modprobe kvm_intel", "or: systemctl edit drover-agent"};
        Drover__IdentityResetFact *fact = new (Drover__IdentityResetFact);
        drover__identity_reset_fact__init(fact);
        fact->refusal = memory_string(refusal);
        fact->hints = new_array(char *, 2);
        while (fact->n_hints < n_hints) {
                fact->hints[fact->n_hints] = memory_string(hints[fact->n_hints]);
                fact->n_hints++;
        }
        proto_free((ProtobufCMessage *) host->facts->identity_reset);
        host->facts->identity_reset = fact;
}

static void a_host_that_cannot_open_guests_is_refused_for_an_identity_reset(void **state) {
        (void) state;
        off();
        new_request("nantes/kvm2", "erp-test");
        request.reset_identity = true;
        ask(); // an agent that does not tell
        assert_int_equal(plan->n_refusals, 0);
        done();
        tell_reset(nantes, "", 0);
        tell_reset(lyon, "guests cannot be opened here: for a reason", 0); // the original's host, which opens none
        ask();
        assert_int_equal(plan->n_refusals, 0);
        done();
        tell_reset(nantes, "guests cannot be opened here: there is no /dev/kvm", 2);
        ask();
        assert_int_equal(plan->n_refusals, 1);
        assert_refusal(0, "identity-reset",
                       "--reset-identity at nantes/kvm2: guests cannot be opened here: there is no /dev/kvm",
                       "on the host: modprobe kvm_intel; or: systemctl edit drover-agent; or leave out "
                       "--reset-identity");
        done();
        request.reset_identity = false;
        ask();
        assert_int_equal(plan->n_refusals, 0);
        done();
        new_request("lyon/kvm1", "erp-test");
        request.reset_identity = true;
        ask();
        assert_int_equal(plan->n_refusals, 1);
        assert_string_equal(plan->refusals[0]->hint, "leave out --reset-identity");
        done();
}

static void add_snapshot(const char *state) {
        Drover__Domain *domain = erp();
        Drover__Snapshot *snapshot = new (Drover__Snapshot);
        drover__snapshot__init(snapshot);
        snapshot->state = memory_string(state);
        domain->snapshots = memory_grow(domain->snapshots, domain->n_snapshots + 1, sizeof(*domain->snapshots));
        domain->snapshots[domain->n_snapshots++] = snapshot;
}

static void snapshots_that_the_clone_can_go_back_to_come_along_and_the_others_are_counted(void **state) {
        (void) state;
        off();
        add_snapshot("shut off");
        new_request("nantes/kvm2", "erp-test");
        ask();
        assert_int_equal(plan->n_warnings, 0);
        done();
        add_snapshot("running");
        ask();
        assert_int_equal(plan->n_warnings, 1);
        assert_string_equal(plan->warnings[0],
                            "1 snapshot of erp stays with it: taken while it ran, they would wake up "
                            "with its addresses");
        done();
}

static void new_images_hold_no_snapshots_and_that_is_said(void **state) {
        static const char text[] = "2 snapshots of erp stay with it: the clone's images are new and hold none";
        (void) state;
        off();
        add_snapshot("shut off");
        add_snapshot("running");
        new_request("lyon/kvm1", "erp-2");
        request.linked = true;
        ask();
        assert_int_equal(plan->n_warnings, 1);
        assert_string_equal(plan->warnings[0], text);
        done();
        new_request("nantes/kvm2", "erp-test");
        move.format = (char *) "raw";
        ask();
        assert_int_equal(plan->n_warnings, 1);
        assert_string_equal(plan->warnings[0], text);
        done();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                FLEET_TEST(a_clone_has_a_uuid_macs_and_volumes_of_its_own),
                FLEET_TEST(two_plans_differ_in_what_they_choose),
                FLEET_TEST(fault_70_addresses_and_names_of_unfinished_jobs_are_taken_too),
                FLEET_TEST(fault_70_a_name_that_exists_there_is_refused_the_originals_too),
                FLEET_TEST(a_clone_beside_its_original_takes_no_volume_of_it),
                FLEET_TEST(fault_72_a_running_original_needs_leave_to_be_stopped_and_is_started_again),
                FLEET_TEST(fault_71_a_clone_is_counted_by_what_it_can_grow_to),
                FLEET_TEST(fault_71_a_clone_beside_its_original_leaves_free_what_its_host_keeps),
                FLEET_TEST(fault_73_a_clone_is_refused_where_its_bridge_or_pool_is_not),
                FLEET_TEST(a_linked_clone_lies_over_images_of_its_own_host),
                FLEET_TEST(a_linked_clone_of_a_running_vm_is_refused_whatever_may_be_stopped),
                FLEET_TEST(what_only_keeps_a_vm_from_leaving_is_no_obstacle_to_its_clones),
                FLEET_TEST(clones_share_their_original_and_a_move_does_not),
                FLEET_TEST(blocks_that_are_read_back_are_not_shared),
                FLEET_TEST(a_request_that_makes_no_sense_is_refused),
                FLEET_TEST(fault_48_a_clones_name_is_checked_where_it_is_decoded),
                FLEET_TEST(a_new_image_of_a_clone_holds_no_dirty_bitmaps_and_that_is_said),
                FLEET_TEST(a_host_that_cannot_open_guests_is_refused_for_an_identity_reset),
                FLEET_TEST(snapshots_that_the_clone_can_go_back_to_come_along_and_the_others_are_counted),
                FLEET_TEST(new_images_hold_no_snapshots_and_that_is_said),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
