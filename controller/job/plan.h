// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Plans: a pure function of the fleet as known and the request. A plan holds either what will be done, or every reason
 * why not at once, each with its mending. `--plan` prints it; the runner executes the same object.
 */
#include "controller/fleet/fleet.h"

// What unfinished jobs have planned for themselves, which no host knows of yet.
struct plan_others {
        bool (*has_mac)(const char *mac, void *data);
        const char *(*has_name)(const char *host_uuid, const char *name, void *data); // the job's id, or NULL
        void *data;
};

// Fails only when the names cannot be resolved or the request itself is malformed (ERROR_NOT_FOUND, ERROR_INVALID,
// ...). plan->refusals says whether it may run; plan_refused() turns these into one error (ERROR_REFUSED, hints).
int plan_move(struct fleet *fleet, const Drover__VmMove *request, Drover__MovePlan **ret, struct error *err);
// A clone: the same, for a VM that stays. UUID and MAC addresses are chosen here, so two plans differ in these.
int plan_clone(struct fleet *fleet, const Drover__VmClone *request, const struct plan_others *others,
               Drover__MovePlan **ret, struct error *err);
// The way back of a committed move. `done` is its plan, as the job kept it; ERROR_CONFLICT when its VM is no longer
// where it was brought. A VM that has not run since, and whose first copy is still there, is revived; any other is
// moved back.
// `fresh`: the move has ended just now, and its hosts may not have told yet what came of it.
int plan_undo(struct fleet *fleet, const Drover__MovePlan *done, const char *job, bool fresh,
              const Drover__JobUndo *request, Drover__MovePlan **ret, struct error *err);
// Fills in how long it takes when its copying takes so long.
void plan_estimate(Drover__MovePlan *plan, uint64_t copy_seconds);
// Does what stands in a VM's way stand in the way of this? Some obstacles only keep it from leaving its host.
bool plan_obstacle_counts(const Drover__Obstacle *obstacle, bool clone, bool same_host);
int plan_refused(const Drover__MovePlan *plan, struct error *err); // -1 with err when there are refusals, else 0
