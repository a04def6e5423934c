// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The cold move:
 *
 *   check -> reserve -> stop -> fence -> [send | receive] for each image -> define -> verify -> confirm -> start
 *         -> COMMIT -> retire -> settle
 *
 * Undone by: discard (target), then release (source). Nothing at the target can run before `define`, so until that was
 * asked the source need not wait for the target and both undo steps run side by side.
 */
#include "controller/job/recipe_parts.h"

static const struct recipe_step *const all[] = {&recipe_check,   &recipe_reserve, &recipe_stop,    &recipe_fence,
                                                &recipe_send,    &recipe_receive, &recipe_define,  &recipe_verify,
                                                &recipe_confirm, &recipe_start,   &recipe_commit,  &recipe_retire,
                                                &recipe_settle,  &recipe_discard, &recipe_release, NULL};

static void steps(struct job *job) {
        const Drover__MovePlan *plan = job->plan;
        unsigned group = 0;
        job_add_step(job, &recipe_check, group++, 0, false);
        job_add_step(job, &recipe_reserve, group++, 0, false);
        job_add_step(job, &recipe_stop, group++, 0, false); // of a VM that is off, it makes sure of that
        job_add_step(job, &recipe_fence, group++, 0, false);
        for (unsigned item = 0; item < recipe_items(job); item++, group++) {
                job_add_step(job, &recipe_send, group, item, false);
                job_add_step(job, &recipe_receive, group, item, false);
        }
        job_add_step(job, &recipe_define, group++, 0, false);
        job_add_step(job, &recipe_verify, group++, 0, false);
        job_add_step(job, &recipe_confirm, group++, 0, false);
        if (plan->start)
                job_add_step(job, &recipe_start, group++, 0, false);
        job_add_step(job, &recipe_commit, group++, 0, false);
        job_add_step(job, &recipe_retire, group++, 0, false);
        job_add_step(job, &recipe_settle, group, 0, false);
}

static void undo(struct job *job) {
        unsigned group = job->n_steps ? job->steps[job->n_steps - 1].group + 1 : 0;
        bool at_target = recipe_was_asked(job, "reserve"), at_source = recipe_was_asked(job, "stop");
        bool in_order = recipe_was_asked(job, "define");
        if (at_target)
                job_add_step(job, &recipe_discard, group, 0, true);
        if (at_source)
                job_add_step(job, &recipe_release, at_target && in_order ? group + 1 : group, 0, true);
}

const struct recipe recipe_move = {.kind = "vm.move",
                                   .load = recipe_plan_load,
                                   .steps = steps,
                                   .undo = undo,
                                   .end = recipe_remember,
                                   .host = recipe_plan_host,
                                   .all = all};
