// SPDX-License-Identifier: LGPL-2.1-or-later
/* Plans with --format: which images are made anew, under which names, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan_scene.h"

static void ask(const char *format) {
        struct error err = ERROR_INIT;
        Drover__VmMove request = DROVER__VM_MOVE__INIT;
        request.vm = (char *) "erp";
        request.host = (char *) "nantes/kvm2";
        request.stop = DROVER__STOP_MODE__STOP_SHUTDOWN;
        request.format = (char *) format;
        must(plan_move(fleet, &request, &plan, &err), &err);
}

static void lay_over(Drover__Disk *disk, const char *below) {
        disk->backing_chain = new_array(char *, 1);
        disk->backing_chain[disk->n_backing_chain++] = memory_string(below);
        Drover__Obstacle *obstacle = new (Drover__Obstacle);
        drover__obstacle__init(obstacle);
        obstacle->code = memory_string("backing-chain");
        obstacle->message = memory_format("disk %s: its image depends on %s", disk->target, below);
        obstacle->hint = memory_string("virsh blockpull");
        erp()->obstacles = new_array(Drover__Obstacle *, 1);
        erp()->obstacles[erp()->n_obstacles++] = obstacle;
}

static void images_of_the_wanted_format_travel_as_they_are(void **state) {
        (void) state;
        ask("raw");
        assert_int_equal(plan->n_refusals, 0);
        assert_disk(0, "qcow2", "raw", "erp-vda.img");
        assert_disk(1, "", "raw", "erp-vdb.raw");
        done();
        ask("qcow2");
        assert_disk(0, "", "qcow2", "erp-vda.qcow2");
        assert_disk(1, "raw", "qcow2", "erp-vdb.qcow2");
        assert_string_equal(plan->steps[5]->text, "convert vdb (raw to qcow2, 256.0 MiB) to default/erp-vdb.qcow2");
        done();
        ask("keep");
        assert_disk(0, "", "qcow2", "erp-vda.qcow2");
        assert_disk(1, "", "raw", "erp-vdb.raw");
        done();
}

static void a_volume_without_a_known_ending_keeps_its_name(void **state) {
        (void) state;
        set(&erp()->disks[0]->volume, "data.2024");
        ask("raw");
        assert_disk(0, "qcow2", "raw", "data.2024");
        done();
}

static void a_vmdk_needs_a_format(void **state) {
        (void) state;
        set(&erp()->disks[1]->format, "vmdk");
        set(&erp()->disks[1]->volume, "erp-vdb.vmdk");
        ask("");
        assert_int_equal(plan->n_refusals, 1);
        assert_refusal(0, "format", "vdb: an image of format vmdk does not travel as it is, only qcow2 and raw do",
                       "--format qcow2, or raw, converts it on the way");
        done();
        ask("qcow2");
        assert_int_equal(plan->n_refusals, 0);
        assert_disk(1, "vmdk", "qcow2", "erp-vdb.qcow2");
        assert_int_equal(plan->disks[1]->allocation_bytes, GIB); // what is compressed grows
        done();
}

static void a_format_that_is_not_read_is_refused(void **state) {
        (void) state;
        set(&erp()->disks[1]->format, "vdi");
        ask("qcow2");
        assert_int_equal(plan->n_refusals, 1);
        assert_refusal(0, "format", "vdb: images of format vdi are not read, only raw, qcow2 and vmdk",
                       "convert it first: qemu-img convert -f vdi -O qcow2, with the VM off");
        done();
}

static void a_chain_is_flattened_only_when_asked(void **state) {
        (void) state;
        lay_over(erp()->disks[0], "/pool/base.qcow2");
        ask("keep");
        assert_int_equal(plan->n_refusals, 1);
        assert_refusal(0, "backing-chain", "disk vda: its image depends on /pool/base.qcow2",
                       "--format qcow2, or raw, makes it one image on the way; or: virsh blockpull");
        done();
        ask("qcow2");
        assert_int_equal(plan->n_refusals, 0);
        assert_disk(0, "qcow2", "qcow2", "erp-vda.qcow2");
        assert_int_equal(plan->disks[0]->allocation_bytes, 4 * GIB); // nobody knows how much lies below
        assert_true(plan->disks[0]->layered && !plan->disks[1]->layered);
        assert_int_equal(plan->n_warnings, 1);
        assert_string_equal(
                plan->warnings[0],
                "vda: /pool/base.qcow2, which it is laid over, stays at lyon/kvm1: other images may need it");
        done();
}

static void snapshots_in_an_image_that_would_be_lost_are_refused(void **state) {
        (void) state;
        take_snapshot();
        ask("keep");
        assert_int_equal(plan->n_refusals, 0);
        done();
        ask("raw");
        assert_int_equal(plan->n_refusals, 1);
        assert_refusal(0, "snapshot", "vda: 1 snapshot in the image would be lost in another format",
                       "--format keep, or: virsh snapshot-delete erp NAME");
        done();
        ask("qcow2"); // that disk stays as it is
        assert_int_equal(plan->n_refusals, 0);
        done();
}

static void dirty_bitmaps_that_are_lost_are_told(void **state) {
        (void) state;
        erp()->disks[0]->bitmaps = 2;
        ask("keep");
        assert_int_equal(plan->n_warnings, 0);
        assert_int_equal(plan->disks[0]->bitmaps, 2);
        done();
        ask("raw");
        assert_int_equal(plan->n_refusals, 0);
        assert_int_equal(plan->n_warnings, 1);
        assert_string_equal(plan->warnings[0],
                            "vda: its image is made anew, without its 2 dirty bitmaps: a backup that follows them has "
                            "to begin with all of it");
        done();
        erp()->disks[0]->bitmaps = 1;
        lay_over(erp()->disks[0], "/pool/base.qcow2");
        ask("qcow2"); // the same format, and another image
        assert_int_equal(plan->n_warnings, 2);
        assert_string_equal(plan->warnings[1],
                            "vda: its image is made anew, without its 1 dirty bitmap: a backup that follows them has "
                            "to begin with all of it");
        done();
}

static void fault_71_a_converted_image_counts_with_its_disk(void **state) {
        (void) state;
        erp()->disks[0]->file_bytes = 400 * GIB; // full of old snapshots and leaks
        ask("keep");
        assert_int_equal(plan->n_refusals, 1);
        done();
        ask("raw");
        assert_int_equal(plan->n_refusals, 0);
        done();
        tell_picture(nantes, NULL, 3 * GIB);
        ask("raw");
        assert_refusal(0, "no-space", "its disks can grow to 5.0 GiB and pool default at nantes/kvm2 has 3.0 GiB free",
                       "--pool POOL chooses another pool, or make room there");
        done();
}

static void fault_57_a_format_is_one_of_three_words(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        Drover__VmMove request = DROVER__VM_MOVE__INIT;
        request.vm = (char *) "erp";
        request.host = (char *) "nantes/kvm2";
        request.format = (char *) "qcow2,file.filename=/etc/shadow";
        assert_int_equal(plan_move(fleet, &request, &plan, &err), -1);
        assert_error(err, ERROR_INVALID, "--format qcow2,file.filename=/etc/shadow: it is keep, qcow2 or raw");
}

static void an_empty_image_is_not_converted(void **state) {
        (void) state;
        erp()->disks[1]->capacity_bytes = 0;
        ask("qcow2");
        assert_int_equal(plan->n_refusals, 1);
        assert_string_equal(plan->refusals[0]->message, "vdb: its image is empty, so there is nothing to convert");
        assert_string_equal(plan->refusals[0]->hint, "--format keep");
        done();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                FLEET_TEST(images_of_the_wanted_format_travel_as_they_are),
                FLEET_TEST(a_volume_without_a_known_ending_keeps_its_name),
                FLEET_TEST(a_vmdk_needs_a_format),
                FLEET_TEST(a_format_that_is_not_read_is_refused),
                FLEET_TEST(a_chain_is_flattened_only_when_asked),
                FLEET_TEST(snapshots_in_an_image_that_would_be_lost_are_refused),
                FLEET_TEST(dirty_bitmaps_that_are_lost_are_told),
                FLEET_TEST(fault_71_a_converted_image_counts_with_its_disk),
                FLEET_TEST(fault_57_a_format_is_one_of_three_words),
                FLEET_TEST(an_empty_image_is_not_converted),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
