// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reading <backingStore> (see definition_bases.h). How deep it goes is bounded by TREE_DEPTH. Pure; any thread. */
#include "agent/host/definition_bases.h"
#include "agent/host/definition_tree.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <stdlib.h>
#include <string.h>

static char *text_or_empty(char *text) {
        return text ? text : memory_string("");
}

static enum definition_base_kind kind_of(const char *type, const char *path) {
        static const char *const elsewhere[] = {"network", "nvme", "vhostuser", "vhostvdpa", "dir"};
        for (unsigned i = 0; type && i < ARRAY_SIZE(elsewhere); i++)
                if (strcmp(type, elsewhere[i]) == 0)
                        return BASE_ELSEWHERE;
        if (!type || ((strcmp(type, "file") == 0 || strcmp(type, "block") == 0) && !*path))
                return BASE_NOTHING;
        return path[0] == '/' ? BASE_FILE : BASE_UNKNOWN;
}

static void read_base(const xmlNode *node, struct definition_base *base) {
        _cleanup_(free_p) char *type = tree_attribute(node, "type");
        bool block = type && strcmp(type, "block") == 0;
        base->path = text_or_empty(tree_find_attribute(node, "source", block ? "dev" : "file"));
        base->format = text_or_empty(tree_find_attribute(node, "format", "type"));
        base->kind = kind_of(type, base->path);
        if (type && strcmp(type, "volume") == 0) {
                base->pool = tree_find_attribute(node, "source", "pool");
                base->volume = tree_find_attribute(node, "source", "volume");
                if (base->pool && base->volume)
                        base->kind = BASE_VOLUME;
        }
        if (*base->path || base->kind == BASE_NOTHING)
                return;
        free(base->path);
        base->path = base->kind == BASE_VOLUME ? memory_format("volume %s/%s", base->pool, base->volume)
                                               : memory_format("%s image", type);
}

static void read_disk(const xmlNode *disk, struct definition_bases *bases) {
        const xmlNode *node = tree_child(disk, "backingStore");
        for (; node; node = tree_child(node, "backingStore")) {
                bases->items = memory_grow(bases->items, bases->n + 1, sizeof(*bases->items));
                struct definition_base *base = &bases->items[bases->n++];
                *base = (struct definition_base){.target = text_or_empty(tree_find_attribute(disk, "target", "dev"))};
                read_base(node, base);
        }
}

void definition_bases_read(const struct definition *definition, struct definition_bases *ret) {
        struct definition_bases bases = {0};
        const xmlNode *devices = tree_child(definition->root, "devices");
        for (const xmlNode *disk = devices ? tree_child(devices, "disk") : NULL; disk; disk = tree_next(disk, "disk"))
                read_disk(disk, &bases);
        *ret = bases;
}

void definition_bases_resolve(struct definition_bases *bases, const struct pool_table *pools) {
        for (unsigned i = 0; i < bases->n; i++) {
                struct definition_base *base = &bases->items[i];
                char *path = base->kind == BASE_VOLUME ? pool_table_path(pools, base->pool, base->volume) : NULL;
                if (!path)
                        continue;
                free(base->path);
                base->path = path;
                base->kind = BASE_FILE;
        }
}

void definition_bases_fini(struct definition_bases *bases) {
        for (unsigned i = 0; i < bases->n; i++) {
                free(bases->items[i].target);
                free(bases->items[i].path);
                free(bases->items[i].format);
                free(bases->items[i].pool);
                free(bases->items[i].volume);
        }
        free(bases->items);
        *bases = (struct definition_bases){0};
}
