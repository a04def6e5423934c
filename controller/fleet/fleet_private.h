// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What the files of this folder share, and nobody else sees. A VM is a heap node {host, domain}, to which the indexes
 * and host->vms point. The node stays where it is for as long as the host has the VM; its domain is replaced at every
 * change.
 */
#include "controller/fleet/fleet.h"
#include "controller/fleet/index.h"

// What one host may say of itself. Beyond these a host breaks the rules.
#define FLEET_DOMAINS_MAX  5000u
#define FLEET_POOLS_MAX    256u
#define FLEET_NETWORKS_MAX 1024u
#define FLEET_RETIRED_MAX  1024u
#define FLEET_BYTES_MAX    (32u << 20) // of packed domains
// What one domain, pool or network may hold; one that has more is left out.
#define FLEET_TEXT_MAX     4096u
#define FLEET_LIST_MAX     16384u
#define FLEET_REMARK_MAX   1024u // title and description are cut
#define FLEET_SEEN_SECONDS 60    // how often last_seen_at is written

// Pools, networks and retired copies are short lists that are handled alike: messages with a key, in the order of keys.
enum shelf_kind { SHELF_POOLS, SHELF_NETWORKS, SHELF_RETIRED, SHELF_KINDS };
struct shelf {
        ProtobufCMessage **items;
        size_t n;
};

// A whole picture under way: what it replaces stays until its end.
struct picture {
        uint64_t generation;
        Drover__HostFacts *facts;
        struct index *domains; // by UUID: Drover__Domain*, owned
        struct index *skipped; // by UUID: the text itself, owned
        size_t bytes, left_out;
        struct error why; // why the first thing was left out
        struct shelf shelves[SHELF_KINDS];
};

// Something that the store does not have yet. The key is also the index's.
struct fleet_change {
        enum store_item item;
        char text[8 + NAME_UUID_LENGTH]; // "<item>:<key>"
        const char *key;                 // within text
};

struct member {
        struct fleet_host host;            // first: the same address
        struct shelf shelves[SHELF_KINDS]; // what host.pools, .networks and .retired show
        struct picture *picture;
        bool synced;           // a whole picture has come over this connection; deltas may follow
        bool asked;            // a gap was reported, and no picture has begun since
        size_t bytes;          // of the domains, packed
        struct index *skipped; // UUIDs of domains that were left out
        struct index *changes; // struct fleet_change, owned
        int64_t stored_seen_at;
};

struct fleet {
        struct store *store;
        const struct clock *clock;
        struct store_site *sites; // by name
        size_t n_sites;
        struct fleet_host **hosts; // by site, name; each is the `host` of a struct member
        size_t n_hosts;
        struct index *hosts_by_uuid, *vms_by_uuid, *vms_by_name, *owners;
        fleet_changed_fn on_change;
        void *on_change_data;
};

static inline struct member *member_of(struct fleet_host *host) {
        return (struct member *) host;
}

void fleet_notify(struct fleet *fleet, struct fleet_host *host, const char *vm_uuid);

// fleet_site.c
int fleet_sites_load(struct fleet *fleet, struct error *err);
void fleet_site_ensure(struct fleet *fleet, const char *name); // in memory

// fleet_host.c
int fleet_hosts_load(struct fleet *fleet, struct error *err);
void fleet_hosts_free(struct fleet *fleet);

// fleet_vm.c
struct fleet_vm *fleet_vm_put(struct fleet *fleet, struct member *member, Drover__Domain *domain); // takes the domain
void fleet_vm_drop(struct fleet *fleet, struct fleet_vm *vm);

// fleet_shelf.c
const char *shelf_key(enum shelf_kind kind, const ProtobufCMessage *item);
enum store_item shelf_item(enum shelf_kind kind);
size_t shelf_most(enum shelf_kind kind);
ProtobufCMessage *shelf_find(const struct shelf *shelf, enum shelf_kind kind, const char *key);
void shelf_put(struct shelf *shelf, enum shelf_kind kind, ProtobufCMessage *item); // takes the item
bool shelf_drop(struct shelf *shelf, enum shelf_kind kind, const char *key);
void shelf_fini(struct shelf *shelf);
void shelf_show(struct member *member); // into host.pools, .networks, .retired

// fleet_check.c
bool fleet_message_bounded(const ProtobufCMessage *message); // texts and lists within FLEET_TEXT_MAX and FLEET_LIST_MAX
// A copy to keep, or NULL with *why for one that is left out; -1 on a UUID that is none.
int fleet_take_domain(const Drover__Domain *domain, Drover__Domain **ret, struct error *why, struct error *err);
int fleet_take_item(enum shelf_kind kind, const ProtobufCMessage *item, ProtobufCMessage **ret, struct error *why,
                    struct error *err);
bool fleet_same(const ProtobufCMessage *one, const ProtobufCMessage *other);

// fleet_picture.c
struct picture *picture_new(uint64_t generation);
void picture_free(struct picture *picture);
int picture_add(struct picture *picture, const Drover__InventoryPart *part, struct error *err);

// fleet_store.c
void fleet_mark(struct member *member, enum store_item item, const char *key);
int fleet_inventory_load(struct fleet *fleet, struct error *err);

// fleet_owner.c
int fleet_owners_load(struct fleet *fleet, struct error *err);
