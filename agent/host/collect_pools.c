// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pools and networks of the host. Blocking, for workers. */
#include "agent/host/collect.h"
#include "agent/host/pool.h"
#include "agent/host/reach.h"
#include "agent/host/tree.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/name.h"
#include <string.h>
#include <sys/statvfs.h>

#define VOLUMES_MAX 1000 // names of one pool; more are not shown

static char *text_or_empty(char *text) {
        return text ? text : memory_string("");
}

static void read_volumes(virStoragePoolPtr handle, Drover__Pool *pool) {
        char *names[VOLUMES_MAX];
        int n = virStoragePoolListVolumes(handle, names, VOLUMES_MAX);
        if (n <= 0)
                return;
        pool->volumes = new_array(char *, (size_t) n);
        for (int i = 0; i < n; i++)
                if (strcmp(names[i], POOL_SIDECAR) == 0) // our own directory, which libvirt takes for a volume
                        free(names[i]);
                else
                        pool->volumes[pool->n_volumes++] = names[i];
}

// libvirt knows the space as it was when the pool was refreshed; the file system knows it now.
static void measure(virStoragePoolPtr handle, Drover__Pool *pool) {
        struct statvfs space;
        virStoragePoolInfo info;
        if (*pool->path && reach_answers(pool->path) && statvfs(pool->path, &space) == 0) {
                pool->capacity_bytes = (uint64_t) space.f_blocks * space.f_frsize;
                pool->available_bytes = (uint64_t) space.f_bavail * space.f_frsize;
                pool->allocation_bytes = (uint64_t) (space.f_blocks - space.f_bfree) * space.f_frsize;
        } else if (virStoragePoolGetInfo(handle, &info) == 0) {
                pool->capacity_bytes = info.capacity;
                pool->allocation_bytes = info.allocation;
                pool->available_bytes = info.available;
        }
}

// A pool that has gone meanwhile gives NULL.
static Drover__Pool *read_pool(virStoragePoolPtr handle) {
        _cleanup_(free_p) char *path = NULL, *type = NULL;
        char uuid[VIR_UUID_STRING_BUFLEN] = "";
        int active = virStoragePoolIsActive(handle), autostart = 0;
        if (active < 0 || pool_directory_of(handle, &path, &type, NULL) < 0 ||
            virStoragePoolGetUUIDString(handle, uuid) < 0)
                return NULL;
        virStoragePoolGetAutostart(handle, &autostart);
        Drover__Pool *pool = new (Drover__Pool);
        drover__pool__init(pool);
        pool->name = memory_string(virStoragePoolGetName(handle));
        pool->uuid = memory_string(uuid);
        pool->type = text_or_empty(steal(&type));
        pool->path = text_or_empty(steal(&path));
        pool->active = active;
        pool->autostart = autostart;
        pool->spare_bytes = *pool->path ? POOL_SPARE_BYTES : 0; // a volume that is a device is made whole
        if (active) {
                measure(handle, pool);
                read_volumes(handle, pool);
        }
        return pool;
}

int collect_pools(virConnectPtr conn, Drover__Pool ***ret, size_t *ret_n, struct error *err) {
        virStoragePoolPtr *handles = NULL;
        int n = virConnectListAllStoragePools(conn, &handles, 0);
        if (n < 0 && virGetLastErrorCode() == VIR_ERR_NO_SUPPORT)
                n = 0;
        if (n < 0)
                return connection_error(err, "list the pools");
        Drover__Pool **pools = new_array(Drover__Pool *, (size_t) n + 1);
        size_t count = 0;
        for (int i = 0; i < n; i++) {
                pools[count] = read_pool(handles[i]);
                count += pools[count] != NULL;
                virStoragePoolFree(handles[i]);
        }
        free(handles);
        *ret = pools;
        *ret_n = count;
        return 0;
}

static Drover__Network *read_network(virNetworkPtr handle) {
        _cleanup_(free_p) char *xml = virNetworkGetXMLDesc(handle, 0);
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        char uuid[VIR_UUID_STRING_BUFLEN] = "";
        int active = virNetworkIsActive(handle), autostart = 0;
        if (!xml || active < 0 || virNetworkGetUUIDString(handle, uuid) < 0 ||
            tree_parse("the network's definition", xml, strlen(xml), &doc, NULL) < 0)
                return NULL;
        virNetworkGetAutostart(handle, &autostart);
        const xmlNode *root = xmlDocGetRootElement(doc), *forward = tree_child(root, "forward");
        Drover__Network *network = new (Drover__Network);
        drover__network__init(network);
        network->name = memory_string(virNetworkGetName(handle));
        network->uuid = memory_string(uuid);
        network->active = active;
        network->autostart = autostart;
        network->bridge = text_or_empty(tree_find_attribute(root, "bridge", "name"));
        char *mode = forward ? tree_attribute(forward, "mode") : NULL;
        network->forward = forward && !mode ? memory_string("nat") : text_or_empty(mode); // libvirt's default
        return network;
}

int collect_networks(virConnectPtr conn, Drover__Network ***ret, size_t *ret_n, struct error *err) {
        virNetworkPtr *handles = NULL;
        int n = virConnectListAllNetworks(conn, &handles, 0);
        if (n < 0 && virGetLastErrorCode() == VIR_ERR_NO_SUPPORT)
                n = 0;
        if (n < 0)
                return connection_error(err, "list the networks");
        Drover__Network **networks = new_array(Drover__Network *, (size_t) n + 1);
        size_t count = 0;
        for (int i = 0; i < n; i++) {
                networks[count] = read_network(handles[i]);
                count += networks[count] != NULL;
                virNetworkFree(handles[i]);
        }
        free(handles);
        *ret = networks;
        *ret_n = count;
        return 0;
}
