// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Reading the host: libvirt's objects turned into the messages of proto/inventory.proto. Blocking, for workers. Each
 * function allocates a message that proto_free() releases.
 */
#include "agent/host/connection.h"
#include "agent/journal/journal.h"
#include "proto/codec.h"

int collect_facts(struct connection *connection, Drover__HostFacts **ret,
                  struct error *err); // works without libvirt, too
// Everything of one domain: state, definition, disks with capacity/allocation/chain, snapshots, obstacles (those of the
// definition and those of the host: managed save image, external snapshots, checkpoints, backing chains, a disk shared
// with another domain, an image that is missing, a transient domain), journal epoch and held_by_job.
int collect_domain(virConnectPtr conn, virDomainPtr domain, struct journal *journal, Drover__Domain **ret,
                   struct error *err);
int collect_domain_by_uuid(virConnectPtr conn, const char *uuid, struct journal *journal, Drover__Domain **ret,
                           struct error *err);
// All at once. Each array and its members are the caller's. One domain that cannot be read does not fail the rest: it
// is given with state "unknown" and an obstacle that says why.
int collect_domains(virConnectPtr conn, struct journal *journal, Drover__Domain ***ret, size_t *ret_n,
                    struct error *err);
int collect_pools(virConnectPtr conn, Drover__Pool ***ret, size_t *ret_n, struct error *err);
int collect_networks(virConnectPtr conn, Drover__Network ***ret, size_t *ret_n, struct error *err);
int collect_retired(struct journal *journal, Drover__Retired ***ret, size_t *ret_n, struct error *err);
const char *collect_state_word(int state); // VIR_DOMAIN_SHUTOFF -> "shut off"
