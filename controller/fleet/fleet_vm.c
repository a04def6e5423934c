// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The VMs of the fleet: nodes in two indexes, and in the order of names within each host. A UUID is there once a host;
 * a name may be there twice if a host says so, and is then told apart by the UUID. Loop thread.
 */
#include "common/memory.h"
#include "controller/fleet/fleet_private.h"
#include <string.h>
#include <strings.h>

static int compare(const Drover__Domain *one, const Drover__Domain *other) {
        int order = strcmp(one->name, other->name);
        return order ? order : strcmp(one->uuid, other->uuid);
}

static size_t place_of(const struct fleet_host *host, const Drover__Domain *domain) {
        size_t low = 0, high = host->n_vms;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (compare(host->vms[middle]->domain, domain) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

// Room grows by doubling: at the powers of two what is there is full.
static void insert(struct fleet_host *host, struct fleet_vm *vm) {
        size_t place = place_of(host, vm->domain), n = host->n_vms;
        if (n == 0 || (n >= 4 && (n & (n - 1)) == 0))
                host->vms = memory_grow(host->vms, n < 4 ? 4 : n * 2, sizeof(void *));
        memmove(&host->vms[place + 1], &host->vms[place], (n - place) * sizeof(void *));
        host->vms[place] = vm;
        host->n_vms++;
}

static void take_out(struct fleet_host *host, const Drover__Domain *domain) {
        size_t place = place_of(host, domain);
        host->n_vms--;
        memmove(&host->vms[place], &host->vms[place + 1], (host->n_vms - place) * sizeof(void *));
}

// The keys are within the domain, so a domain enters and leaves the indexes with them.
static void enter(struct fleet *fleet, struct fleet_vm *vm) {
        index_add(fleet->vms_by_uuid, vm->domain->uuid, vm);
        index_add(fleet->vms_by_name, vm->domain->name, vm);
        insert(vm->host, vm);
        member_of(vm->host)->bytes += protobuf_c_message_get_packed_size(&vm->domain->base);
}

static void leave(struct fleet *fleet, struct fleet_vm *vm) {
        index_remove(fleet->vms_by_uuid, vm->domain->uuid, vm);
        index_remove(fleet->vms_by_name, vm->domain->name, vm);
        take_out(vm->host, vm->domain);
        member_of(vm->host)->bytes -= protobuf_c_message_get_packed_size(&vm->domain->base);
        proto_free(&vm->domain->base);
        vm->domain = NULL;
}

struct fleet_vm *fleet_vm_put(struct fleet *fleet, struct member *member, Drover__Domain *domain) {
        struct fleet_vm *vm = fleet_vm_on(fleet, &member->host, domain->uuid);
        if (vm) {
                leave(fleet, vm);
        } else {
                vm = new (struct fleet_vm);
                vm->host = &member->host;
        }
        vm->domain = domain;
        enter(fleet, vm);
        return vm;
}

void fleet_vm_drop(struct fleet *fleet, struct fleet_vm *vm) {
        leave(fleet, vm);
        free(vm);
}

struct fleet_vm *fleet_vm_on(const struct fleet *fleet, const struct fleet_host *host, const char *uuid) {
        struct index_cursor cursor;
        struct fleet_vm *vm = index_first(fleet->vms_by_uuid, uuid, &cursor);
        while (vm && vm->host != host)
                vm = index_next(&cursor);
        return vm;
}

size_t fleet_vms_by_uuid(const struct fleet *fleet, const char *uuid, struct fleet_vm **vms, size_t n) {
        struct index_cursor cursor;
        size_t found = 0;
        struct fleet_vm *vm = index_first(fleet->vms_by_uuid, uuid, &cursor);
        for (; vm && found < n; vm = index_next(&cursor))
                vms[found++] = vm;
        return found;
}

static bool bears_mac(const Drover__Domain *domain, const char *mac) {
        for (size_t i = 0; i < domain->n_interfaces; i++)
                if (strcasecmp(domain->interfaces[i]->mac, mac) == 0)
                        return true;
        return false;
}

static bool mac_on_host(const struct fleet_host *host, const char *mac, const char *except, size_t *ret_place) {
        for (size_t i = 0; i < host->n_vms; i++)
                if ((!except || strcmp(host->vms[i]->domain->uuid, except) != 0) &&
                    bears_mac(host->vms[i]->domain, mac)) {
                        *ret_place = i;
                        return true;
                }
        return false;
}

bool fleet_mac_in_use(const struct fleet *fleet, const char *mac, const struct fleet_host *on,
                      const char *except_vm_uuid, struct fleet_vm **ret_by) {
        for (size_t i = 0; i < fleet->n_hosts; i++) {
                const struct fleet_host *host = fleet->hosts[i];
                size_t place;
                if ((on && on != host) || !mac_on_host(host, mac, except_vm_uuid, &place))
                        continue;
                if (ret_by)
                        *ret_by = host->vms[place];
                return true;
        }
        return false;
}
