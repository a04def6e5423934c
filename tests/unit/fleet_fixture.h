// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A small fleet for tests of plans and of the runner: lyon/kvm1 with the running VM erp (two disks), nantes/kvm2 with
 * the VM crm, in a store of its own in the scratch directory. The real store, fleet and authority; only the hosts are
 * played.
 */
#include "common/memory.h"
#include "controller/authority/authority.h"
#include "controller/fleet/fleet.h"
#include "scratch.h"

#define LYON   "11111111-1111-4111-8111-111111111111"
#define NANTES "22222222-2222-4222-8222-222222222222"
#define ERP    "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
#define CRM    "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
#define GIB    (1ull << 30)

static struct store *store;
static struct fleet *fleet;
static struct authority *authority;
static struct fleet_host *lyon, *nantes;

static inline void must(int r, const struct error *err) {
        if (r < 0)
                fail_msg("%s", err->message);
}

static inline Drover__Disk *new_disk(const char *target, const char *format, uint64_t capacity) {
        Drover__Disk *disk = new (Drover__Disk);
        drover__disk__init(disk);
        disk->target = memory_string(target);
        disk->bus = memory_string("virtio");
        disk->device = memory_string("disk");
        disk->type = memory_string("file");
        disk->format = memory_string(format);
        disk->pool = memory_string("default");
        disk->volume = memory_format("erp-%s.%s", target, format);
        disk->path = memory_format("/var/lib/libvirt/images/erp-%s.%s", target, format);
        disk->capacity_bytes = capacity;
        disk->allocation_bytes = capacity / 4;
        disk->file_bytes = capacity / 4;
        return disk;
}

static inline Drover__Interface *new_interface(const char *mac, const char *bridge) {
        Drover__Interface *interface = new (Drover__Interface);
        drover__interface__init(interface);
        interface->mac = memory_string(mac);
        interface->type = memory_string("bridge");
        interface->source = memory_string(bridge);
        interface->model = memory_string("virtio");
        return interface;
}

static inline Drover__Domain *new_domain(const char *uuid, const char *name, const char *state, const char *mac) {
        Drover__Domain *domain = new (Drover__Domain);
        drover__domain__init(domain);
        domain->uuid = memory_string(uuid);
        domain->name = memory_string(name);
        domain->state = memory_string(state);
        domain->persistent = domain->autostart = true;
        domain->definition_sha256 = memory_string("d00d");
        domain->machine = memory_string("pc-q35-7.2");
        domain->domain_type = memory_string("qemu");
        domain->disks = new_array(Drover__Disk *, 8);
        domain->disks[domain->n_disks++] = new_disk("vda", "qcow2", 4 * GIB);
        domain->disks[domain->n_disks++] = new_disk("vdb", "raw", 1 * GIB);
        domain->interfaces = new_array(Drover__Interface *, 8);
        domain->interfaces[domain->n_interfaces++] = new_interface(mac, "br0");
        return domain;
}

static inline Drover__HostFacts *new_facts(void) {
        Drover__HostFacts *facts = new (Drover__HostFacts);
        drover__host_facts__init(facts);
        facts->libvirt_connected = true;
        facts->bridges = new_array(char *, 4);
        facts->bridges[facts->n_bridges++] = memory_string("br0");
        facts->bridges[facts->n_bridges++] = memory_string("br-dmz");
        facts->machine_types = new_array(char *, 4);
        facts->machine_types[facts->n_machine_types++] = memory_string("pc-q35-7.2");
        facts->domain_types = new_array(char *, 4);
        facts->domain_types[facts->n_domain_types++] = memory_string("qemu");
        return facts;
}

static inline Drover__Pool *new_pool(const char *name, uint64_t available) {
        Drover__Pool *pool = new (Drover__Pool);
        drover__pool__init(pool);
        pool->name = memory_string(name);
        pool->uuid = memory_format("cccccccc-cccc-4ccc-8ccc-%012zx", strlen(name));
        pool->type = memory_string("dir");
        pool->active = true;
        pool->capacity_bytes = 100 * GIB;
        pool->available_bytes = available;
        pool->path = memory_string("/var/lib/libvirt/images");
        return pool;
}

// The whole picture of a host: what it tells after it has connected. Takes over the domain.
static inline void tell_picture(struct fleet_host *host, Drover__Domain *domain, uint64_t available) {
        struct error err = ERROR_INIT;
        Drover__InventoryPart *part = new (Drover__InventoryPart);
        drover__inventory_part__init(part);
        part->generation = host->generation + 1;
        part->begin = part->end = true;
        part->facts = new_facts();
        part->pools = new_array(Drover__Pool *, 4);
        part->pools[part->n_pools++] = new_pool("default", available);
        part->pools[part->n_pools++] = new_pool("fast", available);
        part->domains = new_array(Drover__Domain *, 4);
        if (domain)
                part->domains[part->n_domains++] = domain;
        must(fleet_apply(fleet, host, part, &err), &err);
        proto_free(&part->base);
}

static inline void open_fleet(void) {
        struct error err = ERROR_INIT;
        const struct authority_config config = {.directory = scratch};
        must(store_open(scratch_path("controller.db"), &store, &err), &err);
        must(authority_open(&config, store, &authority, &err), &err);
        must(fleet_open(store, &system_clock, &fleet, &err), &err);
        lyon = fleet_host_by_uuid(fleet, LYON);
        nantes = fleet_host_by_uuid(fleet, NANTES);
}

static inline void close_fleet(void) {
        fleet_free(fleet);
        authority_free(authority);
        store_close(store);
}

static inline void add_host(const char *uuid, const char *site, const char *name) {
        struct error err = ERROR_INIT;
        struct store_host row = {.joined_at = 1};
        struct store_certificate certificate = {.kind = IDENTITY_HOST, .not_after = INT64_MAX};
        snprintf(row.uuid, sizeof(row.uuid), "%s", uuid);
        snprintf(row.site, sizeof(row.site), "%s", site);
        snprintf(row.name, sizeof(row.name), "%s", name);
        must(store_host_add(store, &row, &err), &err);
        memcpy(certificate.sha256, uuid, 32);
        snprintf(certificate.serial, sizeof(certificate.serial), "%.8s", uuid);
        snprintf(certificate.subject, sizeof(certificate.subject), "%s", uuid);
        must(store_certificate_add(store, &certificate, &err), &err);
        struct store_site site_row = {.timezone = "UTC"};
        snprintf(site_row.name, sizeof(site_row.name), "%s", site);
        must(fleet_site_put(fleet, &site_row, &err), &err);
        fleet_host_online(fleet, fleet_host_add(fleet, uuid, site, name), "192.0.2.1");
}

static inline int make_fleet(void **state) {
        static const char *const addresses[] = {"127.0.0.1:7443"};
        const struct authority_config config = {.directory = scratch};
        struct error err = ERROR_INIT;
        if (scratch_make(state) < 0)
                return -1;
        must(store_open(scratch_path("controller.db"), &store, &err), &err);
        must(authority_create(&config, store, "test", addresses, 1, &err), &err);
        store_close(store);
        open_fleet();
        add_host(LYON, "lyon", "kvm1");
        add_host(NANTES, "nantes", "kvm2");
        lyon = fleet_host_by_uuid(fleet, LYON);
        nantes = fleet_host_by_uuid(fleet, NANTES);
        tell_picture(lyon, new_domain(ERP, "erp", "running", "52:54:00:00:00:01"), 50 * GIB);
        tell_picture(nantes, new_domain(CRM, "crm", "shut off", "52:54:00:00:00:02"), 50 * GIB);
        return 0;
}

static inline int drop_fleet(void **state) {
        close_fleet();
        return scratch_remove(state);
}

#define FLEET_TEST(test) cmocka_unit_test_setup_teardown(test, make_fleet, drop_fleet)
