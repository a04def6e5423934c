// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The plan of several moves at once: each planned as if alone, and then what they do to each other: names, UUIDs, MAC
 * addresses and volumes that are there twice, and room that only some of them find. Pure, like the plans it is made of.
 */
#include "controller/job/plan.h"

// Which sites' VMs a pattern may find.
typedef bool (*plan_batch_sees_fn)(const char *site, void *data);

// Fails when a name cannot be resolved, a pattern finds nothing or the request is malformed; whatever stands against
// one of the VMs becomes a refusal in its plan. A VM that a pattern finds and that is there already is left out.
int plan_batch(struct fleet *fleet, const Drover__VmMoveMany *request, plan_batch_sees_fn sees, void *data,
               Drover__BatchPlan **ret, struct error *err);
int plan_batch_refused(const Drover__BatchPlan *plan, struct error *err); // -1 with err when not one may run
size_t plan_batch_accepted(const Drover__BatchPlan *plan);
// The plans that run in a wave, one after another: the next from *at on, which is moved behind it; NULL: no more.
const Drover__MovePlan *plan_batch_next(const Drover__BatchPlan *plan, uint32_t wave, size_t *at);
