// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reading <backingStore> (see definition_bases.h). How deep it goes is bounded by TREE_DEPTH. Pure; any thread. */
#include "agent/host/definition_bases.h"
#include "agent/host/definition_tree.h"
#include "common/memory.h"
#include <stdlib.h>
#include <string.h>

static char *text_or_empty(char *text) {
        return text ? text : memory_string("");
}

static char *path_of(const xmlNode *node, const char *type) {
        if (!type) // the empty element
                return memory_string("");
        char *path = tree_find_attribute(node, "source", strcmp(type, "block") == 0 ? "dev" : "file");
        if (path && path[0] == '/')
                return path;
        free(path);
        _cleanup_(free_p) char *pool = tree_find_attribute(node, "source", "pool"),
                               *volume = tree_find_attribute(node, "source", "volume"),
                               *name = tree_find_attribute(node, "source", "name");
        if (pool && volume)
                return memory_format("volume %s/%s", pool, volume);
        return memory_format("%s %s", type, name ? name : "image");
}

static void read_disk(const xmlNode *disk, struct definition_bases *bases) {
        const xmlNode *node = tree_child(disk, "backingStore");
        for (; node; node = tree_child(node, "backingStore")) {
                _cleanup_(free_p) char *type = tree_attribute(node, "type");
                bases->items = memory_grow(bases->items, bases->n + 1, sizeof(*bases->items));
                bases->items[bases->n++] = (struct definition_base){
                        .target = text_or_empty(tree_find_attribute(disk, "target", "dev")),
                        .path = path_of(node, type),
                        .format = text_or_empty(tree_find_attribute(node, "format", "type")),
                        .remote = type && strcmp(type, "network") == 0,
                };
        }
}

void definition_bases_read(const struct definition *definition, struct definition_bases *ret) {
        struct definition_bases bases = {0};
        const xmlNode *devices = tree_child(definition->root, "devices");
        for (const xmlNode *disk = devices ? tree_child(devices, "disk") : NULL; disk; disk = tree_next(disk, "disk"))
                read_disk(disk, &bases);
        *ret = bases;
}

void definition_bases_fini(struct definition_bases *bases) {
        for (unsigned i = 0; i < bases->n; i++) {
                free(bases->items[i].target);
                free(bases->items[i].path);
                free(bases->items[i].format);
        }
        free(bases->items);
        *bases = (struct definition_bases){0};
}
