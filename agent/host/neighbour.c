// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reading the other VMs' definitions. One that cannot be read fails the whole: what is not known cannot be ruled out.
 * Workers only.
 */
#include "agent/host/neighbour.h"
#include "agent/host/definition.h"
#include "agent/host/image.h"
#include "agent/host/pool.h"
#include "agent/host/reach.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <string.h>
#include <sys/stat.h>

static void definition_free_p(struct definition **definition) {
        if (*definition)
                definition_free(*definition);
}

static void domain_message_free_p(Drover__Domain **domain) {
        proto_free((ProtobufCMessage *) *domain);
}

int neighbour_disk_path(const struct pool_table *pools, const Drover__Disk *disk, char **ret_path, struct error *err) {
        if ((strcmp(disk->type, "file") == 0 || strcmp(disk->type, "block") == 0) && disk->path[0]) {
                *ret_path = memory_string(disk->path);
                return 1;
        }
        if (strcmp(disk->type, "volume") != 0)
                return 0;
        char *path = pool_table_path(pools, disk->pool, disk->volume);
        if (!path) {
                error_set(err, ERROR_REFUSED,
                          "disk %s is a volume of pool %s, which is not an active pool of files or devices",
                          disk->target, disk->pool);
                error_hint(err, "see the pool on the host: virsh pool-info %s", disk->pool);
                return -1;
        }
        *ret_path = path;
        return 1;
}

static void resolve(const struct pool_table *pools, Drover__Domain *domain) {
        for (size_t i = 0; i < domain->n_disks; i++) {
                Drover__Disk *disk = domain->disks[i];
                char *path;
                // What no pool here resolves is no file that another VM could share.
                if (strcmp(disk->type, "volume") == 0 && neighbour_disk_path(pools, disk, &path, NULL) > 0) {
                        if (disk->path != protobuf_c_empty_string)
                                free(disk->path);
                        disk->path = path;
                }
        }
}

static int add(struct neighbours *neighbours, const struct pool_table *pools, const char *xml, struct error *err) {
        _cleanup_(definition_free_p) struct definition *definition = NULL;
        _cleanup_(domain_message_free_p) Drover__Domain *domain = new (Drover__Domain);
        drover__domain__init(domain);
        if (definition_parse(xml, strlen(xml), &definition, err) < 0 ||
            definition_describe(definition, domain, err) < 0)
                return -1;
        resolve(pools, domain);
        neighbours->items = memory_grow(neighbours->items, neighbours->n + 1, sizeof(*neighbours->items));
        neighbours->items[neighbours->n++] = (struct neighbour){
                .definition = steal(&domain),
                .nvram = definition_nvram_file(definition),
        };
        return 0;
}

// A domain that went away meanwhile is no neighbour.
static int add_domain(struct neighbours *neighbours, const struct pool_table *pools, virDomainPtr domain,
                      struct error *err) {
        static const unsigned views[] = {VIR_DOMAIN_XML_INACTIVE, 0};
        unsigned n = virDomainIsActive(domain) == 1 ? 2 : 1;
        for (unsigned i = 0; i < n; i++) {
                _cleanup_(free_p) char *xml = virDomainGetXMLDesc(domain, views[i]);
                if (!xml && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
                        return 0;
                if (!xml)
                        return connection_error(err, "read a definition");
                if (add(neighbours, pools, xml, err) < 0)
                        return error_prefix(err, "VM %s", virDomainGetName(domain));
        }
        return 0;
}

static bool is_uuid(virDomainPtr domain, const char *uuid) {
        char text[VIR_UUID_STRING_BUFLEN];
        return virDomainGetUUIDString(domain, text) == 0 && strcmp(text, uuid) == 0;
}

int neighbours_read(virConnectPtr conn, const char *except_uuid, struct neighbours *ret, struct error *err) {
        _cleanup_(pool_table_free_p) struct pool_table *pools = NULL;
        struct neighbours neighbours = {0};
        virDomainPtr *domains = NULL;
        if (pool_table_read(conn, &pools, err) < 0)
                return -1;
        int n = virConnectListAllDomains(conn, &domains, 0), status = 0;
        if (n < 0)
                return connection_error(err, "list the VMs");
        for (int i = 0; i < n; i++) {
                if (status == 0 && !is_uuid(domains[i], except_uuid))
                        status = add_domain(&neighbours, pools, domains[i], err);
                virDomainFree(domains[i]);
        }
        free(domains);
        if (status < 0) {
                neighbours_fini(&neighbours);
                return -1;
        }
        *ret = neighbours;
        return 0;
}

void neighbours_fini(struct neighbours *neighbours) {
        for (unsigned i = 0; i < neighbours->n; i++) {
                proto_free((ProtobufCMessage *) neighbours->items[i].definition);
                free(neighbours->items[i].nvram);
        }
        free(neighbours->items);
        *neighbours = (struct neighbours){0};
}

// By name, and by inode for other spellings of it; a device may have several nodes.
static bool same_file(const char *path, const char *held, const struct stat *status) {
        struct stat other;
        if (strcmp(path, held) == 0)
                return true;
        if (!status || !reach_answers(path) || stat(path, &other) < 0)
                return false;
        if (S_ISBLK(status->st_mode))
                return S_ISBLK(other.st_mode) && other.st_rdev == status->st_rdev;
        return other.st_ino == status->st_ino && other.st_dev == status->st_dev;
}

static bool disk_is_over(const Drover__Disk *disk, const char *held, const struct stat *status) {
        if (!disk->path[0] || strcmp(disk->type, "network") == 0)
                return false;
        char **chain = NULL;
        unsigned n = 0;
        bool uses = false;
        if (image_chain(disk->path, disk->format, &chain, &n, NULL) < 0)
                return false; // an image that cannot be read now has no program that reads ours through it
        for (unsigned i = 0; i < n; i++) {
                uses = uses || same_file(chain[i], held, status);
                free(chain[i]);
        }
        free(chain);
        return uses;
}

static bool disk_uses(const Drover__Disk *disk, const char *held, const struct stat *status) {
        if (!disk->path[0] || strcmp(disk->type, "network") == 0)
                return false;
        return same_file(disk->path, held, status) || disk_is_over(disk, held, status);
}

bool neighbours_based_on(const struct neighbours *neighbours, const char *path) {
        struct stat status;
        const struct stat *known = stat(path, &status) == 0 ? &status : NULL;
        for (unsigned i = 0; i < neighbours->n; i++) {
                const Drover__Domain *definition = neighbours->items[i].definition;
                for (size_t k = 0; k < definition->n_disks; k++)
                        if (!reach_answers(definition->disks[k]->path) ||
                            disk_is_over(definition->disks[k], path, known))
                                return true;
        }
        return false;
}

const char *neighbours_using(const struct neighbours *neighbours, const struct hold *hold) {
        struct stat status;
        _cleanup_(free_p) char *held = memory_format("%s/%s", hold->directory, hold->name);
        const struct stat *known = stat(held, &status) == 0 ? &status : NULL;
        for (unsigned i = 0; i < neighbours->n; i++) {
                const struct neighbour *neighbour = &neighbours->items[i];
                bool uses = neighbour->nvram && same_file(neighbour->nvram, held, known);
                for (size_t k = 0; !uses && k < neighbour->definition->n_disks; k++)
                        uses = disk_uses(neighbour->definition->disks[k], held, known);
                if (uses)
                        return neighbour->definition->name;
        }
        return NULL;
}
