// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Our checkpoints of a running VM: "drover-<number>", growing, and no number comes again. A checkpoint is libvirt's
 * record and, in each qcow2 image, a bitmap of the same name; either may be there without the other (fault 29), and a
 * bitmap that was in use when QEMU died is good for nothing (fault 28). Checkpoints of other names are never touched.
 * Blocking, workers only.
 */
#include "agent/host/connection.h"
#include "agent/host/tree.h"
#include <stdbool.h>
#include <stdint.h>

#define CHECKPOINT_NAME_MAX  32u
#define CHECKPOINT_DISKS_MAX 64u
#define CHECKPOINTS_MAX      256u

struct checkpoint {
        char name[CHECKPOINT_NAME_MAX];
        uint64_t number;
        bool known;      // QEMU could be asked about it
        bool moved;      // there is a bitmap where a disk was made of something else then
        unsigned n_good; // disks that are the same now, and whose bitmap is there and tells what has changed since
        char good[CHECKPOINT_DISKS_MAX][16];
};
struct checkpoints {
        unsigned n;
        struct checkpoint *items; // by number
};
// Ours alone. `now` is the VM's definition, by which a disk is known again: libvirt asks for a bitmap by the disk's
// target, and two disks that were exchanged have one each. NULL: no bitmap is asked for.
int checkpoints_read(virDomainPtr domain, const xmlNode *now, struct checkpoints *ret, struct error *err);
void checkpoints_fini(struct checkpoints *checkpoints);
const struct checkpoint *checkpoints_find(const struct checkpoints *checkpoints, const char *name); // or NULL
bool checkpoint_covers(const struct checkpoint *checkpoint, const char *target);
// "drover-17": whether it is one of ours.
bool checkpoint_name_parse(const char *name, uint64_t *ret_number);

// Record and bitmaps, whichever are there. 0: removed, 1: it took a repair (its bitmap was gone), -1.
int checkpoint_drop(virDomainPtr domain, const char *name, struct error *err);
// A bitmap of this name on one of these disks that libvirt has no record of: removed.
int checkpoint_drop_stray(virDomainPtr domain, const char *name, const char *const *targets, unsigned n,
                          struct error *err);
// Once a restore point counts: all of ours but `keep` go. Those that cannot are left for the next time; *err says why.
int checkpoints_settle(virDomainPtr domain, const char *keep, struct error *err);
