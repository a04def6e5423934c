// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Objects gathered into InventoryParts that each stay near PARTS_BYTES: the frames of a whole picture (serial 0, begin
 * on the first, end on the last) or numbered deltas. Objects are borrowed until the part that holds them has been sent.
 * Embedded in its owner; the loop's thread.
 */
#include "agent/inventory/inventory.h"

#define PARTS_BYTES (1u << 20)
struct parts {
        inventory_send_fn send;
        void *data;
        Drover__InventoryPart part; // being filled; its arrays are ours, the objects are not, the removed UUIDs are
        size_t bytes;
        uint64_t *serial; // of the last delta; NULL: a whole picture
        bool failed;      // the link is gone: all else is dropped
};
void parts_begin(struct parts *parts, inventory_send_fn send, void *data, uint64_t generation, uint64_t *serial);
void parts_facts(struct parts *parts, Drover__HostFacts *facts);
void parts_domain(struct parts *parts, Drover__Domain *domain);
void parts_pool(struct parts *parts, Drover__Pool *pool);
void parts_network(struct parts *parts, Drover__Network *network);
void parts_retired(struct parts *parts, Drover__Retired **retired, size_t n); // the whole list, in one part
void parts_removed_domain(struct parts *parts, const char *uuid);
void parts_removed_pool(struct parts *parts, const char *uuid);
void parts_removed_network(struct parts *parts, const char *uuid);
int parts_end(struct parts *parts); // sends what is left; -1 when the link went
