// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Volumes that are block devices, through libvirt (see volume.h). One lock for the process: libvirt refuses to read a
 * pool again while one of its volumes is being made.
 */
#include "agent/host/volume.h"
#include "agent/host/pool.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/name.h"
#include <ctype.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void unlock(pthread_mutex_t **locked) {
        pthread_mutex_unlock(*locked);
}
#define LOCKED()                                                                                                       \
        _cleanup_(unlock) pthread_mutex_t *locked = &lock;                                                             \
        pthread_mutex_lock(locked)

// ---- pools ----

int volume_pool(virConnectPtr conn, const char *name, char *ret_directory, uint64_t *ret_available, struct error *err) {
        _cleanup_(pool_free_p) virStoragePoolPtr pool = NULL;
        _cleanup_(free_p) char *path = NULL;
        virStoragePoolInfo info;
        LOCKED();
        if (pool_require(conn, name, &pool, err) < 0 || pool_devices_of(pool, &path, err) < 0)
                return -1;
        if (!path || strlen(path) >= PATH_MAX)
                return error_set(err, ERROR_REFUSED, "pool %s holds no volumes that libvirt makes as devices", name);
        if (virStoragePoolRefresh(pool, 0) < 0 || virStoragePoolGetInfo(pool, &info) < 0) {
                connection_error(err, "read the pool");
                return error_prefix(err, "pool %s", name);
        }
        memcpy(ret_directory, path, strlen(path) + 1);
        *ret_available = info.available;
        return 0;
}

bool volume_pool_is(virConnectPtr conn, const char *name) {
        _cleanup_(pool_free_p) virStoragePoolPtr pool = virStoragePoolLookupByName(conn, name);
        _cleanup_(free_p) char *path = NULL;
        return pool && pool_devices_of(pool, &path, NULL) == 0 && path;
}

// lvm(8), "Valid names". LVM's own parts of volumes are refused by LVM itself.
int volume_check_name(const char *name, struct error *err) {
        bool right = name[0] && name[0] != '-' && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
        for (const char *at = name; *at; at++)
                right = right && (isalnum((unsigned char) *at) || strchr("+_.-", *at));
        return right ? 0
                     : error_set(err, ERROR_INVALID, "%s: a logical volume has letters, digits and + _ . - in its name",
                                 name);
}

// The active pool in whose directory the volume would appear: 1, 0, -1.
static int find_pool(virConnectPtr conn, const char *directory, const char *name, virStoragePoolPtr *ret,
                     struct error *err) {
        char pool_name[NAME_VOLUME_MAX + 1], volume_name[NAME_VOLUME_MAX + 1];
        _cleanup_(free_p) char *path = memory_format("%s/%s", directory, name);
        int found = pool_of_path(conn, path, pool_name, volume_name, err);
        if (found <= 0)
                return found;
        _cleanup_(pool_free_p) virStoragePoolPtr pool = virStoragePoolLookupByName(conn, pool_name);
        _cleanup_(free_p) char *devices = NULL;
        if (!pool)
                return connection_error(err, "look up the pool");
        if (pool_devices_of(pool, &devices, err) < 0)
                return -1;
        if (!devices)
                return 0;
        *ret = steal(&pool);
        return 1;
}

// ---- one volume ----

static int look(virStoragePoolPtr pool, const char *name, virStorageVolPtr *ret, struct error *err) {
        if (virStoragePoolRefresh(pool, 0) < 0) {
                connection_error(err, "read the pool");
                return error_prefix(err, "pool %s", virStoragePoolGetName(pool));
        }
        *ret = virStorageVolLookupByName(pool, name);
        if (*ret)
                return 1;
        return virGetLastErrorCode() == VIR_ERR_NO_STORAGE_VOL ? 0 : connection_error(err, "look up the volume");
}

static int read_key(virStorageVolPtr volume, struct volume *ret, struct error *err) {
        const char *key = virStorageVolGetKey(volume);
        if (!key)
                return connection_error(err, "read the volume");
        if (strlen(key) >= sizeof(ret->key))
                return error_set(err, ERROR_REFUSED, "volume %s has a key that is too long",
                                 virStorageVolGetName(volume));
        memcpy(ret->key, key, strlen(key) + 1);
        return 0;
}

static int describe(virStorageVolPtr volume, struct volume *ret, struct error *err) {
        virStorageVolInfo info;
        if (virStorageVolGetInfo(volume, &info) < 0)
                return connection_error(err, "read the volume");
        ret->bytes = info.capacity;
        return read_key(volume, ret, err);
}

int volume_find(virConnectPtr conn, const char *directory, const char *name, struct volume *ret, struct error *err) {
        _cleanup_(pool_free_p) virStoragePoolPtr pool = NULL;
        _cleanup_(volume_free_p) virStorageVolPtr volume = NULL;
        LOCKED();
        int found = find_pool(conn, directory, name, &pool, err);
        if (found > 0)
                found = look(pool, name, &volume, err);
        if (found > 0 && describe(volume, ret, err) < 0)
                return -1;
        return found;
}

int volume_check_pool(virConnectPtr conn, const char *directory, const char *name, struct error *err) {
        _cleanup_(pool_free_p) virStoragePoolPtr pool = NULL;
        LOCKED();
        int found = find_pool(conn, directory, name, &pool, err);
        if (found)
                return found < 0 ? -1 : 0;
        error_set(err, ERROR_REFUSED, "the pool of %s/%s is not active", directory, name);
        error_hint(err, "on the host: virsh pool-list --all, and virsh pool-start");
        return -1;
}

int volume_make(virConnectPtr conn, const char *directory, const char *name, uint64_t bytes, struct volume *ret,
                struct error *err) {
        _cleanup_(pool_free_p) virStoragePoolPtr pool = NULL;
        _cleanup_(volume_free_p) virStorageVolPtr volume = NULL;
        LOCKED();
        int found = volume_check_name(name, err) < 0 ? -1 : find_pool(conn, directory, name, &pool, err);
        if (found < 0)
                return -1;
        if (!found)
                return error_set(err, ERROR_REFUSED, "no active pool makes volumes in %s", directory);
        _cleanup_(free_p) char *xml = memory_format(
                "<volume><name>%s</name><capacity unit='bytes'>%llu</capacity>"
                "<allocation unit='bytes'>%llu</allocation><target><format type='raw'/></target></volume>",
                name, (unsigned long long) bytes, (unsigned long long) bytes);
        volume = virStorageVolCreateXML(pool, xml, 0);
        if (!volume) {
                connection_error(err, "make the volume");
                return error_prefix(err, "pool %s", virStoragePoolGetName(pool));
        }
        // The key came with the answer: libvirt is not asked once more, which could fail with the volume made.
        ret->bytes = bytes;
        if (read_key(volume, ret, err) == 0)
                return 0;
        if (virStorageVolDelete(volume, 0) < 0)
                error_hint(err, "remove it, nobody else will: virsh vol-delete %s/%s", directory, name);
        return -1;
}

int volume_remove(virConnectPtr conn, const char *directory, const char *name, const char *key, struct error *err) {
        _cleanup_(pool_free_p) virStoragePoolPtr pool = NULL;
        _cleanup_(volume_free_p) virStorageVolPtr volume = NULL;
        struct volume known;
        LOCKED();
        int found = find_pool(conn, directory, name, &pool, err);
        if (found > 0)
                found = look(pool, name, &volume, err);
        if (found <= 0)
                return found;
        if (describe(volume, &known, err) < 0)
                return -1;
        if (strcmp(known.key, key) != 0)
                return 0;
        if (virStorageVolDelete(volume, 0) == 0)
                return 1;
        connection_error(err, "remove the volume");
        return error_prefix(err, "%s/%s", directory, name);
}
