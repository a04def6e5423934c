// SPDX-License-Identifier: LGPL-2.1-or-later
/* The fleet: pictures and deltas, their bounds, what is kept over a restart, owners and what is shown. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "fleet.h"

#define VM_1 "aaaaaaaa-0001-4000-8000-000000000001"
#define VM_2 "aaaaaaaa-0002-4000-8000-000000000002"
#define VM_3 "aaaaaaaa-0003-4000-8000-000000000003"

static struct fleet_host *online_host(void) {
        struct fleet_host *host = member(UUID_1, "lyon", "kvm1");
        fleet_host_online(fleet, host, "10.1.2.3:4567");
        return host;
}

static void with_pool(Drover__InventoryPart *part, const char *uuid, const char *name) {
        Drover__Pool *pool = new (Drover__Pool);
        drover__pool__init(pool);
        pool->uuid = memory_string(uuid);
        pool->name = memory_string(name);
        part->pools = memory_grow(part->pools, part->n_pools + 1, sizeof(void *));
        part->pools[part->n_pools++] = pool;
}

static void with_network(Drover__InventoryPart *part, const char *uuid, const char *name) {
        Drover__Network *network = new (Drover__Network);
        drover__network__init(network);
        network->uuid = memory_string(uuid);
        network->name = memory_string(name);
        part->networks = memory_grow(part->networks, part->n_networks + 1, sizeof(void *));
        part->networks[part->n_networks++] = network;
}

static void with_retired(Drover__InventoryPart *part, const char *job, const char *name) {
        Drover__Retired *retired = new (Drover__Retired);
        drover__retired__init(retired);
        retired->job = memory_string(job);
        retired->vm_name = memory_string(name);
        part->retired = memory_grow(part->retired, part->n_retired + 1, sizeof(void *));
        part->retired[part->n_retired++] = retired;
}

static void with_facts(Drover__InventoryPart *part, const char *agent, int64_t clock_at) {
        part->facts = new (Drover__HostFacts);
        drover__host_facts__init(part->facts);
        part->facts->agent_version = memory_string(agent);
        part->facts->clock_at = clock_at;
        part->facts->libvirt_connected = true;
}

static void with_removed(Drover__InventoryPart *part, const char *uuid) {
        part->removed_domains = memory_grow(part->removed_domains, part->n_removed_domains + 1, sizeof(char *));
        part->removed_domains[part->n_removed_domains++] = memory_string(uuid);
}

// ---- pictures and deltas ----
static void a_whole_picture_replaces_only_at_its_end(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        Drover__InventoryPart *part = whole_of(1);
        with_domain(part, VM_1, "erp", "running");
        with_domain(part, VM_2, "web", "running");
        assert_int_equal(apply(host, part), 0);
        expect_vms(host, "erp=running web=running");

        part = part_of(2, 0);
        part->begin = true;
        with_domain(part, VM_3, "mail", "running");
        assert_int_equal(apply(host, part), 0);
        assert_true(host->receiving);
        expect_vms(host, "erp=running web=running");
        part = part_of(2, 0);
        with_domain(part, VM_1, "erp", "shut off");
        assert_int_equal(apply(host, part), 0);
        expect_vms(host, "erp=running web=running");
        part = part_of(2, 0);
        part->end = true;
        assert_int_equal(apply(host, part), 0);
        assert_false(host->receiving);
        expect_vms(host, "erp=shut off mail=running");
        assert_null(fleet_vm_on(fleet, host, VM_2));
}

static void a_picture_that_is_cut_short_leaves_what_was_known(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        Drover__InventoryPart *part = whole_of(1);
        with_domain(part, VM_1, "erp", "running");
        assert_int_equal(apply(host, part), 0);
        part = part_of(2, 0);
        part->begin = true;
        with_domain(part, VM_2, "web", "running");
        assert_int_equal(apply(host, part), 0);
        fleet_host_offline(fleet, host);
        assert_false(host->receiving);
        expect_vms(host, "erp=running");
}

static void fault_26_a_picture_without_libvirt_leaves_what_was_known(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        Drover__InventoryPart *part = whole_of(1);
        with_domain(part, VM_1, "erp", "running");
        with_pool(part, VM_3, "default");
        assert_int_equal(apply(host, part), 0);
        part = whole_of(2);
        with_facts(part, "0.1.0", 0);
        part->facts->libvirt_connected = false;
        assert_int_equal(apply(host, part), 0);
        expect_vms(host, "erp=running");
        assert_int_equal(host->n_pools, 1);
        assert_false(host->facts->libvirt_connected);
}

static void a_picture_that_begins_again_forgets_its_first_half(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        Drover__InventoryPart *part = part_of(1, 0);
        part->begin = true;
        with_domain(part, VM_1, "erp", "running");
        assert_int_equal(apply(host, part), 0);
        part = whole_of(2);
        with_domain(part, VM_2, "web", "running");
        assert_int_equal(apply(host, part), 0);
        expect_vms(host, "web=running");
}

static void deltas_follow_one_another(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        Drover__InventoryPart *part = whole_of(5);
        with_domain(part, VM_1, "erp", "running");
        assert_int_equal(apply(host, part), 0);
        part = part_of(5, 1);
        with_domain(part, VM_2, "crm", "running");
        with_domain(part, VM_1, "zerp", "paused"); // renamed
        assert_int_equal(apply(host, part), 0);
        expect_vms(host, "crm=running zerp=paused");
        part = part_of(5, 2);
        with_removed(part, VM_2);
        with_removed(part, VM_3); // never there
        assert_int_equal(apply(host, part), 0);
        expect_vms(host, "zerp=paused");
        assert_int_equal(host->serial, 2);
}

static Drover__InventoryPart *delta_with(uint64_t generation, uint64_t serial) {
        Drover__InventoryPart *part = part_of(generation, serial);
        with_domain(part, VM_2, "web", "running");
        return part;
}

static void a_gap_asks_once_for_a_whole_picture(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        assert_int_equal(apply(host, delta_with(1, 1)), 1); // nothing has come yet
        assert_int_equal(apply(host, delta_with(1, 2)), 0);
        assert_int_equal(host->n_vms, 0);
        assert_int_equal(apply(host, whole_of(1)), 0);
        assert_int_equal(apply(host, delta_with(1, 2)), 1); // 1 is missing
        assert_int_equal(apply(host, delta_with(1, 1)), 0);
        assert_int_equal(host->n_vms, 0);
        assert_int_equal(apply(host, whole_of(2)), 0);
        assert_int_equal(apply(host, delta_with(1, 1)), 1); // of another generation
        assert_int_equal(apply(host, whole_of(3)), 0);
        assert_int_equal(apply(host, delta_with(3, 1)), 0);
        assert_int_equal(apply(host, delta_with(3, 1)), 1); // repeated
        expect_vms(host, "web=running");
}

static void a_delta_within_a_picture_is_a_gap(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        Drover__InventoryPart *part = part_of(1, 0);
        part->begin = true;
        assert_int_equal(apply(host, part), 0);
        assert_int_equal(apply(host, delta_with(1, 1)), 1);
        part = part_of(1, 0);
        part->end = true;
        assert_int_equal(apply(host, part), 0); // the rest of what was given up
        assert_int_equal(host->n_vms, 0);
        assert_int_equal(apply(host, delta_with(1, 1)), 0);
        assert_int_equal(host->n_vms, 0);
}

static void a_new_connection_begins_with_a_whole_picture(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        assert_int_equal(apply(host, whole_of(1)), 0);
        fleet_host_offline(fleet, host);
        fleet_host_online(fleet, host, "10.1.2.3:4568");
        assert_int_equal(apply(host, delta_with(1, 1)), 1);
}

static void pools_networks_and_retired_copies_are_kept(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        Drover__InventoryPart *part = whole_of(1);
        with_pool(part, VM_2, "fast");
        with_pool(part, VM_1, "default");
        with_network(part, VM_1, "lan");
        with_retired(part, "job1", "erp");
        with_retired(part, "job2", "web");
        with_facts(part, "0.1.0", hand_now + 7);
        assert_int_equal(apply(host, part), 0);
        assert_int_equal(host->n_pools, 2);
        assert_string_equal(host->pools[0]->name, "default");
        assert_int_equal(host->n_networks, 1);
        assert_int_equal(host->n_retired, 2);
        assert_string_equal(host->facts->agent_version, "0.1.0");
        assert_int_equal(host->clock_offset_seconds, 7);

        part = part_of(1, 1);
        part->removed_pools = new_array(char *, 1);
        part->removed_pools[part->n_removed_pools++] = memory_string(VM_1);
        part->removed_networks = new_array(char *, 1);
        part->removed_networks[part->n_removed_networks++] = memory_string(VM_1);
        part->retired_changed = true;
        with_retired(part, "job2", "web2");
        assert_int_equal(apply(host, part), 0);
        assert_int_equal(host->n_pools, 1);
        assert_string_equal(host->pools[0]->name, "fast");
        assert_int_equal(host->n_networks, 0);
        assert_int_equal(host->n_retired, 1);
        assert_string_equal(host->retired[0]->vm_name, "web2");
        assert_string_equal(host->facts->agent_version, "0.1.0"); // absent: unchanged

        part = part_of(1, 2);
        with_retired(part, "job3", "not the whole list");
        assert_int_equal(apply(host, part), 0);
        assert_int_equal(host->n_retired, 1);
        part = part_of(1, 3);
        part->retired_changed = true;
        assert_int_equal(apply(host, part), 0);
        assert_int_equal(host->n_retired, 0);
        assert_int_equal(apply(host, whole_of(2)), 0);
        assert_int_equal(host->n_pools, 0);
}

static char heard[500];

static void on_change(struct fleet_host *host, const char *vm_uuid, void *data) {
        assert_ptr_equal(data, heard);
        const char *what = !*vm_uuid ? "host" : fleet_vm_on(fleet, host, vm_uuid) ? "there" : "gone";
        snprintf(heard + strlen(heard), sizeof(heard) - strlen(heard), "%.13s%s%s ", vm_uuid, *vm_uuid ? ":" : "",
                 what);
}

static void changes_are_told_after_they_are_made(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        Drover__InventoryPart *part = whole_of(1);
        with_domain(part, VM_1, "erp", "running");
        fleet_on_change(fleet, on_change, heard);
        assert_int_equal(apply(host, part), 0);
        assert_string_equal(heard, "aaaaaaaa-0001:there host ");

        heard[0] = '\0';
        part = whole_of(2);
        with_domain(part, VM_1, "erp", "running"); // the same
        with_domain(part, VM_2, "web", "running");
        assert_int_equal(apply(host, part), 0);
        assert_string_equal(heard, "aaaaaaaa-0002:there host ");

        heard[0] = '\0';
        part = part_of(2, 1);
        with_removed(part, VM_2);
        assert_int_equal(apply(host, part), 0);
        assert_string_equal(heard, "aaaaaaaa-0002:gone ");

        heard[0] = '\0';
        fleet_host_offline(fleet, host);
        fleet_host_offline(fleet, host); // no change
        fleet_host_remove(fleet, UUID_1);
        assert_string_equal(heard, "host aaaaaaaa-0001:gone host ");
}

// ---- what a host may say ----
static void fault_48_a_vm_with_an_odd_name_is_left_out_and_the_others_stay(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        Drover__InventoryPart *part = whole_of(1);
        char longest[NAME_VM_MAX + 2];
        memset(longest, 'a', sizeof(longest));
        longest[sizeof(longest) - 1] = '\0';
        with_domain(part, VM_1, "../etc", "running");
        with_domain(part, VM_2, "comptabilité 2 été", "running"); // odd, but libvirt's right
        with_domain(part, VM_3, longest, "running");
        assert_int_equal(apply(host, part), 0);
        expect_vms(host, "comptabilité 2 été=running");
        assert_int_equal(host->n_skipped, 2);
        assert_string_equal(host->skipped_why, "VM name \"../etc\" begins with \".\"");

        part = part_of(1, 1);
        with_domain(part, VM_2, "-rf", "running"); // renamed to what cannot be shown
        with_domain(part, VM_1, "etc", "running"); // and the other way round
        assert_int_equal(apply(host, part), 0);
        expect_vms(host, "etc=running");
        assert_int_equal(host->n_skipped, 2);
        part = part_of(1, 2);
        with_domain(part, VM_2, "-rf", "shut off");
        with_removed(part, VM_3);
        assert_int_equal(apply(host, part), 0);
        assert_int_equal(host->n_skipped, 1);
        part = whole_of(2);
        with_pool(part, VM_1, "a/b");
        with_pool(part, VM_2, "good");
        assert_int_equal(apply(host, part), 0);
        assert_int_equal(host->n_skipped, 0);
        assert_int_equal(host->n_pools, 1);
}

static void fault_40_what_is_there_twice_is_refused(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        Drover__InventoryPart *part = whole_of(1);
        with_domain(part, VM_1, "erp", "running");
        assert_int_equal(apply(host, part), 0);

        part = whole_of(2);
        with_domain(part, VM_2, "web", "running");
        with_domain(part, VM_2, "web2", "running");
        REFUSED(host, part, ERROR_PROTOCOL, "the inventory of lyon/kvm1: VM " VM_2 " is there twice");
        part = whole_of(3);
        with_domain(part, VM_2, "..", "running");
        with_domain(part, VM_2, "web", "running");
        REFUSED(host, part, ERROR_PROTOCOL, "the inventory of lyon/kvm1: VM " VM_2 " is there twice");
        part = whole_of(4);
        with_pool(part, VM_2, "one");
        with_pool(part, VM_2, "two");
        REFUSED(host, part, ERROR_PROTOCOL, "the inventory of lyon/kvm1: Pool " VM_2 " is there twice");
        part = part_of(5, 0);
        part->begin = true;
        with_removed(part, VM_1);
        REFUSED(host, part, ERROR_PROTOCOL, "the inventory of lyon/kvm1: something is removed within a whole picture");
        assert_false(host->receiving);
        expect_vms(host, "erp=running");
}

static void fault_48_uuids_that_are_none_are_refused(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        Drover__InventoryPart *part = whole_of(1);
        with_domain(part, "../../x", "erp", "running");
        REFUSED(host, part, ERROR_INVALID,
                "the inventory of lyon/kvm1: a VM: \"../../x\" is not a UUID (8-4-4-4-12, lower case)");
        assert_int_equal(apply(host, whole_of(2)), 0);
        part = part_of(2, 1);
        with_network(part, "", "lan");
        REFUSED(host, part, ERROR_INVALID,
                "the inventory of lyon/kvm1: a network: \"\" is not a UUID (8-4-4-4-12, lower case)");
        part = whole_of(3);
        with_retired(part, "A/B", "erp");
        REFUSED(host, part, ERROR_INVALID,
                "the inventory of lyon/kvm1: a retired copy: \"A/B\" is not a job id (4 to 32 of a-z and 0-9)");
}

static char *numbered_uuid(unsigned number) {
        return memory_format("%08x-0000-4000-8000-000000000000", number);
}

static void with_many(Drover__InventoryPart *part, unsigned first, unsigned n) {
        part->domains = memory_grow(part->domains, part->n_domains + n, sizeof(void *));
        for (unsigned i = 0; i < n; i++) {
                _cleanup_(free_p) char *uuid = numbered_uuid(first + i), *name = memory_format("vm%u", first + i);
                part->domains[part->n_domains++] = domain_of(uuid, name, "running");
        }
}

static void fault_40_a_host_has_at_most_5000_vms(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        Drover__InventoryPart *part = whole_of(1);
        with_many(part, 0, 5000);
        assert_int_equal(apply(host, part), 0);
        assert_int_equal(host->n_vms, 5000);
        part = part_of(1, 1);
        with_many(part, 5000, 1);
        REFUSED(host, part, ERROR_TOO_LARGE, "the inventory of lyon/kvm1: more than 5000 VMs");
        part = whole_of(2);
        with_many(part, 0, 5001);
        REFUSED(host, part, ERROR_TOO_LARGE, "the inventory of lyon/kvm1: more than 5000 VMs");
        assert_int_equal(apply(host, whole_of(3)), 0);
        assert_int_equal(host->n_vms, 0);
}

static void fault_40_pools_are_bounded(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        Drover__InventoryPart *part = whole_of(1);
        for (unsigned i = 0; i <= 256; i++) {
                _cleanup_(free_p) char *uuid = numbered_uuid(i);
                with_pool(part, uuid, "pool");
        }
        REFUSED(host, part, ERROR_TOO_LARGE, "the inventory of lyon/kvm1: more than 256 of Pool");
}

static void fault_40_texts_are_bounded(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        Drover__InventoryPart *part = whole_of(1);
        _cleanup_(free_p) char *longest = memory_new(5001);
        memset(longest, 'x', 5000);
        with_domain(part, VM_1, "erp", "running");
        part->domains[0]->description = memory_string(longest);
        with_domain(part, VM_2, "web", longest);
        assert_int_equal(apply(host, part), 0);
        assert_int_equal(host->n_vms, 1);
        assert_int_equal(host->n_skipped, 1);
        assert_int_equal(strlen(host->vms[0]->domain->description), 1024);

        part = part_of(1, 1);
        with_facts(part, longest, 0);
        REFUSED(host, part, ERROR_TOO_LARGE, "the inventory of lyon/kvm1: its facts are beyond all bounds");
}

static void fault_40_the_whole_of_a_host_is_bounded(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        Drover__InventoryPart *part = whole_of(1);
        _cleanup_(free_p) char *text = memory_new(4097);
        memset(text, 'x', 4096);
        with_domain(part, VM_1, "erp", "running");
        Drover__Domain *domain = part->domains[0];
        domain->disks = new_array(Drover__Disk *, 1);
        domain->disks[domain->n_disks++] = new (Drover__Disk);
        drover__disk__init(domain->disks[0]);
        domain->disks[0]->backing_chain = new_array(char *, 9000);
        for (; domain->disks[0]->n_backing_chain < 9000; domain->disks[0]->n_backing_chain++)
                domain->disks[0]->backing_chain[domain->disks[0]->n_backing_chain] = memory_string(text);
        REFUSED(host, part, ERROR_TOO_LARGE, "the inventory of lyon/kvm1: its VMs take more than 32 MiB");
}

// ---- hosts and sites ----
static void hosts_are_in_the_order_of_site_and_name(void **state) {
        (void) state;
        size_t n;
        member(UUID_1, "nantes", "kvm1");
        member(UUID_2, "lyon", "kvm2");
        member(UUID_3, "lyon", "kvm1");
        struct fleet_host *const *hosts = fleet_hosts(fleet, &n);
        assert_int_equal(n, 3);
        assert_string_equal(hosts[0]->uuid, UUID_3);
        assert_string_equal(hosts[1]->uuid, UUID_2);
        assert_string_equal(hosts[2]->uuid, UUID_1);
        assert_ptr_equal(fleet_host_by_name(fleet, "lyon", "kvm2"), hosts[1]);
        assert_null(fleet_host_by_name(fleet, "lyon", "kvm3"));
        assert_ptr_equal(fleet_host_by_uuid(fleet, UUID_1), hosts[2]);
        assert_ptr_equal(fleet_host_add(fleet, UUID_1, "nantes", "kvm1"), hosts[2]);
        const struct store_site *sites = fleet_sites(fleet, &n);
        assert_int_equal(n, 2);
        assert_string_equal(sites[0].name, "lyon");
        assert_string_equal(sites[1].name, "nantes");
        fleet_host_remove(fleet, UUID_2);
        fleet_host_remove(fleet, UUID_2);
        hosts = fleet_hosts(fleet, &n);
        assert_int_equal(n, 2);
        assert_null(fleet_host_by_uuid(fleet, UUID_2));
}

static void an_address_is_kept_without_its_port(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        assert_string_equal(host->address, "10.1.2.3");
        fleet_host_online(fleet, host, "[fd00::1]:4567");
        assert_string_equal(host->address, "fd00::1");
        fleet_host_online(fleet, host, "fd00::2");
        assert_string_equal(host->address, "fd00::2");
        fleet_host_online(fleet, host, "10.1.2.3");
        assert_string_equal(host->address, "10.1.2.3");
}

static void a_host_is_offline_since_it_left(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        assert_true(host->online);
        assert_int_equal(host->offline_since, 0);
        hand_now += 10;
        fleet_host_seen(fleet, host);
        hand_now += 5;
        fleet_host_offline(fleet, host);
        assert_false(host->online);
        assert_int_equal(host->last_seen_at, 1800000010);
        assert_int_equal(host->offline_since, 1800000015);
}

static void sites_are_made_changed_and_removed(void **state) {
        (void) state;
        struct store_site lyon = {.name = "lyon", .timezone = "Europe/Paris"}, bad = {.name = "a/b"};
        size_t n;
        OK(fleet_site_put(fleet, &lyon, err));
        snprintf(lyon.timezone, sizeof(lyon.timezone), "UTC");
        OK(fleet_site_put(fleet, &lyon, err));
        FAILS(fleet_site_put(fleet, &bad, err), ERROR_INVALID, "site name \"a/b\" has a \"/\"");
        const struct store_site *sites = fleet_sites(fleet, &n);
        assert_int_equal(n, 1);
        assert_string_equal(sites[0].timezone, "UTC");
        member(UUID_1, "lyon", "kvm1");
        FAILS(fleet_site_remove(fleet, "lyon", err), ERROR_CONFLICT, "site lyon has 1 host");
        OK(store_host_remove(store, UUID_1, hand_now, err));
        fleet_host_remove(fleet, UUID_1);
        OK(fleet_site_remove(fleet, "lyon", err));
        fleet_sites(fleet, &n);
        assert_int_equal(n, 0);
}

// ---- over a restart ----
static void what_was_last_known_is_there_after_a_restart(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        Drover__InventoryPart *part = whole_of(1);
        with_domain(part, VM_1, "erp", "running");
        with_domain(part, VM_2, "web", "running");
        with_pool(part, VM_1, "default");
        with_network(part, VM_1, "lan");
        with_retired(part, "job1", "old");
        with_facts(part, "0.1.0", 0);
        assert_int_equal(apply(host, part), 0);
        OK(fleet_flush(fleet, err));
        part = part_of(1, 1);
        with_removed(part, VM_2);
        with_domain(part, VM_1, "erp", "paused");
        assert_int_equal(apply(host, part), 0);
        hand_now += 30;
        fleet_host_seen(fleet, host);
        fleet_host_offline(fleet, host);
        OK(fleet_flush(fleet, err));
        OK(fleet_flush(fleet, err)); // nothing is left to write

        hand_now += 1000;
        fleet_restart();
        host = fleet_host_by_uuid(fleet, UUID_1);
        assert_non_null(host);
        expect_vms(host, "erp=paused");
        assert_false(host->online);
        assert_int_equal(host->last_seen_at, 1800000030);
        assert_int_equal(host->offline_since, 1800000030);
        assert_int_equal(host->joined_at, 1800000000);
        assert_int_equal(host->n_pools, 1);
        assert_string_equal(host->networks[0]->name, "lan");
        assert_string_equal(host->retired[0]->job, "job1");
        assert_string_equal(host->facts->agent_version, "0.1.0");
        size_t n;
        assert_string_equal(fleet_sites(fleet, &n)[0].name, "lyon");
}

static void fault_19_a_flush_that_fails_is_made_good_by_the_next(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        Drover__InventoryPart *part = whole_of(1);
        with_domain(part, VM_1, "erp", "running");
        assert_int_equal(apply(host, part), 0);
        OK(store_begin(store, err)); // transactions do not nest
        struct error why = ERROR_INIT;
        assert_int_equal(fleet_flush(fleet, &why), -1);
        assert_int_equal(strncmp(why.message, "keep the inventory: ", 20), 0);
        store_rollback(store);
        OK(fleet_flush(fleet, err));
        fleet_restart();
        expect_vms(fleet_host_by_uuid(fleet, UUID_1), "erp=running");
}

static void a_row_that_cannot_be_read_is_dropped(void **state) {
        (void) state;
        member(UUID_1, "lyon", "kvm1");
        OK(store_inventory_put(store, UUID_1, STORE_DOMAIN, VM_1, "\xff\xff\xff", 3, err));
        OK(store_inventory_put(store, UUID_1, (enum store_item) 99, "x", "y", 1, err));
        OK(store_inventory_put(store, UUID_4, STORE_DOMAIN, VM_1, "", 0, err)); // of a host that is not there
        fleet_restart();
        assert_int_equal(fleet_host_by_uuid(fleet, UUID_1)->n_vms, 0);
        OK(fleet_flush(fleet, err));
}

static void last_seen_is_written_now_and_then(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        struct store_host stored;
        hand_now += 59;
        fleet_host_seen(fleet, host);
        OK(fleet_flush(fleet, err));
        assert_int_equal(store_host_get(store, UUID_1, &stored, NULL), 1);
        assert_int_equal(stored.last_seen_at, 1800000000);
        hand_now += 1;
        fleet_host_seen(fleet, host);
        OK(fleet_flush(fleet, err));
        assert_int_equal(store_host_get(store, UUID_1, &stored, NULL), 1);
        assert_int_equal(stored.last_seen_at, 1800000060);
}

static void fault_47_a_host_that_joins_again_has_no_vms(void **state) {
        (void) state;
        struct fleet_host *host = online_host();
        Drover__InventoryPart *part = whole_of(1);
        with_domain(part, VM_1, "erp", "running");
        assert_int_equal(apply(host, part), 0);
        OK(fleet_flush(fleet, err));
        OK(fleet_grant(fleet, VM_1, UUID_1, 1, err));
        OK(store_host_remove(store, UUID_1, hand_now, err));
        fleet_host_remove(fleet, UUID_1);
        OK(fleet_flush(fleet, err));
        host = member(UUID_2, "lyon", "kvm1");
        assert_int_equal(host->n_vms, 0);
        assert_null(host->facts);
        assert_string_equal(fleet_owner(fleet, VM_1)->host_uuid, UUID_1);
        fleet_restart();
        assert_int_equal(fleet_host_by_name(fleet, "lyon", "kvm1")->n_vms, 0);
        assert_null(fleet_host_by_uuid(fleet, UUID_1));
}

// ---- owners ----
static void fault_14_a_grant_needs_a_higher_epoch(void **state) {
        (void) state;
        assert_null(fleet_owner(fleet, VM_1));
        OK(fleet_grant(fleet, VM_1, UUID_1, 3, err));
        FAILS(fleet_grant(fleet, VM_1, UUID_2, 3, err), ERROR_STALE, "epoch 3 of VM " VM_1 " is not newer than 3");
        FAILS(fleet_grant(fleet, VM_1, UUID_2, 2, err), ERROR_STALE, "epoch 2 of VM " VM_1 " is not newer than 3");
        assert_string_equal(fleet_owner(fleet, VM_1)->host_uuid, UUID_1);
        OK(fleet_grant(fleet, VM_1, UUID_2, 4, err));
        FAILS(fleet_grant(fleet, "x", UUID_2, 5, err), ERROR_INVALID, "\"x\" is not a UUID (8-4-4-4-12, lower case)");
        fleet_restart();
        assert_string_equal(fleet_owner(fleet, VM_1)->host_uuid, UUID_2);
        assert_int_equal(fleet_owner(fleet, VM_1)->epoch, 4);
        assert_string_equal(fleet_owner(fleet, VM_1)->job, "");
}

static void a_hold_is_let_go(void **state) {
        (void) state;
        fleet_hold(fleet, VM_1, "job1");
        assert_string_equal(fleet_owner(fleet, VM_1)->job, "job1");
        assert_int_equal(fleet_owner(fleet, VM_1)->epoch, 0);
        fleet_hold(fleet, VM_1, "");
        assert_null(fleet_owner(fleet, VM_1));
        fleet_hold(fleet, VM_1, "");
        OK(fleet_grant(fleet, VM_1, UUID_1, 1, err));
        fleet_hold(fleet, VM_1, "job2");
        fleet_hold(fleet, VM_1, "");
        assert_int_equal(fleet_owner(fleet, VM_1)->epoch, 1);
        assert_string_equal(fleet_owner(fleet, VM_1)->job, "");
}

static void while_a_job_moves_a_vm_one_is_shown(void **state) {
        (void) state;
        struct fleet_host *source = member(UUID_1, "lyon", "kvm1"), *target = member(UUID_2, "nantes", "kvm1");
        struct fleet_vm *found[4];
        Drover__InventoryPart *part = whole_of(1);
        with_domain(part, VM_1, "erp", "shut off");
        assert_int_equal(apply(source, part), 0);
        OK(fleet_grant(fleet, VM_1, UUID_1, 1, err));
        fleet_hold(fleet, VM_1, "job1");
        assert_true(fleet_vm_shown(fleet, source->vms[0]));
        OK(fleet_grant(fleet, VM_1, UUID_2, 2, err));
        assert_true(fleet_vm_shown(fleet, source->vms[0])); // the new owner does not have it yet
        part = whole_of(1);
        with_domain(part, VM_1, "erp", "running");
        assert_int_equal(apply(target, part), 0);
        assert_int_equal(fleet_vms_by_uuid(fleet, VM_1, found, 4), 2);
        assert_int_equal(fleet_vms_by_uuid(fleet, VM_1, found, 1), 1);
        assert_false(fleet_vm_shown(fleet, source->vms[0]));
        assert_true(fleet_vm_shown(fleet, target->vms[0]));
        fleet_hold(fleet, VM_1, ""); // no job: who has a copy is told so
        assert_true(fleet_vm_shown(fleet, source->vms[0]));
}

static void fault_70_a_mac_address_in_use_is_found(void **state) {
        (void) state;
        struct fleet_host *one = member(UUID_1, "lyon", "kvm1"), *two = member(UUID_2, "lyon", "kvm2");
        struct fleet_vm *by = NULL;
        Drover__InventoryPart *part = whole_of(1);
        with_domain(part, VM_1, "erp", "running");
        Drover__Domain *domain = part->domains[0];
        domain->interfaces = new_array(Drover__Interface *, 1);
        domain->interfaces[domain->n_interfaces++] = new (Drover__Interface);
        drover__interface__init(domain->interfaces[0]);
        domain->interfaces[0]->mac = memory_string("52:54:00:ab:cd:ef");
        assert_int_equal(apply(one, part), 0);
        assert_true(fleet_mac_in_use(fleet, "52:54:00:AB:CD:EF", NULL, NULL, &by));
        assert_ptr_equal(by, one->vms[0]);
        assert_true(fleet_mac_in_use(fleet, "52:54:00:ab:cd:ef", one, VM_2, NULL));
        assert_false(fleet_mac_in_use(fleet, "52:54:00:ab:cd:ef", two, NULL, NULL));
        assert_false(fleet_mac_in_use(fleet, "52:54:00:ab:cd:ef", NULL, VM_1, NULL));
        assert_false(fleet_mac_in_use(fleet, "52:54:00:ab:cd:ee", NULL, NULL, NULL));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                FLEET_TEST(a_whole_picture_replaces_only_at_its_end),
                FLEET_TEST(a_picture_that_is_cut_short_leaves_what_was_known),
                FLEET_TEST(fault_26_a_picture_without_libvirt_leaves_what_was_known),
                FLEET_TEST(a_picture_that_begins_again_forgets_its_first_half),
                FLEET_TEST(deltas_follow_one_another),
                FLEET_TEST(a_gap_asks_once_for_a_whole_picture),
                FLEET_TEST(a_delta_within_a_picture_is_a_gap),
                FLEET_TEST(a_new_connection_begins_with_a_whole_picture),
                FLEET_TEST(pools_networks_and_retired_copies_are_kept),
                FLEET_TEST(changes_are_told_after_they_are_made),
                FLEET_TEST(fault_48_a_vm_with_an_odd_name_is_left_out_and_the_others_stay),
                FLEET_TEST(fault_40_what_is_there_twice_is_refused),
                FLEET_TEST(fault_48_uuids_that_are_none_are_refused),
                FLEET_TEST(fault_40_a_host_has_at_most_5000_vms),
                FLEET_TEST(fault_40_pools_are_bounded),
                FLEET_TEST(fault_40_texts_are_bounded),
                FLEET_TEST(fault_40_the_whole_of_a_host_is_bounded),
                FLEET_TEST(hosts_are_in_the_order_of_site_and_name),
                FLEET_TEST(an_address_is_kept_without_its_port),
                FLEET_TEST(a_host_is_offline_since_it_left),
                FLEET_TEST(sites_are_made_changed_and_removed),
                FLEET_TEST(what_was_last_known_is_there_after_a_restart),
                FLEET_TEST(fault_19_a_flush_that_fails_is_made_good_by_the_next),
                FLEET_TEST(a_row_that_cannot_be_read_is_dropped),
                FLEET_TEST(last_seen_is_written_now_and_then),
                FLEET_TEST(fault_47_a_host_that_joins_again_has_no_vms),
                FLEET_TEST(fault_14_a_grant_needs_a_higher_epoch),
                FLEET_TEST(a_hold_is_let_go),
                FLEET_TEST(while_a_job_moves_a_vm_one_is_shown),
                FLEET_TEST(fault_70_a_mac_address_in_use_is_found),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
