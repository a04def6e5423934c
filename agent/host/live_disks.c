// SPDX-License-Identifier: LGPL-2.1-or-later
/* The disks of a running VM (see live_disks.h). */
#include "agent/host/live_disks.h"
#include "agent/host/disk_source.h"
#include "common/memory.h"
#include <stdlib.h>
#include <string.h>

static const char *why_left_out(const xmlNode *disk, const char *device) {
        if (device && strcmp(device, "disk") != 0)
                return strcmp(device, "cdrom") == 0    ? "a cdrom is left out"
                       : strcmp(device, "floppy") == 0 ? "a floppy is left out"
                                                       : "a device of the host that is passed on is left out";
        if (tree_child(disk, "readonly"))
                return "what the VM can only read is left out";
        if (tree_child(disk, "transient"))
                return "what the VM forgets when it ends is left out";
        if (tree_attribute_is(disk, "type", "vhostuser") || tree_attribute_is(disk, "type", "nvme"))
                return "a device of the host that is passed on is left out";
        return tree_child(disk, "source") ? NULL : "it is empty";
}

static bool read_one(const xmlNode *at, struct live_disk *ret) {
        _cleanup_(free_p) char *target = tree_find_attribute(at, "target", "dev"),
                               *format = tree_find_attribute(at, "driver", "type"),
                               *device = tree_attribute(at, "device");
        if (!target || strlen(target) >= sizeof ret->target)
                return false;
        snprintf(ret->target, sizeof ret->target, "%s", target);
        snprintf(ret->format, sizeof ret->format, "%s", format ? format : "raw");
        snprintf(ret->bitmap, sizeof ret->bitmap, "backup-%s", target);
        const char *why = why_left_out(at, device);
        ret->left_out = why != NULL;
        snprintf(ret->why, sizeof ret->why, "%s", why ? why : "");
        return true;
}

// What a disk is made of, but not what is in a drive.
static char *add_source(char *sources, const xmlNode *at, const struct live_disk *disk) {
        _cleanup_(free_p) char *before = sources, *source = disk->left_out ? NULL : disk_source_text(at);
        return memory_format("%s%s %s\n", before, disk->left_out ? "" : disk->target, source ? source : "");
}

int live_disks_read(const xmlNode *domain, struct live_disk **ret, unsigned *ret_n, char **ret_sources,
                    struct error *err) {
        const xmlNode *devices = tree_child(domain, "devices");
        _cleanup_(free_p) struct live_disk *disks = new_array(struct live_disk, CHECKPOINT_DISKS_MAX);
        _cleanup_(free_p) char *sources = memory_string("");
        unsigned n = 0;
        for (const xmlNode *at = tree_child(devices, "disk"); at; at = tree_next(at, "disk")) {
                if (n == CHECKPOINT_DISKS_MAX)
                        return error_set(err, ERROR_TOO_LARGE, "the VM has more than %u disks", CHECKPOINT_DISKS_MAX);
                if (!read_one(at, &disks[n]))
                        return error_set(err, ERROR_LIBVIRT, "a disk of the VM has no target that can be named");
                sources = add_source(steal(&sources), at, &disks[n++]);
        }
        *ret = steal(&disks);
        *ret_n = n;
        *ret_sources = steal(&sources);
        return 0;
}

bool live_disks_owner(const xmlNode *domain, unsigned *ret_user, unsigned *ret_group) {
        for (const xmlNode *at = tree_child(domain, "seclabel"); at; at = tree_next(at, "seclabel")) {
                _cleanup_(free_p) char *label = tree_find_text(at, "label");
                if (tree_attribute_is(at, "model", "dac") && label &&
                    sscanf(label, "+%10u:+%10u", ret_user, ret_group) == 2)
                        return true;
        }
        return false;
}

void live_disks_plan(struct live_disk *disks, unsigned n, const struct checkpoint *base, bool snapshots) {
        for (unsigned i = 0; i < n; i++) {
                struct live_disk *disk = &disks[i];
                if (disk->left_out)
                        continue;
                disk->checkpointed = !snapshots && strcmp(disk->format, "qcow2") == 0;
                disk->incremental = disk->checkpointed && base && checkpoint_covers(base, disk->target);
                if (snapshots)
                        snprintf(disk->why, sizeof disk->why,
                                 "read in full: a checkpoint would keep the VM from going back to its snapshots");
                else if (!disk->checkpointed)
                        snprintf(disk->why, sizeof disk->why,
                                 "read in full: an image of format %s keeps no record of what changes", disk->format);
        }
}

static xmlNode *new_document(const char *name, xmlDoc **ret) {
        *ret = xmlNewDoc(BAD_CAST "1.0");
        xmlNode *root = xmlNewNode(NULL, BAD_CAST name);
        xmlDocSetRootElement(*ret, root);
        return root;
}

char *live_disks_backup_xml(const struct live_backup *backup, const char *base) {
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        xmlNode *root = new_document("domainbackup", &doc), *server = tree_add(root, "server");
        tree_set(root, "mode", "pull");
        tree_set(server, "transport", "unix");
        tree_set(server, "socket", backup->socket);
        xmlNode *disks = tree_add(root, "disks");
        for (unsigned i = 0; i < backup->n_disks; i++) {
                const struct live_disk *from = &backup->disks[i];
                xmlNode *disk = tree_add(disks, "disk");
                tree_set(disk, "name", from->target);
                tree_set(disk, "backup", from->left_out ? "no" : "yes");
                if (from->left_out)
                        continue;
                _cleanup_(free_p) char *scratch = memory_format("%s/%s", backup->directory, from->target);
                tree_set(disk, "type", "file");
                tree_set(disk, "backupmode", from->incremental ? "incremental" : "full");
                tree_set(disk, "exportname", from->target);
                if (from->incremental) {
                        tree_set(disk, "incremental", base);
                        tree_set(disk, "exportbitmap", from->bitmap);
                }
                tree_set(tree_add(disk, "scratch"), "file", scratch);
        }
        return tree_print(root);
}

char *live_disks_checkpoint_xml(const struct live_backup *backup) {
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        xmlNode *root = new_document("domaincheckpoint", &doc);
        tree_set_text(tree_add(root, "name"), backup->checkpoint);
        xmlNode *disks = tree_add(root, "disks");
        for (unsigned i = 0; i < backup->n_disks; i++) {
                xmlNode *disk = tree_add(disks, "disk");
                tree_set(disk, "name", backup->disks[i].target);
                tree_set(disk, "checkpoint", backup->disks[i].checkpointed ? "bitmap" : "no");
        }
        return tree_print(root);
}
