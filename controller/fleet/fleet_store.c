// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Keeping what hosts have told: what changed is marked and written in one transaction at the next flush. It may be lost
 * in a crash, since every host tells it again when it connects. Loop thread.
 */
#include "common/log.h"
#include "common/memory.h"
#include "controller/fleet/fleet_private.h"
#include <stdio.h>
#include <string.h>

void fleet_mark(struct member *member, enum store_item item, const char *key) {
        struct fleet_change change = {.item = item};
        int length = snprintf(change.text, sizeof(change.text), "%d:", (int) item);
        snprintf(change.text + length, sizeof(change.text) - (size_t) length, "%s", key);
        if (index_get(member->changes, change.text))
                return;
        struct fleet_change *kept = new (struct fleet_change);
        *kept = change;
        kept->key = kept->text + length;
        index_add(member->changes, kept->text, kept);
}

// ---- writing ----
struct flush {
        struct fleet *fleet;
        struct member *member;
        struct buffer bytes;
        struct error *err;
};

static const ProtobufCMessage *current(const struct flush *flush, const struct fleet_change *change) {
        const struct member *member = flush->member;
        if (change->item == STORE_FACTS)
                return member->host.facts ? &member->host.facts->base : NULL;
        if (change->item == STORE_DOMAIN) {
                const struct fleet_vm *vm = fleet_vm_on(flush->fleet, &member->host, change->key);
                return vm ? &vm->domain->base : NULL;
        }
        for (unsigned kind = 0; kind < SHELF_KINDS; kind++)
                if (shelf_item(kind) == change->item)
                        return shelf_find(&member->shelves[kind], kind, change->key);
        return NULL;
}

static int write_change(void *value, void *data) {
        const struct fleet_change *change = value;
        struct flush *flush = data;
        const ProtobufCMessage *message = current(flush, change);
        struct store *store = flush->fleet->store;
        const char *uuid = flush->member->host.uuid;
        if (!message)
                return store_inventory_remove(store, uuid, change->item, change->key, flush->err);
        buffer_clear(&flush->bytes);
        if (proto_pack(message, &flush->bytes, flush->err) < 0)
                return -1;
        return store_inventory_put(store, uuid, change->item, change->key, flush->bytes.data, flush->bytes.length,
                                   flush->err);
}

static bool seen_due(const struct member *member) {
        const struct fleet_host *host = &member->host;
        int64_t since = host->last_seen_at - member->stored_seen_at;
        return since >= FLEET_SEEN_SECONDS || since <= -FLEET_SEEN_SECONDS || (since != 0 && !host->online);
}

static bool due(const struct member *member) {
        return index_count(member->changes) > 0 || seen_due(member);
}

static int write_member(struct flush *flush) {
        const struct fleet_host *host = &flush->member->host;
        if (seen_due(flush->member) &&
            store_host_seen(flush->fleet->store, host->uuid, host->last_seen_at, flush->err) < 0)
                return -1;
        return index_each(flush->member->changes, write_change, flush);
}

static int write_all(struct flush *flush) {
        for (size_t i = 0; i < flush->fleet->n_hosts; i++) {
                flush->member = member_of(flush->fleet->hosts[i]);
                if (due(flush->member) && write_member(flush) < 0)
                        return -1;
        }
        return 0;
}

static bool any_due(const struct fleet *fleet) {
        for (size_t i = 0; i < fleet->n_hosts; i++)
                if (due(member_of(fleet->hosts[i])))
                        return true;
        return false;
}

// Until the commit everything stays marked, so a failure (a full disk) is made good by a later flush.
static void unmark_all(struct fleet *fleet) {
        for (size_t i = 0; i < fleet->n_hosts; i++) {
                struct member *member = member_of(fleet->hosts[i]);
                if (!due(member))
                        continue;
                index_clear(member->changes, free);
                member->stored_seen_at = member->host.last_seen_at;
        }
}

int fleet_flush(struct fleet *fleet, struct error *err) {
        struct flush flush = {.fleet = fleet, .err = err};
        if (!any_due(fleet))
                return 0;
        if (store_begin(fleet->store, err) < 0)
                return error_prefix(err, "keep the inventory");
        buffer_init(&flush.bytes, 0);
        int result = write_all(&flush);
        buffer_fini(&flush.bytes);
        if (result < 0)
                store_rollback(fleet->store);
        else
                result = store_commit(fleet->store, err);
        if (result < 0)
                return error_prefix(err, "keep the inventory");
        unmark_all(fleet);
        return 0;
}

// ---- reading ----
static const ProtobufCMessageDescriptor *descriptor_of(enum store_item item) {
        switch (item) {
        case STORE_FACTS:
                return &drover__host_facts__descriptor;
        case STORE_DOMAIN:
                return &drover__domain__descriptor;
        case STORE_POOL:
                return &drover__pool__descriptor;
        case STORE_NETWORK:
                return &drover__network__descriptor;
        case STORE_RETIRED:
                return &drover__retired__descriptor;
        }
        return NULL;
}

static void take(struct fleet *fleet, struct member *member, enum store_item item, ProtobufCMessage *message) {
        if (item == STORE_FACTS)
                member->host.facts = (Drover__HostFacts *) message;
        else if (item == STORE_DOMAIN)
                fleet_vm_put(fleet, member, (Drover__Domain *) message);
        for (unsigned kind = 0; kind < SHELF_KINDS; kind++)
                if (shelf_item(kind) == item)
                        shelf_put(&member->shelves[kind], kind, message);
}

// A row that cannot be read (written by another version) is no reason not to start: it is dropped, the host tells
// again.
static int load(const char *host_uuid, enum store_item item, const char *key, const uint8_t *bytes, size_t length,
                void *data, struct error *err) {
        (void) err;
        struct fleet *fleet = data;
        struct fleet_host *host = fleet_host_by_uuid(fleet, host_uuid);
        const ProtobufCMessageDescriptor *descriptor = descriptor_of(item);
        struct error why = ERROR_INIT;
        ProtobufCMessage *message;
        if (!host || !descriptor)
                return 0;
        if (proto_unpack(descriptor, bytes, length, &message, &why) < 0) {
                log_failure(LOG_LEVEL_WARNING, "a part of the stored inventory is dropped", &why, "host", host->name,
                            "key", key, NULL);
                fleet_mark(member_of(host), item, key);
                return 0;
        }
        take(fleet, member_of(host), item, message);
        shelf_show(member_of(host));
        return 0;
}

int fleet_inventory_load(struct fleet *fleet, struct error *err) {
        return store_inventory_each(fleet->store, load, fleet, err);
}
