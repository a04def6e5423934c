// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The source's side of a move: taking a VM out of everybody's reach, giving it back, or letting it go for good.
 * Fencing renames each disk image into the sidecar directory (same file system, atomic), so that no one, virsh and
 * autostart included, can start the VM from it, while the definition stays. Every function may be repeated after a crash
 * at any point within it and finishes what it began; the journal's holds say how far it came.
 */
#include "agent/host/connection.h"
#include "agent/host/power.h"
#include "agent/journal/journal.h"
#include "proto/codec.h"

struct custody {                 // context of one step
        virConnectPtr conn;
        struct journal *journal;
        const char *job;
        const char *vm_uuid;
        power_cancelled_fn cancelled;
        void *cancelled_data;
};
int custody_inspect(const struct custody *custody, const Drover__MoveInspect *request, Drover__MoveInspectResult **ret, struct error *err);
int custody_stop(const struct custody *custody, const Drover__MoveStop *request, Drover__MoveStopResult **ret, struct error *err); // records was_running as a fact before acting
// Checks again that the definition is the planned one and the domain is inactive; renames; checks inactive once more
// (a start that slipped in is undone: renamed back, ERROR_CONFLICT, fault 31).
int custody_fence(const struct custody *custody, const Drover__MoveFence *request, Drover__MoveFenceResult **ret, struct error *err);
int custody_confirm(const struct custody *custody, struct error *err); // ERROR_CONFLICT when it runs or is no longer fenced
// Undefine (NVRAM moved aside too, snapshot metadata dropped), disks stay as HOLD_RETIRED; purge removes them.
int custody_retire(const struct custody *custody, const Drover__MoveRetire *request, struct error *err);
int custody_release(const struct custody *custody, const Drover__MoveRelease *request, struct error *err); // undo; starts it again if was_running and request->start
int custody_purge(const struct custody *custody, const Drover__RetiredPurge *request, Drover__RetiredPurgeResult **ret, struct error *err);
// The open image for the data plane: of a fenced disk or the NVRAM, read-only, O_NOFOLLOW. fd is the caller's.
int custody_open(const struct custody *custody, const char *item, int *ret_fd, uint64_t *ret_bytes, struct error *err);
