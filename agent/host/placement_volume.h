// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * An image that comes to be a volume (agent/host/volume.h) and not a file. The volume is made when it is reserved,
 * under its own name, and is a hold's device from then on; until the VM is defined nobody can start anything from it.
 * Blocking, workers only; used by agent/host only.
 *
 * Order: the pool is read, and nothing has that name; the hold is committed; the volume is made; its key is committed
 * (FACT_IDENTITY). Right before it is made, it is looked once more whether nothing has that name, and what is begun is
 * noted: after a crash between that and the key, and then alone, a volume of that name and size is taken for the one
 * that was made. From then on only the volume of that key is written to, defined or removed.
 */
#include "agent/host/custody_domain.h"
#include "agent/host/hold_file.h"
#include "agent/host/volume.h"

// Whether a volume stands at the hold's name, and is this job's: 1 ours, 0 there is none, -1. ERROR_CONFLICT when it is
// not ours. `known`: the hold has been committed.
int placement_volume_look(const struct custody *custody, const struct hold *hold, bool known, struct error *err);
// Of a hold that is committed: the volume made and noted, once. `known`: it was committed by an earlier run. When the
// volume cannot be made, the hold goes; it stays when libvirt went away before it said so (ERROR_UNREACHABLE), or when
// the journal cannot be written to.
int placement_volume_make(const struct custody *custody, const struct hold *hold, bool known, struct error *err);
// Open for the copy, read-write and claimed, with its record of what was verified.
int placement_volume_resume(const struct custody *custody, const struct hold *hold, struct hold_partial *ret,
                            struct error *err);
// Copied whole: the record goes.
int placement_volume_publish(const struct custody *custody, const struct hold *hold, struct error *err);
// Ours and nothing else is removed. The key that was noted is what tells it from others, and must outlast the hold.
int placement_volume_discard(const struct custody *custody, const struct hold *hold, struct error *err);
