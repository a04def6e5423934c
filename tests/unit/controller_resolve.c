// SPDX-License-Identifier: LGPL-2.1-or-later
/* Names as people type them, in a small fleet and in the largest one that is promised. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "fleet.h"
#include <time.h>

#define VM_1 "aaaaaaaa-0001-4000-8000-000000000001"
#define VM_2 "aaaaaaaa-0002-4000-8000-000000000002"
#define VM_3 "aaaaaaaa-0003-4000-8000-000000000003"
#define VM_4 "aaaaaaaa-0004-4000-8000-000000000004"

static void has_vm(struct fleet_host *host, const char *uuid, const char *name) {
        Drover__InventoryPart *part;
        if (host->generation == 0)
                assert_int_equal(apply(host, whole_of(1)), 0);
        part = part_of(1, host->serial + 1);
        with_domain(part, uuid, name, "running");
        assert_int_equal(apply(host, part), 0);
}

// lyon/kvm1: erp, web · lyon/kvm2: web · nantes/kvm1: mail
static void small_fleet(void) {
        struct fleet_host *lyon1 = member(UUID_1, "lyon", "kvm1"), *lyon2 = member(UUID_2, "lyon", "kvm2");
        struct fleet_host *nantes1 = member(UUID_3, "nantes", "kvm1");
        has_vm(lyon1, VM_1, "erp");
        has_vm(lyon1, VM_2, "web");
        has_vm(lyon2, VM_3, "web");
        has_vm(nantes1, VM_4, "mail");
}

static void is_vm(const char *text, const char *uuid) {
        struct fleet_vm *vm = NULL;
        OK(fleet_resolve_vm(fleet, text, &vm, err));
        assert_string_equal(vm->domain->uuid, uuid);
}

static void is_host(const char *text, const char *uuid) {
        struct fleet_host *host = NULL;
        OK(fleet_resolve_host(fleet, text, &host, err));
        assert_string_equal(host->uuid, uuid);
}

// `hints` are separated by "; ".
static void expect_error(const struct error *err, enum error_code code, const char *message, const char *hints) {
        char seen[ERROR_HINTS_MAX * (ERROR_HINT_MAX + 2)] = "";
        assert_error(*err, code, message);
        for (unsigned i = 0; i < err->n_hints; i++) {
                append(seen, sizeof(seen), i ? "; " : "");
                append(seen, sizeof(seen), err->hints[i]);
        }
        assert_string_equal(seen, hints);
}

static void no_vm(const char *text, enum error_code code, const char *message, const char *hints) {
        struct error err = ERROR_INIT;
        struct fleet_vm *vm = NULL;
        assert_int_equal(fleet_resolve_vm(fleet, text, &vm, &err), -1);
        assert_null(vm);
        expect_error(&err, code, message, hints);
}

static void no_host(const char *text, enum error_code code, const char *message, const char *hints) {
        struct error err = ERROR_INIT;
        struct fleet_host *host = NULL;
        assert_int_equal(fleet_resolve_host(fleet, text, &host, &err), -1);
        assert_null(host);
        expect_error(&err, code, message, hints);
}

static void any_unique_ending_names_a_vm(void **state) {
        (void) state;
        small_fleet();
        is_vm("lyon/kvm1/erp", VM_1);
        is_vm("kvm1/erp", VM_1);
        is_vm("erp", VM_1);
        is_vm("kvm2/web", VM_3);
        is_vm("lyon/kvm1/web", VM_2);
        is_vm("kvm1/web", VM_2); // there are two hosts kvm1, but one of them has no web
}

static void a_uuid_names_a_vm(void **state) {
        (void) state;
        small_fleet();
        is_vm(VM_3, VM_3);
        is_vm("AAAAAAAA-0003-4000-8000-000000000003", VM_3);
        no_vm(UUID_1, ERROR_NOT_FOUND, "no VM \"" UUID_1 "\"", "drover vm list");
}

static void an_ambiguous_name_lists_the_candidates(void **state) {
        (void) state;
        small_fleet();
        no_vm("web", ERROR_CONFLICT, "\"web\" is the name of 2 VMs", "lyon/kvm1/web; lyon/kvm2/web");
        has_vm(fleet_host_by_uuid(fleet, UUID_3), VM_1, "erp-copy"); // a careless copy
        no_vm(VM_1, ERROR_CONFLICT, "\"" VM_1 "\" is the name of 2 VMs", "lyon/kvm1/erp; nantes/kvm1/erp-copy");
}

static void of_many_candidates_the_first_eight_are_listed(void **state) {
        (void) state;
        for (unsigned i = 12; i-- > 0;) {
                _cleanup_(free_p) char *uuid = memory_format("%08x-0000-4000-8000-000000000000", i);
                _cleanup_(free_p) char *name = memory_format("kvm%02u", i * 7 % 12);
                has_vm(member(uuid, "lyon", name), uuid, "web");
        }
        no_vm("web", ERROR_CONFLICT, "\"web\" is the name of 12 VMs",
              "lyon/kvm00/web; lyon/kvm01/web; lyon/kvm02/web; lyon/kvm03/web; lyon/kvm04/web; lyon/kvm05/web; "
              "lyon/kvm06/web; lyon/kvm07/web");
}

static void a_mistyped_name_is_answered_with_the_near_ones(void **state) {
        (void) state;
        small_fleet();
        no_vm("erpp", ERROR_NOT_FOUND, "no VM \"erpp\"", "did you mean lyon/kvm1/erp?");
        no_vm("maill", ERROR_NOT_FOUND, "no VM \"maill\"", "did you mean nantes/kvm1/mail?");
        no_vm("lyno/kvm1/erp", ERROR_NOT_FOUND, "no VM \"lyno/kvm1/erp\"", "did you mean lyon/kvm1/erp?");
        no_vm("nantes/kvm1/erp", ERROR_NOT_FOUND, "no VM \"nantes/kvm1/erp\"", "did you mean lyon/kvm1/erp?");
        no_vm("kvm2/erp", ERROR_NOT_FOUND, "no VM \"kvm2/erp\"", "did you mean lyon/kvm1/erp?");
        no_vm("lyon/kvm1/wbe", ERROR_NOT_FOUND, "no VM \"lyon/kvm1/wbe\"",
              "did you mean lyon/kvm1/web?; did you mean lyon/kvm2/web?");
        no_vm("zzzzzz", ERROR_NOT_FOUND, "no VM \"zzzzzz\"", "drover vm list");
}

static void fault_48_what_is_no_name_is_refused(void **state) {
        (void) state;
        static const char hint[] = "write SITE/HOST/VM, an ending of it, or a UUID";
        char longest[4097], message[ERROR_MESSAGE_MAX];
        small_fleet();
        no_vm("", ERROR_INVALID, "\"\" is not the name of a VM", hint);
        no_vm("/erp", ERROR_INVALID, "\"/erp\" is not the name of a VM", hint);
        no_vm("erp/", ERROR_INVALID, "\"erp/\" is not the name of a VM", hint);
        no_vm("lyon//erp", ERROR_INVALID, "\"lyon//erp\" is not the name of a VM", hint);
        no_vm("a/lyon/kvm1/erp", ERROR_INVALID, "\"a/lyon/kvm1/erp\" is not the name of a VM", hint);
        no_vm("er\np", ERROR_NOT_FOUND, "no VM \"er?p\"", "did you mean lyon/kvm1/erp?");
        no_vm("../../etc", ERROR_NOT_FOUND, "no VM \"../../etc\"", "drover vm list");
        memset(longest, 'x', sizeof(longest));
        longest[sizeof(longest) - 1] = '\0';
        snprintf(message, sizeof(message), "no VM \"%.200s\"", longest);
        no_vm(longest, ERROR_NOT_FOUND, message, "drover vm list");
        no_host("a/b/c", ERROR_INVALID, "\"a/b/c\" is not the name of a host", "write SITE/HOST, such as lyon/kvm1");
}

static void hosts_are_named_likewise(void **state) {
        (void) state;
        small_fleet();
        is_host("lyon/kvm1", UUID_1);
        is_host("nantes/kvm1", UUID_3);
        is_host("kvm2", UUID_2);
        is_host(UUID_3, UUID_3);
        no_host("kvm1", ERROR_CONFLICT, "\"kvm1\" is the name of 2 hosts", "lyon/kvm1; nantes/kvm1");
        no_host("lyon/kvm9", ERROR_NOT_FOUND, "no host \"lyon/kvm9\"",
                "did you mean lyon/kvm1?; did you mean lyon/kvm2?");
        no_host("nantes/kvm2", ERROR_NOT_FOUND, "no host \"nantes/kvm2\"",
                "did you mean nantes/kvm1?; did you mean lyon/kvm2?");
        no_host("hypervisor", ERROR_NOT_FOUND, "no host \"hypervisor\"", "drover host list");
}

static void a_vm_under_way_is_found_where_it_is_shown(void **state) {
        (void) state;
        small_fleet();
        has_vm(fleet_host_by_uuid(fleet, UUID_3), VM_1, "erp");
        no_vm("erp", ERROR_CONFLICT, "\"erp\" is the name of 2 VMs", "lyon/kvm1/erp; nantes/kvm1/erp");
        OK(fleet_grant(fleet, VM_1, UUID_3, 2, err));
        fleet_hold(fleet, VM_1, "job1");
        struct fleet_vm *vm = NULL;
        OK(fleet_resolve_vm(fleet, "erp", &vm, err));
        assert_string_equal(vm->host->uuid, UUID_3);
        OK(fleet_resolve_vm(fleet, VM_1, &vm, err));
        assert_string_equal(vm->host->uuid, UUID_3);
        no_vm("lyon/kvm1/erp", ERROR_NOT_FOUND, "no VM \"lyon/kvm1/erp\"", "did you mean nantes/kvm1/erp?");
}

// ---- the largest fleet: 10,000 hosts and 200,000 VMs. Figures are printed; only what is found is asserted. ----
static double milliseconds(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double) now.tv_sec * 1e3 + (double) now.tv_nsec / 1e6;
}

static long resident_mib(void) {
        long pages = 0;
        FILE *file = fopen("/proc/self/statm", "r");
        if (file && fscanf(file, "%*d %ld", &pages) != 1)
                pages = 0;
        if (file)
                fclose(file);
        return pages * sysconf(_SC_PAGESIZE) >> 20;
}

// Two, for the figures; these say nothing under a sanitizer.
static void add_disks(Drover__Domain *domain, unsigned number) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        domain->disks = new_array(Drover__Disk *, 2);
        for (; domain->n_disks < 2; domain->n_disks++) {
                Drover__Disk *disk = domain->disks[domain->n_disks] = new (Drover__Disk);
                drover__disk__init(disk);
                disk->target = memory_string(domain->n_disks ? "vdb" : "vda");
                disk->bus = memory_string("virtio");
                disk->device = memory_string("disk");
                disk->type = memory_string("file");
                disk->format = memory_string("qcow2");
                disk->pool = memory_string("default");
                disk->volume = memory_format("vm%u-%zu.qcow2", number, domain->n_disks);
                disk->path = memory_format("/var/lib/libvirt/images/vm%u-%zu.qcow2", number, domain->n_disks);
                disk->capacity_bytes = 20ull << 30;
        }
#else
        (void) domain, (void) number;
#endif
}

// As rich as an ordinary one: two disks, an interface.
static void furnish(Drover__Domain *domain, unsigned number) {
        add_disks(domain, number);
        domain->interfaces = new_array(Drover__Interface *, 1);
        Drover__Interface *interface = domain->interfaces[domain->n_interfaces++] = new (Drover__Interface);
        drover__interface__init(interface);
        interface->mac = memory_format("52:54:00:%02x:%02x:%02x", number >> 16 & 255, number >> 8 & 255, number & 255);
        interface->type = memory_string("bridge");
        interface->source = memory_string("br0");
        interface->model = memory_string("virtio");
        domain->definition_sha256 = memory_format("%064x", number);
        domain->machine = memory_string("pc-q35-7.2");
        domain->domain_type = memory_string("kvm");
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define HOSTS 10000u
#else // a fifth, which takes a fifth of the time
#define HOSTS 2000u
#endif
#define VMS_PER_HOST 20u

static void fill_host(unsigned host_number) {
        _cleanup_(free_p) char *uuid = memory_format("%08x-aaaa-4000-8000-000000000000", host_number);
        _cleanup_(free_p) char *site = memory_format("site%03u", host_number / 50);
        _cleanup_(free_p) char *name = memory_format("kvm%u", host_number % 50);
        struct fleet_host *host = fleet_host_add(fleet, uuid, site, name);
        Drover__InventoryPart *part = whole_of(1);
        for (unsigned i = 0; i < VMS_PER_HOST; i++) {
                unsigned number = host_number * VMS_PER_HOST + i;
                _cleanup_(free_p) char *vm_uuid = memory_format("%08x-bbbb-4000-8000-000000000000", number);
                _cleanup_(free_p) char *vm_name = memory_format("server-%u", number);
                with_domain(part, vm_uuid, vm_name, "running");
                furnish(part->domains[i], number);
        }
        assert_int_equal(apply(host, part), 0);
}

static unsigned list_all(void) {
        size_t n;
        unsigned shown = 0;
        struct fleet_host *const *hosts = fleet_hosts(fleet, &n);
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < hosts[i]->n_vms; k++)
                        shown += fleet_vm_shown(fleet, hosts[i]->vms[k]) ? 1 : 0;
        return shown;
}

static void the_largest_fleet_is_listed_and_searched(void **state) {
        (void) state;
        double start = milliseconds();
        for (unsigned i = 0; i < HOSTS; i++)
                fill_host(i);
        print_message("%u hosts, %u VMs told: %.0f ms, %ld MiB resident\n", HOSTS, HOSTS * VMS_PER_HOST,
                      milliseconds() - start, resident_mib());
        fleet_hold(fleet, VM_1, "job1"); // one is held, so that the look-up of owners is not free
        start = milliseconds();
        assert_int_equal(list_all(), HOSTS * VMS_PER_HOST);
        print_message("one pass over all that is shown: %.1f ms\n", milliseconds() - start);
        start = milliseconds();
        for (unsigned i = 0; i < 1000; i++)
                is_vm("server-12345", "00003039-bbbb-4000-8000-000000000000");
        print_message("a name: %.4f ms\n", (milliseconds() - start) / 1000);
        start = milliseconds();
        no_vm("serer-12345", ERROR_NOT_FOUND, "no VM \"serer-12345\"",
              "did you mean site012/kvm17/server-12345?; did you mean site001/kvm11/server-1234?; "
              "did you mean site001/kvm11/server-1235?");
        print_message("a name that is not there: %.1f ms\n", milliseconds() - start);
        start = milliseconds();
        assert_true(fleet_mac_in_use(fleet, "52:54:00:00:9c:3f", NULL, NULL, NULL));
        print_message("a MAC address: %.1f ms\n", milliseconds() - start);
        start = milliseconds();
        OK(fleet_flush(fleet, err));
        print_message("all of it kept: %.0f ms\n", milliseconds() - start);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                FLEET_TEST(any_unique_ending_names_a_vm),
                FLEET_TEST(a_uuid_names_a_vm),
                FLEET_TEST(an_ambiguous_name_lists_the_candidates),
                FLEET_TEST(of_many_candidates_the_first_eight_are_listed),
                FLEET_TEST(a_mistyped_name_is_answered_with_the_near_ones),
                FLEET_TEST(fault_48_what_is_no_name_is_refused),
                FLEET_TEST(hosts_are_named_likewise),
                FLEET_TEST(a_vm_under_way_is_found_where_it_is_shown),
                FLEET_TEST(the_largest_fleet_is_listed_and_searched),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
