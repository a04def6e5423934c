// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What is where, in memory: sites, hosts, and for each host the last known facts, VMs, pools, networks and retired
 * copies. Fed by the agents' InventoryParts, kept in the store in batches (fleet_flush, every 2 s when something
 * changed), so that after a restart what was last known is there at once. Loop thread. Scales to 10,000 hosts and
 * 200,000 VMs: lookups by UUID and by name are hashed; listings are one pass.
 */
#include "common/clock.h"
#include "controller/store/store.h"
#include "proto/codec.h"

struct fleet;
struct fleet_host {
        char uuid[NAME_UUID_LENGTH + 1], site[NAME_SITE_MAX + 1], name[NAME_HOST_MAX + 1];
        bool online;
        int64_t last_seen_at, offline_since, joined_at;
        char address[64];       // where its newest connection came from, without port
        char data_address[128]; // what it said, or empty
        uint32_t data_port;
        int64_t clock_offset_seconds;
        Drover__HostFacts *facts; // NULL: never heard
        Drover__Pool **pools;
        size_t n_pools;
        Drover__Network **networks;
        size_t n_networks;
        Drover__Retired **retired;
        size_t n_retired;
        struct fleet_vm **vms;
        size_t n_vms;                // sorted by name
        uint64_t generation, serial; // of the inventory
        bool receiving;              // a whole picture is under way
        size_t n_skipped;            // VMs left out of vms, because of a name or size that cannot be accepted ...
        char skipped_why[160];       // ... such as this
};
struct fleet_vm {
        struct fleet_host *host;
        Drover__Domain *domain;
};
// Never granted but held by a job: host_uuid "", epoch 0.
struct fleet_owner {
        char host_uuid[NAME_UUID_LENGTH + 1];
        uint64_t epoch;
        char job[33];       /* job that holds the VM, or "" */
        unsigned clones;    // jobs that read its images, and need it to stay as it is
        char clone_job[33]; // the newest of them
};

int fleet_open(struct store *store, const struct clock *clock, struct fleet **ret,
               struct error *err); // reads what was last known; all offline
void fleet_free(struct fleet *fleet);
int fleet_flush(struct fleet *fleet, struct error *err); // write what changed since

int fleet_site_put(struct fleet *fleet, const struct store_site *site, struct error *err);
int fleet_site_remove(struct fleet *fleet, const char *name, struct error *err);
const struct store_site *fleet_sites(const struct fleet *fleet, size_t *ret_n); // sorted by name
struct fleet_host *fleet_host_add(struct fleet *fleet, const char *uuid, const char *site,
                                  const char *name); // after the join was stored
void fleet_host_remove(struct fleet *fleet, const char *uuid);
struct fleet_host *fleet_host_by_uuid(const struct fleet *fleet, const char *uuid);
struct fleet_host *fleet_host_by_name(const struct fleet *fleet, const char *site, const char *name);
struct fleet_host *const *fleet_hosts(const struct fleet *fleet, size_t *ret_n); // sorted by site, name
void fleet_host_online(struct fleet *fleet, struct fleet_host *host, const char *address);
void fleet_host_offline(struct fleet *fleet, struct fleet_host *host);
void fleet_host_seen(struct fleet *fleet, struct fleet_host *host); // a frame came in

// Returns 0, or 1 when a gap was found (wrong generation or serial): ask for a resync; 1 once, then what comes is
// ignored (0) until a whole picture begins. -1 on rules broken (a host that names things out of bounds). A whole
// picture replaces what was known only at its end.
int fleet_apply(struct fleet *fleet, struct fleet_host *host, const Drover__InventoryPart *part, struct error *err);
// Called after every change of a VM (domain NULL: removed) or, with vm_uuid "", of the host itself.
typedef void (*fleet_changed_fn)(struct fleet_host *host, const char *vm_uuid, void *data);
void fleet_on_change(struct fleet *fleet, fleet_changed_fn fn, void *data);

/*
 * A struct fleet_vm* stays valid while its host has the VM; its domain is replaced at each change.
 */
// All VMs with this UUID (a move or a careless copy can show it on two hosts); up to n of them.
size_t fleet_vms_by_uuid(const struct fleet *fleet, const char *uuid, struct fleet_vm **vms, size_t n);
struct fleet_vm *fleet_vm_on(const struct fleet *fleet, const struct fleet_host *host, const char *uuid);
// Should listings show it: no while a job is moving it and another host is the owner and has it too.
bool fleet_vm_shown(const struct fleet *fleet, const struct fleet_vm *vm);
struct fleet_owner *fleet_owner(struct fleet *fleet,
                                const char *vm_uuid); // NULL: never granted, not held; else live record
// Durable: the owner and a higher epoch. ERROR_STALE when the epoch does not grow.
int fleet_grant(struct fleet *fleet, const char *vm_uuid, const char *host_uuid, uint64_t epoch, struct error *err);
void fleet_hold(struct fleet *fleet, const char *vm_uuid,
                const char *job); // "" lets go; memory only, jobs are durable themselves
// A job that clones a VM which is off shares it with others that do the same. Memory only, too.
void fleet_clone_begin(struct fleet *fleet, const char *vm_uuid, const char *job);
void fleet_clone_end(struct fleet *fleet, const char *vm_uuid);

// Names as people type them (docs: drover(1)): "lyon/kvm1/erp", a shortest unique ending, or a UUID.
// ERROR_NOT_FOUND with near names as hints, ERROR_CONFLICT listing the candidates when ambiguous.
int fleet_resolve_vm(const struct fleet *fleet, const char *text, struct fleet_vm **ret, struct error *err);
int fleet_resolve_host(const struct fleet *fleet, const char *text, struct fleet_host **ret,
                       struct error *err); // "kvm1" too, when unique
bool fleet_mac_in_use(const struct fleet *fleet, const char *mac, const struct fleet_host *on,
                      const char *except_vm_uuid, struct fleet_vm **ret_by);
