// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reading the other VMs' definitions. One that cannot be read fails the whole: what is not known cannot be ruled out.
 * Workers only.
 */
#include "agent/host/neighbour.h"
#include "agent/host/definition.h"
#include "agent/host/image_chain.h"
#include "agent/host/pool.h"
#include "agent/host/reach.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <dirent.h>
#include <libgen.h>
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

// How sure it is that an image is laid over a file, from no to yes.
enum over {
        OVER_NOT,
        OVER_AWAY,    // it is not to be had, as long as which nobody reads ours through it
        OVER_UNKNOWN, // it is there, or should be, and nobody can tell
        OVER_YES,
};

// While a file system is not mounted, the directory of its images is empty or not there either: then a missing image
// is not known to be gone.
static bool is_gone(const char *path) {
        _cleanup_(free_p) char *copy = memory_string(path);
        DIR *directory = opendir(dirname(copy));
        unsigned n = 0;
        while (directory && n < 3 && readdir(directory)) // "." and ".." are two
                n++;
        if (directory)
                closedir(directory);
        return n == 3;
}

static enum over chain_is_over(const struct image_chain *chain, const char *path, const char *held,
                               const struct stat *status) {
        for (unsigned i = 0; i < chain->n; i++)
                if (same_file(chain->paths[i], held, status))
                        return OVER_YES;
        switch (chain->end) {
        case IMAGE_CHAIN_WHOLE:
                return OVER_NOT;
        case IMAGE_CHAIN_SILENT: // it holds up nobody but those who use it
                return OVER_AWAY;
        case IMAGE_CHAIN_MISSING:
                return is_gone(chain->n ? chain->paths[chain->n - 1] : path) ? OVER_AWAY : OVER_UNKNOWN;
        case IMAGE_CHAIN_UNKNOWN:
                break;
        }
        return OVER_UNKNOWN;
}

static enum over disk_is_over(const Drover__Disk *disk, const char *held, const struct stat *status, char **why) {
        struct image_chain chain;
        if (strcmp(disk->type, "network") == 0 || strcmp(disk->format, "qcow2") != 0)
                return OVER_NOT;
        if (!disk->path[0]) // its pool is not active
                return strcmp(disk->type, "volume") == 0 ? OVER_AWAY : OVER_NOT;
        image_chain_read(disk->path, disk->format, &chain);
        enum over over = chain_is_over(&chain, disk->path, held, status);
        if (over == OVER_UNKNOWN && !*why)
                *why = memory_string(chain.why);
        image_chain_fini(&chain);
        return over;
}

// As its own or through one of its own. *why: why it is not known.
static enum over uses(const struct neighbour *neighbour, const char *held, const struct stat *status, char **why) {
        enum over most = OVER_NOT;
        if (neighbour->nvram && same_file(neighbour->nvram, held, status))
                return OVER_YES;
        for (size_t k = 0; k < neighbour->definition->n_disks; k++) {
                const Drover__Disk *disk = neighbour->definition->disks[k];
                bool own = disk->path[0] && strcmp(disk->type, "network") != 0 && same_file(disk->path, held, status);
                enum over over = own ? OVER_YES : disk_is_over(disk, held, status, why);
                most = over > most ? over : most;
        }
        return most;
}

bool neighbours_based_on(const struct neighbours *neighbours, const char *path) {
        struct stat status;
        const struct stat *known = stat(path, &status) == 0 ? &status : NULL;
        for (unsigned i = 0; i < neighbours->n; i++) {
                const Drover__Domain *definition = neighbours->items[i].definition;
                for (size_t k = 0; k < definition->n_disks; k++) {
                        _cleanup_(free_p) char *why = NULL;
                        if (disk_is_over(definition->disks[k], path, known, &why) != OVER_NOT)
                                return true;
                }
        }
        return false;
}

const char *neighbours_using(const struct neighbours *neighbours, const struct hold *hold) {
        struct stat status;
        _cleanup_(free_p) char *held = memory_format("%s/%s", hold->directory, hold->name);
        const struct stat *known = stat(held, &status) == 0 ? &status : NULL;
        for (unsigned i = 0; i < neighbours->n; i++) {
                _cleanup_(free_p) char *why = NULL;
                if (uses(&neighbours->items[i], held, known, &why) == OVER_YES)
                        return neighbours->items[i].definition->name;
        }
        return NULL;
}

static int refuse_unknown(const struct hold *hold, const char *user, const char *why, struct error *err) {
        error_set(err, ERROR_CONFLICT, "%s: nobody can tell whether %s uses %s/%s as well: %s", hold->item, user,
                  hold->directory, hold->name, why);
        error_hint(err, "let the images of %s be read again, or take from it what it does not need: virsh edit %s",
                   user, user);
        return -1;
}

int neighbours_check_unused(const struct neighbours *neighbours, const struct hold *hold, struct error *err) {
        struct stat status;
        _cleanup_(free_p) char *held = memory_format("%s/%s", hold->directory, hold->name);
        const struct stat *known = stat(held, &status) == 0 ? &status : NULL;
        for (unsigned i = 0; i < neighbours->n; i++) {
                const char *name = neighbours->items[i].definition->name;
                _cleanup_(free_p) char *why = NULL;
                enum over over = uses(&neighbours->items[i], held, known, &why);
                if (over == OVER_UNKNOWN)
                        return refuse_unknown(hold, name, why, err);
                if (over != OVER_YES)
                        continue;
                error_set(err, ERROR_CONFLICT, "%s: %s is used by %s as well", hold->item, held, name);
                error_hint(err, "give %s an image of its own, or move it first", name);
                return -1;
        }
        return 0;
}
