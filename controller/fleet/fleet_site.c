// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sites, as an array in the order of names: they are few, and change when a person says so. Loop thread. */
#include "common/memory.h"
#include "controller/fleet/fleet_private.h"
#include <stdio.h>
#include <string.h>

// Where the site is, or, with *ret_found false, where it would have to stand.
static size_t place_of(const struct fleet *fleet, const char *name, bool *ret_found) {
        size_t low = 0, high = fleet->n_sites;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (strcmp(fleet->sites[middle].name, name) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        *ret_found = low < fleet->n_sites && strcmp(fleet->sites[low].name, name) == 0;
        return low;
}

static void keep(struct fleet *fleet, const struct store_site *site) {
        bool found;
        size_t place = place_of(fleet, site->name, &found);
        if (!found) {
                fleet->sites = memory_grow(fleet->sites, fleet->n_sites + 1, sizeof(*fleet->sites));
                memmove(&fleet->sites[place + 1], &fleet->sites[place],
                        (fleet->n_sites - place) * sizeof(*fleet->sites));
                fleet->n_sites++;
        }
        fleet->sites[place] = *site;
}

int fleet_sites_load(struct fleet *fleet, struct error *err) {
        unsigned n;
        if (store_sites(fleet->store, &fleet->sites, &n, err) < 0)
                return -1;
        fleet->n_sites = n;
        return 0;
}

void fleet_site_ensure(struct fleet *fleet, const char *name) {
        struct store_site site = {0};
        bool found;
        place_of(fleet, name, &found);
        snprintf(site.name, sizeof(site.name), "%s", name);
        if (!found)
                keep(fleet, &site);
}

int fleet_site_put(struct fleet *fleet, const struct store_site *site, struct error *err) {
        if (name_check_site(site->name, err) < 0 || store_site_put(fleet->store, site, err) < 0)
                return -1;
        keep(fleet, site);
        return 0;
}

int fleet_site_remove(struct fleet *fleet, const char *name, struct error *err) {
        bool found;
        if (store_site_remove(fleet->store, name, err) < 0)
                return -1;
        size_t place = place_of(fleet, name, &found);
        if (found) {
                fleet->n_sites--;
                memmove(&fleet->sites[place], &fleet->sites[place + 1],
                        (fleet->n_sites - place) * sizeof(*fleet->sites));
        }
        return 0;
}

const struct store_site *fleet_sites(const struct fleet *fleet, size_t *ret_n) {
        *ret_n = fleet->n_sites;
        return fleet->sites;
}
