// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Pools and the directories of images. Names come over the wire, paths only from libvirt on this host. A directory is
 * opened once and everything below it is reached by openat() and friends without following links (fault 49).
 */
#include "agent/host/connection.h"
#include <stdint.h>

// What stays free of a pool of files for the VMs that are there, whatever comes.
#define POOL_SPARE_BYTES (UINT64_C(256) << 20)

struct pool_directory {
        int fd; // O_DIRECTORY|O_PATH is not enough: readable
        char path[4096];
        uint64_t available_bytes, capacity_bytes; // fstatvfs
};
void pool_directory_fini(struct pool_directory *directory);
// An active pool of type dir, fs or netfs. ERROR_NOT_FOUND with the nearest names as a hint; ERROR_REFUSED for other
// types.
int pool_open(virConnectPtr conn, const char *pool, struct pool_directory *ret, struct error *err);
int pool_open_path(const char *directory, struct pool_directory *ret,
                   struct error *err); // for a disk outside every pool
// The hidden directory beside the images where drover keeps what must not be seen as a volume: ".drover", 0700, root's.
// Made when absent (and the pool directory synced); refuses a link, another owner or a mode that lets others in.
// Returns a descriptor, or -1; ERROR_NOT_FOUND when absent and not to be made.
#define POOL_SIDECAR ".drover"
int pool_sidecar(const struct pool_directory *directory, bool make, struct error *err);
// The directory of a pool whose volumes are files, or NULL for other types; and the type (ret_type may be NULL). Caller
// frees both.
int pool_directory_of(virStoragePoolPtr pool, char **ret_path, char **ret_type, struct error *err);
// The same of a pool whose volumes are block devices that libvirt makes: type logical.
int pool_devices_of(virStoragePoolPtr pool, char **ret_path, struct error *err);
// An active pool; ERROR_NOT_FOUND with the nearest names as a hint, ERROR_REFUSED when it is not active. The caller's.
int pool_require(virConnectPtr conn, const char *pool, virStoragePoolPtr *ret, struct error *err);
int pool_refresh(virConnectPtr conn, const char *pool, struct error *err);
int pool_refresh_directory(virConnectPtr conn, const char *directory,
                           struct error *err); // the active pool with this target path, if any
// The pool whose directory holds `path`, if any: names copied into ret (sizes NAME_VOLUME_MAX+1); 1 found, 0 none, -1,
// also when it may be one that cannot be read.
int pool_of_path(virConnectPtr conn, const char *path, char *ret_pool, char *ret_volume, struct error *err);

// The same for many paths: the active pools of files and of devices, and their directories, read once. A pool that
// cannot be read does not fail the whole, but nothing is found in it: whoever takes that for an answer asks
// pool_table_check().
struct pool_table;
int pool_table_read(virConnectPtr conn, struct pool_table **ret, struct error *err);
// 1: the pool is active and was read, whatever it holds; 0: no active pool bears the name; -1: it could not be read.
int pool_table_check(const struct pool_table *table, const char *pool, struct error *err);
void pool_table_free(struct pool_table *table);
// The name of the pool that holds `path`, or NULL; borrowed from the table. *ret_volume (may be NULL) points into path.
const char *pool_table_find(const struct pool_table *table, const char *path, const char **ret_volume);
// The path of a volume named by a definition (<source pool= volume=>), or NULL; caller frees.
char *pool_table_path(const struct pool_table *table, const char *pool, const char *volume);
// The directory of the n-th pool of files, NULL beyond the last; borrowed from the table.
const char *pool_table_directory(const struct pool_table *table, unsigned n);
static inline void pool_table_free_p(struct pool_table **table) {
        pool_table_free(*table);
}
