// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a definition tells of its domain, for the inventory, and what in it a move would have to refuse. Pure; any
 * thread.
 */
#include "agent/host/definition.h"
#include "agent/host/definition_tree.h"
#include "agent/host/definition_whitelist.h"
#include "agent/host/obstacle.h"
#include "common/memory.h"
#include <stdlib.h>
#include <string.h>

#define DEVICES_MAX 1024u // of each kind that are described

static char *text_or_empty(char *text) {
        return text ? text : memory_string("");
}

static uint64_t unit_factor(const char *unit) {
        static const struct {
                const char *unit;
                uint64_t factor;
        } units[] = {
                {"b", 1},          {"bytes", 1},          {"KB", 1000},      {"k", 1u << 10},     {"KiB", 1u << 10},
                {"MB", 1000000},   {"M", 1u << 20},       {"MiB", 1u << 20}, {"GB", 1000000000},  {"G", 1u << 30},
                {"GiB", 1u << 30}, {"TB", 1000000000000}, {"T", 1ull << 40}, {"TiB", 1ull << 40},
        };
        for (size_t i = 0; i < ARRAY_SIZE(units); i++)
                if (strcmp(units[i].unit, unit) == 0)
                        return units[i].factor;
        return 1u << 10; // libvirt's own unit, where it says none
}

static uint64_t memory_bytes(const xmlNode *root) {
        _cleanup_(free_p) char *text = tree_find_text(root, "memory"),
                               *unit = tree_find_attribute(root, "memory", "unit");
        uint64_t bytes;
        if (!text || __builtin_mul_overflow(strtoull(text, NULL, 10), unit_factor(unit ? unit : "KiB"), &bytes))
                return 0;
        return bytes;
}

// Those that are plugged in at the next start.
static uint32_t vcpus(const xmlNode *root) {
        _cleanup_(free_p) char *current = tree_find_attribute(root, "vcpu", "current"),
                               *most = tree_find_text(root, "vcpu");
        const char *text = current ? current : most;
        unsigned long n = text ? strtoul(text, NULL, 10) : 1;
        return n > UINT32_MAX ? 0 : (uint32_t) n;
}

static bool has_agent_channel(const xmlNode *devices) {
        for (const xmlNode *at = tree_child(devices, "channel"); at; at = tree_next(at, "channel")) {
                const xmlNode *target = tree_child(at, "target");
                if (target && tree_attribute_is(target, "name", "org.qemu.guest_agent.0"))
                        return true;
        }
        return false;
}

// ---- disks ----

static char *network_path(const xmlNode *source) {
        _cleanup_(free_p) char *protocol = tree_attribute(source, "protocol"), *name = tree_attribute(source, "name");
        return memory_format("%s:%s", protocol ? protocol : "", name ? name : "");
}

static char *source_path(const xmlNode *source) {
        static const char *const names[] = {"file", "dev", "dir"};
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                char *path = tree_attribute(source, names[i]);
                if (path)
                        return path;
        }
        if (xmlHasProp(source, (const xmlChar *) "protocol"))
                return network_path(source);
        return memory_string("");
}

static Drover__Disk *describe_disk(const xmlNode *node) {
        Drover__Disk *disk = new (Drover__Disk);
        drover__disk__init(disk);
        const xmlNode *source = tree_child(node, "source");
        disk->target = text_or_empty(tree_find_attribute(node, "target", "dev"));
        disk->bus = text_or_empty(tree_find_attribute(node, "target", "bus"));
        disk->device = tree_attribute(node, "device");
        if (!disk->device)
                disk->device = memory_string("disk");
        // What the definition does not say is raw, to libvirt and to us; it is never looked up in the image (fault 34).
        disk->format = tree_find_attribute(node, "driver", "type");
        if (!disk->format)
                disk->format = memory_string("raw");
        disk->path = source ? source_path(source) : memory_string("");
        disk->pool = text_or_empty(source ? tree_attribute(source, "pool") : NULL);
        disk->volume = text_or_empty(source ? tree_attribute(source, "volume") : NULL);
        bool medium = *disk->path || *disk->volume;
        disk->type = medium ? text_or_empty(tree_attribute(node, "type")) : memory_string("");
        disk->read_only = tree_child(node, "readonly") != NULL;
        disk->shareable = tree_child(node, "shareable") != NULL;
        return disk;
}

// A missing image of such a disk does not keep the VM from starting, and that is what a fence relies on.
static void check_startup_policy(Drover__Domain *domain, const xmlNode *node, const Drover__Disk *disk) {
        _cleanup_(free_p) char *policy = tree_find_attribute(node, "source", "startupPolicy");
        if (!policy || strcmp(policy, "mandatory") == 0 || strcmp(disk->device, "disk") != 0)
                return;
        _cleanup_(free_p) char *hint = memory_format("virsh edit %s, remove startupPolicy", domain->name);
        obstacle_add(domain, "startup-policy", hint, "disk %s: the VM would start without it (startupPolicy)",
                     disk->target);
}

static bool same_image(const Drover__Disk *one, const Drover__Disk *other) {
        if (*one->path)
                return strcmp(one->path, other->path) == 0;
        return *one->volume && strcmp(one->pool, other->pool) == 0 && strcmp(one->volume, other->volume) == 0;
}

static void check_twins(Drover__Domain *domain, const Drover__Disk *disk) {
        for (size_t i = 0; i < domain->n_disks; i++) {
                const Drover__Disk *other = domain->disks[i];
                _cleanup_(free_p) char *hint = memory_format("virsh edit %s, remove one of them", domain->name);
                if (strcmp(other->target, disk->target) == 0)
                        obstacle_add(domain, "disk-target", hint, "two disks have the target %s", disk->target);
                else if (same_image(other, disk))
                        obstacle_add(domain, "shared-disk", hint, "disks %s and %s are the same image", other->target,
                                     disk->target);
        }
}

static void describe_disks(Drover__Domain *domain, const xmlNode *devices) {
        for (const xmlNode *at = tree_child(devices, "disk"); at && domain->n_disks < DEVICES_MAX;
             at = tree_next(at, "disk")) {
                Drover__Disk *disk = describe_disk(at);
                check_twins(domain, disk);
                check_startup_policy(domain, at, disk);
                domain->disks = memory_grow(domain->disks, domain->n_disks + 1, sizeof(*domain->disks));
                domain->disks[domain->n_disks++] = disk;
        }
}

static void check_any_disk(Drover__Domain *domain) {
        for (size_t i = 0; i < domain->n_disks; i++)
                if (strcmp(domain->disks[i]->device, "disk") == 0)
                        return;
        obstacle_add(domain, "no-disk", "define it at the other host by hand: virsh dumpxml, virsh define",
                     "it has no disk, so nothing could keep it from being started here once it is moved");
}

// ---- interfaces ----

static Drover__Interface *describe_interface(const xmlNode *node) {
        static const char *const names[] = {"network", "bridge", "dev", "path"};
        Drover__Interface *interface = new (Drover__Interface);
        drover__interface__init(interface);
        interface->mac = text_or_empty(tree_find_attribute(node, "mac", "address"));
        interface->type = text_or_empty(tree_attribute(node, "type"));
        interface->model = text_or_empty(tree_find_attribute(node, "model", "type"));
        interface->target = text_or_empty(tree_find_attribute(node, "target", "dev"));
        char *source = NULL;
        for (size_t i = 0; !source && i < ARRAY_SIZE(names); i++)
                source = tree_find_attribute(node, "source", names[i]);
        interface->source = text_or_empty(source);
        return interface;
}

static void describe_interfaces(Drover__Domain *domain, const xmlNode *devices) {
        for (const xmlNode *at = tree_child(devices, "interface"); at && domain->n_interfaces < DEVICES_MAX;
             at = tree_next(at, "interface")) {
                domain->interfaces =
                        memory_grow(domain->interfaces, domain->n_interfaces + 1, sizeof(*domain->interfaces));
                domain->interfaces[domain->n_interfaces++] = describe_interface(at);
        }
}

static void on_finding(const struct whitelist_finding *finding, void *data) {
        obstacle_add(data, finding->code, finding->hint, "%s", finding->message);
}

int definition_describe(const struct definition *definition, Drover__Domain *domain, struct error *err) {
        (void) err;
        const xmlNode *root = definition->root, *devices = tree_child(root, "devices");
        domain->name = memory_string(definition->name);
        domain->uuid = memory_string(definition->uuid);
        domain->domain_type = text_or_empty(tree_attribute(root, "type"));
        domain->title = text_or_empty(tree_find_text(root, "title"));
        domain->description = text_or_empty(tree_find_text(root, "description"));
        domain->machine = text_or_empty(tree_find_attribute(root, "os/type", "machine"));
        domain->loader = text_or_empty(tree_find_text(root, "os/loader"));
        domain->vcpus = vcpus(root);
        domain->memory_bytes = memory_bytes(root);
        _cleanup_(free_p) char *nvram = definition_nvram_file(definition);
        domain->has_nvram = nvram != NULL;
        if (devices) {
                domain->has_agent_channel = has_agent_channel(devices);
                describe_disks(domain, devices);
                describe_interfaces(domain, devices);
        }
        // Without `apply` the walk leaves the tree as it is.
        whitelist_walk(definition->root, "domain", definition->name, false, on_finding, domain);
        check_any_disk(domain);
        return 0;
}
