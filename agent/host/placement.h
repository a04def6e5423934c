// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The target's side of a move: room and names reserved, partial images where nobody sees them, published by rename
 * without replacing anything, defined, started, settled; or all of it taken away again. Repeatable after a crash at any
 * point, like custody.
 */
#include "agent/host/custody.h"

// Name, UUID, MACs not in use on this host; pools active, volumes absent, space (virtual size for raw and qcow2 growth is
// counted by the controller's plan; here: file_bytes' allocation plus 256 MiB must be free); bridges and networks exist;
// host files exist is checked at define. All refusals at once, in the hints.
int placement_reserve(const struct custody *custody, const Drover__MoveReserve *request, struct error *err);
// The partial file for the data plane: created when absent, truncated to zero when a copy begins again. fd is the caller's.
int placement_open(const struct custody *custody, const char *item, int *ret_fd, struct error *err);
// Publish (renameat2 NOREPLACE, fsync both directories), rewrite, define, redefine internal snapshots. Autostart stays off.
int placement_define(const struct custody *custody, const Drover__MoveDefine *request, Drover__MoveDefineResult **ret, struct error *err);
int placement_start(const struct custody *custody, struct error *err);
int placement_settle(const struct custody *custody, const Drover__MoveSettle *request, struct error *err); // autostart; holds forgotten
int placement_discard(const struct custody *custody, struct error *err); // undo; only what this job made
// The published image of a disk, for read-back. fd is the caller's.
int placement_open_published(const struct custody *custody, const char *item, int *ret_fd, uint64_t *ret_bytes, struct error *err);
