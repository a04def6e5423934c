// SPDX-License-Identifier: LGPL-2.1-or-later
/* What is done to a VM as a whole in more than one kind of job; see recipe_parts.h. */
#include "controller/job/recipe_parts.h"
#include "controller/job/plan_format.h"
#include "common/memory.h"

#include <stdlib.h>
#include <string.h>

int recipe_plan_load(struct job *job, struct error *err) {
        return PROTO_UNPACK(move_plan, job->row.spec, job->row.spec_length, &job->plan, err);
}

const char *recipe_plan_host(const struct job *job, enum recipe_place place) {
        return place == AT_SOURCE ? job->plan->source_host : place == AT_TARGET ? job->plan->target_host : "";
}

static void remember(char **field, const char *text) {
        if (*field != protobuf_c_empty_string) // what init() leaves in a member
                free(*field);
        *field = memory_string(text);
}

void recipe_remember(struct job *job) {
        Drover__AgentResult *define = job_step_result(job_step_named(job, "define"));
        Drover__AgentResult *settle = job_step_result(job_step_named(job, "settle"));
        struct buffer bytes;
        buffer_init(&bytes, 0);
        if (define && define->value_case == DROVER__AGENT_RESULT__VALUE_DEFINE)
                remember(&job->plan->target_definition_sha256, define->define->definition_sha256);
        if (settle && settle->value_case == DROVER__AGENT_RESULT__VALUE_SETTLE)
                remember(&job->plan->images_version, settle->settle->images_version);
        bool lost = job->plan->n_done_without == 0 && recipe_remember_bitmaps(job);
        if ((lost || job->plan->images_version[0]) && PROTO_PACK(job->plan, &bytes, NULL) == 0)
                job_set_spec(job, bytes.data, bytes.length);
        buffer_fini(&bytes);
        proto_free(define ? &define->base : NULL);
        proto_free(settle ? &settle->base : NULL);
}

bool recipe_was_asked(struct job *job, const char *name) {
        const struct job_step *step = job_step_named(job, name);
        return step && step->state != STEP_PENDING;
}

Drover__MoveDisk *recipe_copy_disk(const Drover__MoveDisk *disk) {
        return (Drover__MoveDisk *) proto_copy(&disk->base);
}

char **recipe_copy_strings(char *const *strings, size_t n) {
        char **copy = new_array(char *, n + 1);
        for (size_t i = 0; i < n; i++)
                copy[i] = memory_string(strings[i]);
        return copy;
}

char **recipe_targets(const Drover__MovePlan *plan) {
        char **targets = new_array(char *, plan->n_disks + 1);
        for (size_t i = 0; i < plan->n_disks; i++)
                targets[i] = memory_string(plan->disks[i]->target);
        return targets;
}

char **recipe_converted(const Drover__MovePlan *plan, size_t *ret_n) {
        char **targets = new_array(char *, plan->n_disks + 1);
        for (size_t i = 0; i < plan->n_disks; i++)
                if (plan_format_converts(plan->disks[i]))
                        targets[(*ret_n)++] = memory_string(plan->disks[i]->target);
        return targets;
}

FILL(check) {
        UNUSED;
        VERB(request, move_inspect, MOVE_INSPECT, move_inspect, MoveInspect)
        verb->definition_sha256 = memory_string(job->plan->definition_sha256);
        verb->converts = plan_format_any(job->plan);
        return 0;
}

static int accept_check(struct job *job, struct job_step *step, const Drover__AgentResult *result, struct error *err) {
        (void) step;
        const Drover__MoveInspectResult *inspect =
                result->value_case == DROVER__AGENT_RESULT__VALUE_INSPECT ? result->inspect : NULL;
        if (!inspect || !inspect->domain)
                return error_set(err, ERROR_PROTOCOL, "the agent's answer holds no definition");
        for (size_t i = 0; i < inspect->domain->n_obstacles; i++)
                if (!plan_format_any(job->plan) || !plan_format_mends(inspect->domain->obstacles[i]))
                        return error_set(err, ERROR_REFUSED, "%s", inspect->domain->obstacles[i]->message);
        if (strcmp(inspect->domain->uuid, job->plan->vm_uuid) != 0)
                return error_set(err, ERROR_PROTOCOL, "the agent answered for another VM");
        return 0;
}

FILL(reserve) {
        UNUSED;
        const Drover__MovePlan *plan = job->plan;
        VERB(request, move_reserve, MOVE_RESERVE, move_reserve, MoveReserve)
        verb->vm_name = memory_string(plan->new_name);
        verb->n_disks = plan->n_disks;
        verb->disks = new_array(Drover__MoveDisk *, plan->n_disks + 1);
        for (size_t i = 0; i < plan->n_disks; i++)
                verb->disks[i] = recipe_copy_disk(plan->disks[i]);
        verb->n_macs = plan->n_macs;
        verb->macs = recipe_copy_strings(plan->macs, plan->n_macs);
        verb->n_bridges = plan->n_target_bridges;
        verb->bridges = recipe_copy_strings(plan->target_bridges, plan->n_target_bridges);
        verb->n_networks = plan->n_target_networks;
        verb->networks = recipe_copy_strings(plan->target_networks, plan->n_target_networks);
        verb->has_nvram = plan->has_nvram;
        verb->nvram_bytes = plan->nvram_bytes;
        return 0;
}

int recipe_fill_stop(const struct job *job, const struct job_step *step, Drover__AgentRequest *request,
                     struct error *err) {
        UNUSED;
        VERB(request, move_stop, MOVE_STOP, move_stop, MoveStop)
        verb->mode = job->plan->stop;
        verb->timeout_seconds = job->plan->stop_timeout_seconds;
        return 0;
}

FILL(fence) {
        UNUSED;
        VERB(request, move_fence, MOVE_FENCE, move_fence, MoveFence)
        verb->definition_sha256 = memory_string(job->plan->definition_sha256);
        verb->n_targets = job->plan->n_disks;
        verb->targets = recipe_targets(job->plan);
        verb->converted = recipe_converted(job->plan, &verb->n_converted);
        if (job->plan->revives)
                verb->images_version = memory_string(job->plan->images_version);
        return 0;
}

FILL(confirm) {
        UNUSED;
        VERB(request, move_confirm, MOVE_CONFIRM, move_confirm, MoveConfirm)
        return verb ? 0 : -1;
}

FILL(start) {
        UNUSED;
        VERB(request, move_start, MOVE_START, move_start, MoveStart)
        return verb ? 0 : -1;
}

FILL(retire) {
        UNUSED;
        VERB(request, move_retire, MOVE_RETIRE, move_retire, MoveRetire)
        verb->purge = job->plan->purge_source;
        return 0;
}

FILL(settle) {
        UNUSED;
        VERB(request, move_settle, MOVE_SETTLE, move_settle, MoveSettle)
        verb->autostart = job->plan->autostart;
        return 0;
}

FILL(discard) {
        UNUSED;
        VERB(request, move_discard, MOVE_DISCARD, move_discard, MoveDiscard)
        return verb ? 0 : -1;
}

FILL(release) {
        UNUSED;
        VERB(request, move_release, MOVE_RELEASE, move_release, MoveRelease)
        verb->start = true;
        return 0;
}

const struct recipe_step recipe_check = {
        .name = "check", .place = AT_SOURCE, .fill = fill_check, .accept = accept_check};
const struct recipe_step recipe_reserve = {.name = "reserve", .place = AT_TARGET, .fill = fill_reserve};
const struct recipe_step recipe_stop = {.name = "stop", .place = AT_SOURCE, .fill = recipe_fill_stop};
const struct recipe_step recipe_fence = {
        .name = "fence", .place = AT_SOURCE, .fill = fill_fence, .accept = recipe_accept_images};
const struct recipe_step recipe_confirm = {.name = "confirm", .place = AT_SOURCE, .fill = fill_confirm};
const struct recipe_step recipe_start = {.name = "start", .place = AT_TARGET, .fill = fill_start};
const struct recipe_step recipe_commit = {.name = "commit", .place = AT_CONTROLLER, .commits = true};
const struct recipe_step recipe_retire = {.name = "retire", .place = AT_SOURCE, .fill = fill_retire};
const struct recipe_step recipe_settle = {.name = "settle", .place = AT_TARGET, .fill = fill_settle};
const struct recipe_step recipe_discard = {.name = "discard", .place = AT_TARGET, .fill = fill_discard};
const struct recipe_step recipe_release = {.name = "release", .place = AT_SOURCE, .fill = fill_release};
