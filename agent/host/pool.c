// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Pools: from libvirt's names to open directories, and the sidecar directory beside the images. Blocking, for workers.
 * Directories are reached once by the path that libvirt gives and from then on only through their descriptor.
 */
#include "agent/host/pool.h"
#include "agent/host/mount.h"
#include "agent/host/reach.h"
#include "agent/host/tree.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/name.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

void pool_directory_fini(struct pool_directory *directory) {
        if (directory->fd >= 0)
                close(directory->fd);
        directory->fd = -1;
}

int pool_open_path(const char *path, struct pool_directory *ret, struct error *err) {
        struct pool_directory directory = {.fd = -1};
        size_t length = strlen(path);
        while (length > 1 && path[length - 1] == '/')
                length--;
        if (path[0] != '/' || length >= sizeof(directory.path))
                return error_set(err, ERROR_INVALID, "%s is not an absolute path", path);
        memcpy(directory.path, path, length);
        directory.path[length] = 0;
        _cleanup_(close_p) int fd = open(directory.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open the directory %s", directory.path);
        struct statvfs space;
        if (fstatvfs(fd, &space) < 0)
                return error_errno(err, errno, "ask for the free space of %s", directory.path);
        directory.available_bytes = (uint64_t) space.f_bavail * space.f_frsize;
        directory.capacity_bytes = (uint64_t) space.f_blocks * space.f_frsize;
        directory.fd = steal_fd(&fd);
        *ret = directory;
        return 0;
}

// Names of all pools, for "did you mean".
static void hint_pools(virConnectPtr conn, const char *wanted, struct error *err) {
        virStoragePoolPtr *pools = NULL;
        int n = virConnectListAllStoragePools(conn, &pools, 0);
        if (n < 0)
                return;
        const char **names = new_array(const char *, (size_t) n + 1);
        for (int i = 0; i < n; i++)
                names[i] = virStoragePoolGetName(pools[i]);
        int nearest = name_nearest(wanted, (char *const *) names, (size_t) n);
        if (nearest >= 0)
                error_hint(err, "did you mean %s?", names[nearest]);
        else if (n == 0)
                error_hint(err,
                           "this host has no pool: virsh pool-define-as default dir --target /var/lib/libvirt/images");
        else
                error_hint(err, "see the pools of the host: drover host show");
        free(names);
        for (int i = 0; i < n; i++)
                virStoragePoolFree(pools[i]);
        free(pools);
}

static int lookup(virConnectPtr conn, const char *name, virStoragePoolPtr *ret, struct error *err) {
        virStoragePoolPtr pool = virStoragePoolLookupByName(conn, name);
        if (!pool && virGetLastErrorCode() == VIR_ERR_NO_STORAGE_POOL) {
                error_set(err, ERROR_NOT_FOUND, "no pool %s on this host", name);
                hint_pools(conn, name, err);
                return -1;
        }
        if (!pool)
                return connection_error(err, "look up the pool");
        *ret = pool;
        return 0;
}

enum holds { HOLDS_OTHER, HOLDS_FILES, HOLDS_DEVICES };

static enum holds holds_of(const char *type) {
        if (strcmp(type, "dir") == 0 || strcmp(type, "fs") == 0 || strcmp(type, "netfs") == 0)
                return HOLDS_FILES;
        return strcmp(type, "logical") == 0 ? HOLDS_DEVICES : HOLDS_OTHER;
}

// *ret_path: NULL for a pool that holds neither.
static int place_of(virStoragePoolPtr pool, enum holds *ret, char **ret_path, char **ret_type, struct error *err) {
        _cleanup_(free_p) char *xml = virStoragePoolGetXMLDesc(pool, 0);
        if (!xml)
                return connection_error(err, "read the pool");
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        if (tree_parse("the pool's definition", xml, strlen(xml), &doc, err) < 0)
                return -1;
        const xmlNode *root = xmlDocGetRootElement(doc);
        _cleanup_(free_p) char *type = tree_attribute(root, "type");
        *ret = holds_of(type ? type : "");
        char *path = *ret != HOLDS_OTHER ? tree_find_text(root, "target/path") : NULL;
        for (size_t n = path ? strlen(path) : 0; n > 1 && path[n - 1] == '/'; n--)
                path[n - 1] = 0;
        *ret_path = path;
        if (ret_type)
                *ret_type = steal(&type);
        return 0;
}

static int place_if(virStoragePoolPtr pool, enum holds wanted, char **ret_path, char **ret_type, struct error *err) {
        enum holds holds;
        if (place_of(pool, &holds, ret_path, ret_type, err) < 0)
                return -1;
        if (holds != wanted) {
                free(*ret_path);
                *ret_path = NULL;
        }
        return 0;
}

int pool_directory_of(virStoragePoolPtr pool, char **ret_path, char **ret_type, struct error *err) {
        return place_if(pool, HOLDS_FILES, ret_path, ret_type, err);
}

int pool_devices_of(virStoragePoolPtr pool, char **ret_path, struct error *err) {
        return place_if(pool, HOLDS_DEVICES, ret_path, NULL, err);
}

int pool_require(virConnectPtr conn, const char *name, virStoragePoolPtr *ret, struct error *err) {
        _cleanup_(pool_free_p) virStoragePoolPtr pool = NULL;
        if (lookup(conn, name, &pool, err) < 0)
                return -1;
        int active = virStoragePoolIsActive(pool);
        if (active < 0)
                return connection_error(err, "ask for the pool's state");
        if (!active) {
                error_set(err, ERROR_REFUSED, "pool %s is not active", name);
                error_hint(err, "on the host: virsh pool-start %s", name);
                return -1;
        }
        *ret = steal(&pool);
        return 0;
}

int pool_open(virConnectPtr conn, const char *name, struct pool_directory *ret, struct error *err) {
        _cleanup_(pool_free_p) virStoragePoolPtr pool = NULL;
        if (lookup(conn, name, &pool, err) < 0)
                return -1;
        _cleanup_(free_p) char *path = NULL, *type = NULL;
        if (pool_directory_of(pool, &path, &type, err) < 0)
                return error_prefix(err, "pool %s", name);
        if (!path) {
                error_set(err, ERROR_REFUSED, "pool %s is of type %s; only dir, fs and netfs pools hold image files",
                          name, type ? type : "unknown");
                error_hint(err, "choose another one: --pool POOL");
                return -1;
        }
        _cleanup_(pool_free_p) virStoragePoolPtr active = NULL;
        if (pool_require(conn, name, &active, err) < 0)
                return -1;
        if (reach_check(path, err) < 0 || pool_open_path(path, ret, err) < 0)
                return error_prefix(err, "pool %s", name);
        return 0;
}

static int check_sidecar(int fd, const char *directory, struct error *err) {
        struct stat st;
        if (fstat(fd, &st) < 0)
                return error_errno(err, errno, "stat %s/" POOL_SIDECAR, directory);
        if (st.st_uid != geteuid())
                return error_set(err, ERROR_REFUSED, "%s/" POOL_SIDECAR " belongs to user %u, not to drover", directory,
                                 (unsigned) st.st_uid);
        if (st.st_mode & 077) {
                error_set(err, ERROR_REFUSED, "%s/" POOL_SIDECAR " is open to others (mode %04o)", directory,
                          (unsigned) st.st_mode & 07777);
                error_hint(err, "on the host: chmod 0700 %s/" POOL_SIDECAR, directory);
                return -1;
        }
        return 0;
}

int pool_sidecar(const struct pool_directory *directory, bool make, struct error *err) {
        bool made = make && mkdirat(directory->fd, POOL_SIDECAR, 0700) == 0;
        if (make && !made && errno != EEXIST)
                return error_errno(err, errno, "make %s/" POOL_SIDECAR, directory->path);
        _cleanup_(close_p) int fd =
                openat(directory->fd, POOL_SIDECAR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && (errno == ELOOP || errno == ENOTDIR))
                return error_set(err, ERROR_REFUSED, "%s/" POOL_SIDECAR " is not a directory", directory->path);
        if (fd < 0 && errno == ENOENT)
                return error_set(err, ERROR_NOT_FOUND, "%s/" POOL_SIDECAR " does not exist", directory->path);
        if (fd < 0)
                return error_errno(err, errno, "open %s/" POOL_SIDECAR, directory->path);
        if (check_sidecar(fd, directory->path, err) < 0)
                return -1;
        if (made && file_sync_directory(directory->fd, err) < 0)
                return error_prefix(err, "make %s/" POOL_SIDECAR, directory->path);
        return steal_fd(&fd);
}

int pool_refresh(virConnectPtr conn, const char *name, struct error *err) {
        _cleanup_(pool_free_p) virStoragePoolPtr pool = NULL;
        if (lookup(conn, name, &pool, err) < 0)
                return -1;
        if (virStoragePoolRefresh(pool, 0) < 0)
                return connection_error(err, "refresh the pool");
        return 0;
}

// ---- the table of directories ----

struct pool_entry {
        char *name;
        char *path;   // NULL: it holds neither files nor devices, or could not be read
        char *why;    // it could not be read
        dev_t device; // the directory itself, so that other spellings of its path are recognised
        ino_t inode;  // 0: not looked at
        int remote;   // the number of its mount, if the files there are on another host; 0: they are not
        bool files;
};
struct pool_table {
        unsigned n;
        struct pool_entry entries[];
};

void pool_table_free(struct pool_table *table) {
        if (!table)
                return;
        for (unsigned i = 0; i < table->n; i++) {
                free(table->entries[i].name);
                free(table->entries[i].path);
                free(table->entries[i].why);
        }
        free(table);
}

static void look_at(struct pool_entry *entry) {
        struct stat st;
        if (stat(entry->path, &st) == 0) {
                entry->device = st.st_dev;
                entry->inode = st.st_ino;
        }
}

// One that went away meanwhile is left out. What one that cannot be read holds, nobody can tell: that is kept in mind.
static int table_add(struct pool_table *table, virStoragePoolPtr pool, struct error *err) {
        char *path = NULL;
        enum holds holds = HOLDS_OTHER;
        struct error why = ERROR_INIT;
        int read = place_of(pool, &holds, &path, NULL, &why);
        if (read < 0 && why.code == ERROR_NOT_FOUND)
                return 0;
        if (read < 0 && why.code == ERROR_UNREACHABLE) { // libvirt itself is gone
                if (err)
                        *err = why;
                return -1;
        }
        if (read == 0 && holds != HOLDS_OTHER && !path)
                read = error_set(&why, ERROR_LIBVIRT, "it does not say where it lies");
        struct pool_entry *entry = &table->entries[table->n++];
        *entry = (struct pool_entry){.name = memory_string(virStoragePoolGetName(pool)),
                                     .path = path,
                                     .why = read < 0 ? memory_string(why.message) : NULL,
                                     .files = holds == HOLDS_FILES};
        struct mount mount;
        entry->remote = path && mount_of(path, &mount) && mount.remote ? mount.number : 0;
        if (path && !entry->remote)
                look_at(entry);
        return 0;
}

int pool_table_read(virConnectPtr conn, struct pool_table **ret, struct error *err) {
        virStoragePoolPtr *pools = NULL;
        int n = virConnectListAllStoragePools(conn, &pools, VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE);
        if (n < 0 && virGetLastErrorCode() == VIR_ERR_NO_SUPPORT)
                n = 0; // a host without libvirt's storage driver has no pools
        if (n < 0)
                return connection_error(err, "list the pools");
        struct pool_table *table = memory_new(sizeof(*table) + (size_t) n * sizeof(table->entries[0]));
        int status = 0;
        for (int i = 0; i < n; i++) { // as many as libvirt lets a host have
                if (status == 0)
                        status = table_add(table, pools[i], err);
                virStoragePoolFree(pools[i]);
        }
        free(pools);
        if (status < 0) {
                pool_table_free(table);
                return -1;
        }
        *ret = table;
        return 0;
}

static int cannot_be_read(const struct pool_entry *entry, struct error *err) {
        return error_set(err, ERROR_LIBVIRT, "pool %s cannot be read: %s", entry->name, entry->why);
}

int pool_table_check(const struct pool_table *table, const char *pool, struct error *err) {
        for (unsigned i = 0; i < table->n; i++)
                if (strcmp(table->entries[i].name, pool) == 0)
                        return table->entries[i].why ? cannot_be_read(&table->entries[i], err) : 1;
        return 0;
}

static bool entry_named(const struct pool_entry *entry, const char *path, size_t directory_length) {
        return entry->path && strncmp(entry->path, path, directory_length) == 0 && entry->path[directory_length] == 0;
}

// By another spelling. A pool on a file system whose server may be gone is asked only about what lies there itself.
static const struct pool_entry *find_alike(const struct pool_table *table, const char *path, size_t directory_length) {
        char directory[PATH_MAX];
        struct stat st;
        struct mount mount;
        if (directory_length >= sizeof(directory))
                return NULL;
        memcpy(directory, path, directory_length);
        directory[directory_length] = 0;
        int remote = mount_of(directory, &mount) && mount.remote ? mount.number : 0;
        if (!reach_answers(directory) || stat(directory, &st) < 0)
                return NULL;
        for (unsigned i = 0; i < table->n; i++) {
                struct pool_entry entry = table->entries[i];
                if (!entry.path || entry.remote != remote)
                        continue;
                if (remote)
                        look_at(&entry);
                if (entry.inode && entry.inode == st.st_ino && entry.device == st.st_dev)
                        return &table->entries[i];
        }
        return NULL;
}

const char *pool_table_find(const struct pool_table *table, const char *path, const char **ret_volume) {
        const char *slash = strrchr(path, '/');
        if (path[0] != '/' || slash == path || slash[1] == 0)
                return NULL;
        const struct pool_entry *found = NULL;
        for (unsigned i = 0; i < table->n && !found; i++)
                if (entry_named(&table->entries[i], path, (size_t) (slash - path)))
                        found = &table->entries[i];
        if (!found)
                found = find_alike(table, path, (size_t) (slash - path));
        if (!found)
                return NULL;
        if (ret_volume)
                *ret_volume = slash + 1;
        return found->name;
}

char *pool_table_path(const struct pool_table *table, const char *pool, const char *volume) {
        if (strchr(volume, '/'))
                return NULL;
        for (unsigned i = 0; i < table->n; i++)
                if (table->entries[i].path && strcmp(table->entries[i].name, pool) == 0)
                        return memory_format("%s/%s", table->entries[i].path, volume);
        return NULL;
}

const char *pool_table_directory(const struct pool_table *table, unsigned n) {
        for (unsigned i = 0; i < table->n; i++)
                if (table->entries[i].files && table->entries[i].path && n-- == 0)
                        return table->entries[i].path;
        return NULL;
}

int pool_of_path(virConnectPtr conn, const char *path, char *ret_pool, char *ret_volume, struct error *err) {
        _cleanup_(pool_table_free_p) struct pool_table *table = NULL;
        if (pool_table_read(conn, &table, err) < 0)
                return -1;
        const char *volume = NULL, *pool = pool_table_find(table, path, &volume);
        for (unsigned i = 0; !pool && i < table->n; i++)
                if (table->entries[i].why) // it may be the one
                        return cannot_be_read(&table->entries[i], err);
        if (!pool || strlen(pool) > NAME_VOLUME_MAX || strlen(volume) > NAME_VOLUME_MAX)
                return 0;
        snprintf(ret_pool, NAME_VOLUME_MAX + 1, "%s", pool);
        snprintf(ret_volume, NAME_VOLUME_MAX + 1, "%s", volume);
        return 1;
}

int pool_refresh_directory(virConnectPtr conn, const char *directory, struct error *err) {
        char pool[NAME_VOLUME_MAX + 1], volume[NAME_VOLUME_MAX + 1];
        _cleanup_(free_p) char *inside = memory_format("%s/x", directory);
        int found = pool_of_path(conn, inside, pool, volume, err);
        if (found <= 0)
                return found;
        return pool_refresh(conn, pool, err);
}
