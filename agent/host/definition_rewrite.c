// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A definition made to fit this host: disks, firmware memory, networks and name as told, everything of the old host
 * gone. What came from another host first passes the whitelist. Pure; any thread.
 */
#include "agent/host/definition_rewrite.h"
#include "agent/host/definition_identity.h"
#include "agent/host/definition_tree.h"
#include "agent/host/definition_whitelist.h"
#include "common/memory.h"
#include <ctype.h>
#include <string.h>

// ---- the whitelist as a judge ----

struct refusals {
        unsigned n;
        struct error *err;
};

static void on_finding(const struct whitelist_finding *finding, void *data) {
        struct refusals *refusals = data;
        if (refusals->n++ == 0)
                error_set(refusals->err, ERROR_REFUSED, "%s may not come from another host: %s", finding->path,
                          finding->message);
        else
                error_hint(refusals->err, "also refused: %s", finding->path);
}

static void on_ignored(const struct whitelist_finding *finding, void *data) {
        (void) finding;
        (void) data;
}

int rewrite_filter(xmlNode *node, const char *path, const char *vm, bool whitelisted, struct error *err) {
        struct error ignored;
        struct refusals refusals = {.err = err ? err : &ignored};
        whitelist_walk(node, path, vm, true, whitelisted ? on_finding : on_ignored, &refusals);
        return refusals.n ? -1 : 0;
}

// ---- disks ----

static const struct definition_disk *disk_named(const struct definition_changes *changes, const char *target) {
        for (unsigned i = 0; i < changes->n_disks; i++)
                if (strcmp(changes->disks[i].target, target) == 0)
                        return &changes->disks[i];
        return NULL;
}

// The image of a volume disk becomes a plain file or device: pools may have other names tomorrow.
static int place_disk(xmlNode *node, xmlNode *source, const struct definition_changes *changes, const char *target,
                      struct error *err) {
        const struct definition_disk *disk = disk_named(changes, target);
        if (!disk)
                return error_set(err, ERROR_REFUSED, "disk %s has no place on this host", target);
        tree_set(node, "type", disk->device ? "block" : "file");
        tree_unset(source, "pool");
        tree_unset(source, "volume");
        tree_unset(source, "mode");
        tree_unset(source, "startupPolicy");
        tree_unset(source, disk->device ? "file" : "dev");
        tree_set(source, disk->device ? "dev" : "file", disk->path);
        xmlNode *driver = tree_child(node, "driver");
        if (!driver)
                driver = tree_add(node, "driver");
        // Always explicit: without it libvirt would take raw, and an old QEMU would look for itself (fault 34).
        tree_set(driver, "name", "qemu");
        tree_set(driver, "type", disk->format);
        return 0;
}

static int rewrite_disk(xmlNode *node, const struct definition_changes *changes, struct error *err) {
        _cleanup_(free_p) char *target = tree_find_attribute(node, "target", "dev"),
                               *type = tree_attribute(node, "type"), *device = tree_attribute(node, "device");
        bool removable = device && (strcmp(device, "cdrom") == 0 || strcmp(device, "floppy") == 0);
        xmlNode *source = tree_child(node, "source");
        bool image = source &&
                     (xmlHasProp(source, (const xmlChar *) "file") || xmlHasProp(source, (const xmlChar *) "dev") ||
                      xmlHasProp(source, (const xmlChar *) "volume"));
        if (!image) {
                if (removable) // an empty drive of the host's becomes an empty drive
                        tree_set(node, "type", "file");
                return 0;
        }
        if (!type || (strcmp(type, "file") != 0 && strcmp(type, "block") != 0 && strcmp(type, "volume") != 0))
                return 0;
        if (removable && !disk_named(changes, target ? target : ""))
                return error_set(err, ERROR_REFUSED, "a medium is in the %s %s", device, target ? target : "");
        return place_disk(node, source, changes, target ? target : "", err);
}

// What the images are is told with the changes; that an old one was of another format, or lay over others, is no reason
// against a new one that is made of what the guest saw of it.
static void renew_images(xmlNode *devices, const struct definition_changes *changes) {
        for (xmlNode *at = tree_child(devices, "disk"); at; at = tree_next(at, "disk")) {
                _cleanup_(free_p) char *target = tree_find_attribute(at, "target", "dev");
                const struct definition_disk *disk = target ? disk_named(changes, target) : NULL;
                xmlNode *driver = tree_child(at, "driver");
                if (!disk)
                        continue;
                tree_remove_children(at, "backingStore");
                if (driver)
                        tree_set(driver, "type", disk->format);
        }
}

static int rewrite_disks(xmlNode *devices, const struct definition_changes *changes, struct error *err) {
        for (xmlNode *at = tree_child(devices, "disk"); at; at = tree_next(at, "disk")) {
                _cleanup_(free_p) char *target = tree_find_attribute(at, "target", "dev");
                for (xmlNode *other = tree_next(at, "disk"); other; other = tree_next(other, "disk")) {
                        _cleanup_(free_p) char *twin = tree_find_attribute(other, "target", "dev");
                        if (target && twin && strcmp(target, twin) == 0)
                                return error_set(err, ERROR_REFUSED, "two disks have the target %s", target);
                }
                if (rewrite_disk(at, changes, err) < 0)
                        return -1;
        }
        return 0;
}

// ---- interfaces ----

static void rename_source(xmlNode *source, const char *attribute, const struct definition_changes *changes) {
        _cleanup_(free_p) char *name = tree_attribute(source, attribute);
        for (size_t i = 0; name && i < changes->n_bridges; i++)
                if (strcmp(changes->bridges[i]->from, name) == 0) {
                        tree_set(source, attribute, changes->bridges[i]->to);
                        return;
                }
}

static void rewrite_interfaces(xmlNode *devices, const struct definition_changes *changes) {
        for (xmlNode *at = tree_child(devices, "interface"); at; at = tree_next(at, "interface")) {
                xmlNode *source = tree_child(at, "source");
                if (!source)
                        continue;
                // A network's bridge is found again by the network's name at each start.
                if (tree_attribute_is(at, "type", "network"))
                        tree_unset(source, "bridge");
                rename_source(source, "bridge", changes);
                rename_source(source, "network", changes);
        }
}

// ---- the machine ----

// "pc-q35-7.2" names a version of QEMU, "q35" does not.
static bool versioned(const char *machine) {
        const char *dash = strrchr(machine, '-');
        return dash && isdigit((unsigned char) dash[1]) && strchr(dash, '.');
}

static int check_machine(const xmlNode *root, const struct definition_changes *changes, struct error *err) {
        _cleanup_(free_p) char *machine = tree_find_attribute(root, "os/type", "machine");
        if (!changes->machine_types || !machine || !versioned(machine))
                return 0;
        for (unsigned i = 0; i < changes->n_machine_types; i++)
                if (strcmp(changes->machine_types[i], machine) == 0)
                        return 0;
        error_set(err, ERROR_REFUSED, "the machine type %s is unknown to this host's QEMU", machine);
        error_hint(err, "install a newer QEMU here");
        error_hint(err, "or give the VM an older machine type at its source: virsh edit");
        return -1;
}

static int rewrite_nvram(xmlNode *root, const struct definition_changes *changes, struct error *err) {
        xmlNode *nvram = tree_find(root, "os/nvram");
        if (!nvram)
                return 0;
        _cleanup_(free_p) char *file = tree_find_attribute(nvram, "source", "file"), *text = tree_text(nvram);
        bool named = (file && *file) || *text;
        if (!named && !changes->nvram_path)
                return 0; // libvirt chooses a place at the first start
        if (!changes->nvram_path)
                return error_set(err, ERROR_REFUSED, "the NVRAM has no place on this host");
        tree_unset(nvram, "type");
        tree_set_text(nvram, changes->nvram_path);
        return 0;
}

static void rewrite_emulator(xmlNode *devices, const struct definition_changes *changes) {
        tree_remove_children(devices, "emulator");
        if (!changes->emulator)
                return;
        xmlNode *emulator = tree_add(devices, "emulator");
        tree_set_text(emulator, changes->emulator);
}

static int rename_domain(xmlNode *root, const struct definition_changes *changes, struct error *err) {
        if (!changes->name)
                return 0;
        if (name_check_vm(changes->name, err) < 0)
                return -1;
        xmlNode *name = tree_child(root, "name");
        tree_set_text(name ? name : tree_add(root, "name"), changes->name);
        return 0;
}

int rewrite_domain(xmlNode *root, const struct definition_changes *changes, struct error *err) {
        _cleanup_(free_p) char *old_name = tree_find_text(root, "name");
        const char *vm = old_name && *old_name ? old_name : "VM";
        if (tree_child(root, "devices"))
                renew_images(tree_child(root, "devices"), changes);
        if (rewrite_filter(root, "domain", vm, changes->keep_only_whitelisted, err) < 0)
                return -1;
        if (check_machine(root, changes, err) < 0 || rename_domain(root, changes, err) < 0 ||
            rewrite_nvram(root, changes, err) < 0)
                return -1;
        if (changes->identity && identity_apply(root, changes->identity, err) < 0)
                return -1;
        xmlNode *devices = tree_child(root, "devices");
        if (!devices)
                return 0;
        rewrite_emulator(devices, changes);
        rewrite_interfaces(devices, changes);
        return rewrite_disks(devices, changes, err);
}

int definition_rewrite(const char *xml, size_t length, const struct definition_changes *changes, char **ret_xml,
                       struct error *err) {
        struct definition *definition = NULL;
        if (definition_parse(xml, length, &definition, err) < 0)
                return -1;
        int r = rewrite_domain(definition->root, changes, err);
        char *text = r == 0 ? tree_print(definition->root) : NULL;
        definition_free(definition);
        if (r < 0)
                return -1;
        if (!text)
                return error_set(err, ERROR_NO_MEMORY, "write the definition: out of memory");
        *ret_xml = text;
        return 0;
}
