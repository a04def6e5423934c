// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The one connection to libvirt, which heals: connection_get() opens it when there is none (at most one opening at a
 * time, bounded by 10 s), gives each caller a reference, and forgets it when libvirt's close callback or a failed call
 * says that it is dead. Any thread may call it; only worker threads should, since it blocks.
 */
#include "common/error.h"
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

struct connection;
int connection_new(const char *uri, struct connection **ret,
                   struct error *err); // "qemu:///system"; does not connect yet
void connection_free(struct connection *connection);
int connection_get(struct connection *connection, virConnectPtr *ret,
                   struct error *err); // ERROR_UNREACHABLE "libvirt is not reachable: ..."
void connection_put(virConnectPtr conn);
bool connection_alive(struct connection *connection); // last known, does not block
// Number that grows with each new underlying connection: event registrations are renewed when it changes.
unsigned connection_generation(struct connection *connection);

// libvirt's last error of this thread, translated here and nowhere else: NO_DOMAIN and the like -> ERROR_NOT_FOUND,
// OPERATION_INVALID -> ERROR_CONFLICT, DOM_EXIST -> ERROR_CONFLICT, RPC/system errors of a dead daemon ->
// ERROR_UNREACHABLE (steps are tried again), the rest ERROR_LIBVIRT. "what: text". Returns -1.
int connection_error(struct error *err, const char *what);
// libvirt prints nothing to stderr after this (it reports through the calls).
void connection_quiet(void);

static inline void domain_free_p(virDomainPtr *domain) {
        if (*domain)
                virDomainFree(*domain);
}
static inline void connection_put_p(virConnectPtr *conn) {
        if (*conn)
                connection_put(*conn);
}
static inline void pool_free_p(virStoragePoolPtr *pool) {
        if (*pool)
                virStoragePoolFree(*pool);
}
static inline void volume_free_p(virStorageVolPtr *volume) {
        if (*volume)
                virStorageVolFree(*volume);
}
static inline void network_free_p(virNetworkPtr *network) {
        if (*network)
                virNetworkFree(*network);
}
