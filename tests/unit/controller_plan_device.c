// SPDX-License-Identifier: LGPL-2.1-or-later
/* Plans from block devices and into pools of type logical: formats, names of volumes, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan_scene.h"

static Drover__Pool *pool(struct fleet_host *host, const char *name) {
        for (size_t i = 0; i < host->n_pools; i++)
                if (strcmp(host->pools[i]->name, name) == 0)
                        return host->pools[i];
        fail_msg("no pool %s", name);
        return NULL;
}

// "fast" is a volume group at both hosts.
static void make_logical(void) {
        set(&pool(lyon, "fast")->type, "logical");
        set(&pool(nantes, "fast")->type, "logical");
}

static void make_device(unsigned disk, const char *from, const char *volume) {
        Drover__Disk *device = erp()->disks[disk];
        set(&device->type, "block");
        set(&device->format, "raw");
        set(&device->pool, from);
        set(&device->volume, volume);
        set(&device->path, *volume ? "/dev/vg/erp-vda" : "/dev/sdb");
        device->allocation_bytes = device->file_bytes = device->capacity_bytes;
}

static void take(struct fleet_host *host, const char *name, const char *volume) {
        Drover__Pool *taken = pool(host, name);
        taken->volumes = memory_grow(taken->volumes, taken->n_volumes + 1, sizeof(*taken->volumes));
        taken->volumes[taken->n_volumes++] = memory_string(volume);
}

static void ask(const char *to, const char *format) {
        struct error err = ERROR_INIT;
        Drover__VmMove request = DROVER__VM_MOVE__INIT;
        request.vm = (char *) "erp";
        request.host = (char *) "nantes/kvm2";
        request.stop = DROVER__STOP_MODE__STOP_SHUTDOWN;
        request.pool = (char *) to;
        request.format = (char *) format;
        request.purge_source = true;
        must(plan_move(fleet, &request, &plan, &err), &err);
}

static void ask_clone(const char *host, const char *to, bool linked) {
        struct error err = ERROR_INIT;
        Drover__VmMove move = DROVER__VM_MOVE__INIT;
        Drover__VmClone request = DROVER__VM_CLONE__INIT;
        set(&erp()->state, "shut off");
        move.vm = (char *) "erp";
        move.host = (char *) host;
        move.pool = (char *) to;
        move.new_name = (char *) "twin";
        request.move = &move;
        request.linked = linked;
        must(plan_clone(fleet, &request, NULL, &plan, &err), &err);
}

static void what_comes_to_a_logical_pool_is_raw(void **state) {
        (void) state;
        make_logical();
        ask("fast", "");
        assert_int_equal(plan->n_refusals, 0);
        assert_disk(0, "qcow2", "raw", "erp-vda");
        assert_disk(1, "", "raw", "erp-vdb");
        assert_string_equal(plan->steps[4]->text, "convert vda (qcow2 to raw, 1.0 GiB) to fast/erp-vda");
        done();
}

static void an_image_format_in_a_logical_pool_is_refused(void **state) {
        (void) state;
        make_logical();
        ask("fast", "qcow2");
        assert_int_equal(plan->n_refusals, 2);
        assert_refusal(0, "format", "vda: a logical volume holds a disk as it is (raw), not an image of format qcow2",
                       "leave out --format, or --pool POOL chooses a pool of files");
        done();
        ask("fast", "keep");
        assert_int_equal(plan->n_refusals, 1); // vdb is raw already
        done();
        ask("fast", "raw");
        assert_int_equal(plan->n_refusals, 0);
        done();
}

static void snapshots_do_not_fit_into_a_logical_pool(void **state) {
        (void) state;
        make_logical();
        take_snapshot();
        ask("fast", "");
        assert_refusal(0, "snapshot", "vda: 1 snapshot in the image would be lost in another format",
                       "--pool POOL chooses a pool of files, which keeps them, or: virsh snapshot-delete erp NAME");
        done();
}

static void a_device_becomes_an_image_with_the_ending_of_its_format(void **state) {
        (void) state;
        make_logical();
        make_device(0, "fast", "erp-root");
        make_device(1, "", "");
        ask("default", "");
        assert_int_equal(plan->n_refusals, 0);
        assert_disk(0, "", "raw", "erp-root.img");
        assert_disk(1, "", "raw", "erp-vdb.img"); // sdb says nothing
        assert_int_equal(plan->n_warnings, 1);
        assert_string_equal(plan->warnings[0],
                            "vdb: /dev/sdb is a volume of no pool at lyon/kvm1: it is left there as it "
                            "is, with its content");
        done();
        ask("default", "qcow2");
        assert_disk(0, "raw", "qcow2", "erp-root.qcow2");
        done();
}

static void a_volume_named_by_its_pool_is_carried(void **state) {
        (void) state;
        make_logical();
        make_device(0, "fast", "erp-root");
        set(&erp()->disks[0]->type, "volume");
        ask("default", "");
        assert_int_equal(plan->n_disks, 2);
        assert_disk(0, "", "raw", "erp-root.img");
        done();
}

// What was retired stands where it was.
static void a_name_that_is_taken_gets_a_number(void **state) {
        (void) state;
        make_logical();
        take(nantes, "fast", "erp-vda");
        ask("fast", "");
        assert_disk(0, "qcow2", "raw", "erp-vda-2");
        assert_int_equal(plan->n_refusals, 0);
        done();
}

static void a_logical_volume_has_a_name_that_lvm_knows(void **state) {
        (void) state;
        make_logical();
        set(&erp()->disks[0]->volume, "erp (old).qcow2");
        ask("fast", "");
        assert_disk(0, "qcow2", "raw", "erp__old_");
        done();
}

static void other_kinds_of_pools_take_no_disks(void **state) {
        (void) state;
        set(&pool(nantes, "fast")->type, "rbd");
        ask("fast", "");
        assert_refusal(0, "pool-type", "vda: pool fast at nantes/kvm2 is of type rbd, which takes no disks",
                       "--pool POOL chooses one of type dir, fs, netfs or logical");
        done();
}

static void fault_71_a_logical_pool_must_hold_all_of_a_disk(void **state) {
        (void) state;
        make_logical();
        pool(nantes, "fast")->available_bytes = 4 * GIB;
        ask("fast", "");
        assert_refusal(0, "no-space", "its disks can grow to 5.0 GiB and pool fast at nantes/kvm2 has 4.0 GiB free",
                       "--pool POOL chooses another pool, or make room there");
        done();
}

static void a_clone_becomes_a_volume_but_no_linked_one(void **state) {
        (void) state;
        make_logical();
        ask_clone("lyon/kvm1", "fast", false);
        assert_int_equal(plan->n_refusals, 0);
        assert_disk(0, "qcow2", "raw", "twin-vda");
        done();
        ask_clone("lyon/kvm1", "fast", true);
        assert_refusal(0, "linked", "vda: a linked clone is an image file, and pool fast holds logical volumes",
                       "leave out --linked, or --pool POOL chooses a pool of files");
        done();
        make_device(0, "fast", "erp-vda");
        ask_clone("lyon/kvm1", "default", true);
        assert_refusal(0, "linked",
                       "vda: /dev/vg/erp-vda is a block device, which cannot be kept from being written to while a "
                       "linked clone lies over it",
                       "leave out --linked");
        done();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                FLEET_TEST(what_comes_to_a_logical_pool_is_raw),
                FLEET_TEST(an_image_format_in_a_logical_pool_is_refused),
                FLEET_TEST(snapshots_do_not_fit_into_a_logical_pool),
                FLEET_TEST(a_device_becomes_an_image_with_the_ending_of_its_format),
                FLEET_TEST(a_volume_named_by_its_pool_is_carried),
                FLEET_TEST(a_name_that_is_taken_gets_a_number),
                FLEET_TEST(a_logical_volume_has_a_name_that_lvm_knows),
                FLEET_TEST(other_kinds_of_pools_take_no_disks),
                FLEET_TEST(fault_71_a_logical_pool_must_hold_all_of_a_disk),
                FLEET_TEST(a_clone_becomes_a_volume_but_no_linked_one),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
