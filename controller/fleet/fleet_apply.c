// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a host tells, put into the fleet: a whole picture at its end, deltas one by one. A host can only speak of
 * itself: which host that is comes from its certificate, not from the message (fault 43). Loop thread.
 */
#include "common/log.h"
#include "common/memory.h"
#include "common/utf8.h"
#include "controller/fleet/fleet_private.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

// What one call changes; told to the listener after it, when everything is in its place.
struct changed {
        struct fleet *fleet;
        struct member *member;
        char (*vms)[NAME_UUID_LENGTH + 1];
        size_t n_vms;
        bool host;
};

static void note_vm(struct changed *changed, const char *uuid) {
        size_t n = changed->n_vms++;
        if (n == 0 || (n >= 4 && (n & (n - 1)) == 0))
                changed->vms = memory_grow(changed->vms, n < 4 ? 4 : n * 2, sizeof(*changed->vms));
        snprintf(changed->vms[n], sizeof(*changed->vms), "%s", uuid);
        fleet_mark(changed->member, STORE_DOMAIN, changed->vms[n]);
}

static void tell(struct changed *changed) {
        struct fleet_host *host = &changed->member->host;
        for (size_t i = 0; i < changed->n_vms; i++)
                fleet_notify(changed->fleet, host, changed->vms[i]);
        if (changed->host)
                fleet_notify(changed->fleet, host, "");
        free(changed->vms);
}

// Once for a whole picture, or once for each thing that a delta could not bring.
static void warn_left_out(const struct fleet_host *host, size_t n, const struct error *why) {
        _cleanup_(free_p) char *name = memory_format("%s/%s", host->site, host->name);
        _cleanup_(free_p) char *count = memory_format("%zu", n);
        log_failure(LOG_LEVEL_WARNING, "a part of the inventory is left out", why, "host", name, "count", count, NULL);
}

static void keep_why(struct fleet_host *host, const struct error *why) {
        snprintf(host->skipped_why, sizeof(host->skipped_why), "%.*s",
                 (int) utf8_cut(why->message, sizeof(host->skipped_why) - 1), why->message);
}

// ---- one thing at a time ----
static void put_domain(struct changed *changed, Drover__Domain *domain) {
        struct fleet_vm *known = fleet_vm_on(changed->fleet, &changed->member->host, domain->uuid);
        if (known && fleet_same(&known->domain->base, &domain->base)) {
                proto_free(&domain->base);
                return;
        }
        fleet_vm_put(changed->fleet, changed->member, domain);
        note_vm(changed, domain->uuid);
}

static void drop_domain(struct changed *changed, const char *uuid) {
        struct fleet_vm *vm = fleet_vm_on(changed->fleet, &changed->member->host, uuid);
        if (!vm)
                return;
        note_vm(changed, uuid);
        fleet_vm_drop(changed->fleet, vm);
}

static void put_item(struct changed *changed, enum shelf_kind kind, ProtobufCMessage *item) {
        struct shelf *shelf = &changed->member->shelves[kind];
        const ProtobufCMessage *known = shelf_find(shelf, kind, shelf_key(kind, item));
        if (known && fleet_same(known, item)) {
                proto_free(item);
                return;
        }
        fleet_mark(changed->member, shelf_item(kind), shelf_key(kind, item));
        shelf_put(shelf, kind, item);
        changed->host = true;
}

static void drop_item(struct changed *changed, enum shelf_kind kind, const char *key) {
        struct shelf *shelf = &changed->member->shelves[kind];
        if (!shelf_find(shelf, kind, key))
                return;
        fleet_mark(changed->member, shelf_item(kind), key);
        shelf_drop(shelf, kind, key);
        changed->host = true;
}

static void put_facts(struct changed *changed, Drover__HostFacts *facts) {
        struct fleet_host *host = &changed->member->host;
        if (facts->clock_at)
                host->clock_offset_seconds = facts->clock_at - clock_wall(changed->fleet->clock);
        if (host->facts)
                proto_free(&host->facts->base);
        host->facts = facts;
        fleet_mark(changed->member, STORE_FACTS, "");
        changed->host = true;
}

// ---- a whole picture ----
static int put_from_picture(void *domain, void *data) {
        put_domain(data, domain);
        return 0;
}

static void replace_domains(struct changed *changed, struct picture *picture) {
        struct fleet_host *host = &changed->member->host;
        for (size_t i = host->n_vms; i-- > 0;) {
                char uuid[NAME_UUID_LENGTH + 1];
                snprintf(uuid, sizeof(uuid), "%s", host->vms[i]->domain->uuid);
                if (!index_get(picture->domains, uuid))
                        drop_domain(changed, uuid);
        }
        index_each(picture->domains, put_from_picture, changed);
        index_clear(picture->domains, NULL); // they have been taken
        struct index *skipped = changed->member->skipped;
        changed->member->skipped = picture->skipped;
        picture->skipped = skipped;
        host->n_skipped = index_count(changed->member->skipped);
        if (host->n_skipped > 0)
                keep_why(host, &picture->why);
}

static void replace_shelf(struct changed *changed, enum shelf_kind kind, struct shelf *with) {
        const struct shelf *shelf = &changed->member->shelves[kind];
        for (size_t i = shelf->n; i-- > 0;) {
                _cleanup_(free_p) char *key = memory_string(shelf_key(kind, shelf->items[i]));
                if (!shelf_find(with, kind, key))
                        drop_item(changed, kind, key);
        }
        for (size_t i = 0; i < with->n; i++)
                put_item(changed, kind, with->items[i]);
        with->n = 0; // they have been taken
}

// Without libvirt a host tells of itself and of what moves left there: the rest that was known of it stays.
static bool tells_all(const struct picture *picture) {
        return !picture->facts || picture->facts->libvirt_connected;
}

static void end_picture(struct changed *changed) {
        struct member *member = changed->member;
        struct picture *picture = steal(&member->picture);
        bool all = tells_all(picture);
        if (all)
                replace_domains(changed, picture);
        for (unsigned kind = 0; kind < SHELF_KINDS; kind++)
                if (all || kind == SHELF_RETIRED)
                        replace_shelf(changed, kind, &picture->shelves[kind]);
        if (picture->facts)
                put_facts(changed, steal(&picture->facts));
        if (picture->left_out > 0)
                warn_left_out(&member->host, picture->left_out, &picture->why);
        member->host.generation = picture->generation;
        member->host.serial = 0;
        member->host.receiving = false;
        member->synced = true;
        changed->host = true;
        picture_free(picture);
}

// ---- deltas ----
static void keep_skipped(struct changed *changed, const char *uuid, const struct error *why) {
        struct member *member = changed->member;
        if (index_get(member->skipped, uuid))
                return;
        char *text = memory_string(uuid);
        index_add(member->skipped, text, text);
        member->host.n_skipped++;
        keep_why(&member->host, why);
        changed->host = true;
        warn_left_out(&member->host, 1, why);
}

static void forget_skipped(struct changed *changed, const char *uuid) {
        struct member *member = changed->member;
        char *text = index_get(member->skipped, uuid);
        if (!text)
                return;
        index_remove(member->skipped, uuid, text);
        free(text);
        member->host.n_skipped--;
        changed->host = true;
}

static int apply_domain(struct changed *changed, const Drover__Domain *domain, struct error *err) {
        struct error why = ERROR_INIT;
        Drover__Domain *copy;
        const struct fleet_host *host = &changed->member->host;
        if (fleet_take_domain(domain, &copy, &why, err) < 0)
                return -1;
        if (copy) {
                forget_skipped(changed, copy->uuid);
                put_domain(changed, copy);
        } else {
                drop_domain(changed, domain->uuid);
                keep_skipped(changed, domain->uuid, &why);
        }
        if (host->n_vms + host->n_skipped > FLEET_DOMAINS_MAX)
                return error_set(err, ERROR_TOO_LARGE, "more than %u VMs", FLEET_DOMAINS_MAX);
        if (changed->member->bytes > FLEET_BYTES_MAX)
                return error_set(err, ERROR_TOO_LARGE, "its VMs take more than %u MiB", FLEET_BYTES_MAX >> 20);
        return 0;
}

static int apply_items(struct changed *changed, enum shelf_kind kind, void *items, size_t n, struct error *err) {
        for (size_t i = 0; i < n; i++) {
                const ProtobufCMessage *item = ((ProtobufCMessage **) items)[i];
                struct error why = ERROR_INIT;
                ProtobufCMessage *copy;
                if (fleet_take_item(kind, item, &copy, &why, err) < 0)
                        return -1;
                if (copy) {
                        put_item(changed, kind, copy);
                } else {
                        drop_item(changed, kind, shelf_key(kind, item));
                        warn_left_out(&changed->member->host, 1, &why);
                }
                if (changed->member->shelves[kind].n > shelf_most(kind))
                        return error_set(err, ERROR_TOO_LARGE, "more than %zu of %s", shelf_most(kind),
                                         item->descriptor->short_name);
        }
        return 0;
}

// The part bears the whole list.
static int apply_retired(struct changed *changed, const Drover__InventoryPart *part, struct error *err) {
        const struct shelf *shelf = &changed->member->shelves[SHELF_RETIRED];
        for (size_t i = shelf->n; i-- > 0;) {
                _cleanup_(free_p) char *key = memory_string(shelf_key(SHELF_RETIRED, shelf->items[i]));
                bool stays = false;
                for (size_t k = 0; k < part->n_retired && !stays; k++)
                        stays = strcmp(part->retired[k]->job, key) == 0;
                if (!stays)
                        drop_item(changed, SHELF_RETIRED, key);
        }
        return apply_items(changed, SHELF_RETIRED, part->retired, part->n_retired, err);
}

static int apply_delta(struct changed *changed, const Drover__InventoryPart *part, struct error *err) {
        if (part->facts) {
                if (!fleet_message_bounded(&part->facts->base))
                        return error_set(err, ERROR_TOO_LARGE, "its facts are beyond all bounds");
                put_facts(changed, (Drover__HostFacts *) proto_copy(&part->facts->base));
        }
        for (size_t i = 0; i < part->n_removed_domains; i++) {
                drop_domain(changed, part->removed_domains[i]);
                forget_skipped(changed, part->removed_domains[i]);
        }
        for (size_t i = 0; i < part->n_removed_pools; i++)
                drop_item(changed, SHELF_POOLS, part->removed_pools[i]);
        for (size_t i = 0; i < part->n_removed_networks; i++)
                drop_item(changed, SHELF_NETWORKS, part->removed_networks[i]);
        for (size_t i = 0; i < part->n_domains; i++)
                if (apply_domain(changed, part->domains[i], err) < 0)
                        return -1;
        if (apply_items(changed, SHELF_POOLS, part->pools, part->n_pools, err) < 0 ||
            apply_items(changed, SHELF_NETWORKS, part->networks, part->n_networks, err) < 0)
                return -1;
        return part->retired_changed ? apply_retired(changed, part, err) : 0;
}

// ---- order ----
static void drop_picture(struct member *member) {
        picture_free(member->picture);
        member->picture = NULL;
        member->host.receiving = false;
}

static int gap(struct member *member) {
        bool first = !member->asked;
        drop_picture(member);
        member->synced = false;
        member->asked = true;
        return first ? 1 : 0;
}

static void begin_picture(struct member *member, uint64_t generation) {
        drop_picture(member);
        member->picture = picture_new(generation);
        member->host.receiving = true;
        member->asked = false;
}

static int apply_picture(struct changed *changed, const Drover__InventoryPart *part, struct error *err) {
        struct member *member = changed->member;
        if (part->generation != member->picture->generation || part->serial != 0)
                return gap(member);
        if (picture_add(member->picture, part, err) < 0) {
                drop_picture(member);
                return -1;
        }
        if (part->end)
                end_picture(changed);
        return 0;
}

static int apply(struct changed *changed, const Drover__InventoryPart *part, struct error *err) {
        struct fleet_host *host = &changed->member->host;
        if (part->begin)
                begin_picture(changed->member, part->generation);
        if (changed->member->picture)
                return apply_picture(changed, part, err);
        if (!changed->member->synced || part->generation != host->generation || part->serial != host->serial + 1)
                return gap(changed->member);
        host->serial = part->serial;
        return apply_delta(changed, part, err);
}

int fleet_apply(struct fleet *fleet, struct fleet_host *host, const Drover__InventoryPart *part, struct error *err) {
        struct changed changed = {.fleet = fleet, .member = member_of(host)};
        int result = apply(&changed, part, err);
        shelf_show(changed.member);
        tell(&changed);
        if (result < 0)
                error_prefix(err, "the inventory of %s/%s", host->site, host->name);
        return result;
}
