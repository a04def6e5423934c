// SPDX-License-Identifier: LGPL-2.1-or-later
/* Plans of moves, clones and undo, for people and as records; see plan.h. */
#include "cli/plan.h"
#include "cli/verb.h"
#include "common/units.h"

#include <stdio.h>
#include <string.h>

// A clone's identity is chosen anew each time; what is shown is what such a plan holds.
static void print_identity(const Drover__MovePlan *plan) {
        printf("clone %s -> %s/%s, new UUID %s", plan->vm_name, plan->target_name, plan->new_name,
               plan->identity ? plan->identity->uuid : "");
        for (size_t i = 0; i < plan->n_macs; i++)
                printf("%s%s", i ? ", " : plan->n_macs > 1 ? ", MACs " : ", MAC ", plan->macs[i]);
        printf("\nUUID and MACs are chosen anew when it is done.\n\n");
}

static void print_head(const Drover__MovePlan *plan) {
        if (plan->clone) {
                print_identity(plan);
                return;
        }
        if (plan->undoes[0])
                printf("take back job %s: ", plan->undoes);
        printf("%s %s from %s to %s", plan->revives ? "revive" : "move", plan->vm_name, plan->source_name,
               plan->target_name);
        if (strcmp(plan->vm_name, plan->new_name) != 0)
                printf(" as %s", plan->new_name);
        printf("\n\n");
}

static void print_plan(const Drover__MovePlan *plan) {
        char size[UNITS_TEXT_MAX], all[UNITS_TEXT_MAX], down[UNITS_TEXT_MAX];
        print_head(plan);
        for (size_t i = 0; i < plan->n_steps; i++)
                printf("  %2zu  %-8s %-16s %s\n", i + 1, plan->steps[i]->name, plan->steps[i]->host,
                       plan->steps[i]->text);
        if (plan->revives)
                printf("\nnothing to copy, about %s", units_format_duration(plan->estimated_seconds, all));
        else
                printf("\nto copy %s, about %s", units_format_size(plan->bytes_to_copy, size),
                       units_format_duration(plan->estimated_seconds, all));
        if (plan->estimated_downtime_seconds)
                printf(", of which it stands still for %s",
                       units_format_duration(plan->estimated_downtime_seconds, down));
        printf("\n");
        for (size_t i = 0; i < plan->n_warnings; i++)
                printf("warning: %s\n", plan->warnings[i]);
}

static int refuse(const Drover__MovePlan *plan, struct error *err) {
        error_set(err, ERROR_REFUSED, "%s cannot be %s to %s, for %zu reason%s", plan->vm_name,
                  plan->clone ? "cloned" : "moved", plan->target_name, plan->n_refusals,
                  plan->n_refusals == 1 ? "" : "s");
        for (size_t i = 0; i < plan->n_refusals; i++)
                error_hint(err, "%s%s%s", plan->refusals[i]->message, plan->refusals[i]->hint[0] ? ": " : "",
                           plan->refusals[i]->hint);
        return -1;
}

struct planning {
        struct invocation *call;
        bool refused;
        struct error why;
};

static int on_plan(const Drover__OperatorReply *reply, void *data, struct error *err) {
        struct planning *planning = data;
        if (reply->value_case != DROVER__OPERATOR_REPLY__VALUE_PLAN)
                return error_set(err, ERROR_PROTOCOL, "the controller's answer holds no plan");
        planning->refused = reply->plan->n_refusals > 0;
        if (planning->call->format == OUTPUT_TABLE || planning->call->format == OUTPUT_WIDE)
                print_plan(reply->plan);
        else
                output_show(record_plan(reply->plan), planning->call->format, "vm");
        if (planning->refused)
                refuse(reply->plan, &planning->why);
        return 1;
}

int plan_show(struct invocation *call, Drover__OperatorRequest *request, struct error *err) {
        struct planning planning = {.call = call, .why = ERROR_INIT};
        if (client_ask_once(request, on_plan, &planning, err) < 0)
                return -1;
        if (!planning.refused)
                return 0;
        *err = planning.why;
        return -1;
}
