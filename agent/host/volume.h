// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Volumes of pools whose volumes are block devices (type logical: LVM), made, found again and removed through libvirt.
 * A volume is known by its key, which for LVM is the UUID that it got when it was made: another volume that takes its
 * name later has another one. What libvirt believes of a pool may be old, so a pool is read again before anything is
 * concluded from it. Blocking, workers only.
 */
#include "agent/host/connection.h"
#include <stdint.h>

#define VOLUME_KEY_MAX 80
struct volume {
        char key[VOLUME_KEY_MAX];
        uint64_t bytes;
};
// An active pool of that kind, by its name: where its volumes appear (PATH_MAX bytes), and its room.
// ERROR_NOT_FOUND, ERROR_REFUSED.
int volume_pool(virConnectPtr conn, const char *pool, char *ret_directory, uint64_t *ret_available, struct error *err);
bool volume_pool_is(virConnectPtr conn, const char *pool);  // of that kind, active or not
int volume_check_name(const char *name, struct error *err); // one that LVM takes as well
// By where it appears. 1, 0: there is none, or no active pool has it; -1.
int volume_find(virConnectPtr conn, const char *directory, const char *name, struct volume *ret, struct error *err);
// Whether an active pool makes volumes there; without one, nobody can tell whether a volume is there. ERROR_REFUSED.
int volume_check_pool(virConnectPtr conn, const char *directory, const char *name, struct error *err);
// Of at least so many bytes; what is in it is whatever was there on the disk before. ERROR_CONFLICT when there is one.
// After a failure none is left, unless libvirt went away (ERROR_UNREACHABLE, ERROR_TIMEOUT) before it said so.
int volume_make(virConnectPtr conn, const char *directory, const char *name, uint64_t bytes, struct volume *ret,
                struct error *err);
// Only the volume of that key. 1: removed, 0: there is none, or another one, which stays; -1.
int volume_remove(virConnectPtr conn, const char *directory, const char *name, const char *key, struct error *err);
