// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Undoing a move after its commit, at the host that the VM left: what an earlier job retired goes back to its place and
 * is defined again, as long as it has not been purged. The job that undoes is custody->job; the holds stay in the name
 * of the job that retired them, which stands in their files' names. Repeatable after a crash at any point, and it can
 * be taken back itself, until it is settled.
 *
 * Order: which job is revived is committed first, then each hold becomes HOLD_REVIVED before its file is renamed, and
 * that the VM is to be defined is committed before it is. So whatever is half back is found from the journal. A file or
 * a VM that stands in the way is never replaced. Autostart stays off until the revival is settled: until then the VM's
 * other home has it, too.
 *
 * Fault points (common/fault.h), in the order in which they are met:
 *     agent.revive.begun            committed which job is revived
 *     agent.revive.before-rename    for each file: hold is HOLD_REVIVED, file still aside
 *     agent.revive.after-rename     for each file: in its place
 *     agent.revive.before-define    committed that it will be defined
 *     agent.revive.defined          defined, snapshots not yet
 *     agent.revive.done             before the answer
 *     agent.revive.settled          committed that it stays, holds still in the journal
 *     agent.unrevive.renamed        for each file: aside again
 *     agent.unrevive.undefined      undefined, holds still HOLD_REVIVED
 *     agent.unrevive.noted          for each hold: it is HOLD_RETIRED again
 *     agent.unrevive.done           before the answer
 */
#include "agent/host/custody.h"

// ERROR_NOT_FOUND when nothing of that job is left here, or not all of it; ERROR_CONFLICT when a file or a VM stands in
// the way, or when an image is laid over another one, which nobody has kept as it was.
int revive_run(const struct custody *custody, const Drover__MoveRevive *request, struct error *err);
int revive_undo(const struct custody *custody, const Drover__MoveUnrevive *request, struct error *err);
// 1: this job revived a VM, which is settled now (autostart as it was when it was fenced); 0: it revived none; -1.
int revive_settle(const struct custody *custody, const Drover__MoveSettle *request, struct error *err);
