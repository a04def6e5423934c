// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Plans: a pure function of the fleet as known and the request. A plan holds either what will be done, or every reason
 * why not at once, each with its mending. `--plan` prints it; the runner executes the same object.
 */
#include "controller/fleet/fleet.h"

// Fails only when the names cannot be resolved or the request itself is malformed (ERROR_NOT_FOUND, ERROR_INVALID,
// ...). plan->refusals says whether it may run; plan_refused() turns these into one error (ERROR_REFUSED, hints).
int plan_move(struct fleet *fleet, const Drover__VmMove *request, Drover__MovePlan **ret, struct error *err);
int plan_refused(const Drover__MovePlan *plan, struct error *err); // -1 with err when there are refusals, else 0
