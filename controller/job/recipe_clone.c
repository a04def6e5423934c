// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The clone:
 *
 *   check -> reserve -> [stop] -> hold -> copy (one host) or [send | receive] for each image -> define -> verify
 *         -> confirm -> [reset] -> [start] -> COMMIT -> settle, and [restart] beside it, or after it on one host
 *
 * Its requests are about the new VM, so that clones of one original do not wait for each other; those that look at the
 * original itself, stop it and start it again are about that one. At the original nothing is changed but that it may be
 * stopped: undone by discard (target) and, if it was to be stopped, release (source), which starts it again.
 */
#include "controller/job/plan.h"
#include "controller/job/plan_format.h"
#include "controller/job/recipe_parts.h"
#include "common/cleanup.h"
#include "common/memory.h"

#include <stdio.h>
#include <string.h>

static bool on_one_host(const struct job *job) {
        return strcmp(job->plan->source_host, job->plan->target_host) == 0;
}

FILL(check) {
        UNUSED;
        VERB(request, move_inspect, MOVE_INSPECT, move_inspect, MoveInspect)
        verb->definition_sha256 = memory_string(job->plan->definition_sha256);
        verb->for_clone = true;
        verb->converts = plan_format_any(job->plan);
        return 0;
}

static int accept_check(struct job *job, struct job_step *step, const Drover__AgentResult *result, struct error *err) {
        (void) step;
        const Drover__MoveInspectResult *inspect =
                result->value_case == DROVER__AGENT_RESULT__VALUE_INSPECT ? result->inspect : NULL;
        if (!inspect || !inspect->domain)
                return error_set(err, ERROR_PROTOCOL, "the agent's answer holds no definition");
        bool converts = plan_format_any(job->plan);
        for (size_t i = 0; i < inspect->domain->n_obstacles; i++) {
                const Drover__Obstacle *obstacle = inspect->domain->obstacles[i];
                if (plan_obstacle_counts(obstacle, true, on_one_host(job)) &&
                    !(converts && plan_format_mends(obstacle)))
                        return error_set(err, ERROR_REFUSED, "%s", obstacle->message);
        }
        if (strcmp(inspect->domain->uuid, job->plan->vm_uuid) != 0)
                return error_set(err, ERROR_PROTOCOL, "the agent answered for another VM");
        return 0;
}

FILL(hold) {
        UNUSED;
        VERB(request, clone_hold, CLONE_HOLD, clone_hold, CloneHold)
        verb->definition_sha256 = memory_string(job->plan->definition_sha256);
        verb->n_targets = job->plan->n_disks;
        verb->targets = recipe_targets(job->plan);
        verb->source_uuid = memory_string(job->plan->vm_uuid);
        verb->local = on_one_host(job);
        verb->converted = recipe_converted(job->plan, &verb->n_converted);
        return 0;
}

FILL(copy) {
        UNUSED;
        VERB(request, clone_local, CLONE_LOCAL, clone_local, CloneLocal)
        verb->source_uuid = memory_string(job->plan->vm_uuid);
        verb->item = recipe_item_kind(job, step->item);
        if (step->item < job->plan->n_disks)
                verb->disk = recipe_item_disk(job, step->item);
        verb->mode = job->plan->clone_mode;
        verb->file_bytes = recipe_item_bytes(job, step->item);
        return 0;
}

// Where blocks are shared nothing was read, and there is no digest.
static int accept_copy(struct job *job, struct job_step *step, const Drover__AgentResult *result, struct error *err) {
        if (result->value_case != DROVER__AGENT_RESULT__VALUE_TRANSFER)
                return error_set(err, ERROR_PROTOCOL, "the agent's answer says nothing of the copy");
        struct job_transfer *transfer = job_transfer(job, recipe_item_name(job, step->item));
        transfer->attempt = step->row.attempt;
        snprintf(transfer->digest, sizeof(transfer->digest), "%s", result->transfer->digest);
        if (result->transfer->state) // there is one end only, which chose how
                snprintf(transfer->choice, sizeof(transfer->choice), "%s", result->transfer->state->choice);
        return 0;
}

FILL(confirm) {
        UNUSED;
        VERB(request, clone_confirm, CLONE_CONFIRM, clone_confirm, CloneConfirm)
        verb->source_uuid = memory_string(job->plan->vm_uuid);
        verb->n_targets = job->plan->n_disks;
        verb->targets = recipe_targets(job->plan);
        return 0;
}

FILL(reset) {
        UNUSED;
        VERB(request, identity_reset, IDENTITY_RESET, identity_reset, IdentityReset)
        verb->host_name = memory_string(job->plan->new_name);
        return 0;
}

FILL(restart) {
        UNUSED;
        VERB(request, move_release, MOVE_RELEASE, move_release, MoveRelease)
        verb->start = true;
        return 0;
}

static const struct recipe_step step_check = {
        .name = "check", .place = AT_SOURCE, .fill = fill_check, .accept = accept_check, .original = true};
static const struct recipe_step step_stop = {
        .name = "stop", .place = AT_SOURCE, .fill = recipe_fill_stop, .original = true};
static const struct recipe_step step_hold = {
        .name = "hold", .place = AT_SOURCE, .fill = fill_hold, .accept = recipe_accept_images};
static const struct recipe_step step_copy = {
        .name = "copy", .place = AT_TARGET, .fill = fill_copy, .accept = accept_copy, .copies = true};
static const struct recipe_step step_confirm = {.name = "confirm", .place = AT_SOURCE, .fill = fill_confirm};
static const struct recipe_step step_reset = {.name = "reset", .place = AT_TARGET, .fill = fill_reset};
static const struct recipe_step step_restart = {
        .name = "restart", .place = AT_SOURCE, .fill = fill_restart, .original = true};
static const struct recipe_step step_release = {
        .name = "release", .place = AT_SOURCE, .fill = fill_restart, .original = true};

static const struct recipe_step *const all[] = {
        &step_check,     &recipe_reserve, &step_stop,     &step_hold,      &step_copy,    &recipe_send,
        &recipe_receive, &recipe_define,  &recipe_verify, &step_confirm,   &step_reset,   &recipe_start,
        &recipe_commit,  &recipe_settle,  &step_restart,  &recipe_discard, &step_release, NULL};

// On one host a release, like every undo step, would cancel what this job has under way there: it waits for that.
static unsigned beside(const struct job *job, unsigned group) {
        return on_one_host(job) ? group + 1 : group;
}

static void add_copies(struct job *job, unsigned *group) {
        for (unsigned item = 0; item < recipe_items(job); item++, ++*group) {
                if (on_one_host(job)) {
                        job_add_step(job, &step_copy, *group, item, false);
                        continue;
                }
                job_add_step(job, &recipe_send, *group, item, false);
                job_add_step(job, &recipe_receive, *group, item, false);
        }
}

static void steps(struct job *job) {
        const Drover__MovePlan *plan = job->plan;
        unsigned group = 0;
        job_add_step(job, &step_check, group++, 0, false);
        job_add_step(job, &recipe_reserve, group++, 0, false);
        if (plan->was_running)
                job_add_step(job, &step_stop, group++, 0, false);
        job_add_step(job, &step_hold, group++, 0, false);
        add_copies(job, &group);
        job_add_step(job, &recipe_define, group++, 0, false);
        job_add_step(job, &recipe_verify, group++, 0, false);
        job_add_step(job, &step_confirm, group++, 0, false);
        if (plan->reset_identity)
                job_add_step(job, &step_reset, group++, 0, false);
        if (plan->start)
                job_add_step(job, &recipe_start, group++, 0, false);
        job_add_step(job, &recipe_commit, group++, 0, false);
        job_add_step(job, &recipe_settle, group, 0, false);
        if (plan->was_running)
                job_add_step(job, &step_restart, beside(job, group), 0, false);
}

static void undo(struct job *job) {
        unsigned group = job->n_steps ? job->steps[job->n_steps - 1].group + 1 : 0;
        if (recipe_was_asked(job, "reserve"))
                job_add_step(job, &recipe_discard, group, 0, true);
        if (recipe_was_asked(job, "stop"))
                job_add_step(job, &step_release, beside(job, group), 0, true);
}

// Results are forgotten when a job ends; what its host said for people goes into the plan.
static void remember_warnings(struct job *job) {
        Drover__MovePlan *plan = job->plan;
        Drover__AgentResult *result = job_step_result(job_step_named(job, "define"));
        struct buffer bytes;
        if (plan->n_done_without == 0) { // not remembered before
                if (result && result->value_case == DROVER__AGENT_RESULT__VALUE_DEFINE) {
                        plan->n_done_without = result->define->n_warnings;
                        plan->done_without = steal(&result->define->warnings);
                        result->define->n_warnings = 0;
                }
                recipe_remember_bitmaps(job);
        }
        buffer_init(&bytes, 0);
        if (plan->n_done_without > 0 && PROTO_PACK(plan, &bytes, NULL) == 0)
                job_set_spec(job, bytes.data, bytes.length);
        buffer_fini(&bytes);
        proto_free(result ? &result->base : NULL);
}

const struct recipe recipe_clone = {.kind = "vm.clone",
                                    .load = recipe_plan_load,
                                    .steps = steps,
                                    .undo = undo,
                                    .end = remember_warnings,
                                    .host = recipe_plan_host,
                                    .all = all};
