// SPDX-License-Identifier: LGPL-2.1-or-later
/* Which disks of a VM are backed up and how, by its definition alone. */
#include "agent/host/live_disks.h"
#include "agent/host/disk_source.h"
#include "common/memory.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char definition[] =
        "<domain><devices>"
        "<disk type='file' device='disk'><driver type='qcow2'/><source file='/i/a.qcow2'/><target dev='vda'/></disk>"
        "<disk type='block' device='disk'><driver type='raw'/><source dev='/dev/b'/><target dev='vdb'/></disk>"
        "<disk type='file' device='cdrom'><driver type='raw'/><source file='/i/c.iso'/><target dev='sda'/></disk>"
        "<disk type='file' device='disk'><driver type='qcow2'/><source file='/i/d'/><target "
        "dev='vdd'/><readonly/></disk>"
        "<disk type='file' device='disk'><driver type='qcow2'/><source file='/i/e'/><target dev='vde'/></disk>"
        "</devices><seclabel model='apparmor'><label>libvirt-1</label></seclabel>"
        "<seclabel model='dac'><label>+64055:+109</label></seclabel></domain>";

static struct live_backup backup;

static xmlDoc *parse(const char *xml) {
        xmlDoc *doc = NULL;
        struct error err = ERROR_INIT;
        if (tree_parse("the definition", xml, strlen(xml), &doc, &err) < 0)
                fail_msg("%s", err.message);
        return doc;
}

static int set_up(void **state) {
        (void) state;
        memset(&backup, 0, sizeof backup);
        backup.directory = memory_string("/d/job");
        backup.socket = memory_string("/d/job/socket");
        strcpy(backup.checkpoint, "drover-5");
        _cleanup_(tree_free_p) xmlDoc *doc = parse(definition);
        return live_disks_read(xmlDocGetRootElement(doc), &backup.disks, &backup.n_disks, &backup.sources, NULL);
}

static int tear_down(void **state) {
        (void) state;
        free(backup.disks);
        free(backup.directory);
        free(backup.socket);
        free(backup.sources);
        return 0;
}

static void what_is_no_disk_of_its_own_is_left_out_and_said_so(void **state) {
        (void) state;
        assert_int_equal(backup.n_disks, 5);
        assert_false(backup.disks[0].left_out || backup.disks[1].left_out || backup.disks[4].left_out);
        assert_true(backup.disks[2].left_out && backup.disks[3].left_out);
        assert_string_equal(backup.disks[2].why, "a cdrom is left out");
        assert_string_equal(backup.disks[3].why, "what the VM can only read is left out");
}

static void another_medium_is_no_other_disk_but_another_image_is(void **state) {
        (void) state;
        _cleanup_(free_p) char *xml = memory_string(definition);
        for (unsigned i = 0; i < 2; i++) {
                _cleanup_(free_p) struct live_disk *disks = NULL;
                _cleanup_(free_p) char *sources = NULL;
                unsigned n;
                *strstr(xml, i == 0 ? "c.iso" : "a.qcow2") = 'x';
                _cleanup_(tree_free_p) xmlDoc *doc = parse(xml);
                assert_int_equal(live_disks_read(xmlDocGetRootElement(doc), &disks, &n, &sources, NULL), 0);
                assert_int_equal(strcmp(sources, backup.sources) == 0, i == 0);
        }
}

static char *source_of(const char *disk) {
        _cleanup_(tree_free_p) xmlDoc *doc = parse(disk);
        return disk_source_text(xmlDocGetRootElement(doc));
}

static void disks_of_the_network_and_of_pools_are_told_apart(void **state) {
        (void) state;
        static const char *const disks[] = {
                "<disk><source protocol='rbd' name='p/a'><host name='h'/></source></disk>",
                "<disk><source protocol='rbd' name='p/b'><host name='h'/></source></disk>",
                "<disk><source protocol='nbd' name='p/a'><host name='h'/></source></disk>",
                "<disk><source protocol='rbd' name='p/a'><host name='i'/></source></disk>",
                "<disk><source pool='p' volume='a'/></disk>",
                "<disk><source pool='p' volume='b'/></disk>",
                "<disk><source pool='q' volume='a'/></disk>",
                "<disk><source file='/a'/></disk>",
                "<disk><source dev='/a'/></disk>",
                "<disk/>",
        };
        for (unsigned i = 0; i < ARRAY_SIZE(disks); i++)
                for (unsigned k = 0; k < ARRAY_SIZE(disks); k++) {
                        _cleanup_(free_p) char *one = source_of(disks[i]), *other = source_of(disks[k]);
                        assert_int_equal(strcmp(one, other) == 0, i == k);
                }
}

static void a_disk_is_known_again_by_what_it_is_made_of(void **state) {
        (void) state;
        _cleanup_(tree_free_p) xmlDoc *doc = parse(definition), *none = parse("<domain/>");
        _cleanup_(free_p) char *xml = memory_string(definition);
        const xmlNode *then = xmlDocGetRootElement(doc);
        *strstr(xml, "vda") = 'x', *strstr(xml, "vde") = 'y'; // exchanged
        memcpy(strstr(xml, "xda"), "vde", 3), memcpy(strstr(xml, "yde"), "vda", 3);
        _cleanup_(tree_free_p) xmlDoc *exchanged = parse(xml);
        assert_true(disk_source_same(then, then, "vda"));
        assert_true(disk_source_same(then, xmlDocGetRootElement(exchanged), "vdb"));
        assert_false(disk_source_same(then, xmlDocGetRootElement(exchanged), "vda"));
        assert_false(disk_source_same(then, xmlDocGetRootElement(exchanged), "vde"));
        assert_false(disk_source_same(then, then, "vdz"));
        assert_false(disk_source_same(then, xmlDocGetRootElement(none), "vda"));
        assert_false(disk_source_same(NULL, then, "vda")); // a record that does not say
}

static void qemus_user_is_read_in_numbers(void **state) {
        (void) state;
        unsigned user, group;
        _cleanup_(tree_free_p) xmlDoc *doc = parse(definition);
        assert_true(live_disks_owner(xmlDocGetRootElement(doc), &user, &group));
        assert_int_equal(user, 64055);
        assert_int_equal(group, 109);
        _cleanup_(tree_free_p) xmlDoc *none = parse("<domain/>");
        assert_false(live_disks_owner(xmlDocGetRootElement(none), &user, &group));
}

static void each_disk_is_asked_for_in_its_own_way(void **state) {
        (void) state;
        static const struct checkpoint base = {.name = "drover-4", .number = 4, .n_good = 1, .good = {"vda"}};
        live_disks_plan(backup.disks, backup.n_disks, &base, false);
        _cleanup_(free_p) char *job = live_disks_backup_xml(&backup, "drover-4"),
                               *checkpoint = live_disks_checkpoint_xml(&backup);
        assert_string_equal(
                job,
                "<domainbackup mode=\"pull\">\n  <server transport=\"unix\" socket=\"/d/job/socket\"/>\n  <disks>\n"
                "    <disk name=\"vda\" backup=\"yes\" type=\"file\" backupmode=\"incremental\" exportname=\"vda\" "
                "incremental=\"drover-4\" exportbitmap=\"backup-vda\">\n      <scratch file=\"/d/job/vda\"/>\n    "
                "</disk>\n"
                "    <disk name=\"vdb\" backup=\"yes\" type=\"file\" backupmode=\"full\" exportname=\"vdb\">\n"
                "      <scratch file=\"/d/job/vdb\"/>\n    </disk>\n"
                "    <disk name=\"sda\" backup=\"no\"/>\n    <disk name=\"vdd\" backup=\"no\"/>\n"
                "    <disk name=\"vde\" backup=\"yes\" type=\"file\" backupmode=\"full\" exportname=\"vde\">\n"
                "      <scratch file=\"/d/job/vde\"/>\n    </disk>\n  </disks>\n</domainbackup>");
        assert_string_equal(checkpoint,
                            "<domaincheckpoint>\n  <name>drover-5</name>\n  <disks>\n    <disk name=\"vda\" "
                            "checkpoint=\"bitmap\"/>\n"
                            "    <disk name=\"vdb\" checkpoint=\"no\"/>\n    <disk name=\"sda\" checkpoint=\"no\"/>\n"
                            "    <disk name=\"vdd\" checkpoint=\"no\"/>\n    <disk name=\"vde\" "
                            "checkpoint=\"bitmap\"/>\n  </disks>\n"
                            "</domaincheckpoint>");
}

static void a_vm_with_snapshots_is_read_in_full(void **state) {
        (void) state;
        static const struct checkpoint base = {.name = "drover-4", .number = 4, .n_good = 1, .good = {"vda"}};
        live_disks_plan(backup.disks, backup.n_disks, &base, true);
        for (unsigned i = 0; i < backup.n_disks; i++)
                assert_false(backup.disks[i].incremental || backup.disks[i].checkpointed);
        assert_string_equal(backup.disks[0].why,
                            "read in full: a checkpoint would keep the VM from going back to its snapshots");
}

static void only_our_own_names_are_ours(void **state) {
        (void) state;
        uint64_t number = 0;
        assert_true(checkpoint_name_parse("drover-17", &number));
        assert_int_equal(number, 17);
        static const char *const others[] = {
                "drover-",   "drover-0",        "drover-01",
                "drover--1", "drover-1x",       "drover- 1",
                "drover1",   "virtnbdbackup.0", "drover-99999999999999999999",
                "",
        };
        for (unsigned i = 0; i < ARRAY_SIZE(others); i++)
                assert_false(checkpoint_name_parse(others[i], &number));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(what_is_no_disk_of_its_own_is_left_out_and_said_so, set_up, tear_down),
                cmocka_unit_test_setup_teardown(another_medium_is_no_other_disk_but_another_image_is, set_up,
                                                tear_down),
                cmocka_unit_test(disks_of_the_network_and_of_pools_are_told_apart),
                cmocka_unit_test(a_disk_is_known_again_by_what_it_is_made_of),
                cmocka_unit_test_setup_teardown(qemus_user_is_read_in_numbers, set_up, tear_down),
                cmocka_unit_test_setup_teardown(each_disk_is_asked_for_in_its_own_way, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_vm_with_snapshots_is_read_in_full, set_up, tear_down),
                cmocka_unit_test(only_our_own_names_are_ours),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
