// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * One look at the host: which objects to read, and, when reading_work() has run on a worker, what was found. Made and
 * freed on the loop's thread; the worker has it alone in between.
 *
 * Fault point, on the worker before it looks: agent.inventory.read.
 */
#include "agent/host/connection.h"
#include "agent/journal/journal.h"
#include "proto/codec.h"

struct reading {
        // constant while it runs
        struct connection *connection;
        struct journal *journal;
        bool everything; // all of the below, and every domain
        bool facts, pools, networks, retired;
        char (*uuids)[NAME_UUID_LENGTH + 1]; // single domains
        size_t n_uuids;
        // the owner's
        void *owner;    // NULL: nobody wants it any more
        uint64_t began; // which link it was begun for
        uint64_t number;
        // found
        Drover__HostFacts *found_facts; // NULL: not asked for, or not readable
        bool domains_read, pools_read, networks_read, retired_read;
        Drover__Domain **domains;
        size_t n_domains;
        char (*gone)[NAME_UUID_LENGTH + 1]; // of `uuids`, those that libvirt does not know
        size_t n_gone;
        Drover__Pool **found_pools;
        size_t n_pools;
        Drover__Network **found_networks;
        size_t n_networks;
        Drover__Retired **found_retired;
        size_t n_retired;
};
struct reading *reading_new(struct connection *connection, struct journal *journal);
void reading_free(struct reading *reading);
void reading_work(void *data);
