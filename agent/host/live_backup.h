// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The disks of a running VM as they were at one moment: libvirt's backup job in pull mode, with a checkpoint of ours
 * (checkpoint.h) made in the same moment, in which the guest's file systems stand still if it has an agent (freeze.h).
 * What is to be read is then behind a unix socket (agent/blocks/source_live.h), for as long as the job lasts.
 *
 *      live_backup_begin      job and checkpoint
 *        read every disk      live_backup_export()
 *        live_backup_check    whether what was read is what it was to be
 *      live_backup_end        the job ends; both checkpoints stay
 *        the restore point counts
 *      checkpoints_settle     the checkpoint before goes
 *
 * Blocking, workers only; one backup of a VM at a time. An agent that was killed in between, or has lost libvirt, has
 * left a job, which live_backup_recover() or the next beginning ends, and a checkpoint, which the next backup that
 * counts removes. A base whose disk had another size is the caller's to find: it does not ask for what is the same.
 */
#include "agent/host/checkpoint.h"
#include "agent/host/freeze.h"
#include "agent/host/power.h"

#define LIVE_BACKUP_WAIT_SECONDS 600u

struct live_backup_request {
        virDomainPtr domain;
        struct journal *journal;
        const char *job;
        const char *directory; // of ours: sockets, and what the guest overwrites meanwhile. QEMU's user must be able to
                               // enter all that it lies in; it is made so itself if it is not there
        const char *base;      // the checkpoint of the restore point to add to; NULL: none
        unsigned freeze_ms;    // 0: FREEZE_LIMIT_MS
        unsigned wait_seconds; // for another job on the VM; 0: LIVE_BACKUP_WAIT_SECONDS
        power_cancelled_fn cancelled;                // may be NULL
        void (*event)(void *data, const char *text); // what was repaired; may be NULL
        void *data;                                  // of both
};
struct live_disk {
        char target[16];
        char format[16];
        char bitmap[32]; // exported beside it when it is incremental
        uint64_t bytes;
        bool left_out;     // a cdrom, a floppy, something that only reads: why says which
        bool incremental;  // what has not changed since the base is told
        bool checkpointed; // the next backup may add to this one
        char why[128];     // why it is left out, or read in full although there is a base, or not checkpointed; or ""
};
struct live_backup {
        struct live_backup_request request;   // borrowed, until it ends
        char checkpoint[CHECKPOINT_NAME_MAX]; // "" when no disk can have one
        bool consistent;                      // as the guest's agent left it, else as after a crash
        char why[256];                        // why not
        unsigned frozen_ms;                   // at most
        unsigned n_disks;
        struct live_disk *disks;
        char *directory, *socket, *name;
        bool persistent;
        char *sources; // which disks there were, as text
};
// ERROR_CONFLICT: the VM is off. ERROR_REFUSED: it has no disk. ERROR_BUSY: another job did not end.
int live_backup_begin(const struct live_backup_request *request, struct live_backup **ret, struct error *err);
// How disk n is opened: nbd_client.h's words. *ret_bitmap: NULL unless it is incremental. Borrowed from the backup.
void live_backup_export(const struct live_backup *backup, unsigned n, const char **ret_socket, const char **ret_name,
                        const char **ret_bitmap);
// ERROR_CONFLICT: the VM ended, was undefined or renamed, or got another disk or another size meanwhile (fault 30), or
// the job did not last (fault 27): what was read is no restore point.
int live_backup_check(const struct live_backup *backup, struct error *err);
void live_backup_end(struct live_backup *backup); // frees; NULL is fine
// At the agent's start, before any other: ends jobs of ours that were left, and empties the directory. How many, or -1.
int live_backup_recover(virConnectPtr conn, const char *directory, struct error *err);
