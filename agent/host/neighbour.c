// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reading the other VMs' definitions. One that cannot be read fails the whole: what is not known cannot be ruled out.
 * Workers only.
 */
#include "agent/host/neighbour.h"
#include "agent/host/definition.h"
#include "agent/host/held.h"
#include "agent/host/pool.h"
#include "agent/host/reach.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <dirent.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
        if (!path && pool_table_check(pools, disk->pool, err) < 0)
                return error_prefix(err, "disk %s", disk->target);
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

// What no active pool here resolves is no file that another VM could share, unless that pool could not be read, or was
// stopped under a VM that runs.
static void note_volume(struct neighbour *neighbour, const struct pool_table *pools, const char *target,
                        const char *pool, bool running) {
        struct error why = ERROR_INIT;
        int known = pool_table_check(pools, pool, &why);
        if (neighbour->why || known > 0 || (known == 0 && !running))
                return;
        neighbour->why = known < 0 ? memory_format("disk %s: %s", target, why.message)
                                   : memory_format("disk %s is a volume of pool %s, which is not active", target, pool);
}

static void resolve(struct neighbour *neighbour, const struct pool_table *pools, bool running) {
        for (size_t i = 0; i < neighbour->definition->n_disks; i++) {
                Drover__Disk *disk = neighbour->definition->disks[i];
                if (strcmp(disk->type, "volume") != 0)
                        continue;
                char *path = pool_table_path(pools, disk->pool, disk->volume);
                if (path) {
                        if (disk->path != protobuf_c_empty_string)
                                free(disk->path);
                        disk->path = path;
                } else if (strcmp(disk->device, "disk") == 0 || strcmp(disk->device, "lun") == 0) {
                        note_volume(neighbour, pools, disk->target, disk->pool, running);
                }
        }
        definition_bases_resolve(&neighbour->bases, pools);
        for (unsigned i = 0; i < neighbour->bases.n; i++) {
                const struct definition_base *base = &neighbour->bases.items[i];
                if (base->kind == BASE_VOLUME)
                        note_volume(neighbour, pools, base->target, base->pool, running);
        }
}

static int add(struct neighbours *neighbours, const struct pool_table *pools, const char *xml, bool running,
               struct error *err) {
        _cleanup_(definition_free_p) struct definition *definition = NULL;
        _cleanup_(domain_message_free_p) Drover__Domain *domain = new (Drover__Domain);
        drover__domain__init(domain);
        if (definition_parse(xml, strlen(xml), &definition, err) < 0 ||
            definition_describe(definition, domain, err) < 0)
                return -1;
        neighbours->items = memory_grow(neighbours->items, neighbours->n + 1, sizeof(*neighbours->items));
        struct neighbour *neighbour = &neighbours->items[neighbours->n++];
        *neighbour = (struct neighbour){.definition = steal(&domain), .nvram = definition_nvram_file(definition)};
        definition_bases_read(definition, &neighbour->bases);
        resolve(neighbour, pools, running);
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
                if (add(neighbours, pools, xml, !(views[i] & VIR_DOMAIN_XML_INACTIVE), err) < 0)
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
                definition_bases_fini(&neighbours->items[i].bases);
                free(neighbours->items[i].nvram);
                free(neighbours->items[i].why);
        }
        free(neighbours->items);
        *neighbours = (struct neighbours){0};
}

// ---- what is laid over what ----

// Whether a file is used by somebody: asked of one image after the other.
struct question {
        const char *path;
        struct stat status;
        bool known; // the status; else the file is not there now, and its name is all there is
        struct journal *journal;
        unsigned depth; // of held images over held images
        char *why;      // the first time that nobody could tell
};

static void question_init(struct question *question, struct journal *journal, const char *path) {
        *question = (struct question){.path = path, .journal = journal};
        question->known = stat(path, &question->status) == 0;
}

static void question_fini(struct question *question) {
        free(question->why);
}

// How sure it is that an image is laid over it, from no to yes.
enum over {
        OVER_NOT,
        OVER_AWAY,    // it is not to be had, as long as which nobody reads ours through it
        OVER_UNKNOWN, // it is there, or should be, and nobody can tell
        OVER_YES,
};

// By name, and by inode for other spellings of it; a device may have several nodes.
static bool same_file(const struct question *question, const char *path) {
        struct stat other;
        if (strcmp(path, question->path) == 0)
                return true;
        if (!question->known || !reach_answers(path) || stat(path, &other) < 0)
                return false;
        if (S_ISBLK(question->status.st_mode))
                return S_ISBLK(other.st_mode) && other.st_rdev == question->status.st_rdev;
        return other.st_ino == question->status.st_ino && other.st_dev == question->status.st_dev;
}

static enum over unknown(struct question *question, const char *why) {
        if (!question->why)
                question->why = memory_string(why);
        return OVER_UNKNOWN;
}

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

static enum over missing_is_over(struct question *question, const struct image_chain *chain, const char *path);

static enum over chain_is_over(struct question *question, const struct image_chain *chain, const char *path) {
        for (unsigned i = 0; i < chain->n; i++)
                if (same_file(question, chain->paths[i]))
                        return OVER_YES;
        switch (chain->end) {
        case IMAGE_CHAIN_WHOLE:
                return OVER_NOT;
        case IMAGE_CHAIN_SILENT: // it holds up nobody but those who use it
                return OVER_AWAY;
        case IMAGE_CHAIN_MISSING:
                return missing_is_over(question, chain, chain->n ? chain->paths[chain->n - 1] : path);
        case IMAGE_CHAIN_UNKNOWN:
                break;
        }
        return unknown(question, chain->why);
}

// A job may have it in its hands. The journal is asked after the file was missed: a job notes first and renames then.
static enum over missing_is_over(struct question *question, const struct image_chain *chain, const char *path) {
        struct held held;
        int found = -1;
        if (question->depth < IMAGE_CHAIN_MAX)
                found = held_image_at(question->journal, path, &held, NULL);
        if (found > 0) {
                question->depth++;
                enum over over = chain_is_over(question, &held.chain, path);
                question->depth--;
                image_chain_fini(&held.chain);
                return over;
        }
        if (found < 0 || access(path, F_OK) == 0 || !is_gone(path)) // or given back in this moment
                return unknown(question, chain->why);
        return OVER_AWAY;
}

static enum over disk_is_over(struct question *question, const Drover__Disk *disk) {
        struct image_chain chain;
        if (strcmp(disk->type, "network") == 0 || strcmp(disk->format, "qcow2") != 0)
                return OVER_NOT;
        if (!disk->path[0]) // its pool is not active
                return strcmp(disk->type, "volume") == 0 ? OVER_AWAY : OVER_NOT;
        image_chain_read(disk->path, disk->format, &chain);
        enum over over = chain_is_over(question, &chain, disk->path);
        image_chain_fini(&chain);
        return over;
}

// Named by the definition. What is below it in turn, its own header tells.
static enum over base_is_over(struct question *question, const struct definition_base *base) {
        struct image_chain chain;
        if (base->kind == BASE_NOTHING || base->kind == BASE_ELSEWHERE)
                return OVER_NOT;
        if (base->kind == BASE_VOLUME) // its pool is not active
                return OVER_AWAY;
        if (base->kind == BASE_UNKNOWN) {
                _cleanup_(free_p) char *why = memory_format("%s is no plain name of a file", base->path);
                return unknown(question, why);
        }
        if (same_file(question, base->path))
                return OVER_YES;
        if (*base->format && strcmp(base->format, "qcow2") != 0) // what is in it is no header (fault 34)
                return OVER_NOT;
        image_chain_read(base->path, "qcow2", &chain);
        enum over over = chain_is_over(question, &chain, base->path);
        image_chain_fini(&chain);
        return over;
}

static enum over images_are_over(struct question *question, const struct neighbour *neighbour) {
        enum over most = neighbour->why ? unknown(question, neighbour->why) : OVER_NOT;
        for (size_t k = 0; k < neighbour->definition->n_disks; k++) {
                enum over over = disk_is_over(question, neighbour->definition->disks[k]);
                most = over > most ? over : most;
        }
        for (unsigned k = 0; k < neighbour->bases.n; k++) {
                enum over over = base_is_over(question, &neighbour->bases.items[k]);
                most = over > most ? over : most;
        }
        return most;
}

// As its own or through one of its own.
static enum over uses(struct question *question, const struct neighbour *neighbour) {
        if (neighbour->nvram && same_file(question, neighbour->nvram))
                return OVER_YES;
        for (size_t k = 0; k < neighbour->definition->n_disks; k++) {
                const Drover__Disk *disk = neighbour->definition->disks[k];
                if (disk->path[0] && strcmp(disk->type, "network") != 0 && same_file(question, disk->path))
                        return OVER_YES;
        }
        return images_are_over(question, neighbour);
}

int neighbours_based_on(const struct neighbours *neighbours, struct journal *journal, const char *path,
                        struct error *err) {
        _cleanup_(question_fini) struct question question;
        _cleanup_(held_images_fini) struct held_images held = {0};
        question_init(&question, journal, path);
        for (unsigned i = 0; i < neighbours->n; i++)
                if (images_are_over(&question, &neighbours->items[i]) != OVER_NOT)
                        return 1;
        if (held_images_read(journal, &held, err) < 0)
                return -1;
        for (unsigned i = 0; i < held.n; i++)
                if (chain_is_over(&question, &held.items[i].chain, "") != OVER_NOT)
                        return 1;
        return 0;
}

// ---- may it go? ----

static int refuse(const struct question *question, enum over over, const char *item, const char *user,
                  struct error *err) {
        if (over == OVER_YES)
                return error_set(err, ERROR_CONFLICT, "%s: %s is used by %s as well", item, question->path, user);
        return error_set(err, ERROR_CONFLICT, "%s: nobody can tell whether %s uses %s as well: %s", item, user,
                         question->path, question->why);
}

static int check_defined(struct question *question, const struct neighbour *neighbour, const char *item,
                         struct error *err) {
        const char *name = neighbour->definition->name;
        enum over over = uses(question, neighbour);
        if (over < OVER_UNKNOWN)
                return 0;
        refuse(question, over, item, name, err);
        if (over == OVER_YES)
                error_hint(err, "give %s an image of its own, or move it first", name);
        else
                error_hint(err, "let the images of %s be read, or take away what it does not need: virsh edit %s", name,
                           name);
        return -1;
}

static int check_held(struct question *question, const struct held *held, const char *item, struct error *err) {
        const struct hold *hold = &held->hold;
        enum over over = chain_is_over(question, &held->chain, "");
        if (over < OVER_UNKNOWN)
                return 0;
        refuse(question, over, item, hold->vm_name, err);
        if (over == OVER_UNKNOWN)
                error_hint(err, "see whether its file system is mounted: findmnt -T %s", hold->directory);
        if (hold->kind == HOLD_RETIRED)
                error_hint(err, "if what %s left behind here is not needed any more: drover vm purge %s", hold->vm_name,
                           hold->vm_name);
        else
                error_hint(err, "wait until the other job is done: drover job show %s", hold->job);
        return -1;
}

int neighbours_check_unused(const struct neighbours *neighbours, const struct held_images *held,
                            const struct hold *hold, struct error *err) {
        _cleanup_(question_fini) struct question question;
        _cleanup_(free_p) char *path = memory_format("%s/%s", hold->directory, hold->name);
        question_init(&question, held->journal, path);
        // What a job holds first: the VM may still be defined, but it is the job that tells what to do.
        for (unsigned i = 0; i < held->n; i++)
                if (strcmp(held->items[i].hold.job, hold->job) != 0 &&
                    check_held(&question, &held->items[i], hold->item, err) < 0)
                        return -1;
        for (unsigned i = 0; i < neighbours->n; i++)
                if (check_defined(&question, &neighbours->items[i], hold->item, err) < 0)
                        return -1;
        return 0;
}
