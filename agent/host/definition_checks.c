// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The whitelist's checks: elements that pass with some values and not with others, mostly because of a path of the
 * host. Pure; any thread.
 */
#include "agent/host/definition_whitelist.h"
#include "common/name.h"
#include <string.h>

// ---- firmware and files that are read at boot ----

bool check_loader(struct whitelist *walk, xmlNode *node) {
        _cleanup_(free_p) char *path = tree_text(node);
        if (*path && !whitelist_path_below(path, "/usr/share/")) {
                whitelist_report(walk, node, "firmware",
                                 "virsh edit {vm}, use a firmware of the distribution's package",
                                 "its firmware %s is not below /usr/share/", path);
                return false;
        }
        // A writable flash would be the host's own firmware file.
        if (*path && tree_attribute_is(node, "type", "pflash") && !tree_attribute_is(node, "readonly", "yes")) {
                whitelist_report(walk, node, "firmware", "virsh edit {vm}, set <loader readonly='yes'>",
                                 "its firmware %s may be written to", path);
                return false;
        }
        return true;
}

bool check_nvram(struct whitelist *walk, xmlNode *node) {
        _cleanup_(free_p) char *template = tree_attribute(node, "template");
        if (!template || whitelist_path_below(template, "/usr/share/"))
                return true;
        whitelist_report(walk, node, "firmware", "virsh edit {vm}, remove the template attribute of <nvram>",
                         "its NVRAM template %s is not below /usr/share/", template);
        return false;
}

bool check_boot_file(struct whitelist *walk, xmlNode *node) {
        static const char *const homes[] = {"/usr/", "/boot/", "/var/lib/libvirt/boot/"};
        _cleanup_(free_p) char *path = tree_text(node);
        for (size_t i = 0; i < ARRAY_SIZE(homes); i++)
                if (whitelist_path_below(path, homes[i]))
                        return true;
        whitelist_report(
                walk, node, "boot-file", "put it into /var/lib/libvirt/boot on both hosts, and: virsh edit {vm}",
                "its %s %s is not below /usr, /boot or /var/lib/libvirt/boot", (const char *) node->name, path);
        return false;
}

// ---- disks ----

static const struct {
        const char *type, *code, *message;
} disk_types[] = {
        {"network", "network-disk", "it lies on a storage network"},
        {"dir", "filesystem", "it is a directory of the host"},
        {"nvme", "hostdev", "it is an NVMe device of the host"},
        {"vhostuser", "vhost-user", "it is served by a program of the host (vhost-user)"},
        {"vhostvdpa", "hostdev", "it is a vDPA device of the host"},
};

static void report_disk_type(struct whitelist *walk, const xmlNode *node, const char *type) {
        const char *hint = "copy its content to a file (qemu-img convert) and let the VM use that: virsh edit {vm}";
        for (size_t i = 0; i < ARRAY_SIZE(disk_types); i++)
                if (strcmp(disk_types[i].type, type) == 0) {
                        whitelist_report(walk, node, disk_types[i].code, hint, "%s", disk_types[i].message);
                        return;
                }
        whitelist_report(walk, node, "disk-type", hint, "its type %s is not carried", type);
}

static bool has_medium(const xmlNode *disk) {
        static const char *const names[] = {"file", "dev", "dir", "volume", "name", "protocol"};
        const xmlNode *source = tree_child(disk, "source");
        for (size_t i = 0; source && i < ARRAY_SIZE(names); i++) {
                _cleanup_(free_p) char *value = tree_attribute(source, names[i]);
                if (value && *value)
                        return true;
        }
        return false;
}

static bool check_removable(struct whitelist *walk, xmlNode *node, const char *device, const char *target) {
        if (!has_medium(node))
                return true;
        _cleanup_(free_p) char *path = tree_find_attribute(node, "source", "file");
        char hint[160];
        snprintf(hint, sizeof(hint), "virsh change-media {vm} %.32s --eject --config", target);
        whitelist_report(walk, node, "medium", hint, "a medium is in the %s%s%s", device, path ? ": " : "",
                         path ? path : "");
        return false;
}

static bool check_disk_format(struct whitelist *walk, const xmlNode *node) {
        _cleanup_(free_p) char *format = tree_find_attribute(node, "driver", "type");
        if (!format || strcmp(format, "raw") == 0)
                return true;
        // At the target the format is that of the image which is made there.
        if (tree_attribute_is(node, "type", "block") && !whitelist_applies(walk)) {
                whitelist_report(walk, node, "block-format",
                                 "copy what the guest sees to a file (qemu-img convert), and: virsh edit {vm}",
                                 "its device holds an image of format %s, and only raw devices are carried", format);
                return false;
        }
        if (strcmp(format, "qcow2") == 0)
                return true;
        whitelist_report(walk, node, "format", "convert it: qemu-img convert -O qcow2, and virsh edit {vm}",
                         "its format %s is not carried, only qcow2 and raw are", format);
        return false;
}

bool check_disk(struct whitelist *walk, xmlNode *node) {
        _cleanup_(free_p) char *type = tree_attribute(node, "type"), *device = tree_attribute(node, "device"),
                               *target = tree_find_attribute(node, "target", "dev");
        // "nvram" is the name of another thing in the agent's journal.
        if (!target || name_check_target(target, NULL) < 0 || strcmp(target, "nvram") == 0) {
                whitelist_report(walk, node, "disk-target", "virsh edit {vm}, give it a target such as vdb",
                                 "a disk has no usable target name");
                return false;
        }
        if (device && (strcmp(device, "cdrom") == 0 || strcmp(device, "floppy") == 0))
                return check_removable(walk, node, device, target);
        if (!type || (strcmp(type, "file") != 0 && strcmp(type, "block") != 0 && strcmp(type, "volume") != 0)) {
                report_disk_type(walk, node, type ? type : "unknown");
                return false;
        }
        if (strcmp(type, "block") == 0 && tree_child(node, "shareable")) {
                whitelist_report(walk, node, "shared-disk", "virsh edit {vm}, remove <shareable/>",
                                 "other VMs may write to its device meanwhile (shareable)");
                return false;
        }
        if (device && strcmp(device, "disk") != 0) {
                whitelist_report(walk, node, "disk-type", "virsh edit {vm}, use device='disk'",
                                 "its device type %s is not carried", device);
                return false;
        }
        if (!has_medium(node)) {
                whitelist_report(walk, node, "disk-type", "virsh edit {vm}, remove the disk", "it has no image");
                return false;
        }
        return check_disk_format(walk, node);
}

// An empty element only says that there is no backing file.
bool check_backing(struct whitelist *walk, xmlNode *node) {
        if (tree_child_element(node)) {
                _cleanup_(free_p) char *path = tree_find_attribute(node, "source", "file"),
                                       *target = tree_find_attribute(node->parent, "target", "dev");
                char hint[160];
                snprintf(hint, sizeof(hint), "with the VM running: virsh blockpull {vm} %.32s --wait",
                         target ? target : "");
                whitelist_report(walk, node, "backing-chain", hint, "its image depends on %s",
                                 path ? path : "another image");
                return false;
        }
        if (!whitelist_applies(walk))
                return true;
        tree_remove(node);
        return false;
}

// ---- other devices ----

// Where libvirt itself makes the sockets of channels; it chooses the path again on the new host.
static bool socket_of_libvirt(const char *path) {
        return whitelist_path_below(path, "/var/lib/libvirt/qemu/") ||
               whitelist_path_below(path, "/run/libvirt/qemu/") || whitelist_path_below(path, "/var/run/libvirt/qemu/");
}

bool check_character_device(struct whitelist *walk, xmlNode *node) {
        static const char *const types[] = {"pty", "null", "spicevmc", "spiceport", "qemu-vdagent"};
        _cleanup_(free_p) char *type = tree_attribute(node, "type"),
                               *path = tree_find_attribute(node, "source", "path");
        for (size_t i = 0; type && i < ARRAY_SIZE(types); i++)
                if (strcmp(types[i], type) == 0)
                        return true;
        if (type && strcmp(type, "unix") == 0 && (!path || socket_of_libvirt(path)))
                return true;
        whitelist_report(walk, node, "character-device", "virsh edit {vm}, use type='pty'",
                         "its other end is a file, device or address of the host (%s%s%s)", type ? type : "no type",
                         path ? " " : "", path ? path : "");
        return false;
}

// Logs are the host's own: those in libvirt's directory are left behind, others would be written where the
// definition says.
bool check_log(struct whitelist *walk, xmlNode *node) {
        _cleanup_(free_p) char *path = tree_attribute(node, "file");
        if (path && !whitelist_path_below(path, "/var/log/libvirt/")) {
                whitelist_report(walk, node, "log-file",
                                 "virsh edit {vm}, remove the <log>, or log below /var/log/libvirt",
                                 "it is logged to %s on the host", path);
                return false;
        }
        if (!whitelist_applies(walk))
                return true;
        tree_remove(node);
        return false;
}

bool check_random(struct whitelist *walk, xmlNode *node) {
        static const char *const devices[] = {"/dev/urandom", "/dev/random", "/dev/hwrng", ""};
        if (tree_attribute_is(node, "model", "builtin"))
                return true;
        if (!tree_attribute_is(node, "model", "random")) {
                whitelist_report(walk, node, "rng",
                                 "virsh edit {vm}, use <backend model='random'>/dev/urandom</backend>",
                                 "its random numbers come from a program of the host");
                return false;
        }
        _cleanup_(free_p) char *path = tree_text(node);
        for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
                if (strcmp(devices[i], path) == 0)
                        return true;
        whitelist_report(walk, node, "rng", "virsh edit {vm}, use <backend model='random'>/dev/urandom</backend>",
                         "its random numbers come from %s", path);
        return false;
}

// The filters that libvirt brings along exist on every host; others may not, and the VM would not start.
bool check_filter(struct whitelist *walk, xmlNode *node) {
        static const char *const known[] = {
                "allow-arp",
                "allow-dhcp",
                "allow-dhcp-server",
                "allow-dhcpv6",
                "allow-dhcpv6-server",
                "allow-incoming-ipv4",
                "allow-incoming-ipv6",
                "allow-ipv4",
                "allow-ipv6",
                "clean-traffic",
                "clean-traffic-gateway",
                "no-arp-ip-spoofing",
                "no-arp-mac-spoofing",
                "no-arp-spoofing",
                "no-ip-multicast",
                "no-ip-spoofing",
                "no-ipv6-multicast",
                "no-ipv6-spoofing",
                "no-mac-broadcast",
                "no-mac-spoofing",
                "no-other-l2-traffic",
                "no-other-rarp-traffic",
                "qemu-announce-self",
                "qemu-announce-self-rarp",
        };
        _cleanup_(free_p) char *filter = tree_attribute(node, "filter");
        for (size_t i = 0; filter && i < ARRAY_SIZE(known); i++)
                if (strcmp(known[i], filter) == 0)
                        return true;
        whitelist_report(walk, node, "network-filter",
                         "virsh edit {vm}, remove the <filterref>, or use one of libvirt's own",
                         "its network filter %s is this host's own", filter ? filter : "");
        return false;
}

// libvirt's own default, the same on every host.
bool check_partition(struct whitelist *walk, xmlNode *node) {
        _cleanup_(free_p) char *partition = tree_text(node);
        if (strcmp(partition, "/machine") == 0)
                return true;
        whitelist_report(walk, node, "resource", "virsh edit {vm}, remove the <resource>",
                         "it runs in the host's own control group %s", partition);
        return false;
}

// libvirt numbers devices anew at each start; only names that a person gave mean something.
bool check_alias(struct whitelist *walk, xmlNode *node) {
        _cleanup_(free_p) char *name = tree_attribute(node, "name");
        if (name && strncmp(name, "ua-", 3) == 0)
                return true;
        if (!whitelist_applies(walk))
                return true;
        tree_remove(node);
        return false;
}
