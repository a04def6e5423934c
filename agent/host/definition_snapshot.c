// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * <domainsnapshot>: libvirt's record of a snapshot, which holds the whole definition as it was then. Those whose disks
 * and memory lie in the image files ("internal") are carried. Pure; any thread.
 */
#include "agent/host/definition_snapshot.h"
#include "agent/host/definition_rewrite.h"
#include "agent/host/definition_whitelist.h"
#include "agent/host/obstacle.h"
#include "common/memory.h"
#include <stdlib.h>
#include <string.h>

static int parse(const char *xml, size_t length, xmlDoc **ret, struct error *err) {
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        if (tree_parse("the snapshot", xml, length, &doc, err) < 0)
                return -1;
        const xmlNode *root = xmlDocGetRootElement(doc);
        if (!tree_named(root, "domainsnapshot"))
                return error_set(err, ERROR_INVALID, "the snapshot is a <%.64s>, not a <domainsnapshot>",
                                 (const char *) root->name);
        *ret = steal(&doc);
        return 0;
}

// Outside the images: a disk or the memory in a file of its own.
static bool is_external(const xmlNode *root) {
        const xmlNode *memory = tree_child(root, "memory");
        if (memory && !tree_attribute_is(memory, "snapshot", "internal") &&
            !tree_attribute_is(memory, "snapshot", "no"))
                return true;
        const xmlNode *disks = tree_child(root, "disks");
        for (const xmlNode *at = disks ? tree_child(disks, "disk") : NULL; at; at = tree_next(at, "disk"))
                if (!tree_attribute_is(at, "snapshot", "internal") && !tree_attribute_is(at, "snapshot", "no"))
                        return true;
        return false;
}

// ---- what it tells ----

static const Drover__Disk *same_target(const Drover__Domain *domain, const char *target) {
        for (size_t i = 0; i < domain->n_disks; i++)
                if (strcmp(domain->disks[i]->target, target) == 0)
                        return domain->disks[i];
        return NULL;
}

// A snapshot that knows other images than the VM has now could not be told where they are at the target.
static void check_disks(const xmlNode *root, const char *name, Drover__Domain *domain) {
        const xmlNode *devices = tree_find(root, "domain/devices");
        for (const xmlNode *at = devices ? tree_child(devices, "disk") : NULL; at; at = tree_next(at, "disk")) {
                _cleanup_(free_p) char *target = tree_find_attribute(at, "target", "dev"),
                                       *file = tree_find_attribute(at, "source", "file");
                const Drover__Disk *now = target ? same_target(domain, target) : NULL;
                if (!target || !file || (now && strcmp(now->path, file) == 0))
                        continue;
                _cleanup_(free_p) char *hint = memory_format("virsh snapshot-delete %s %s", domain->name, name);
                obstacle_add(domain, "snapshot", hint, "snapshot %s was made with another image of disk %s: %s", name,
                             target, file);
        }
}

struct findings {
        Drover__Domain *domain;
        const char *snapshot;
};

static void on_finding(const struct whitelist_finding *finding, void *data) {
        const struct findings *findings = data;
        _cleanup_(free_p) char *hint =
                memory_format("virsh snapshot-delete %s %s", findings->domain->name, findings->snapshot);
        obstacle_add(findings->domain, "snapshot", hint, "snapshot %s was made when %s", findings->snapshot,
                     finding->message);
}

// The definitions within are refused at the target for the same reasons as the VM's own.
static void check_definitions(const xmlNode *root, const char *name, Drover__Domain *domain) {
        static const char *const within[] = {"domain", "inactiveDomain"};
        struct findings findings = {.domain = domain, .snapshot = name};
        for (size_t i = 0; i < ARRAY_SIZE(within); i++) {
                xmlNode *node = tree_child(root, within[i]);
                if (node)
                        whitelist_walk(node, "domain", domain->name, false, on_finding, &findings);
        }
}

int definition_describe_snapshot(const char *xml, size_t length, Drover__Domain *domain, Drover__Snapshot **ret,
                                 struct error *err) {
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        if (parse(xml, length, &doc, err) < 0)
                return -1;
        const xmlNode *root = xmlDocGetRootElement(doc);
        Drover__Snapshot *snapshot = new (Drover__Snapshot);
        drover__snapshot__init(snapshot);
        snapshot->name = tree_find_text(root, "name");
        if (!snapshot->name)
                snapshot->name = memory_string("");
        snapshot->parent = tree_find_text(root, "parent/name");
        if (!snapshot->parent)
                snapshot->parent = memory_string("");
        _cleanup_(free_p) char *state = tree_find_text(root, "state"), *created = tree_find_text(root, "creationTime");
        snapshot->state = memory_string(state && strcmp(state, "shutoff") == 0 ? "shut off" : state ? state : "");
        snapshot->created_at = created ? strtoll(created, NULL, 10) : 0;
        snapshot->external = is_external(root);
        if (snapshot->external) {
                _cleanup_(free_p) char *hint =
                        memory_format("virsh snapshot-delete %s %s, after merging its files with virsh blockcommit",
                                      domain->name, snapshot->name);
                obstacle_add(domain, "external-snapshot", hint, "snapshot %s lies in files of its own", snapshot->name);
        } else {
                check_disks(root, snapshot->name, domain);
                check_definitions(root, snapshot->name, domain);
        }
        *ret = snapshot;
        return 0;
}

// ---- rewriting ----

static int refuse(const xmlNode *node, struct error *err) {
        return error_set(err, ERROR_REFUSED, "domainsnapshot/%.128s may not come from another host",
                         (const char *) node->name);
}

// The processor as it was, for going back to a running state: checked like a definition's. Its other contents are notes
// of libvirt to itself.
static int filter_cookie(xmlNode *cookie, bool whitelisted, struct error *err) {
        for (xmlNode *at = tree_child_element(cookie), *next; at; at = next) {
                next = tree_next_element(at);
                if (!tree_named(at, "cpu"))
                        tree_remove(at);
                else if (rewrite_filter(at, "domain/cpu", "VM", whitelisted, err) < 0)
                        return -1;
        }
        return 0;
}

static int filter_parts(xmlNode *root, const struct definition_changes *changes, struct error *err) {
        static const char *const plain[] = {"name",         "description", "state", "parent",
                                            "creationTime", "memory",      "disks", "active"};
        for (xmlNode *at = tree_child_element(root); at; at = tree_next_element(at)) {
                bool known = false;
                for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
                        known = known || tree_named(at, plain[i]);
                if (known)
                        continue;
                int r = 0;
                if (tree_named(at, "domain") || tree_named(at, "inactiveDomain"))
                        r = rewrite_domain(at, changes, err);
                else if (tree_named(at, "cookie"))
                        r = filter_cookie(at, changes->keep_only_whitelisted, err);
                else if (changes->keep_only_whitelisted)
                        r = refuse(at, err);
                if (r < 0)
                        return error_prefix(err, "snapshot");
        }
        return 0;
}

// Snapshots' names become names of files in libvirt's own directory.
static int check_names(const xmlNode *root, struct error *err) {
        static const char *const places[] = {"name", "parent/name"};
        for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
                _cleanup_(free_p) char *name = tree_find_text(root, places[i]);
                if (name && (strchr(name, '/') || *name == 0 || *name == '.' || strlen(name) > NAME_VOLUME_MAX))
                        return error_set(err, ERROR_REFUSED, "the snapshot's name %.64s is not usable", name);
        }
        return 0;
}

// <disk name='vda' snapshot='internal'> has nothing inside it; a source or driver would name a file.
static int check_disk_list(const xmlNode *root, struct error *err) {
        const xmlNode *disks = tree_child(root, "disks");
        for (const xmlNode *at = disks ? tree_child_element(disks) : NULL; at; at = tree_next_element(at))
                if (!tree_named(at, "disk") || tree_child_element(at))
                        return error_set(err, ERROR_REFUSED,
                                         "domainsnapshot/disks/%.64s may not come from another host",
                                         (const char *) at->name);
        const xmlNode *memory = tree_child(root, "memory");
        if (memory && xmlHasProp(memory, (const xmlChar *) "file"))
                return error_set(err, ERROR_REFUSED, "domainsnapshot/memory/@file may not come from another host");
        return 0;
}

static void set_parent(xmlNode *root, const char *name) {
        tree_remove_children(root, "parent");
        if (*name)
                tree_set_text(tree_add(tree_add(root, "parent"), "name"), name);
}

int definition_rewrite_snapshot(const char *xml, size_t length, const struct definition_changes *changes,
                                const char *parent, char **ret_xml, struct error *err) {
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        if (parse(xml, length, &doc, err) < 0)
                return -1;
        xmlNode *root = xmlDocGetRootElement(doc);
        if (!tree_child(root, "domain"))
                return error_set(err, ERROR_INVALID, "the snapshot holds no definition of its VM");
        if (is_external(root))
                return error_set(err, ERROR_REFUSED, "the snapshot lies in files of its own and is not carried");
        if (changes->keep_only_whitelisted && (check_names(root, err) < 0 || check_disk_list(root, err) < 0))
                return -1;
        if (filter_parts(root, changes, err) < 0)
                return -1;
        if (parent)
                set_parent(root, parent);
        char *text = tree_print(root);
        if (!text)
                return error_set(err, ERROR_NO_MEMORY, "write the snapshot: out of memory");
        *ret_xml = text;
        return 0;
}
