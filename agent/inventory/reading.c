// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reading the host for the inventory, on a worker. What cannot be read is left out and logged at debug: libvirt being
 * away is told by the facts, and the next pass looks again. */
#include "agent/inventory/reading.h"
#include "agent/host/collect.h"
#include "agent/host/sharing.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/memory.h"

#include <string.h>

#define STALE_MAX 64u // domains that are read because of others; the rest is for the next reading

struct reading *reading_new(struct connection *connection, struct journal *journal) {
        struct reading *reading = new (struct reading);
        reading->connection = connection;
        reading->journal = journal;
        return reading;
}

static void free_objects(ProtobufCMessage **objects, size_t n) {
        for (size_t i = 0; i < n; i++)
                proto_free(objects[i]);
        free(objects);
}

void reading_free(struct reading *reading) {
        if (!reading)
                return;
        proto_free(reading->found_facts ? &reading->found_facts->base : NULL);
        free_objects((ProtobufCMessage **) reading->domains, reading->n_domains);
        free_objects((ProtobufCMessage **) reading->found_pools, reading->n_pools);
        free_objects((ProtobufCMessage **) reading->found_networks, reading->n_networks);
        free_objects((ProtobufCMessage **) reading->found_retired, reading->n_retired);
        free(reading->uuids);
        free(reading->gone);
        free(reading);
}

static bool worked(int r, const char *what, const struct error *err) {
        if (r < 0)
                log_failure(LOG_LEVEL_DEBUG, what, err, NULL);
        return r >= 0;
}

static void read_facts(struct reading *reading) {
        struct error err = ERROR_INIT;
        worked(collect_facts(reading->connection, &reading->found_facts, &err), "read the host's facts", &err);
}

static void read_retired(struct reading *reading) {
        struct error err = ERROR_INIT;
        int r = collect_retired(reading->journal, &reading->found_retired, &reading->n_retired, &err);
        reading->retired_read = worked(r, "read what moves have left", &err);
}

static void read_pools(struct reading *reading, virConnectPtr conn) {
        struct error err = ERROR_INIT;
        int r = collect_pools(conn, &reading->found_pools, &reading->n_pools, &err);
        reading->pools_read = worked(r, "read the pools", &err);
}

static void read_networks(struct reading *reading, virConnectPtr conn) {
        struct error err = ERROR_INIT;
        int r = collect_networks(conn, &reading->found_networks, &reading->n_networks, &err);
        reading->networks_read = worked(r, "read the networks", &err);
}

static void read_all_domains(struct reading *reading, virConnectPtr conn) {
        struct error err = ERROR_INIT;
        char uuid[NAME_UUID_LENGTH + 1];
        while (sharing_take_stale(uuid))
                continue; // it is among them
        int r = collect_domains(conn, reading->journal, &reading->domains, &reading->n_domains, &err);
        reading->domains_read = worked(r, "read the domains", &err);
}

// One that was read before in this reading takes the place of what was found then.
static void take_domain(struct reading *reading, Drover__Domain *domain) {
        size_t at = 0;
        while (at < reading->n_domains && strcmp(reading->domains[at]->uuid, domain->uuid) != 0)
                at++;
        if (at == reading->n_domains)
                reading->domains = memory_grow(reading->domains, ++reading->n_domains, sizeof(*reading->domains));
        else
                proto_free(&reading->domains[at]->base);
        reading->domains[at] = domain;
}

static void read_domain(struct reading *reading, virConnectPtr conn, const char *uuid) {
        struct error err = ERROR_INIT;
        Drover__Domain *domain = NULL;
        if (collect_domain_by_uuid(conn, uuid, reading->journal, &domain, &err) == 0) {
                take_domain(reading, domain);
        } else if (err.code == ERROR_NOT_FOUND) {
                reading->gone = memory_grow(reading->gone, reading->n_gone + 1, sizeof *reading->gone);
                memcpy(reading->gone[reading->n_gone++], uuid, NAME_UUID_LENGTH + 1);
        } else {
                worked(-1, "read a domain", &err);
        }
}

// Then those of which something else is true now, since an image of these came or went: no event tells of them.
static void read_some_domains(struct reading *reading, virConnectPtr conn) {
        char uuid[NAME_UUID_LENGTH + 1];
        for (size_t i = 0; i < reading->n_uuids; i++)
                read_domain(reading, conn, reading->uuids[i]);
        for (unsigned i = 0; i < STALE_MAX && sharing_take_stale(uuid); i++)
                read_domain(reading, conn, uuid);
}

void reading_work(void *data) {
        struct reading *reading = data;
        bool all = reading->everything;
        struct error err = ERROR_INIT;
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (!worked(fault_point("agent.inventory.read", &err), "read the host", &err))
                return;
        if (connection_get(reading->connection, &conn, &err) < 0)
                worked(-1, "read the host", &err);
        if (all || reading->facts)
                read_facts(reading);
        if (all || reading->retired)
                read_retired(reading);
        if (!conn)
                return;
        if (all || reading->pools)
                read_pools(reading, conn);
        if (all || reading->networks)
                read_networks(reading, conn);
        if (all)
                read_all_domains(reading, conn);
        else
                read_some_domains(reading, conn);
}
