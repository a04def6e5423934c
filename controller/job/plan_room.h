// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The room that a plan's disks need in the pools of the target, beside what the host there keeps free of each. Pure,
 * like the plan; internal to its files.
 */
#include "controller/job/plan_checks.h"

// Counts what disks can grow to, not what they take now: what fits only today is refused (fault 71).
void plan_room_check(struct plan_context *context);
// The same for a plan that has enough by itself, beside those that are before it in the batch and take theirs first.
void plan_room_check_together(Drover__MovePlan *plan, const Drover__BatchPlan *batch, const struct fleet_host *target);
