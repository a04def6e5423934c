// SPDX-License-Identifier: LGPL-2.1-or-later
/* What a clone gets anew in its definition, and that it is the same whenever it is asked for. */
#include "agent/host/definition_identity.h"
#include "common/memory.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "scratch.h"

#define OLD   "11111111-2222-4333-8444-555555555555"
#define NEW   "6c1f8a8e-0f4e-4b3c-9d5e-0a1b2c3d4e5f"
#define THIRD "22222222-2222-4333-8444-555555555555"

static const char definition[] =
        "<domain type='kvm'><name>template</name><uuid>" OLD "</uuid><title>A template</title>"
        "<metadata><tag>kept</tag></metadata><genid>43dc0cf8-809b-4adb-9bea-a9abb5f3d90e</genid>"
        "<sysinfo type='smbios'><system><entry name='manufacturer'>Acme</entry><entry name='serial'>S-1</entry>"
        "<entry name='uuid'>" OLD "</entry></system><baseBoard><entry name='serial'>B-1</entry></baseBoard></sysinfo>"
        "<os><type>hvm</type></os><devices>"
        "<disk type='file' device='disk'><source file='/i/a'/><target dev='sda' bus='scsi'/><serial>D-1</serial>"
        "<wwn>5000c50015ea71ad</wwn></disk>"
        "<disk type='file' device='disk'><source file='/i/b'/><target dev='sdb' bus='scsi'/></disk>"
        "<interface type='bridge'><mac address='52:54:00:12:34:5A'/><source bridge='br0'/></interface>"
        "<graphics type='spice' port='5900' tlsPort='5901' autoport='no'/><vsock><cid auto='no' address='7'/></vsock>"
        "</devices></domain>";

static char *clone_of(const char *xml, const char *uuid, const char *mac, struct error *err) {
        Drover__NameMap map = DROVER__NAME_MAP__INIT, *maps[] = {&map};
        Drover__CloneIdentity identity = DROVER__CLONE_IDENTITY__INIT;
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        map.from = (char *) mac;
        map.to = "02:00:00:01:02:03";
        identity.uuid = (char *) uuid;
        identity.macs = maps;
        identity.n_macs = 1;
        assert_int_equal(tree_parse("it", xml, strlen(xml), &doc, err), 0);
        if (identity_apply(xmlDocGetRootElement(doc), &identity, err) < 0)
                return NULL;
        return tree_print(xmlDocGetRootElement(doc));
}

static char *clone(const char *uuid) {
        struct error err = ERROR_INIT;
        char *xml = clone_of(definition, uuid, "52:54:00:12:34:5a", &err);
        assert_non_null(xml);
        return xml;
}

static void nothing_of_the_old_identity_is_left(void **state) {
        (void) state;
        static const char *const gone[] = {OLD,     "43dc0cf8", "S-1",  "B-1",  "D-1",         "5000c50015ea71ad",
                                           "52:54", "5900",     "5901", "='7'", "auto=\"no\"", "autoport=\"no\""};
        _cleanup_(free_p) char *xml = clone(NEW);
        for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
                if (strstr(xml, gone[i]))
                        fail_msg("%s is still in %s", gone[i], xml);
        static const char *const there[] = {"<uuid>" NEW "</uuid>",
                                            "<entry name=\"uuid\">" NEW "</entry>",
                                            "<mac address=\"02:00:00:01:02:03\"/>",
                                            "<title>A template</title>",
                                            "<tag>kept</tag>",
                                            "<entry name=\"manufacturer\">Acme</entry>",
                                            "<cid auto=\"yes\"/>"};
        for (size_t i = 0; i < ARRAY_SIZE(there); i++)
                if (!strstr(xml, there[i]))
                        fail_msg("%s is not in %s", there[i], xml);
}

static void it_is_the_same_each_time_and_another_for_another_clone(void **state) {
        (void) state;
        _cleanup_(free_p) char *one = clone(NEW), *again = clone(NEW), *other = clone(THIRD);
        assert_string_equal(one, again);
        assert_string_not_equal(one, other);
        const char *serial = strstr(one, "<serial>");
        assert_non_null(serial);
        assert_int_equal(strcspn(serial + strlen("<serial>"), "<"), 20);
        assert_null(strstr(other, serial));
        const char *wwn = strstr(one, "<wwn>");
        assert_int_equal(wwn[strlen("<wwn>")], '3'); // locally assigned
        assert_int_equal(strcspn(wwn + strlen("<wwn>"), "<"), 16);
}

static void a_disk_without_numbers_gets_none(void **state) {
        (void) state;
        _cleanup_(free_p) char *xml = clone(NEW);
        const char *sdb = strstr(xml, "sdb");
        assert_null(strstr(sdb, "<serial>"));
        assert_null(strstr(sdb, "<wwn>"));
}

static void an_interface_without_a_new_address_is_refused(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        assert_null(clone_of(definition, NEW, "52:54:00:00:00:01", &err));
        assert_error(err, ERROR_REFUSED, "the interface 52:54:00:12:34:5A has no address of its own in the clone");
}

static void made_uuids_are_uuids(void **state) {
        (void) state;
        char one[NAME_UUID_LENGTH + 1], other[NAME_UUID_LENGTH + 1];
        identity_uuid(NEW, "generation", one);
        identity_uuid(NEW, "another", other);
        assert_int_equal(name_check_uuid(one, NULL), 0);
        assert_int_equal(one[14], '8');
        assert_string_not_equal(one, other);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(nothing_of_the_old_identity_is_left),
                cmocka_unit_test(it_is_the_same_each_time_and_another_for_another_clone),
                cmocka_unit_test(a_disk_without_numbers_gets_none),
                cmocka_unit_test(an_interface_without_a_new_address_is_refused),
                cmocka_unit_test(made_uuids_are_uuids),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
