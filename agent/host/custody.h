// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The source's side of a move: taking a VM out of everybody's reach, giving it back, or letting it go for good.
 * Fencing renames each disk image and the NVRAM into the sidecar directory (same file system, atomic), so that no one,
 * virsh and autostart included, can start the VM from it, while the definition stays. Every function may be repeated
 * after a crash at any point within it and finishes what it began; the journal's holds say how far it came.
 *
 * Order: a hold is committed with the file's directory and name before the file is renamed; the definition, snapshots'
 * metadata and autostart flag are committed as facts before anything is touched. So whatever exists of a VM can be
 * found from the journal, and looking at both names of a file tells which side of the rename a crash was on. A release
 * removes the holds when all is back; a retirement is noted before it begins and from then on only goes forward.
 *
 * A missing image makes libvirt refuse to start, unless every image has startupPolicy="optional" or there is none (a VM
 * that boots from the network). Such a VM, and one that has a block device, which cannot be renamed
 * (custody_device.h), is undefined while it is fenced (item HOLD_DOMAIN among its holds) and defined again by a
 * release. An NVRAM file is no fence: libvirt makes a missing one anew from its template before it
 * finds that the disks are missing; release replaces such a file by the held one, retirement removes it with the
 * definition.
 *
 * Fault points (common/fault.h), in the order in which they are met:
 *     agent.stop.noted             was_running committed, not stopped yet
 *     agent.stop.stopped
 *     agent.fence.before-rename    for each file: hold committed, file in its place
 *     agent.fence.after-rename     for each file: out of reach
 *     agent.fence.renamed          all files, not looked at again yet
 *     agent.fence.before-undefine  only for a VM that is undefined while fenced
 *     agent.fence.done             before the answer
 *     agent.release.before-rename, agent.release.after-rename     for each file
 *     agent.release.defined        defined again, snapshots and autostart not yet
 *     agent.release.restored       all back, holds still in the journal
 *     agent.release.before-start, agent.release.started
 *     agent.retire.begun           committed that this job only goes forward
 *     agent.retire.undefined       undefined, not noted yet
 *     agent.retire.noted           for each hold: it is HOLD_RETIRED
 *     agent.purge.before-remove, agent.purge.removed              for each file
 *     agent.retire.done            before the answer
 */
#include "agent/host/connection.h"
#include "agent/host/image_files.h"
#include "agent/host/power.h"
#include "agent/journal/journal.h"
#include "proto/codec.h"

struct custody { // context of one step
        virConnectPtr conn;
        struct journal *journal;
        const char *job;
        const char *vm_uuid;
        power_cancelled_fn cancelled;
        void *cancelled_data;
};
// What keeps the VM from leaving, also that an image of it is used by others, or may be: nothing is stopped for a move
// that its fence would refuse.
int custody_inspect(const struct custody *custody, const Drover__MoveInspect *request, Drover__MoveInspectResult **ret,
                    struct error *err);
int custody_stop(const struct custody *custody, const Drover__MoveStop *request, Drover__MoveStopResult **ret,
                 struct error *err); // records was_running as a fact before acting
// Checks again that the definition and the snapshots are the planned ones (else ERROR_STALE), that the domain is
// inactive and has no saved state, and each image: a regular file with one name that no other VM and no QEMU program
// uses, whole without other files. Then renames, and looks once more whether it is inactive (a start that slipped in
// wins: renamed back, ERROR_CONFLICT, fault 31).
int custody_fence(const struct custody *custody, const Drover__MoveFence *request, Drover__MoveFenceResult **ret,
                  struct error *err);
int custody_confirm(const struct custody *custody,
                    struct error *err); // ERROR_CONFLICT when it runs or is no longer fenced
// Undefine (NVRAM moved aside too, snapshot metadata dropped), disks stay as HOLD_RETIRED; purge removes them. The
// definition stays in the journal as a fact for as long as a disk is held.
int custody_retire(const struct custody *custody, const Drover__MoveRetire *request, struct error *err);
int custody_release(const struct custody *custody, const Drover__MoveRelease *request,
                    struct error *err); // undo; starts it again if was_running and request->start
// Counts VMs, not files. A VM that cannot be purged does not keep the others: err tells of the first; one that an undo
// is bringing back is left alone, and so is one with an image that something here is laid over, or may be.
int custody_purge(const struct custody *custody, const Drover__RetiredPurge *request, Drover__RetiredPurgeResult **ret,
                  struct error *err);
// The open image for the data plane: of a fenced disk or the NVRAM, read-only, O_NOFOLLOW. fd is the caller's.
int custody_open(const struct custody *custody, const char *item, int *ret_fd, uint64_t *ret_bytes, struct error *err);
// The same of a disk of which the guest-visible content is wanted, with all that it is laid over.
int custody_open_files(const struct custody *custody, const char *item, const char *format, struct image_files *ret,
                       struct error *err);
