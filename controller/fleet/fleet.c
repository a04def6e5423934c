// SPDX-License-Identifier: LGPL-2.1-or-later
/* The fleet as a whole: its beginning from what the store knows, its end, and who hears of changes. Loop thread. */
#include "common/memory.h"
#include "controller/fleet/fleet_private.h"

DEFINE_CLEANUP(fleet_free, struct fleet *)

int fleet_open(struct store *store, const struct clock *clock, struct fleet **ret, struct error *err) {
        _cleanup_(fleet_free_p) struct fleet *fleet = new (struct fleet);
        fleet->store = store;
        fleet->clock = clock;
        fleet->hosts_by_uuid = index_new();
        fleet->vms_by_uuid = index_new();
        fleet->vms_by_name = index_new();
        fleet->owners = index_new();
        if (fleet_sites_load(fleet, err) < 0 || fleet_hosts_load(fleet, err) < 0 ||
            fleet_inventory_load(fleet, err) < 0 || fleet_owners_load(fleet, err) < 0)
                return error_prefix(err, "read the fleet");
        *ret = steal(&fleet);
        return 0;
}

void fleet_free(struct fleet *fleet) {
        if (!fleet)
                return;
        fleet->on_change = NULL;
        fleet_hosts_free(fleet);
        index_clear(fleet->owners, free);
        index_free(fleet->owners);
        index_free(fleet->vms_by_name);
        index_free(fleet->vms_by_uuid);
        index_free(fleet->hosts_by_uuid);
        free(fleet->sites);
        free(fleet);
}

void fleet_on_change(struct fleet *fleet, fleet_changed_fn fn, void *data) {
        fleet->on_change = fn;
        fleet->on_change_data = data;
}

void fleet_notify(struct fleet *fleet, struct fleet_host *host, const char *vm_uuid) {
        if (fleet->on_change)
                fleet->on_change(host, vm_uuid, fleet->on_change_data);
}
