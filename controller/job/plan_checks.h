// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Every reason why a move may not run, found from the fleet as known. Internal to plan.c and its tests. */
#include "controller/job/plan.h"

#define PLAN_STOP_TIMEOUT_SECONDS     300u
#define PLAN_STOP_TIMEOUT_MAX_SECONDS 86400u
#define PLAN_BRIDGES_MAX              64u

struct plan_context {
        struct fleet *fleet;
        const Drover__VmMove *request;
        struct fleet_vm *vm;
        struct fleet_host *target;
        Drover__MovePlan *plan;
};

int plan_check_request(const Drover__VmMove *request, struct error *err);   // form only: names, bounds
int plan_check_held(const struct plan_context *context, struct error *err); // ERROR_CONFLICT while another job holds it
void plan_check_all(struct plan_context *context);                          // adds to plan->refusals
void plan_warn(const struct plan_context *context, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool plan_volume_taken(const struct plan_context *context, const char *pool, const char *volume);
const char *plan_mapped_bridge(const struct plan_context *context, const char *source); // after --bridge OLD=NEW
