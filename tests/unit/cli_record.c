// SPDX-License-Identifier: LGPL-2.1-or-later
/* Records of the protocol as JSON: what is not known is null, and what is nothing is 0. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/record.h"

static void disks_that_nothing_is_known_of_have_no_allocation(void **state) {
        (void) state;
        Drover__VmRecord vm = DROVER__VM_RECORD__INIT;
        Drover__Domain domain = DROVER__DOMAIN__INIT;
        Drover__Disk disk = DROVER__DISK__INIT, *disks[] = {&disk};
        vm.domain = &domain;
        json_t *row = record_vm(&vm, false);
        assert_int_equal(json_integer_value(json_object_get(row, "disk_allocation_bytes")), 0);
        assert_true(json_is_integer(json_object_get(row, "disk_allocation_bytes")));
        json_decref(row);
        domain.disks = disks;
        domain.n_disks = 1;
        row = record_vm(&vm, false);
        assert_true(json_is_null(json_object_get(row, "disk_allocation_bytes")));
        json_decref(row);
        disk.allocation_bytes = 4096;
        row = record_vm(&vm, false);
        assert_int_equal(json_integer_value(json_object_get(row, "disk_allocation_bytes")), 4096);
        json_decref(row);
}

static void a_site_without_a_time_zone_goes_by_utc(void **state) {
        (void) state;
        Drover__SiteRecord site = DROVER__SITE_RECORD__INIT;
        json_t *row = record_site(&site);
        assert_string_equal(json_string_value(json_object_get(row, "timezone")), "UTC");
        json_decref(row);
        site.timezone = (char *) "Europe/Paris";
        row = record_site(&site);
        assert_string_equal(json_string_value(json_object_get(row, "timezone")), "Europe/Paris");
        json_decref(row);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(disks_that_nothing_is_known_of_have_no_allocation),
                cmocka_unit_test(a_site_without_a_time_zone_goes_by_utc),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
