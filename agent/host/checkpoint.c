// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Our checkpoints (see checkpoint.h). Whether a bitmap is good is asked as its size: libvirt gives one only for bitmaps
 * that are there and consistent. A bitmap without a record is removed by giving it one again first, so that nothing is
 * done behind libvirt's back.
 */
#include "agent/host/checkpoint.h"
#include "agent/host/disk_source.h"
#include "common/memory.h"
#include <inttypes.h>
#include <string.h>

#define PREFIX "drover-"

static void checkpoint_free_p(virDomainCheckpointPtr *checkpoint) {
        if (*checkpoint)
                virDomainCheckpointFree(*checkpoint);
}

bool checkpoint_name_parse(const char *name, uint64_t *ret_number) {
        char again[CHECKPOINT_NAME_MAX];
        if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
                return false;
        uint64_t number = strtoull(name + strlen(PREFIX), NULL, 10);
        snprintf(again, sizeof again, PREFIX "%" PRIu64, number);
        if (number == 0 || number > INT64_MAX || strcmp(again, name) != 0)
                return false;
        *ret_number = number;
        return true;
}

static void read_disks(const xmlNode *root, const xmlNode *now, struct checkpoint *ret) {
        const xmlNode *disks = tree_child(root, "disks"), *then = tree_child(root, "domain");
        for (const xmlNode *at = tree_child(disks, "disk"); at; at = tree_next(at, "disk")) {
                _cleanup_(free_p) char *name = tree_attribute(at, "name"), *size = tree_attribute(at, "size"),
                                       *bitmap = tree_attribute(at, "bitmap");
                bool good = name && size && bitmap && strlen(name) < sizeof ret->good[0];
                if (!good || strcmp(bitmap, ret->name) != 0 || ret->n_good == CHECKPOINT_DISKS_MAX)
                        continue;
                if (disk_source_same(then, now, name))
                        memcpy(ret->good[ret->n_good++], name, strlen(name) + 1);
                else
                        ret->moved = true;
        }
}

// Nothing where QEMU cannot be asked for them now: then no bitmap is known to be good.
static int read_one(virDomainCheckpointPtr checkpoint, const xmlNode *now, struct checkpoint *ret, struct error *err) {
        _cleanup_(free_p) char *xml = virDomainCheckpointGetXMLDesc(checkpoint, VIR_DOMAIN_CHECKPOINT_XML_SIZE);
        if (!xml)
                return 0;
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        if (tree_parse("the checkpoint", xml, strlen(xml), &doc, err) < 0)
                return -1;
        read_disks(xmlDocGetRootElement(doc), now, ret);
        ret->known = true;
        return 0;
}

static int by_number(const void *a, const void *b) {
        const struct checkpoint *one = a, *other = b;
        return one->number < other->number ? -1 : one->number > other->number;
}

int checkpoints_read(virDomainPtr domain, const xmlNode *now, struct checkpoints *ret, struct error *err) {
        virDomainCheckpointPtr *all = NULL;
        int n = virDomainListAllCheckpoints(domain, &all, 0), status = 0;
        if (n < 0)
                return connection_error(err, "list the checkpoints");
        struct checkpoints found = {.items = new_array(struct checkpoint, CHECKPOINTS_MAX)};
        for (int i = 0; i < n; i++) {
                const char *name = virDomainCheckpointGetName(all[i]);
                struct checkpoint *next = &found.items[found.n];
                if (status == 0 && found.n < CHECKPOINTS_MAX && name && checkpoint_name_parse(name, &next->number)) {
                        snprintf(next->name, sizeof next->name, "%s", name);
                        status = now ? read_one(all[i], now, next, err) : 0;
                        found.n++;
                }
                virDomainCheckpointFree(all[i]);
        }
        free(all);
        if (status < 0) {
                checkpoints_fini(&found);
                return -1;
        }
        qsort(found.items, found.n, sizeof *found.items, by_number);
        *ret = found;
        return 0;
}

void checkpoints_fini(struct checkpoints *checkpoints) {
        free(checkpoints->items);
        *checkpoints = (struct checkpoints){0};
}

const struct checkpoint *checkpoints_find(const struct checkpoints *checkpoints, const char *name) {
        for (unsigned i = 0; i < checkpoints->n; i++)
                if (strcmp(checkpoints->items[i].name, name) == 0)
                        return &checkpoints->items[i];
        return NULL;
}

bool checkpoint_covers(const struct checkpoint *checkpoint, const char *target) {
        for (unsigned i = 0; i < checkpoint->n_good; i++)
                if (strcmp(checkpoint->good[i], target) == 0)
                        return true;
        return false;
}

// ---- removing ----

// A record of one disk's bitmap, as libvirt would have written it itself.
static char *record_xml(const char *domain_xml, const char *name, const char *target) {
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        if (tree_parse("the definition", domain_xml, strlen(domain_xml), &doc, NULL) < 0)
                return NULL;
        xmlNode *root = xmlNewNode(NULL, BAD_CAST "domaincheckpoint"), *domain = xmlDocSetRootElement(doc, root);
        tree_set_text(tree_add(root, "name"), name);
        tree_set_text(tree_add(root, "creationTime"), "1");
        xmlNode *disk = tree_add(tree_add(root, "disks"), "disk");
        tree_set(disk, "name", target);
        tree_set(disk, "checkpoint", "bitmap");
        tree_set(disk, "bitmap", name);
        xmlAddChild(root, domain);
        return tree_print(root);
}

// Bitmaps of some disks may be gone and those of others be there: each disk's is given a record of its own.
static int drop_bitmaps(virDomainPtr domain, const char *name, const char *const *targets, unsigned n,
                        struct error *err) {
        _cleanup_(free_p) char *xml = virDomainGetXMLDesc(domain, 0);
        if (!xml)
                return connection_error(err, "read the definition");
        for (unsigned i = 0; i < n; i++) {
                _cleanup_(free_p) char *record = record_xml(xml, name, targets[i]);
                if (!record)
                        return error_set(err, ERROR_LIBVIRT, "the definition cannot be read");
                _cleanup_(checkpoint_free_p) virDomainCheckpointPtr made =
                        virDomainCheckpointCreateXML(domain, record, VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE);
                if (!made)
                        return connection_error(err, "give a bitmap its record again");
                if (virDomainCheckpointDelete(made, 0) == 0)
                        continue;
                connection_error(err, "remove a bitmap");
                // There is none on this disk: only the record has to go.
                if (virDomainCheckpointDelete(made, VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY) < 0)
                        return connection_error(err, "remove a checkpoint's record");
                error_clear(err);
        }
        return 0;
}

static int targets_of(virDomainCheckpointPtr checkpoint, xmlDoc **ret_doc, char **ret, unsigned *ret_n,
                      struct error *err) {
        _cleanup_(free_p) char *xml = virDomainCheckpointGetXMLDesc(checkpoint, VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN);
        if (!xml)
                return connection_error(err, "read a checkpoint");
        if (tree_parse("the checkpoint", xml, strlen(xml), ret_doc, err) < 0)
                return -1;
        const xmlNode *disks = tree_child(xmlDocGetRootElement(*ret_doc), "disks");
        for (const xmlNode *at = tree_child(disks, "disk"); at && *ret_n < CHECKPOINT_DISKS_MAX;
             at = tree_next(at, "disk"))
                if (tree_attribute_is(at, "checkpoint", "bitmap") && (ret[*ret_n] = tree_attribute(at, "name")))
                        ++*ret_n;
        return 0;
}

static int repair(virDomainPtr domain, virDomainCheckpointPtr checkpoint, const char *name, struct error *err) {
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        char *targets[CHECKPOINT_DISKS_MAX];
        unsigned n = 0;
        int status = targets_of(checkpoint, &doc, targets, &n, err);
        if (status == 0 && virDomainCheckpointDelete(checkpoint, VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY) < 0)
                status = connection_error(err, "remove a checkpoint's record");
        if (status == 0)
                status = drop_bitmaps(domain, name, (const char *const *) targets, n, err);
        for (unsigned i = 0; i < n; i++)
                free(targets[i]);
        return status;
}

int checkpoint_drop(virDomainPtr domain, const char *name, struct error *err) {
        struct error first = ERROR_INIT;
        uint64_t number;
        if (!checkpoint_name_parse(name, &number))
                return error_set(err, ERROR_REFUSED, "the checkpoint '%s' is not ours", name);
        _cleanup_(checkpoint_free_p) virDomainCheckpointPtr checkpoint =
                virDomainCheckpointLookupByName(domain, name, 0);
        if (!checkpoint) {
                connection_error(&first, "look for a checkpoint");
                if (first.code == ERROR_NOT_FOUND)
                        return 0;
        } else if (virDomainCheckpointDelete(checkpoint, 0) == 0) {
                return 0;
        } else {
                connection_error(&first, "remove a checkpoint");
        }
        // What is wrong with libvirt, a VM that is off or one that is at another job is not wrong with the bitmap.
        if (first.code != ERROR_LIBVIRT || virDomainIsActive(domain) != 1) {
                if (err)
                        *err = first;
                return -1;
        }
        return repair(domain, checkpoint, name, err) < 0 ? -1 : 1;
}

int checkpoint_drop_stray(virDomainPtr domain, const char *name, const char *const *targets, unsigned n,
                          struct error *err) {
        uint64_t number;
        if (!checkpoint_name_parse(name, &number))
                return error_set(err, ERROR_REFUSED, "the bitmap '%s' is not ours", name);
        return drop_bitmaps(domain, name, targets, n, err);
}

int checkpoints_settle(virDomainPtr domain, const char *keep, struct error *err) {
        struct checkpoints checkpoints;
        int status = 0;
        if (checkpoints_read(domain, NULL, &checkpoints, err) < 0)
                return -1;
        for (unsigned i = 0; i < checkpoints.n; i++)
                if (!keep || strcmp(checkpoints.items[i].name, keep) != 0)
                        if (checkpoint_drop(domain, checkpoints.items[i].name, status < 0 ? NULL : err) < 0)
                                status = -1;
        checkpoints_fini(&checkpoints);
        return status;
}
