// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A block device in the hands of a move's source. It cannot be renamed, so its VM is undefined while it is fenced; what
 * shows that nobody used it meanwhile is noted as a fact of the job, "device.<item>": version (agent/host/version.h)
 * and the volume's key, where libvirt knows the device as a volume. Blocking, workers only; used by agent/host only.
 */
#include "agent/host/custody.h"

int custody_device_note(const struct custody *custody, const struct hold *hold, struct error *err);
// ERROR_CONFLICT when it is another device or volume than job hold->job noted, of another length, or was written to
// since. strict: also when nobody can tell, because the host was started again in between.
int custody_device_check(const struct custody *custody, const struct hold *hold, bool strict, struct error *err);
// What was retired goes for good: the volume is removed through libvirt, if it is still the one that was noted and
// nothing uses it or is laid over it. *ret_bytes: freed. 1: a device that is no volume, which stays as it is; 0; -1.
int custody_device_purge(const struct custody *custody, const struct hold *hold, uint64_t *ret_bytes,
                         struct error *err);
