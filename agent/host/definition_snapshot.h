// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* What a <domainsnapshot> tells, for the inventory. Pure; any thread. (Its rewriting stands in definition.h.) */
#include "agent/host/definition.h"

// `domain` is described already; obstacles that the snapshot brings are added to it. *ret is the caller's (proto_free).
int definition_describe_snapshot(const char *xml, size_t length, Drover__Domain *domain, Drover__Snapshot **ret,
                                 struct error *err);
