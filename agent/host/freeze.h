// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A guest whose file systems stand still for a moment, through its agent. Whatever happens it is thawed: after a limit
 * by a thread of its own, which goes on trying for a while when the guest's agent does not answer, and after the death
 * of this process by the next one, which finds the fact in the journal (faults 27, 33). An agent that has refused to
 * freeze and refuses to thaw is asked no more. Blocking, workers only.
 *
 * libvirt does not say how long it is to wait for a guest's agent; afterwards it is told to wait as by default.
 */
#include "agent/host/connection.h"
#include "agent/journal/journal.h"

#define FREEZE_LIMIT_MS 5000u
// How facts' keys begin that have a VM's UUID for their value; one fact a freeze, and nobody else's is removed with it.
#define FREEZE_FACT        "frozen-"
#define FREEZE_GIVEN_UP    "unthawed-" // could not be thawed in all that time: the next agent tries once more
#define FREEZE_TRY_SECONDS 600u        // how long an agent that does not answer is asked to thaw

struct freeze;
// 0: they stand still from now on. 1: they do not, and *why says why (ERROR_BUSY: an earlier freeze of this VM is still
// being thawed); nothing has to be ended. -1: the journal cannot be written. limit_ms: from the request on; 0:
// FREEZE_LIMIT_MS.
int freeze_begin(virDomainPtr domain, struct journal *journal, const char *job, unsigned limit_ms, struct freeze **ret,
                 struct error *why);
// 0: they stood still until now. 1: not all the time, and *why says why. *ret_ms: for how long, at most.
int freeze_end(struct freeze *freeze, unsigned *ret_ms, struct error *why);
// Guests that are frozen, or still asked to thaw: the journal is theirs for as long. Any thread.
unsigned freeze_pending(void);
// At the agent's start: thaws every VM of this host that the journal says is frozen. How many, or -1: one could not be
// thawed, which is tried again at the next start; once if its agent refuses.
int freeze_recover(virConnectPtr conn, struct journal *journal, struct error *err);
