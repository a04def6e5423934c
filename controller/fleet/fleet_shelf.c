// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Shelves: the short lists of a host (pools, networks, retired copies), each in the order of its keys. They own their
 * messages; struct fleet_host shows them under their own types. Loop thread.
 */
#include "common/memory.h"
#include "controller/fleet/fleet_private.h"
#include <string.h>

static const struct {
        enum store_item item;
        size_t most;
} kinds[SHELF_KINDS] = {
        [SHELF_POOLS] = {STORE_POOL, FLEET_POOLS_MAX},
        [SHELF_NETWORKS] = {STORE_NETWORK, FLEET_NETWORKS_MAX},
        [SHELF_RETIRED] = {STORE_RETIRED, FLEET_RETIRED_MAX},
};

const char *shelf_key(enum shelf_kind kind, const ProtobufCMessage *item) {
        switch (kind) {
        case SHELF_POOLS:
                return ((const Drover__Pool *) item)->uuid;
        case SHELF_NETWORKS:
                return ((const Drover__Network *) item)->uuid;
        default:
                return ((const Drover__Retired *) item)->job;
        }
}

enum store_item shelf_item(enum shelf_kind kind) {
        return kinds[kind].item;
}

size_t shelf_most(enum shelf_kind kind) {
        return kinds[kind].most;
}

static size_t place_of(const struct shelf *shelf, enum shelf_kind kind, const char *key, bool *ret_found) {
        size_t low = 0, high = shelf->n;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (strcmp(shelf_key(kind, shelf->items[middle]), key) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        *ret_found = low < shelf->n && strcmp(shelf_key(kind, shelf->items[low]), key) == 0;
        return low;
}

ProtobufCMessage *shelf_find(const struct shelf *shelf, enum shelf_kind kind, const char *key) {
        bool found;
        size_t place = place_of(shelf, kind, key, &found);
        return found ? shelf->items[place] : NULL;
}

void shelf_put(struct shelf *shelf, enum shelf_kind kind, ProtobufCMessage *item) {
        bool found;
        size_t place = place_of(shelf, kind, shelf_key(kind, item), &found);
        if (found) {
                proto_free(shelf->items[place]);
        } else {
                shelf->items = memory_grow(shelf->items, shelf->n + 1, sizeof(void *));
                memmove(&shelf->items[place + 1], &shelf->items[place], (shelf->n - place) * sizeof(void *));
                shelf->n++;
        }
        shelf->items[place] = item;
}

bool shelf_drop(struct shelf *shelf, enum shelf_kind kind, const char *key) {
        bool found;
        size_t place = place_of(shelf, kind, key, &found);
        if (!found)
                return false;
        proto_free(shelf->items[place]);
        shelf->n--;
        memmove(&shelf->items[place], &shelf->items[place + 1], (shelf->n - place) * sizeof(void *));
        return true;
}

void shelf_fini(struct shelf *shelf) {
        for (size_t i = 0; i < shelf->n; i++)
                proto_free(shelf->items[i]);
        free(shelf->items);
        *shelf = (struct shelf){0};
}

// Every generated message begins with its base, so an array of pointers to one is an array of pointers to the other.
void shelf_show(struct member *member) {
        struct fleet_host *host = &member->host;
        host->pools = (Drover__Pool **) member->shelves[SHELF_POOLS].items;
        host->n_pools = member->shelves[SHELF_POOLS].n;
        host->networks = (Drover__Network **) member->shelves[SHELF_NETWORKS].items;
        host->n_networks = member->shelves[SHELF_NETWORKS].n;
        host->retired = (Drover__Retired **) member->shelves[SHELF_RETIRED].items;
        host->n_retired = member->shelves[SHELF_RETIRED].n;
}
