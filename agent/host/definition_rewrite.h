// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Rewriting of one <domain> element, shared by definitions and the snapshots that hold them. Pure. */
#include "agent/host/definition.h"
#include "agent/host/tree.h"

// Drop what belongs to the old host; with `whitelisted`, refuse what may not pass.
int rewrite_filter(xmlNode *node, const char *path, const char *vm, bool whitelisted, struct error *err);
int rewrite_domain(xmlNode *root, const struct definition_changes *changes, struct error *err);
