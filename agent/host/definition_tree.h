// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* What the parts of the definition module share: a definition as it was parsed. */
#include "agent/host/definition.h"
#include "agent/host/tree.h"

struct definition {
        xmlDoc *doc;
        xmlNode *root; // <domain>
        char *name, *uuid;
        char *nvram; // path, or NULL
};
