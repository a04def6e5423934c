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
#include "common/memory.h"

FILL(fence) {
        UNUSED;
        VERB(request, move_fence, MOVE_FENCE, move_fence, MoveFence)
        verb->definition_sha256 = memory_string(job->plan->definition_sha256);
        verb->n_targets = job->plan->n_disks;
        verb->targets = recipe_targets(job->plan);
        return 0;
}

FILL(confirm) {
        UNUSED;
        VERB(request, move_confirm, MOVE_CONFIRM, move_confirm, MoveConfirm)
        return verb ? 0 : -1;
}

FILL(retire) {
        UNUSED;
        VERB(request, move_retire, MOVE_RETIRE, move_retire, MoveRetire)
        verb->purge = job->plan->purge_source;
        return 0;
}

static const struct recipe_step step_fence = {
        .name = "fence", .place = AT_SOURCE, .fill = fill_fence, .accept = recipe_accept_images};
static const struct recipe_step step_confirm = {.name = "confirm", .place = AT_SOURCE, .fill = fill_confirm};
static const struct recipe_step step_commit = {.name = "commit", .place = AT_CONTROLLER, .commits = true};
static const struct recipe_step step_retire = {.name = "retire", .place = AT_SOURCE, .fill = fill_retire};

static const struct recipe_step *const all[] = {&recipe_check,  &recipe_reserve, &recipe_stop,    &step_fence,
                                                &recipe_send,   &recipe_receive, &recipe_define,  &recipe_verify,
                                                &step_confirm,  &recipe_start,   &step_commit,    &step_retire,
                                                &recipe_settle, &recipe_discard, &recipe_release, NULL};

static void steps(struct job *job) {
        const Drover__MovePlan *plan = job->plan;
        unsigned group = 0;
        job_add_step(job, &recipe_check, group++, 0, false);
        job_add_step(job, &recipe_reserve, group++, 0, false);
        job_add_step(job, &recipe_stop, group++, 0, false); // of a VM that is off, it makes sure of that
        job_add_step(job, &step_fence, group++, 0, false);
        for (unsigned item = 0; item < recipe_items(job); item++, group++) {
                job_add_step(job, &recipe_send, group, item, false);
                job_add_step(job, &recipe_receive, group, item, false);
        }
        job_add_step(job, &recipe_define, group++, 0, false);
        job_add_step(job, &recipe_verify, group++, 0, false);
        job_add_step(job, &step_confirm, group++, 0, false);
        if (plan->start)
                job_add_step(job, &recipe_start, group++, 0, false);
        job_add_step(job, &step_commit, group++, 0, false);
        job_add_step(job, &step_retire, group++, 0, false);
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
                                   .host = recipe_plan_host,
                                   .all = all};
