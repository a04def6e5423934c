// SPDX-License-Identifier: LGPL-2.1-or-later
/* Filling and sending parts; loop thread only. */
#include "agent/inventory/parts.h"
#include "common/cleanup.h"
#include "common/memory.h"

#define OVERHEAD 8u // bytes, at most, that a member adds to its own

static void start_part(struct parts *parts, uint64_t generation, bool first) {
        drover__inventory_part__init(&parts->part);
        parts->part.generation = generation;
        parts->part.begin = first && !parts->serial;
        parts->bytes = 0;
}

void parts_begin(struct parts *parts, inventory_send_fn send, void *data, uint64_t generation, uint64_t *serial) {
        *parts = (struct parts){.send = send, .data = data, .serial = serial};
        start_part(parts, generation, true);
}

static void free_texts(char **texts, size_t n) {
        for (size_t i = 0; i < n; i++)
                free(texts[i]);
        free(texts);
}

static void free_part(Drover__InventoryPart *part) {
        free(part->domains);
        free(part->pools);
        free(part->networks);
        free_texts(part->removed_domains, part->n_removed_domains);
        free_texts(part->removed_pools, part->n_removed_pools);
        free_texts(part->removed_networks, part->n_removed_networks);
}

static void send_part(struct parts *parts, bool last) {
        Drover__InventoryPart *part = &parts->part;
        part->end = last && !parts->serial;
        if (parts->serial)
                part->serial = ++*parts->serial;
        if (!parts->failed && parts->send(part, parts->data) < 0)
                parts->failed = true;
        free_part(part);
}

// Makes room for an object of so many bytes: what is there goes out first when both would not fit.
static void make_room(struct parts *parts, size_t bytes) {
        if (parts->bytes && parts->bytes + bytes + OVERHEAD > PARTS_BYTES) {
                send_part(parts, false);
                start_part(parts, parts->part.generation, false);
        }
        parts->bytes += bytes + OVERHEAD;
}

static void append(void ***array, size_t *n, void *object) {
        *array = memory_grow(*array, *n + 1, sizeof **array);
        (*array)[(*n)++] = object;
}

void parts_facts(struct parts *parts, Drover__HostFacts *facts) {
        make_room(parts, protobuf_c_message_get_packed_size(&facts->base));
        parts->part.facts = facts;
}

void parts_domain(struct parts *parts, Drover__Domain *domain) {
        make_room(parts, protobuf_c_message_get_packed_size(&domain->base));
        append((void ***) &parts->part.domains, &parts->part.n_domains, domain);
}

void parts_pool(struct parts *parts, Drover__Pool *pool) {
        make_room(parts, protobuf_c_message_get_packed_size(&pool->base));
        append((void ***) &parts->part.pools, &parts->part.n_pools, pool);
}

void parts_network(struct parts *parts, Drover__Network *network) {
        make_room(parts, protobuf_c_message_get_packed_size(&network->base));
        append((void ***) &parts->part.networks, &parts->part.n_networks, network);
}

void parts_retired(struct parts *parts, Drover__Retired **retired, size_t n) {
        size_t bytes = 0;
        for (size_t i = 0; i < n; i++)
                bytes += protobuf_c_message_get_packed_size(&retired[i]->base) + OVERHEAD;
        make_room(parts, bytes);
        parts->part.retired = retired;
        parts->part.n_retired = n;
        parts->part.retired_changed = true;
}

void parts_removed_domain(struct parts *parts, const char *uuid) {
        make_room(parts, NAME_UUID_LENGTH);
        append((void ***) &parts->part.removed_domains, &parts->part.n_removed_domains, memory_string(uuid));
}

void parts_removed_pool(struct parts *parts, const char *uuid) {
        make_room(parts, NAME_UUID_LENGTH);
        append((void ***) &parts->part.removed_pools, &parts->part.n_removed_pools, memory_string(uuid));
}

void parts_removed_network(struct parts *parts, const char *uuid) {
        make_room(parts, NAME_UUID_LENGTH);
        append((void ***) &parts->part.removed_networks, &parts->part.n_removed_networks, memory_string(uuid));
}

int parts_end(struct parts *parts) {
        if (parts->bytes || !parts->serial) // a whole picture has an end even when the host is empty
                send_part(parts, true);
        return parts->failed ? -1 : 0;
}
