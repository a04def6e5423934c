// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Pools and the directories of images. Names come over the wire, paths only from libvirt on this host. A directory is
 * opened once and everything below it is reached by openat() and friends without following links (fault 49).
 */
#include "agent/host/connection.h"
#include <stdint.h>

struct pool_directory {
        int fd;                 // O_DIRECTORY|O_PATH is not enough: readable
        char path[4096];
        uint64_t available_bytes, capacity_bytes; // fstatvfs
};
void pool_directory_fini(struct pool_directory *directory);
// An active pool of type dir, fs or netfs. ERROR_NOT_FOUND with the nearest names as a hint; ERROR_REFUSED for other types.
int pool_open(virConnectPtr conn, const char *pool, struct pool_directory *ret, struct error *err);
int pool_open_path(const char *directory, struct pool_directory *ret, struct error *err); // for a disk outside every pool
// The hidden directory beside the images where drover keeps what must not be seen as a volume: ".drover", 0700, root's.
// Made when absent (and the pool directory synced); refuses a link or another owner. Returns a descriptor, or -1.
int pool_sidecar(const struct pool_directory *directory, bool make, struct error *err);
int pool_refresh(virConnectPtr conn, const char *pool, struct error *err);
int pool_refresh_directory(virConnectPtr conn, const char *directory, struct error *err); // the active pool with this target path, if any
// The pool whose directory holds `path`, if any: names copied into ret (sizes NAME_VOLUME_MAX+1); 1 found, 0 none, -1.
int pool_of_path(virConnectPtr conn, const char *path, char *ret_pool, char *ret_volume, struct error *err);
