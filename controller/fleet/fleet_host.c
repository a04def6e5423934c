// SPDX-License-Identifier: LGPL-2.1-or-later
/* Hosts: members of the fleet, whether they are there, and what goes with one that leaves. Loop thread. */
#include "common/memory.h"
#include "controller/fleet/fleet_private.h"
#include <stdio.h>
#include <string.h>

static int compare(const struct fleet_host *host, const char *site, const char *name) {
        int order = strcmp(host->site, site);
        return order ? order : strcmp(host->name, name);
}

// The first that is not before site/name.
static size_t place_of(const struct fleet *fleet, const char *site, const char *name) {
        size_t low = 0, high = fleet->n_hosts;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (compare(fleet->hosts[middle], site, name) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static struct member *member_new(const char *uuid, const char *site, const char *name) {
        struct member *member = new (struct member);
        snprintf(member->host.uuid, sizeof(member->host.uuid), "%s", uuid);
        snprintf(member->host.site, sizeof(member->host.site), "%s", site);
        snprintf(member->host.name, sizeof(member->host.name), "%s", name);
        member->skipped = index_new();
        member->changes = index_new();
        return member;
}

static void member_free(struct fleet *fleet, struct member *member) {
        // From the last one, which leaves nothing to be moved up.
        while (member->host.n_vms > 0)
                fleet_vm_drop(fleet, member->host.vms[member->host.n_vms - 1]);
        free(member->host.vms);
        if (member->host.facts)
                proto_free(&member->host.facts->base);
        for (unsigned kind = 0; kind < SHELF_KINDS; kind++)
                shelf_fini(&member->shelves[kind]);
        picture_free(member->picture);
        index_clear(member->skipped, free);
        index_free(member->skipped);
        index_clear(member->changes, free);
        index_free(member->changes);
        free(member);
}

void fleet_hosts_free(struct fleet *fleet) {
        for (size_t i = 0; i < fleet->n_hosts; i++)
                member_free(fleet, member_of(fleet->hosts[i]));
        free(fleet->hosts);
        fleet->hosts = NULL;
        fleet->n_hosts = 0;
}

struct fleet_host *fleet_host_add(struct fleet *fleet, const char *uuid, const char *site, const char *name) {
        struct fleet_host *known = fleet_host_by_uuid(fleet, uuid);
        if (known)
                return known;
        struct member *member = member_new(uuid, site, name);
        size_t place = place_of(fleet, site, name);
        fleet->hosts = memory_grow(fleet->hosts, fleet->n_hosts + 1, sizeof(void *));
        memmove(&fleet->hosts[place + 1], &fleet->hosts[place], (fleet->n_hosts - place) * sizeof(void *));
        fleet->hosts[place] = &member->host;
        fleet->n_hosts++;
        index_add(fleet->hosts_by_uuid, member->host.uuid, member);
        fleet_site_ensure(fleet, site);
        member->host.joined_at = member->host.last_seen_at = clock_wall(fleet->clock);
        member->host.offline_since = member->stored_seen_at = member->host.last_seen_at;
        return &member->host;
}

int fleet_hosts_load(struct fleet *fleet, struct error *err) {
        _cleanup_(free_p) struct store_host *list = NULL;
        unsigned n;
        if (store_hosts(fleet->store, &list, &n, err) < 0)
                return -1;
        for (unsigned i = 0; i < n; i++) {
                struct fleet_host *host = fleet_host_add(fleet, list[i].uuid, list[i].site, list[i].name);
                host->joined_at = list[i].joined_at;
                host->last_seen_at = host->offline_since = list[i].last_seen_at;
                member_of(host)->stored_seen_at = list[i].last_seen_at;
        }
        return 0;
}

void fleet_host_remove(struct fleet *fleet, const char *uuid) {
        struct fleet_host *host = fleet_host_by_uuid(fleet, uuid);
        if (!host)
                return;
        size_t place = place_of(fleet, host->site, host->name);
        while (fleet->hosts[place] != host)
                place++;
        host->online = false;
        while (host->n_vms > 0) {
                char gone[NAME_UUID_LENGTH + 1];
                snprintf(gone, sizeof(gone), "%s", host->vms[host->n_vms - 1]->domain->uuid);
                fleet_vm_drop(fleet, host->vms[host->n_vms - 1]);
                fleet_notify(fleet, host, gone);
        }
        fleet_notify(fleet, host, "");
        fleet->n_hosts--;
        memmove(&fleet->hosts[place], &fleet->hosts[place + 1], (fleet->n_hosts - place) * sizeof(void *));
        index_remove(fleet->hosts_by_uuid, host->uuid, host);
        member_free(fleet, member_of(host));
}

struct fleet_host *fleet_host_by_uuid(const struct fleet *fleet, const char *uuid) {
        return index_get(fleet->hosts_by_uuid, uuid);
}

struct fleet_host *fleet_host_by_name(const struct fleet *fleet, const char *site, const char *name) {
        size_t place = place_of(fleet, site, name);
        bool found = place < fleet->n_hosts && compare(fleet->hosts[place], site, name) == 0;
        return found ? fleet->hosts[place] : NULL;
}

struct fleet_host *const *fleet_hosts(const struct fleet *fleet, size_t *ret_n) {
        *ret_n = fleet->n_hosts;
        return fleet->hosts;
}

// "10.1.2.3:4567" and "[fd00::1]:4567" without the port; anything else as it is.
static void keep_address(struct fleet_host *host, const char *address) {
        const char *first = strchr(address, ':'), *last = strrchr(address, ':');
        size_t length = strlen(address);
        if (address[0] == '[') {
                address++;
                length = strcspn(address, "]");
        } else if (first && first == last) {
                length = (size_t) (first - address);
        }
        snprintf(host->address, sizeof(host->address), "%.*s", (int) length, address);
}

static void forget_connection(struct member *member) {
        picture_free(member->picture);
        member->picture = NULL;
        member->synced = member->asked = false;
        member->host.receiving = false;
        member->host.generation = member->host.serial = 0;
}

void fleet_host_online(struct fleet *fleet, struct fleet_host *host, const char *address) {
        forget_connection(member_of(host));
        host->online = true;
        host->offline_since = 0;
        host->last_seen_at = clock_wall(fleet->clock);
        keep_address(host, address);
        fleet_notify(fleet, host, "");
}

void fleet_host_offline(struct fleet *fleet, struct fleet_host *host) {
        forget_connection(member_of(host));
        if (!host->online)
                return;
        host->online = false;
        host->offline_since = clock_wall(fleet->clock);
        fleet_notify(fleet, host, "");
}

void fleet_host_seen(struct fleet *fleet, struct fleet_host *host) {
        host->last_seen_at = clock_wall(fleet->clock);
}
