// SPDX-License-Identifier: LGPL-2.1-or-later
/* Verbs that make a second VM out of one, and that take a move back: planned, shown or begun. Loop thread. */
#include "controller/job/plan.h"
#include "controller/session/verbs.h"

#include <stdio.h>
#include <string.h>

static int start_clone(struct verb_call *call, const Drover__MovePlan *plan, struct error *err) {
        const struct runner_caller caller = verb_caller(call);
        char job[33];
        if (plan_refused(plan, err) < 0 || runner_clone(call->session->runner, plan, &caller, job, err) < 0)
                return -1;
        return verb_reply_started(call, job, err);
}

int verb_vm_clone(struct verb_call *call, struct error *err) {
        const Drover__VmClone *clone = call->request->vm_clone;
        const struct plan_others others = runner_others(call->session->runner);
        Drover__MovePlan *plan;
        size_t used = strlen(call->object);
        call->unrecorded = clone->move->plan_only;
        snprintf(call->object + used, sizeof(call->object) - used, "/%s", clone->move->new_name);
        if (plan_clone(call->session->fleet, clone, &others, &plan, err) < 0)
                return -1;
        runner_estimate(call->session->runner, plan);
        int r = clone->move->plan_only ? verb_reply_plan(call, plan, err) : start_clone(call, plan, err);
        proto_free(&plan->base);
        return r;
}

static int start_undo(struct verb_call *call, const Drover__MovePlan *plan, struct error *err) {
        const struct runner_caller caller = verb_caller(call);
        char job[33];
        if (plan_refused(plan, err) < 0 || runner_undo(call->session->runner, plan, &caller, job, err) < 0)
                return -1;
        return verb_reply_started(call, job, err);
}

int verb_job_undo(struct verb_call *call, struct error *err) {
        const Drover__JobUndo *undo = call->request->job_undo;
        Drover__MovePlan *plan;
        call->unrecorded = undo->plan_only;
        if (runner_plan_undo(call->session->runner, call->job_id, undo, &plan, err) < 0)
                return -1;
        int r = undo->plan_only ? verb_reply_plan(call, plan, err) : start_undo(call, plan, err);
        proto_free(&plan->base);
        return r;
}
