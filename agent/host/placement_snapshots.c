// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Snapshots' metadata at the target. A move carries all of it. A clone leaves out, with a warning, what it cannot go
 * back to: snapshots that its images do not hold, and those with the memory of the VM it was cloned from, which would
 * wake up as that VM, with its addresses, beside it. The rest of the tree is joined up over the gaps. Workers only.
 */
#include "agent/host/placement_parts.h"
#include "agent/host/tree.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/memory.h"
#include <string.h>

#define WARNINGS_MAX 16u

// One snapshot as it came; `stands` is itself when it is kept, or else the nearest of its ancestors that is.
struct entry {
        char *name, *parent;
        const char *stands; // "": none
};
struct carried {
        const struct placement_snapshots *what;
        struct entry *entries;
        size_t n;
};

static void carried_fini(struct carried *carried) {
        for (size_t i = 0; i < carried->n; i++) {
                free(carried->entries[i].name);
                free(carried->entries[i].parent);
        }
        free(carried->entries);
}

static void warn(const struct carried *carried, const char *name, const char *why) {
        Drover__MoveDefineResult *result = carried->what->result;
        if (result->n_warnings >= WARNINGS_MAX)
                return;
        result->warnings = memory_grow(result->warnings, result->n_warnings + 1, sizeof(*result->warnings));
        result->warnings[result->n_warnings++] =
                memory_format("the clone does not know the snapshot %s: %s", name, why);
}

static const char *standing(const struct carried *carried, const char *name) {
        for (size_t i = 0; name && i < carried->n; i++)
                if (strcmp(carried->entries[i].name, name) == 0)
                        return carried->entries[i].stands;
        return "";
}

static bool holds_memory(const xmlNode *root) {
        const xmlNode *memory = tree_child(root, "memory");
        _cleanup_(free_p) char *state = tree_find_text(root, "state");
        return (memory && !tree_attribute_is(memory, "snapshot", "no")) || !state || strcmp(state, "shutoff") != 0;
}

// Why a clone cannot have it; NULL: it can.
static const char *reason_against(const struct carried *carried, const xmlNode *root) {
        if (!carried->what->changes->identity)
                return NULL;
        if (!carried->what->in_images)
                return "its images do not hold it";
        return holds_memory(root) ? "it holds memory of the VM that was cloned, with that one's addresses" : NULL;
}

static int carry(struct carried *carried, const ProtobufCBinaryData *came, struct error *err) {
        const struct placement_snapshots *what = carried->what;
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        _cleanup_(free_p) char *xml = NULL;
        struct entry *entry = &carried->entries[carried->n];
        if (tree_parse("the snapshot", (const char *) came->data, came->len, &doc, err) < 0)
                return -1;
        const xmlNode *root = xmlDocGetRootElement(doc);
        entry->name = tree_find_text(root, "name");
        entry->parent = tree_find_text(root, "parent/name");
        if (!entry->name)
                entry->name = memory_string("");
        entry->stands = standing(carried, entry->parent);
        carried->n++;
        const char *reason = reason_against(carried, root);
        const char *parent = what->changes->identity ? entry->stands : NULL;
        struct error why = ERROR_INIT;
        if (!reason &&
            definition_rewrite_snapshot((const char *) came->data, came->len, what->changes, parent, &xml, &why) < 0) {
                if (!what->changes->identity || why.code != ERROR_REFUSED) {
                        if (err)
                                *err = why;
                        return -1;
                }
                reason = why.message;
        }
        if (reason) {
                warn(carried, entry->name, reason);
                return 0;
        }
        entry->stands = entry->name;
        if (custody_snapshot_define(what->domain, xml, what->request->current_snapshot, err) < 0)
                return -1;
        return fault_point("agent.define.snapshot", err);
}

int placement_snapshots(const struct placement_snapshots *what, struct error *err) {
        _cleanup_(carried_fini) struct carried carried = {.what = what};
        carried.entries = new_array(struct entry, what->request->n_snapshot_xml + 1);
        for (size_t i = 0; i < what->request->n_snapshot_xml; i++)
                if (carry(&carried, &what->request->snapshot_xml[i], err) < 0)
                        return -1;
        return 0;
}
