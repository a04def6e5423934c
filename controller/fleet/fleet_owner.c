// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Who may run a VM: one owner and an epoch that only grows, in the store before anyone is told; and which job holds a
 * VM at the moment, which the jobs themselves make durable. Loop thread.
 */
#include "common/memory.h"
#include "controller/fleet/fleet_private.h"
#include <stdio.h>
#include <string.h>

struct owner {
        struct fleet_owner shown; // first: the same address
        char vm_uuid[NAME_UUID_LENGTH + 1];
};

static struct owner *find(struct fleet *fleet, const char *vm_uuid) {
        return index_get(fleet->owners, vm_uuid);
}

static struct owner *find_or_make(struct fleet *fleet, const char *vm_uuid) {
        struct owner *owner = find(fleet, vm_uuid);
        if (owner)
                return owner;
        owner = new (struct owner);
        snprintf(owner->vm_uuid, sizeof(owner->vm_uuid), "%s", vm_uuid);
        index_add(fleet->owners, owner->vm_uuid, owner);
        return owner;
}

int fleet_owners_load(struct fleet *fleet, struct error *err) {
        _cleanup_(free_p) struct store_owner *list = NULL;
        unsigned n;
        if (store_owners(fleet->store, &list, &n, err) < 0)
                return -1;
        for (unsigned i = 0; i < n; i++) {
                struct owner *owner = find_or_make(fleet, list[i].vm_uuid);
                memcpy(owner->shown.host_uuid, list[i].host_uuid, sizeof(owner->shown.host_uuid));
                owner->shown.epoch = list[i].epoch;
        }
        return 0;
}

struct fleet_owner *fleet_owner(struct fleet *fleet, const char *vm_uuid) {
        struct owner *owner = find(fleet, vm_uuid);
        return owner ? &owner->shown : NULL;
}

int fleet_grant(struct fleet *fleet, const char *vm_uuid, const char *host_uuid, uint64_t epoch, struct error *err) {
        struct owner *owner = find(fleet, vm_uuid);
        if (name_check_uuid(vm_uuid, err) < 0 || name_check_uuid(host_uuid, err) < 0)
                return -1;
        if (owner && epoch <= owner->shown.epoch)
                return error_set(err, ERROR_STALE, "epoch %llu of VM %s is not newer than %llu",
                                 (unsigned long long) epoch, vm_uuid, (unsigned long long) owner->shown.epoch);
        struct store_owner granted = {.epoch = epoch};
        memcpy(granted.vm_uuid, vm_uuid, sizeof(granted.vm_uuid));
        memcpy(granted.host_uuid, host_uuid, sizeof(granted.host_uuid));
        if (store_owner_set(fleet->store, &granted, err) < 0)
                return -1;
        owner = find_or_make(fleet, vm_uuid);
        memcpy(owner->shown.host_uuid, granted.host_uuid, sizeof(owner->shown.host_uuid));
        owner->shown.epoch = epoch;
        return 0;
}

// Neither granted nor held: nothing is left to say.
static void forget_if_empty(struct fleet *fleet, struct owner *owner) {
        if (owner->shown.job[0] || owner->shown.epoch != 0 || owner->shown.clones > 0)
                return;
        index_remove(fleet->owners, owner->vm_uuid, owner);
        free(owner);
}

void fleet_hold(struct fleet *fleet, const char *vm_uuid, const char *job) {
        struct owner *owner = *job ? find_or_make(fleet, vm_uuid) : find(fleet, vm_uuid);
        if (!owner)
                return;
        snprintf(owner->shown.job, sizeof(owner->shown.job), "%s", job);
        forget_if_empty(fleet, owner);
}

void fleet_clone_begin(struct fleet *fleet, const char *vm_uuid, const char *job) {
        struct owner *owner = find_or_make(fleet, vm_uuid);
        owner->shown.clones++;
        snprintf(owner->shown.clone_job, sizeof(owner->shown.clone_job), "%s", job);
}

void fleet_clone_end(struct fleet *fleet, const char *vm_uuid) {
        struct owner *owner = find(fleet, vm_uuid);
        if (!owner || owner->shown.clones == 0)
                return;
        owner->shown.clones--;
        forget_if_empty(fleet, owner);
}

// While a job moves a VM it may be defined at both ends. The one that counts is the owner's, if that has it.
bool fleet_vm_shown(const struct fleet *fleet, const struct fleet_vm *vm) {
        const struct owner *owner = index_get(fleet->owners, vm->domain->uuid);
        if (!owner || !owner->shown.job[0] || strcmp(owner->shown.host_uuid, vm->host->uuid) == 0)
                return true;
        const struct fleet_host *host = fleet_host_by_uuid(fleet, owner->shown.host_uuid);
        return !host || !fleet_vm_on(fleet, host, vm->domain->uuid);
}
