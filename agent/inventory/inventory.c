// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * When to read the host and what to send of it; loop thread only.
 *
 *      event, touch, pass -> dirty -(50 ms, or hurried)-> reading on a worker -> differences sent -> dirty again? ...
 *
 * What becomes dirty while a reading is under way is read after it. A whole picture is sent as soon as everything has
 * been read; if libvirt is away then, the picture says so in its facts and claims nothing about domains, pools and
 * networks, and another whole one follows when libvirt is back.
 */
#include "agent/inventory/inventory.h"
#include "agent/inventory/parts.h"
#include "agent/inventory/picture.h"
#include "agent/inventory/reading.h"
#include "common/clock.h"
#include "common/memory.h"
#include "common/timer.h"
#include "common/trim.h"
#include "common/worker.h"

#include <stdlib.h>
#include <string.h>

#define MERGE_MS        50u    // a burst of events is one reading
#define PASS_MS         60000u // what no event tells: sizes, bridges
#define UNREAD_RETRY_MS 5000u  // after a picture without libvirt
#define UNWELL_MS       10000u // no event tells that an image is in its place again
#define UNWELL_MAX      64u    // VMs that are looked at so often
#define DIRTY_MAX       1024u  // single domains; more: read everything

struct inventory {
        uv_loop_t *loop;
        struct connection *connection;
        struct journal *journal;
        inventory_send_fn send;
        inventory_told_fn told;
        void *data;
        struct timer *soon, *pass;
        bool online;
        uint64_t began;      // grows with each link and each resync
        uint64_t generation; // of the last whole picture
        uint64_t serial;     // of the last delta
        bool whole_due;      // the next picture is a whole one
        bool told_away;      // one has been sent without libvirt; the next is for when it is back
        struct picture picture;
        struct reading *reading; // under way
        uint64_t readings;       // the number of the newest
        // what is to be read next
        bool scheduled;
        bool hurried;     // somebody waits for the next reading
        uint64_t soon_at; // monotonic
        bool everything, facts, pools, networks, retired;
        char (*uuids)[NAME_UUID_LENGTH + 1];
        size_t n_uuids;
};

static void on_read(void *data);

// ---- what to read

static void clear_dirty(struct inventory *inventory) {
        free(inventory->uuids);
        inventory->uuids = NULL;
        inventory->n_uuids = 0;
        inventory->everything = inventory->facts = inventory->pools = false;
        inventory->networks = inventory->retired = false;
}

static bool is_dirty(const struct inventory *inventory) {
        return inventory->everything || inventory->facts || inventory->pools || inventory->networks ||
               inventory->retired || inventory->n_uuids;
}

// The earliest of what has been asked for counts.
static void schedule(struct inventory *inventory, uint64_t after_ms) {
        uint64_t at = clock_ms(&system_clock) + after_ms;
        if (!inventory->online || (inventory->scheduled && inventory->soon_at <= at))
                return;
        inventory->scheduled = true;
        inventory->soon_at = at;
        timer_once(inventory->soon, after_ms);
}

static void mark_domain(struct inventory *inventory, const char *uuid) {
        if (strlen(uuid) != NAME_UUID_LENGTH || inventory->n_uuids >= DIRTY_MAX) {
                inventory->everything = true;
                return;
        }
        for (size_t i = 0; i < inventory->n_uuids; i++)
                if (!strcmp(inventory->uuids[i], uuid))
                        return;
        inventory->uuids = memory_grow(inventory->uuids, inventory->n_uuids + 1, sizeof *inventory->uuids);
        memcpy(inventory->uuids[inventory->n_uuids++], uuid, NAME_UUID_LENGTH + 1);
}

static void start_reading(struct inventory *inventory) {
        struct reading *reading = reading_new(inventory->connection, inventory->journal);
        reading->owner = inventory;
        reading->began = inventory->began;
        reading->number = ++inventory->readings;
        reading->everything = inventory->everything || inventory->whole_due;
        reading->facts = inventory->facts;
        reading->pools = inventory->pools;
        reading->networks = inventory->networks;
        reading->retired = inventory->retired;
        reading->uuids = inventory->uuids;
        reading->n_uuids = inventory->n_uuids;
        inventory->uuids = NULL;
        clear_dirty(inventory);
        inventory->hurried = false;
        inventory->reading = reading;
        worker_run(inventory->loop, reading_work, on_read, reading);
}

static void on_soon(void *data) {
        struct inventory *inventory = data;
        inventory->scheduled = false;
        if (inventory->online && !inventory->reading &&
            (inventory->whole_due || inventory->hurried || is_dirty(inventory)))
                start_reading(inventory);
}

static void on_pass(void *data) {
        struct inventory *inventory = data;
        inventory->everything = true;
        schedule(inventory, 0);
}

// ---- what to send

// The clock moves on with every reading; that alone is no news.
static bool note_facts(struct inventory *inventory, const Drover__HostFacts *facts) {
        Drover__HostFacts timeless = *facts;
        timeless.clock_at = 0;
        return picture_note(&inventory->picture, PICTURE_FACTS, "", &timeless.base);
}

static bool note_retired(struct inventory *inventory, const struct reading *reading) {
        Drover__InventoryPart list;
        drover__inventory_part__init(&list);
        list.retired = reading->found_retired;
        list.n_retired = reading->n_retired;
        return picture_note(&inventory->picture, PICTURE_RETIRED, "", &list.base);
}

static void put_domains(struct inventory *inventory, const struct reading *reading, struct parts *parts) {
        char uuid[NAME_UUID_LENGTH + 1];
        if (reading->domains_read)
                picture_unsee(&inventory->picture, PICTURE_DOMAIN);
        for (size_t i = 0; i < reading->n_domains; i++) {
                Drover__Domain *domain = reading->domains[i];
                if (picture_note(&inventory->picture, PICTURE_DOMAIN, domain->uuid, &domain->base))
                        parts_domain(parts, domain);
        }
        for (size_t i = 0; i < reading->n_gone; i++)
                if (picture_drop(&inventory->picture, PICTURE_DOMAIN, reading->gone[i]))
                        parts_removed_domain(parts, reading->gone[i]);
        while (reading->domains_read && picture_take_unseen(&inventory->picture, PICTURE_DOMAIN, uuid))
                parts_removed_domain(parts, uuid);
}

static void put_pools(struct inventory *inventory, const struct reading *reading, struct parts *parts) {
        char uuid[NAME_UUID_LENGTH + 1];
        if (!reading->pools_read)
                return;
        picture_unsee(&inventory->picture, PICTURE_POOL);
        for (size_t i = 0; i < reading->n_pools; i++) {
                Drover__Pool *pool = reading->found_pools[i];
                if (picture_note(&inventory->picture, PICTURE_POOL, pool->uuid, &pool->base))
                        parts_pool(parts, pool);
        }
        while (picture_take_unseen(&inventory->picture, PICTURE_POOL, uuid))
                parts_removed_pool(parts, uuid);
}

static void put_networks(struct inventory *inventory, const struct reading *reading, struct parts *parts) {
        char uuid[NAME_UUID_LENGTH + 1];
        if (!reading->networks_read)
                return;
        picture_unsee(&inventory->picture, PICTURE_NETWORK);
        for (size_t i = 0; i < reading->n_networks; i++) {
                Drover__Network *network = reading->found_networks[i];
                if (picture_note(&inventory->picture, PICTURE_NETWORK, network->uuid, &network->base))
                        parts_network(parts, network);
        }
        while (picture_take_unseen(&inventory->picture, PICTURE_NETWORK, uuid))
                parts_removed_network(parts, uuid);
}

static void put(struct inventory *inventory, const struct reading *reading, struct parts *parts) {
        if (reading->found_facts && note_facts(inventory, reading->found_facts))
                parts_facts(parts, reading->found_facts);
        put_domains(inventory, reading, parts);
        put_pools(inventory, reading, parts);
        put_networks(inventory, reading, parts);
        if (reading->retired_read && note_retired(inventory, reading))
                parts_retired(parts, reading->found_retired, reading->n_retired);
}

static void begin_whole(struct inventory *inventory, struct reading *reading, struct parts *parts) {
        uint64_t now = (uint64_t) clock_wall_ms();
        inventory->generation = now > inventory->generation ? now : inventory->generation + 1;
        inventory->serial = 0;
        picture_fini(&inventory->picture);
        if (reading->found_facts && !reading->domains_read)
                reading->found_facts->libvirt_connected = false; // it may have come back after the domains were tried
        parts_begin(parts, inventory->send, inventory->data, inventory->generation, NULL);
}

static int send_found(struct inventory *inventory, struct reading *reading) {
        struct parts parts;
        bool whole = reading->everything && inventory->whole_due && (reading->domains_read || !inventory->told_away);
        if (whole)
                begin_whole(inventory, reading, &parts);
        else
                parts_begin(&parts, inventory->send, inventory->data, inventory->generation, &inventory->serial);
        put(inventory, reading, &parts);
        if (parts_end(&parts) < 0) {
                inventory_end(inventory);
                return -1;
        }
        if (whole) {
                inventory->whole_due = !reading->domains_read;
                inventory->told_away = !reading->domains_read;
        }
        return 0;
}

static bool lacks_an_image(const Drover__Domain *domain) {
        for (size_t i = 0; i < domain->n_obstacles; i++)
                if (strncmp(domain->obstacles[i]->code, "image", 5) == 0)
                        return true;
        return false;
}

// Whoever has mended what a plan complained of asks again at once, and is not to be told the same for a minute.
static void mark_unwell(struct inventory *inventory, const struct reading *reading) {
        for (size_t i = 0; i < reading->n_domains && inventory->n_uuids < UNWELL_MAX; i++)
                if (lacks_an_image(reading->domains[i]))
                        mark_domain(inventory, reading->domains[i]->uuid);
}

static void take_found(struct inventory *inventory, struct reading *reading) {
        bool more = is_dirty(inventory), told = false;
        inventory->reading = NULL;
        if (inventory->online && reading->began == inventory->began) {
                mark_unwell(inventory, reading);
                told = send_found(inventory, reading) == 0;
        }
        if (is_dirty(inventory))
                schedule(inventory, more ? MERGE_MS : UNWELL_MS);
        if (inventory->hurried)
                schedule(inventory, 0);
        if (inventory->whole_due) // of another link, or libvirt is away
                schedule(inventory, reading->began == inventory->began ? UNREAD_RETRY_MS : 0);
        if (told)
                inventory->told(reading->number, inventory->data);
}

static void on_read(void *data) {
        struct reading *reading = data;
        bool large = reading->everything;
        if (reading->owner)
                take_found(reading->owner, reading);
        reading_free(reading);
        if (large)
                trim_memory(); // at rest the agent holds hashes only
}

// ---- the owner's calls

int inventory_new(uv_loop_t *loop, struct connection *connection, struct journal *journal, inventory_send_fn send,
                  inventory_told_fn told, void *data, struct inventory **ret, struct error *err) {
        (void) err;
        struct inventory *inventory = new (struct inventory);
        inventory->loop = loop;
        inventory->connection = connection;
        inventory->journal = journal;
        inventory->send = send;
        inventory->told = told;
        inventory->data = data;
        inventory->soon = timer_new(loop, on_soon, inventory);
        inventory->pass = timer_new(loop, on_pass, inventory);
        *ret = inventory;
        return 0;
}

void inventory_free(struct inventory *inventory) {
        if (!inventory)
                return;
        if (inventory->reading)
                inventory->reading->owner = NULL;
        timer_free(inventory->soon);
        timer_free(inventory->pass);
        clear_dirty(inventory);
        picture_fini(&inventory->picture);
        free(inventory);
}

void inventory_begin(struct inventory *inventory) {
        inventory_end(inventory);
        inventory->online = true;
        inventory->whole_due = true;
        inventory->told_away = false;
        timer_every(inventory->pass, PASS_MS);
        schedule(inventory, 0);
}

void inventory_end(struct inventory *inventory) {
        inventory->online = false;
        inventory->whole_due = false;
        inventory->scheduled = false;
        inventory->hurried = false;
        inventory->began++;
        clear_dirty(inventory);
        picture_fini(&inventory->picture);
        timer_stop(inventory->soon);
        timer_stop(inventory->pass);
}

static void mark_event(struct inventory *inventory, enum event_kind kind, const char *uuid) {
        switch (kind) {
        case EVENT_DOMAIN_CHANGED:
        case EVENT_DOMAIN_REMOVED:
                mark_domain(inventory, uuid);
                break;
        case EVENT_POOL_CHANGED:
                inventory->pools = true;
                break;
        case EVENT_NETWORK_CHANGED:
                inventory->networks = true;
                break;
        case EVENT_DISCONNECTED:
                inventory->facts = true;
                break;
        case EVENT_CONNECTED:
        case EVENT_LOST:
                inventory->everything = true;
                break;
        }
}

void inventory_event(struct inventory *inventory, enum event_kind kind, const char *uuid) {
        if (!inventory->online)
                return;
        mark_event(inventory, kind, uuid);
        schedule(inventory, MERGE_MS);
}

void inventory_touch(struct inventory *inventory, const char *vm_uuid) {
        if (!inventory->online)
                return;
        if (*vm_uuid)
                mark_domain(inventory, vm_uuid);
        else
                inventory->retired = true;
        inventory->pools = true; // its room and its volumes
        schedule(inventory, MERGE_MS);
}

uint64_t inventory_hurry(struct inventory *inventory) {
        if (!inventory->online)
                return 0;
        inventory->hurried = true;
        if (!inventory->reading)
                schedule(inventory, 0);
        return inventory->readings + 1;
}
