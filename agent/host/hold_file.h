// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The file behind one hold of the journal: at its name in the images' directory ("in place"), or under
 * <job>.<item>.held or .part in the sidecar beside it ("aside"), and the few moves between the two. Every move is one
 * rename that replaces nothing, followed by a sync of both directories; asked again after a crash, each finds out where
 * the file is and does what is left. Blocking, any worker; no link is ever followed.
 *
 * A block device (hold->device) stays where it is, and no move touches it: while the source of a move has it, or has
 * retired it, it counts as "aside", since the VM is undefined; at the target it is "in place" from the beginning.
 */
#include "agent/host/image.h"
#include "agent/host/pool.h"
#include "agent/journal/journal.h"

enum hold_place {
        HOLD_NOWHERE,
        HOLD_IN_PLACE,
        HOLD_ASIDE,
        HOLD_BOTH,  // two different files
        HOLD_TWINS, // one file with both names: a move on a file system without RENAME_NOREPLACE was cut short
};
#define HOLD_IDENTITY_MAX 80

// Splits an absolute path into hold->directory and hold->name. ERROR_INVALID for what is not an absolute path to a
// file.
int hold_file_split(struct hold *hold, const char *path, struct error *err);
int hold_file_find(const struct hold *hold, enum hold_place *ret, struct error *err);
// A file that is in place may be taken: regular, no link, one name, its file system writable, not locked by a QEMU
// program. ERROR_REFUSED with a hint otherwise.
int hold_file_check(const struct hold *hold, struct error *err);
int hold_file_put_aside(const struct hold *hold, struct error *err);
// replace: what stands at the name is overwritten (a file that libvirt made anew); otherwise ERROR_CONFLICT.
int hold_file_put_in_place(const struct hold *hold, bool replace, struct error *err);

// Aside: the file that receives a copy, made 0600 when absent, emptied, read-write; the fd is the caller's.
int hold_file_create(const struct hold *hold, int *ret_fd, struct error *err);
// The same to go on with: what is in it stays. Beside it stands <job>.<item>.ranges, the record of what in it is known
// to be whole (agent/blocks/verified.h), which goes when the file gets its name, is emptied or is removed.
struct hold_partial {
        int fd, ranges_fd; // read-write
        char identity[HOLD_IDENTITY_MAX];
};
int hold_file_resume(const struct hold *hold, struct hold_partial *ret, struct error *err);
void hold_partial_fini(struct hold_partial *partial);
// Read-only, at the given place (HOLD_ASIDE or HOLD_IN_PLACE). The fd is the caller's.
int hold_file_open(const struct hold *hold, enum hold_place place, int *ret_fd, uint64_t *ret_bytes, struct error *err);
// image_inspect_at() of the file at the given place.
int hold_file_inspect(const struct hold *hold, enum hold_place place, const char *format, struct image *ret,
                      struct error *err);

// What tells this file from any other that may take its name later: inode number and time of birth.
int hold_file_identity(const struct hold *hold, enum hold_place place, char ret[HOLD_IDENTITY_MAX], struct error *err);
// Whether it tells even once the file is gone. Where a file system keeps no time of birth (NFS), a file that is made
// later can have the inode number of one that was removed.
bool hold_file_identity_lasts(const char *identity);
// Removes; absent is success. In place only the file of that identity goes (another is left: ERROR_CONFLICT).
int hold_file_remove_aside(const struct hold *hold, uint64_t *ret_bytes,
                           struct error *err); // ret_bytes: freed, may be NULL
int hold_file_remove_in_place(const struct hold *hold, const char *identity, struct error *err);
// Takes its name from the file of that identity and puts it aside; another is left, absent is success.
int hold_file_take_back(const struct hold *hold, const char *identity, struct error *err);
// Removes the sidecar of this hold's directory, if it is empty and no other job has a hold there. Before the hold
// itself is removed, so that a crash in between leaves no sidecar that nobody knows of.
int hold_file_tidy(const struct hold *hold, struct journal *journal, struct error *err);
