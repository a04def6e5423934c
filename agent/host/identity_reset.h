// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Emptying a guest of what tells it from others, in the clone that this job has defined and while it is off:
 * machine-id, SSH host keys, host name, network names bound to old addresses, leases. The work is libguestfs's
 * virt-sysprep, which mounts the guest's file systems in a small virtual machine of its own, never in this host's
 * kernel. Blocking, a thread of its own; asked again after a crash, it begins afresh.
 */
#include "agent/host/custody.h"

// ERROR_REFUSED with the reason for a guest that cannot be opened, and where the tools are not installed.
int identity_reset(const struct custody *custody, const Drover__IdentityReset *request, struct error *err);
// Removes what an attempt that was cut short has left of the small machine's files.
int identity_reset_tidy(const struct custody *custody, struct error *err);
