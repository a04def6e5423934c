// SPDX-License-Identifier: LGPL-2.1-or-later
/* What a disk is made of (see disk_source.h). */
#include "agent/host/disk_source.h"
#include "common/memory.h"
#include <string.h>

// With its length, so that no value looks like two.
static char *add(char *text, const xmlNode *node, const char *name) {
        _cleanup_(free_p) char *before = text, *value = tree_attribute(node, name);
        return value ? memory_format("%s%s=%zu:%s;", before, name, strlen(value), value) : steal(&before);
}

char *disk_source_text(const xmlNode *disk) {
        static const char *const names[] = {"file", "dev", "dir", "protocol", "name", "pool", "volume"};
        static const char *const of_hosts[] = {"name", "port", "socket"};
        const xmlNode *source = tree_child(disk, "source");
        char *text = memory_string("");
        for (unsigned i = 0; source && i < ARRAY_SIZE(names); i++)
                text = add(text, source, names[i]);
        for (const xmlNode *at = source ? tree_child(source, "host") : NULL; at; at = tree_next(at, "host"))
                for (unsigned i = 0; i < ARRAY_SIZE(of_hosts); i++)
                        text = add(text, at, of_hosts[i]);
        return text;
}

static const xmlNode *find(const xmlNode *domain, const char *target) {
        const xmlNode *devices = domain ? tree_child(domain, "devices") : NULL;
        for (const xmlNode *at = devices ? tree_child(devices, "disk") : NULL; at; at = tree_next(at, "disk"))
                if (tree_attribute_is(tree_child(at, "target"), "dev", target))
                        return at;
        return NULL;
}

bool disk_source_same(const xmlNode *domain, const xmlNode *other, const char *target) {
        const xmlNode *one = find(domain, target), *another = find(other, target);
        if (!one || !another)
                return false;
        _cleanup_(free_p) char *text = disk_source_text(one), *again = disk_source_text(another);
        return *text && strcmp(text, again) == 0;
}
