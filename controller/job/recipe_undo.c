// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Taking back a committed move. Where the first copy still lies aside at its first host and the VM has not run since,
 * nothing is carried:
 *
 *   check -> fence -> revive -> confirm -> COMMIT -> [settle | retire] -> [start]
 *
 * The source is where the VM is now, the target where it was before. Undone by unrevive (target), then release
 * (source). Any other is moved back, by the steps of a move.
 */
#include "controller/job/recipe_parts.h"
#include "common/memory.h"

FILL(revive) {
        UNUSED;
        VERB(request, move_revive, MOVE_REVIVE, move_revive, MoveRevive)
        verb->retired_job = memory_string(job->plan->undoes);
        return 0;
}

FILL(unrevive) {
        UNUSED;
        VERB(request, move_unrevive, MOVE_UNREVIVE, move_unrevive, MoveUnrevive)
        verb->retired_job = memory_string(job->plan->undoes);
        return 0;
}

// It is an ordinary VM again by then.
FILL(start) {
        UNUSED;
        VERB(request, domain_power, DOMAIN_POWER, domain_power, DomainPower)
        verb->action = DROVER__POWER_ACTION__POWER_START;
        return 0;
}

static const struct recipe_step step_revive = {.name = "revive", .place = AT_TARGET, .fill = fill_revive};
static const struct recipe_step step_unrevive = {.name = "unrevive", .place = AT_TARGET, .fill = fill_unrevive};
static const struct recipe_step step_start = {.name = "start", .place = AT_TARGET, .fill = fill_start};

// Those of a move among them: recorded steps are found by their names, and those that are undone bear the same.
static const struct recipe_step *const all[] = {&recipe_check,  &recipe_reserve, &recipe_stop,  &recipe_fence,
                                                &recipe_send,   &recipe_receive, &step_revive,  &recipe_define,
                                                &recipe_verify, &recipe_confirm, &recipe_start, &recipe_commit,
                                                &recipe_retire, &recipe_settle,  &step_start,   &recipe_discard,
                                                &step_unrevive, &recipe_release, NULL};

static void steps(struct job *job) {
        unsigned group = 0;
        if (!job->plan->revives) {
                recipe_move.steps(job);
                return;
        }
        job_add_step(job, &recipe_check, group++, 0, false);
        job_add_step(job, &recipe_fence, group++, 0, false);
        job_add_step(job, &step_revive, group++, 0, false);
        job_add_step(job, &recipe_confirm, group++, 0, false);
        job_add_step(job, &recipe_commit, group++, 0, false);
        job_add_step(job, &recipe_settle, group, 0, false);
        job_add_step(job, &recipe_retire, group++, 0, false);
        if (job->plan->start)
                job_add_step(job, &step_start, group, 0, false);
}

static void undo(struct job *job) {
        unsigned group = job->n_steps ? job->steps[job->n_steps - 1].group + 1 : 0;
        if (!job->plan->revives) {
                recipe_move.undo(job);
                return;
        }
        if (recipe_was_asked(job, "revive"))
                job_add_step(job, &step_unrevive, group++, 0, true);
        if (recipe_was_asked(job, "fence"))
                job_add_step(job, &recipe_release, group, 0, true);
}

const struct recipe recipe_undo = {.kind = "vm.undo",
                                   .load = recipe_plan_load,
                                   .steps = steps,
                                   .undo = undo,
                                   .end = recipe_remember,
                                   .host = recipe_plan_host,
                                   .all = all};
