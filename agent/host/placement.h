// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The target's side of a move: room and names reserved, partial images where nobody sees them, published by rename
 * without replacing anything, defined, started, settled; or all of it taken away again. Repeatable after a crash at any
 * point, like custody.
 *
 * Order: a hold is committed before its partial file is made; the identity of that file (inode and time of birth)
 * before it gets its name; the UUID before the VM is defined. Discarding removes a file only if it is still that one,
 * and a domain only if this job noted its UUID and it names this job's files. Nothing is discarded once the move is
 * settled. An image that comes to be a volume of a pool of devices has an order of its own (placement_volume.h).
 *
 * Fault points (common/fault.h), in the order in which they are met:
 *     agent.reserve.before-hold        for each file and volume
 *     agent.reserve.before-volume      for each volume: hold committed, none made
 *     agent.reserve.making             for each volume: noted that it is about to be made
 *     agent.reserve.given-up           for a volume that cannot be made: its hold still there
 *     agent.reserve.volume             for each volume: made, its key not committed
 *     agent.reserve.done               before the answer
 *     agent.define.before-publish      for each file: identity committed, still aside; for each volume
 *     agent.define.published           for each file: it has its name, hold still HOLD_INCOMING; for each volume
 *     agent.define.all-published
 *     agent.define.before-define       UUID committed
 *     agent.define.defined             defined, snapshots not yet
 *     agent.define.snapshot            for each snapshot
 *     agent.define.done                before the answer
 *     agent.start.before, agent.start.started
 *     agent.settle.before              autostart set, not noted as settled
 *     agent.settle.settled             noted, holds still in the journal
 *     agent.settle.forgotten           for each hold
 *     agent.discard.before-destroy, agent.discard.destroyed       if it was defined
 *     agent.discard.undefined          files still there
 *     agent.discard.taken-back         for each file that only an inode number tells from others: its name is free
 *     agent.discard.partial-removed, agent.discard.removed        for each file
 *     agent.discard.done               before the answer
 */
#include "agent/host/custody.h"
#include "agent/host/hold_file.h"

// Name, UUID, MACs not in use on this host; pools active, volumes absent, space (virtual size for raw and qcow2 growth
// is counted by the controller's plan, beside POOL_SPARE_BYTES as here; here: what is allocated now, and what other
// jobs were promised of the same file system); bridges and networks exist; host files exist is checked at define. All
// reasons at once: in the message, joined by "; ", with a hint each.
int placement_reserve(const struct custody *custody, const Drover__MoveReserve *request, struct error *err);
// The partial file to be filled in one go: created when absent, emptied. fd is the caller's.
int placement_open(const struct custody *custody, const char *item, int *ret_fd, struct error *err);
// The same for the data plane, which goes on where it was cut. hold_partial_fini().
int placement_resume(const struct custody *custody, const char *item, struct hold_partial *ret, struct error *err);
// Publish (renameat2 NOREPLACE, fsync both directories), rewrite, define, redefine internal snapshots. Autostart stays
// off.
int placement_define(const struct custody *custody, const Drover__MoveDefine *request, Drover__MoveDefineResult **ret,
                     struct error *err);
int placement_start(const struct custody *custody, struct error *err);
// Autostart; holds forgotten; tells what the images are now. It ends a revival (revive.h) as well.
int placement_settle(const struct custody *custody, const Drover__MoveSettle *request, Drover__MoveSettleResult **ret,
                     struct error *err);
int placement_discard(const struct custody *custody, struct error *err); // undo; only what this job made
// The published image of a disk, for read-back. fd is the caller's.
int placement_open_published(const struct custody *custody, const char *item, int *ret_fd, uint64_t *ret_bytes,
                             struct error *err);
