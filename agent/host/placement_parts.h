// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* What the files of placement share. Blocking, any worker; used by agent/host only. */
#include "agent/host/custody_domain.h"

// A hold of this job for `item`, with everything but its place filled in.
void placement_hold(const struct custody *custody, const char *vm_name, const char *item, struct hold *ret);
// A name in libvirt's NVRAM directory that no file and no other job has: <vm>_VARS.fd, else <vm>-<job>_VARS.fd.
int placement_nvram_place(const struct custody *custody, const char *vm_name, struct hold *hold, struct error *err);
// Whether the domain is the one that this job defined: noted so, and with our files for its disks. 1, 0, -1.
int placement_made(const struct custody *custody, virDomainPtr domain, struct error *err);
// Once it is committed: a VM that is gone, or known only while it runs, has none, and is settled all the same.
int placement_restore_autostart(const struct custody *custody, bool autostart, struct error *err);
// One more reason against this host, joined to those before it.
void placement_refuse(struct error *refusal, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Reasons against the bridges and networks of a request.
int placement_networks_check(virConnectPtr conn, const Drover__MoveReserve *request, struct error *refusal,
                             struct error *err);
int placement_check_open(const struct custody *custody, struct error *err); // ERROR_CONFLICT once the move is settled

// The snapshots of a request, told to libvirt for the domain that was just defined; what a clone goes without becomes a
// warning of the result.
struct placement_snapshots {
        virDomainPtr domain;
        const Drover__MoveDefine *request;
        const struct definition_changes *changes;
        bool in_images; // the images hold snapshots
        Drover__MoveDefineResult *result;
};
int placement_snapshots(const struct placement_snapshots *what, struct error *err);
