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
#include "controller/job/recipe.h"
#include "common/memory.h"

#include <stdlib.h>
#include <string.h>

static int load(struct job *job, struct error *err) {
        return PROTO_UNPACK(move_plan, job->row.spec, job->row.spec_length, &job->plan, err);
}

static const char *host(const struct job *job, enum recipe_place place) {
        return place == AT_SOURCE ? job->plan->source_host : place == AT_TARGET ? job->plan->target_host : "";
}

static Drover__MoveDisk *copy_disk(const Drover__MoveDisk *disk) {
        return (Drover__MoveDisk *) proto_copy(&disk->base);
}

static char **copy_strings(char *const *strings, size_t n) {
        char **copy = new_array(char *, n + 1);
        for (size_t i = 0; i < n; i++)
                copy[i] = memory_string(strings[i]);
        return copy;
}

#define VERB(request, member, MEMBER, type_lower, Type)                                                                \
        Drover__##Type *verb = new (Drover__##Type);                                                                   \
        drover__##type_lower##__init(verb);                                                                            \
        (request)->verb_case = DROVER__AGENT_REQUEST__VERB_##MEMBER;                                                   \
        (request)->member = verb;

#define FILL(name)                                                                                                     \
        static int fill_##name(const struct job *job, const struct job_step *step, Drover__AgentRequest *request,      \
                               struct error *err)
#define UNUSED ((void) job, (void) step, (void) err)

FILL(check) {
        UNUSED;
        VERB(request, move_inspect, MOVE_INSPECT, move_inspect, MoveInspect)
        verb->definition_sha256 = memory_string(job->plan->definition_sha256);
        return 0;
}

static int accept_check(struct job *job, struct job_step *step, const Drover__AgentResult *result, struct error *err) {
        (void) step;
        const Drover__MoveInspectResult *inspect =
                result->value_case == DROVER__AGENT_RESULT__VALUE_INSPECT ? result->inspect : NULL;
        if (!inspect || !inspect->domain)
                return error_set(err, ERROR_PROTOCOL, "the agent's answer holds no definition");
        if (inspect->domain->n_obstacles > 0)
                return error_set(err, ERROR_REFUSED, "%s", inspect->domain->obstacles[0]->message);
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
                verb->disks[i] = copy_disk(plan->disks[i]);
        verb->n_macs = plan->n_macs;
        verb->macs = copy_strings(plan->macs, plan->n_macs);
        verb->n_bridges = plan->n_target_bridges;
        verb->bridges = copy_strings(plan->target_bridges, plan->n_target_bridges);
        verb->n_networks = plan->n_target_networks;
        verb->networks = copy_strings(plan->target_networks, plan->n_target_networks);
        verb->has_nvram = plan->has_nvram;
        verb->nvram_bytes = plan->nvram_bytes;
        return 0;
}

FILL(stop) {
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
        verb->targets = new_array(char *, job->plan->n_disks + 1);
        for (size_t i = 0; i < job->plan->n_disks; i++)
                verb->targets[i] = memory_string(job->plan->disks[i]->target);
        return 0;
}

// Lengths can have grown since the plan was made: from the fence on, what the source said then counts.
static int accept_fence(struct job *job, struct job_step *step, const Drover__AgentResult *result, struct error *err) {
        (void) step;
        const Drover__MoveFenceResult *fence =
                result->value_case == DROVER__AGENT_RESULT__VALUE_FENCE ? result->fence : NULL;
        if (!fence || fence->n_disks != job->plan->n_disks)
                return error_set(err, ERROR_PROTOCOL, "the agent fenced other disks than the plan's");
        for (size_t i = 0; i < fence->n_disks; i++)
                if (strcmp(fence->disks[i]->target, job->plan->disks[i]->target) != 0)
                        return error_set(err, ERROR_PROTOCOL, "the agent fenced other disks than the plan's");
        if (fence->has_nvram != job->plan->has_nvram) { // an NVRAM file made since would be left behind
                error_set(err, ERROR_STALE, "the NVRAM of %s came or went since the plan was made", job->plan->vm_name);
                error_hint(err, "give the command again");
                return -1;
        }
        return 0;
}

static uint64_t item_bytes(const struct job *job, unsigned item) {
        Drover__AgentResult *result = job_step_result(job_step_named((struct job *) job, "fence"));
        uint64_t bytes = item < job->plan->n_disks ? job->plan->disks[item]->file_bytes : job->plan->nvram_bytes;
        if (result && result->value_case == DROVER__AGENT_RESULT__VALUE_FENCE)
                bytes = item < result->fence->n_disks ? result->fence->disks[item]->file_bytes
                                                      : result->fence->nvram_bytes;
        if (result)
                proto_free(&result->base);
        return bytes;
}

static Drover__MoveDisk *item_disk(const struct job *job, unsigned item) {
        Drover__MoveDisk *disk;
        if (item < job->plan->n_disks) {
                disk = copy_disk(job->plan->disks[item]);
        } else {
                disk = new (Drover__MoveDisk);
                drover__move_disk__init(disk);
                disk->target = memory_string("nvram");
                disk->format = memory_string("raw");
        }
        disk->file_bytes = item_bytes(job, item);
        return disk;
}

static Drover__TransferItem item_kind(const struct job *job, unsigned item) {
        return item < job->plan->n_disks ? DROVER__TRANSFER_ITEM__TRANSFER_ITEM_DISK
                                         : DROVER__TRANSFER_ITEM__TRANSFER_ITEM_NVRAM;
}

FILL(send) { // the runner adds the order, with a ticket for this attempt
        UNUSED;
        VERB(request, transfer_send, TRANSFER_SEND, transfer_send, TransferSend)
        verb->item = item_kind(job, step->item);
        verb->target = memory_string(step->item < job->plan->n_disks ? job->plan->disks[step->item]->target : "nvram");
        verb->file_bytes = item_bytes(job, step->item);
        return 0;
}

FILL(receive) {
        UNUSED;
        VERB(request, transfer_receive, TRANSFER_RECEIVE, transfer_receive, TransferReceive)
        verb->item = item_kind(job, step->item);
        verb->disk = item_disk(job, step->item);
        return 0;
}

static int accept_copy(struct job *job, struct job_step *step, const Drover__AgentResult *result, struct error *err) {
        if (result->value_case != DROVER__AGENT_RESULT__VALUE_TRANSFER || !result->transfer->digest[0])
                return error_set(err, ERROR_PROTOCOL, "the agent's answer holds no digest");
        const char *disk = step->item < job->plan->n_disks ? job->plan->disks[step->item]->target : "nvram";
        struct job_transfer *transfer = job_transfer(job, disk);
        // Whichever side answers second is compared with the first of the same attempt.
        if (transfer->attempt == step->row.attempt && transfer->digest[0] &&
            strcmp(transfer->digest, result->transfer->digest) != 0) {
                transfer->digest[0] = '\0';
                return error_set(err, ERROR_CORRUPT, "%s: source and target have different digests", disk);
        }
        transfer->attempt = step->row.attempt;
        strncpy(transfer->digest, result->transfer->digest, sizeof(transfer->digest) - 1);
        return 0;
}

FILL(define) {
        UNUSED;
        const Drover__MovePlan *plan = job->plan;
        Drover__AgentResult *check = job_step_result(job_step_named((struct job *) job, "check"));
        if (!check || check->value_case != DROVER__AGENT_RESULT__VALUE_INSPECT) {
                if (check)
                        proto_free(&check->base);
                return error_set(err, ERROR_FAILED, "the definition read by the check is gone");
        }
        VERB(request, move_define, MOVE_DEFINE, move_define, MoveDefine)
        verb->vm_name = memory_string(plan->new_name);
        verb->n_disks = plan->n_disks;
        verb->disks = new_array(Drover__MoveDisk *, plan->n_disks + 1);
        for (unsigned i = 0; i < plan->n_disks; i++)
                verb->disks[i] = item_disk(job, i);
        verb->n_bridges = plan->n_bridges;
        verb->bridges = new_array(Drover__NameMap *, plan->n_bridges + 1);
        for (size_t i = 0; i < plan->n_bridges; i++)
                verb->bridges[i] = (Drover__NameMap *) proto_copy(&plan->bridges[i]->base);
        verb->has_nvram = plan->has_nvram;
        verb->current_snapshot = memory_string(check->inspect->current_snapshot);
        verb->definition_xml = check->inspect->definition_xml;
        verb->n_snapshot_xml = check->inspect->n_snapshot_xml;
        verb->snapshot_xml = check->inspect->snapshot_xml;
        check->inspect->definition_xml = (ProtobufCBinaryData){0};
        check->inspect->n_snapshot_xml = 0;
        check->inspect->snapshot_xml = NULL;
        proto_free(&check->base);
        return 0;
}

FILL(verify) {
        UNUSED;
        const Drover__MovePlan *plan = job->plan;
        VERB(request, move_verify, MOVE_VERIFY, move_verify, MoveVerify)
        verb->vm_name = memory_string(plan->new_name);
        verb->read_back = plan->read_back;
        verb->n_disks = verb->n_digests = plan->n_disks;
        verb->disks = new_array(Drover__MoveDisk *, plan->n_disks + 1);
        verb->digests = new_array(char *, plan->n_disks + 1);
        for (unsigned i = 0; i < plan->n_disks; i++) {
                verb->disks[i] = item_disk(job, i);
                verb->digests[i] = memory_string(job_transfer((struct job *) job, plan->disks[i]->target)->digest);
        }
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

static const struct recipe_step step_check = {
        .name = "check", .place = AT_SOURCE, .fill = fill_check, .accept = accept_check};
static const struct recipe_step step_reserve = {.name = "reserve", .place = AT_TARGET, .fill = fill_reserve};
static const struct recipe_step step_stop = {.name = "stop", .place = AT_SOURCE, .fill = fill_stop};
static const struct recipe_step step_fence = {
        .name = "fence", .place = AT_SOURCE, .fill = fill_fence, .accept = accept_fence};
static const struct recipe_step step_send = {
        .name = "send", .place = AT_SOURCE, .fill = fill_send, .accept = accept_copy, .copies = true};
static const struct recipe_step step_receive = {
        .name = "receive", .place = AT_TARGET, .fill = fill_receive, .accept = accept_copy, .copies = true};
static const struct recipe_step step_define = {.name = "define", .place = AT_TARGET, .fill = fill_define};
static const struct recipe_step step_verify = {.name = "verify", .place = AT_TARGET, .fill = fill_verify};
static const struct recipe_step step_confirm = {.name = "confirm", .place = AT_SOURCE, .fill = fill_confirm};
static const struct recipe_step step_start = {.name = "start", .place = AT_TARGET, .fill = fill_start};
static const struct recipe_step step_commit = {.name = "commit", .place = AT_CONTROLLER, .commits = true};
static const struct recipe_step step_retire = {.name = "retire", .place = AT_SOURCE, .fill = fill_retire};
static const struct recipe_step step_settle = {.name = "settle", .place = AT_TARGET, .fill = fill_settle};
static const struct recipe_step step_discard = {.name = "discard", .place = AT_TARGET, .fill = fill_discard};
static const struct recipe_step step_release = {.name = "release", .place = AT_SOURCE, .fill = fill_release};

static const struct recipe_step *const all[] = {&step_check,   &step_reserve, &step_stop,    &step_fence,
                                                &step_send,    &step_receive, &step_define,  &step_verify,
                                                &step_confirm, &step_start,   &step_commit,  &step_retire,
                                                &step_settle,  &step_discard, &step_release, NULL};

static void steps(struct job *job) {
        const Drover__MovePlan *plan = job->plan;
        unsigned group = 0;
        job_add_step(job, &step_check, group++, 0, false);
        job_add_step(job, &step_reserve, group++, 0, false);
        job_add_step(job, &step_stop, group++, 0, false); // of a VM that is off, it makes sure of that
        job_add_step(job, &step_fence, group++, 0, false);
        unsigned items = (unsigned) plan->n_disks + (plan->has_nvram ? 1 : 0);
        for (unsigned item = 0; item < items; item++, group++) {
                job_add_step(job, &step_send, group, item, false);
                job_add_step(job, &step_receive, group, item, false);
        }
        job_add_step(job, &step_define, group++, 0, false);
        job_add_step(job, &step_verify, group++, 0, false);
        job_add_step(job, &step_confirm, group++, 0, false);
        if (plan->start)
                job_add_step(job, &step_start, group++, 0, false);
        job_add_step(job, &step_commit, group++, 0, false);
        job_add_step(job, &step_retire, group++, 0, false);
        job_add_step(job, &step_settle, group, 0, false);
}

static bool was_asked(struct job *job, const char *name) {
        const struct job_step *step = job_step_named(job, name);
        return step && step->state != STEP_PENDING;
}

static void undo(struct job *job) {
        unsigned group = job->n_steps ? job->steps[job->n_steps - 1].group + 1 : 0;
        bool at_target = was_asked(job, "reserve"), at_source = was_asked(job, "stop");
        bool in_order = was_asked(job, "define");
        if (at_target)
                job_add_step(job, &step_discard, group, 0, true);
        if (at_source)
                job_add_step(job, &step_release, at_target && in_order ? group + 1 : group, 0, true);
}

const struct recipe recipe_move = {
        .kind = "vm.move", .load = load, .steps = steps, .undo = undo, .host = host, .all = all};
