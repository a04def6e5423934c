// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* What the tests of the fleet share: a fleet on a store in the scratch directory, and parts of inventories. */
#include "controller.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "controller/fleet/fleet.h"

static struct store *store;
static struct fleet *fleet;

static inline int fleet_set_up(void **state) {
        if (scratch_make(state) < 0)
                return -1;
        hand_now = 1800000000;
        store = open_store("c.db");
        OK(fleet_open(store, &hand_clock, &fleet, err));
        return 0;
}

static inline int fleet_tear_down(void **state) {
        fleet_free(fleet);
        store_close(store);
        return scratch_remove(state);
}

static inline void fleet_restart(void) {
        fleet_free(fleet);
        store_close(store);
        store = open_store("c.db");
        OK(fleet_open(store, &hand_clock, &fleet, err));
}

// As a join does it: the store first.
static inline struct fleet_host *member(const char *uuid, const char *site, const char *name) {
        struct store_host host = {.joined_at = hand_now, .last_seen_at = hand_now};
        snprintf(host.uuid, sizeof(host.uuid), "%s", uuid);
        snprintf(host.site, sizeof(host.site), "%s", site);
        snprintf(host.name, sizeof(host.name), "%s", name);
        OK(store_host_add(store, &host, err));
        return fleet_host_add(fleet, uuid, site, name);
}

static inline Drover__Domain *domain_of(const char *uuid, const char *name, const char *at) {
        Drover__Domain *domain = new (Drover__Domain);
        drover__domain__init(domain);
        domain->uuid = memory_string(uuid);
        domain->name = memory_string(name);
        domain->state = memory_string(at);
        return domain;
}

static inline Drover__InventoryPart *part_of(uint64_t generation, uint64_t serial) {
        Drover__InventoryPart *part = new (Drover__InventoryPart);
        drover__inventory_part__init(part);
        part->generation = generation;
        part->serial = serial;
        return part;
}

static inline Drover__InventoryPart *whole_of(uint64_t generation) {
        Drover__InventoryPart *part = part_of(generation, 0);
        part->begin = part->end = true;
        return part;
}

static inline void with_domain(Drover__InventoryPart *part, const char *uuid, const char *name, const char *at) {
        part->domains = memory_grow(part->domains, part->n_domains + 1, sizeof(void *));
        part->domains[part->n_domains++] = domain_of(uuid, name, at);
}

// Applies and frees the part; gives what fleet_apply() gave.
static inline int apply(struct fleet_host *host, Drover__InventoryPart *part) {
        struct error err = ERROR_INIT;
        int result = fleet_apply(fleet, host, part, &err);
        if (result < 0)
                print_message("%s\n", err.message);
        proto_free(&part->base);
        return result;
}

#define REFUSED(host, part, code, message)                                                                             \
        do {                                                                                                           \
                Drover__InventoryPart *refused_part = (part);                                                          \
                FAILS(fleet_apply(fleet, (host), refused_part, err), (code), (message));                               \
                proto_free(&refused_part->base);                                                                       \
        } while (0)

// "erp=running web=shut off" in the order of the list.
static inline void expect_vms(const struct fleet_host *host, const char *expected) {
        char seen[1000] = "";
        for (size_t i = 0; i < host->n_vms; i++) {
                const Drover__Domain *domain = host->vms[i]->domain;
                snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), "%s%s=%s", i ? " " : "", domain->name,
                         domain->state);
                assert_ptr_equal(host->vms[i]->host, host);
        }
        assert_string_equal(seen, expected);
}

#define FLEET_TEST(test) cmocka_unit_test_setup_teardown(test, fleet_set_up, fleet_tear_down)
