// SPDX-License-Identifier: LGPL-2.1-or-later
/* Plans of several moves; see plan_batch.h. */
#include "cli/plan_batch.h"
#include "cli/record.h"
#include "common/units.h"

#include <stdio.h>

struct planning {
        struct invocation *call;
        struct error why;
};

static void print_refusals(const Drover__MovePlan *plan) {
        printf("  %-4s %s/%s\n", "-", plan->source_name, plan->vm_name);
        for (size_t i = 0; i < plan->n_refusals; i++)
                printf("       %s%s%s\n", plan->refusals[i]->message, plan->refusals[i]->hint[0] ? ": " : "",
                       plan->refusals[i]->hint);
}

static void print_moves(const Drover__BatchPlan *batch) {
        char size[UNITS_TEXT_MAX], seconds[UNITS_TEXT_MAX];
        for (size_t i = 0; i < batch->n_plans; i++) {
                const Drover__MovePlan *plan = batch->plans[i];
                if (plan->n_refusals > 0) {
                        print_refusals(plan);
                        continue;
                }
                printf("  %-4u %s/%s: %s, about %s%s\n", plan->wave, plan->source_name, plan->vm_name,
                       units_format_size(plan->bytes_to_copy, size),
                       units_format_duration(plan->estimated_seconds, seconds),
                       plan->was_running ? ", stopped first" : "");
                for (size_t k = 0; k < plan->n_warnings; k++)
                        printf("       warning: %s\n", plan->warnings[k]);
        }
}

static unsigned refused_of(const Drover__BatchPlan *batch) {
        unsigned n = 0;
        for (size_t i = 0; i < batch->n_plans; i++)
                n += batch->plans[i]->n_refusals > 0;
        return n;
}

static void print_batch(const Drover__BatchPlan *batch) {
        char size[UNITS_TEXT_MAX], seconds[UNITS_TEXT_MAX];
        printf("move %zu VMs to %s\n\n  WAVE\n", batch->n_plans - refused_of(batch), batch->plans[0]->target_name);
        print_moves(batch);
        printf("\nto copy %s in %u wave%s, about %s\n", units_format_size(batch->bytes_to_copy, size), batch->waves,
               batch->waves == 1 ? "" : "s", units_format_duration(batch->estimated_seconds, seconds));
}

static void explain(const Drover__BatchPlan *batch, struct error *err) {
        unsigned refused = refused_of(batch);
        if (refused == batch->n_plans)
                error_set(err, ERROR_REFUSED, "none of the %zu VMs can be moved", batch->n_plans);
        else if (refused > 0)
                error_set(err, ERROR_PARTLY, "%u of %zu VMs cannot be moved", refused, batch->n_plans);
        for (size_t i = 0; i < batch->n_plans; i++) {
                const Drover__MovePlan *plan = batch->plans[i];
                if (plan->n_refusals > 0)
                        error_hint(err, "%s/%s: %s%s%s", plan->source_name, plan->vm_name, plan->refusals[0]->message,
                                   plan->refusals[0]->hint[0] ? ": " : "", plan->refusals[0]->hint);
        }
}

static int on_plan(const Drover__OperatorReply *reply, void *data, struct error *err) {
        struct planning *planning = data;
        if (reply->value_case != DROVER__OPERATOR_REPLY__VALUE_BATCH_PLAN || reply->batch_plan->n_plans == 0)
                return error_set(err, ERROR_PROTOCOL, "the controller's answer holds no plan");
        if (planning->call->format == OUTPUT_TABLE || planning->call->format == OUTPUT_WIDE)
                print_batch(reply->batch_plan);
        else
                output_show(record_batch_plan(reply->batch_plan), planning->call->format, "target");
        explain(reply->batch_plan, &planning->why);
        return 1;
}

int plan_batch_show(struct invocation *call, Drover__OperatorRequest *request, struct error *err) {
        struct planning planning = {.call = call, .why = ERROR_INIT};
        if (client_ask_once(request, on_plan, &planning, err) < 0)
                return -1;
        if (planning.why.code == ERROR_NONE)
                return 0;
        *err = planning.why;
        return -1;
}
