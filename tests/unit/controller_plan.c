// SPDX-License-Identifier: LGPL-2.1-or-later
/* Plans of moves: what they hold, and every reason why not, at once, in exactly the words that people read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan_scene.h"

static Drover__VmMove request;

static void ask(void) {
        struct error err = ERROR_INIT;
        must(plan_move(fleet, &request, &plan, &err), &err);
}

static void new_request(void) {
        drover__vm_move__init(&request);
        request.vm = (char *) "erp";
        request.host = (char *) "nantes/kvm2";
        request.stop = DROVER__STOP_MODE__STOP_SHUTDOWN;
}

static void a_plan_says_where_each_disk_goes(void **state) {
        (void) state;
        new_request();
        ask();
        assert_int_equal(plan->n_refusals, 0);
        assert_int_equal(plan->n_disks, 2);
        assert_string_equal(plan->disks[0]->pool, "default");
        assert_string_equal(plan->disks[0]->volume, "erp-vda.qcow2");
        assert_string_equal(plan->disks[1]->volume, "erp-vdb.raw");
        assert_true(plan->was_running && plan->start && plan->autostart);
        assert_int_equal(plan->bytes_to_copy, 5 * GIB / 4);
        assert_string_equal(plan->target_bridges[0], "br0");
        assert_string_equal(plan->steps[plan->n_steps - 3]->name, "commit");
        done();
}

static void a_taken_volume_name_gives_another_one_and_a_warning(void **state) {
        (void) state;
        new_request();
        Drover__Pool *pool = nantes->pools[strcmp(nantes->pools[0]->name, "default") != 0];
        pool->volumes = new_array(char *, 2);
        pool->volumes[pool->n_volumes++] = memory_string("erp-vdb.raw");
        ask();
        assert_int_equal(plan->n_refusals, 0);
        assert_string_equal(plan->disks[1]->volume, "erp-vdb.img");
        assert_string_equal(
                plan->warnings[0],
                "vdb: volume erp-vdb.raw exists in pool default at nantes/kvm2; the copy will be named erp-vdb.img");
        done();
}

static void fault_70_a_name_uuid_or_mac_that_exists_there_is_refused(void **state) {
        (void) state;
        new_request();
        set(&fleet_vm_on(fleet, nantes, CRM)->domain->name, "erp");
        set(&fleet_vm_on(fleet, nantes, CRM)->domain->interfaces[0]->mac, "52:54:00:00:00:01");
        request.vm = (char *) ERP;
        ask();
        assert_int_equal(plan->n_refusals, 2);
        assert_refusal(0, "name-exists", "a VM named erp exists at nantes/kvm2",
                       "--as NAME gives it another name there");
        assert_refusal(1, "mac-exists", "its MAC address 52:54:00:00:00:01 is in use at nantes/kvm2, by erp",
                       "give one of the two another: virsh edit erp");
        done();
        tell_picture(nantes, new_domain(ERP, "old-erp", "shut off", "52:54:00:00:00:09"), 50 * GIB);
        request.vm = (char *) "lyon/kvm1/erp";
        ask();
        assert_int_equal(plan->n_refusals, 1);
        assert_refusal(0, "uuid-exists", "its UUID " ERP " exists at nantes/kvm2, as old-erp",
                       "if that is an old copy: virsh undefine old-erp, on that host");
        done();
}

static void fault_71_space_is_counted_by_what_the_disks_can_grow_to(void **state) {
        (void) state;
        new_request();
        tell_picture(nantes, NULL, 3 * GIB); // more than is allocated, less than the virtual sizes
        ask();
        assert_int_equal(plan->n_refusals, 1);
        assert_refusal(0, "no-space", "its disks can grow to 5.0 GiB and pool default at nantes/kvm2 has 3.0 GiB free",
                       "--pool POOL chooses another pool, or make room there");
        done();
}

static void set_spare(uint64_t bytes) {
        for (size_t i = 0; i < nantes->n_pools; i++)
                nantes->pools[i]->spare_bytes = bytes;
}

static void fault_71_what_a_host_keeps_free_of_a_pool_is_not_counted_on(void **state) {
        (void) state;
        new_request();
        tell_picture(nantes, NULL, 5 * GIB + GIB / 4);
        set_spare(GIB / 4);
        ask();
        assert_int_equal(plan->n_refusals, 0); // all of the rest, to the byte
        done();
        set_spare(GIB / 4 + 1);
        ask();
        assert_int_equal(plan->n_refusals, 1);
        assert_refusal(0, "no-space",
                       "its disks can grow to 5.0 GiB and pool default at nantes/kvm2 has 5.3 GiB free, of which "
                       "256.0 MiB stay free for the VMs there",
                       "--pool POOL chooses another pool, or make room there");
        done();
        tell_picture(nantes, NULL, GIB / 8); // less than is kept
        set_spare(GIB / 4);
        ask();
        assert_int_equal(plan->n_refusals, 1);
        done();
}

static void fault_71_disks_that_no_number_can_hold_together_are_refused(void **state) {
        (void) state;
        new_request();
        erp()->disks[0]->capacity_bytes = erp()->disks[1]->capacity_bytes = UINT64_MAX / 2 + 1;
        ask();
        assert_int_equal(plan->n_refusals, 1);
        assert_string_equal(plan->refusals[0]->code, "no-space");
        done();
}

static void fault_72_a_running_vm_is_refused_without_leave_to_stop_it(void **state) {
        (void) state;
        new_request();
        request.stop = DROVER__STOP_MODE__STOP_MODE_NONE;
        ask();
        assert_int_equal(plan->n_refusals, 1);
        assert_refusal(0, "running", "it is running",
                       "--shutdown asks the guest to shut down first, --stop stops it hard");
        done();
        set(&erp()->state, "paused");
        request.stop = DROVER__STOP_MODE__STOP_SHUTDOWN;
        ask();
        assert_refusal(0, "running", "it is paused and cannot shut itself down", "drover vm resume erp, or --stop");
        done();
}

static void fault_73_missing_bridges_pools_and_networks_are_refused_with_the_nearest_names(void **state) {
        (void) state;
        new_request();
        set(&erp()->interfaces[0]->source, "br1");
        request.pool = (char *) "fats";
        ask();
        assert_int_equal(plan->n_refusals, 3);
        assert_refusal(0, "no-pool", "vda: no pool fats at nantes/kvm2", "did you mean fast? --pool POOL chooses");
        assert_refusal(2, "no-bridge", "no bridge br1 at nantes/kvm2",
                       "did you mean br0? --bridge OLD=NEW maps it to another");
        done();
        set(&erp()->interfaces[0]->type, "network");
        request.pool = (char *) "";
        ask();
        assert_int_equal(plan->n_refusals, 1);
        assert_refusal(0, "no-network", "no network br1 at nantes/kvm2", "--bridge OLD=NEW maps it to another");
        done();
}

static void a_mapping_puts_an_interface_on_another_bridge(void **state) {
        (void) state;
        Drover__NameMap map = DROVER__NAME_MAP__INIT, *maps[] = {&map};
        new_request();
        request.bridges = maps;
        request.n_bridges = 1;
        map.from = (char *) "br0";
        map.to = (char *) "br-dmz";
        ask();
        assert_int_equal(plan->n_refusals, 0);
        assert_string_equal(plan->target_bridges[0], "br-dmz");
        done();
        map.from = (char *) "br7";
        ask();
        assert_refusal(0, "no-bridge", "--bridge br7=br-dmz: no interface of erp is on br7", "");
        done();
}

static void every_obstacle_is_told_at_once(void **state) {
        (void) state;
        new_request();
        Drover__Obstacle *obstacle = new (Drover__Obstacle);
        drover__obstacle__init(obstacle);
        obstacle->code = memory_string("hostdev");
        obstacle->message = memory_string("it uses the host's device 0000:03:00.0");
        obstacle->hint = memory_string("virsh detach-device");
        erp()->obstacles = new_array(Drover__Obstacle *, 1);
        erp()->obstacles[erp()->n_obstacles++] = obstacle;
        set(&erp()->disks[1]->format, "vdi");
        request.stop = DROVER__STOP_MODE__STOP_MODE_NONE;
        fleet_host_offline(fleet, nantes);
        ask();
        assert_int_equal(plan->n_refusals, 4);
        assert_string_equal(plan->refusals[0]->code, "host-offline");
        assert_refusal(1, "running", "it is running",
                       "--shutdown asks the guest to shut down first, --stop stops it hard");
        assert_refusal(2, "hostdev", "it uses the host's device 0000:03:00.0", "virsh detach-device");
        assert_refusal(3, "format", "vdb: an image of format vdi does not travel as it is, only qcow2 and raw do",
                       "convert it first: qemu-img convert -f vdi -O qcow2, with the VM off");
        struct error err = ERROR_INIT;
        assert_int_equal(plan_refused(plan, &err), -1);
        assert_int_equal(err.code, ERROR_REFUSED);
        assert_int_equal(err.n_hints, 4);
        done();
}

static void a_platform_that_the_target_lacks_is_refused(void **state) {
        (void) state;
        new_request();
        set(&erp()->machine, "pc-q35-9.0");
        set(&erp()->loader, "/usr/share/OVMF/OVMF_CODE.fd");
        set(&erp()->domain_type, "kvm");
        ask();
        assert_int_equal(plan->n_refusals, 3);
        assert_string_equal(plan->refusals[0]->message,
                            "the emulator at nantes/kvm2 does not know machine type pc-q35-9.0");
        assert_string_equal(plan->refusals[1]->message,
                            "firmware /usr/share/OVMF/OVMF_CODE.fd is not installed at nantes/kvm2");
        assert_string_equal(plan->refusals[2]->message, "nantes/kvm2 offers no domains of type kvm");
        done();
}

static void a_held_vm_is_a_conflict(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        new_request();
        must(fleet_grant(fleet, ERP, LYON, 1, &err), &err);
        fleet_hold(fleet, ERP, "abcdef");
        assert_int_equal(plan_move(fleet, &request, &plan, &err), -1);
        assert_error(err, ERROR_CONFLICT, "erp is held by job abcdef");
}

static void its_own_host_is_no_target(void **state) {
        (void) state;
        new_request();
        request.host = (char *) "lyon/kvm1";
        ask();
        assert_int_equal(plan->n_refusals, 1);
        assert_refusal(0, "same-host", "it is on lyon/kvm1 already", "");
        done();
}

static void fault_48_names_in_a_request_are_checked_where_they_are_decoded(void **state) {
        (void) state;
        static const char *const bad[] = {"../etc", "a/b", "-rf", "a\nb"};
        for (unsigned i = 0; i < 4; i++) {
                struct error err = ERROR_INIT;
                new_request();
                request.new_name = (char *) bad[i];
                assert_int_equal(plan_move(fleet, &request, &plan, &err), -1);
                assert_int_equal(err.code, ERROR_INVALID);
                new_request();
                request.pool = (char *) bad[i];
                assert_int_equal(plan_move(fleet, &request, &plan, &err), -1);
                assert_int_equal(err.code, ERROR_INVALID);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                FLEET_TEST(a_plan_says_where_each_disk_goes),
                FLEET_TEST(a_taken_volume_name_gives_another_one_and_a_warning),
                FLEET_TEST(fault_70_a_name_uuid_or_mac_that_exists_there_is_refused),
                FLEET_TEST(fault_71_space_is_counted_by_what_the_disks_can_grow_to),
                FLEET_TEST(fault_71_what_a_host_keeps_free_of_a_pool_is_not_counted_on),
                FLEET_TEST(fault_71_disks_that_no_number_can_hold_together_are_refused),
                FLEET_TEST(fault_72_a_running_vm_is_refused_without_leave_to_stop_it),
                FLEET_TEST(fault_73_missing_bridges_pools_and_networks_are_refused_with_the_nearest_names),
                FLEET_TEST(a_mapping_puts_an_interface_on_another_bridge),
                FLEET_TEST(every_obstacle_is_told_at_once),
                FLEET_TEST(a_platform_that_the_target_lacks_is_refused),
                FLEET_TEST(a_held_vm_is_a_conflict),
                FLEET_TEST(its_own_host_is_no_target),
                FLEET_TEST(fault_48_names_in_a_request_are_checked_where_they_are_decoded),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
