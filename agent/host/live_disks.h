// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Which disks of a running VM are backed up and how, and the two texts that ask libvirt for it. Pure; any thread. */
#include "agent/host/live_backup.h"
#include "agent/host/tree.h"

// Those of the live definition. *ret_sources tells one set of disks from another. Caller frees both.
int live_disks_read(const xmlNode *domain, struct live_disk **ret, unsigned *ret_n, char **ret_sources,
                    struct error *err);
// QEMU's user and group, from the security label that libvirt gave it. False: not said in numbers.
bool live_disks_owner(const xmlNode *domain, unsigned *ret_user, unsigned *ret_group);
// Which are incremental over `base` (NULL: none), which get a checkpoint.
// With internal snapshots none does: QEMU goes back to none of them while a bitmap is there.
void live_disks_plan(struct live_disk *disks, unsigned n, const struct checkpoint *base, bool snapshots);
char *live_disks_backup_xml(const struct live_backup *backup, const char *base);
char *live_disks_checkpoint_xml(const struct live_backup *backup);
