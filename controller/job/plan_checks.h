// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What plan.c, plan_clone.c and plan_undo.c share: how a plan is put together, and every reason why it may not run,
 * found from the fleet as known. Internal to these.
 */
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
        const Drover__VmClone *clone;     // NULL: the VM does not stay
        const struct plan_others *others; // of a clone
        Drover__MovePlan *const *earlier; // of the same batch, planned before this one
        size_t n_earlier;
        const Drover__MovePlan *back; // the move that this one takes back; NULL: none
};

// plan.c
int plan_open(struct plan_context *context, struct error *err); // names resolved, nothing planned yet
void plan_fill_move(struct plan_context *context);              // all of it, as a move
void plan_head(struct plan_context *context);
void plan_bridges(struct plan_context *context);
void plan_disks(struct plan_context *context);
void plan_interfaces(struct plan_context *context);
void plan_add_step(Drover__MovePlan *plan, const char *name, const char *host, char *text); // takes the text
void plan_add_copy_steps(Drover__MovePlan *plan);
void plan_add_stop_step(Drover__MovePlan *plan);
const char *plan_suffix(const char *format); // of a volume's name
bool plan_domain_active(const Drover__Domain *domain);
// plan_clone.c
char *plan_clone_volume(const struct plan_context *context, const Drover__Disk *disk, const Drover__MoveDisk *move);
char *plan_clone_mac(struct plan_context *context, const char *mac); // the one that takes its place

int plan_check_request(const Drover__VmMove *request, struct error *err);   // form only: names, bounds
int plan_check_held(const struct plan_context *context, struct error *err); // ERROR_CONFLICT while another job holds it
void plan_check_all(struct plan_context *context);                          // adds to plan->refusals
void plan_check_revival(struct plan_context *context);                      // the same, where nothing is carried
void plan_refuse(struct plan_context *context, const char *code, char *message, char *hint); // takes both texts
void plan_warn(const struct plan_context *context, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool plan_volume_taken(const struct plan_context *context, const char *pool, const char *volume);
const char *plan_mapped_bridge(const struct plan_context *context, const char *source); // after --bridge OLD=NEW
