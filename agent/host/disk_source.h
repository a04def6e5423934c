// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* What a disk of a definition is made of, so that it is known again under whatever name the VM sees it. Pure. */
#include "agent/host/tree.h"

// As text that differs from that of any other disk's; "" when there is nothing in it. Caller frees.
char *disk_source_text(const xmlNode *disk);
// Whether the disk of this target is made of the same in both definitions, and is in both of them.
bool disk_source_same(const xmlNode *domain, const xmlNode *other, const char *target);
