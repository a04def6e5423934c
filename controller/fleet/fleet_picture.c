// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A whole picture while it comes in, in parts: collected beside what was known, within the same bounds, and dropped
 * without a trace when it does not come to its end. Loop thread.
 */
#include "common/memory.h"
#include "controller/fleet/fleet_private.h"
#include <string.h>

struct picture *picture_new(uint64_t generation) {
        struct picture *picture = new (struct picture);
        picture->generation = generation;
        picture->domains = index_new();
        picture->skipped = index_new();
        return picture;
}

static void free_message(void *message) {
        proto_free(message);
}

void picture_free(struct picture *picture) {
        if (!picture)
                return;
        index_clear(picture->domains, free_message);
        index_free(picture->domains);
        index_clear(picture->skipped, free);
        index_free(picture->skipped);
        for (unsigned kind = 0; kind < SHELF_KINDS; kind++)
                shelf_fini(&picture->shelves[kind]);
        if (picture->facts)
                proto_free(&picture->facts->base);
        free(picture);
}

static void leave_out(struct picture *picture, const struct error *why) {
        if (picture->left_out++ == 0)
                picture->why = *why;
}

static int add_domain(struct picture *picture, const Drover__Domain *domain, struct error *err) {
        struct error why = ERROR_INIT;
        Drover__Domain *copy;
        if (fleet_take_domain(domain, &copy, &why, err) < 0)
                return -1;
        if (index_get(picture->domains, domain->uuid) || index_get(picture->skipped, domain->uuid)) {
                proto_free(copy ? &copy->base : NULL);
                return error_set(err, ERROR_PROTOCOL, "VM %s is there twice", domain->uuid);
        }
        if (copy) {
                index_add(picture->domains, copy->uuid, copy);
                picture->bytes += protobuf_c_message_get_packed_size(&copy->base);
        } else {
                char *uuid = memory_string(domain->uuid);
                index_add(picture->skipped, uuid, uuid);
                leave_out(picture, &why);
        }
        if (index_count(picture->domains) + index_count(picture->skipped) > FLEET_DOMAINS_MAX)
                return error_set(err, ERROR_TOO_LARGE, "more than %u VMs", FLEET_DOMAINS_MAX);
        if (picture->bytes > FLEET_BYTES_MAX)
                return error_set(err, ERROR_TOO_LARGE, "its VMs take more than %u MiB", FLEET_BYTES_MAX >> 20);
        return 0;
}

static int add_item(struct picture *picture, enum shelf_kind kind, const ProtobufCMessage *item, struct error *err) {
        struct shelf *shelf = &picture->shelves[kind];
        struct error why = ERROR_INIT;
        ProtobufCMessage *copy;
        const char *key = shelf_key(kind, item), *what = item->descriptor->short_name;
        // Retired copies may come as a whole list in several parts; pools and networks come once.
        if (kind != SHELF_RETIRED && shelf_find(shelf, kind, key))
                return error_set(err, ERROR_PROTOCOL, "%s %s is there twice", what, key);
        if (fleet_take_item(kind, item, &copy, &why, err) < 0)
                return -1;
        if (copy)
                shelf_put(shelf, kind, copy);
        else
                leave_out(picture, &why);
        if (shelf->n > shelf_most(kind))
                return error_set(err, ERROR_TOO_LARGE, "more than %zu of %s", shelf_most(kind), what);
        return 0;
}

static int add_items(struct picture *picture, enum shelf_kind kind, void *items, size_t n, struct error *err) {
        for (size_t i = 0; i < n; i++)
                if (add_item(picture, kind, ((ProtobufCMessage **) items)[i], err) < 0)
                        return -1;
        return 0;
}

static int add_facts(struct picture *picture, const Drover__HostFacts *facts, struct error *err) {
        if (!facts)
                return 0;
        if (!fleet_message_bounded(&facts->base))
                return error_set(err, ERROR_TOO_LARGE, "its facts are beyond all bounds");
        if (picture->facts)
                proto_free(&picture->facts->base);
        picture->facts = (Drover__HostFacts *) proto_copy(&facts->base);
        return 0;
}

int picture_add(struct picture *picture, const Drover__InventoryPart *part, struct error *err) {
        if (part->n_removed_domains + part->n_removed_pools + part->n_removed_networks > 0)
                return error_set(err, ERROR_PROTOCOL, "something is removed within a whole picture");
        if (add_facts(picture, part->facts, err) < 0)
                return -1;
        for (size_t i = 0; i < part->n_domains; i++)
                if (add_domain(picture, part->domains[i], err) < 0)
                        return -1;
        if (add_items(picture, SHELF_POOLS, part->pools, part->n_pools, err) < 0 ||
            add_items(picture, SHELF_NETWORKS, part->networks, part->n_networks, err) < 0)
                return -1;
        return add_items(picture, SHELF_RETIRED, part->retired, part->n_retired, err);
}
