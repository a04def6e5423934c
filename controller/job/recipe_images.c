// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What is done to a VM's images in more than one kind of job: sent and received side by side, defined, verified; see
 * recipe_parts.h.
 */
#include "controller/job/recipe_parts.h"
#include "controller/job/plan_format.h"
#include "common/memory.h"
#include "common/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned recipe_items(const struct job *job) {
        return (unsigned) job->plan->n_disks + (job->plan->has_nvram ? 1 : 0);
}

const char *recipe_item_name(const struct job *job, unsigned item) {
        return item < job->plan->n_disks ? job->plan->disks[item]->target : "nvram";
}

#define GROWTH_SPARE (UINT64_C(64) << 20) // of a format's own tables, beside what the guest sees
#define GROWTH_SHARE 512u                 // of what the guest sees: the same

// Of an image that is made anew, what travels is what the guest sees.
static uint64_t disk_bytes(const Drover__MoveDisk *planned, const Drover__MoveDisk *found) {
        return plan_format_converts(planned) ? found->capacity_bytes : found->file_bytes;
}

// A guest that ran until the fence can have written each of its blocks once more; the room for that was reserved. More
// than that was resized, or is not true, and would take room that the target has promised to others (fault 55).
static uint64_t disk_bytes_most(const Drover__MoveDisk *planned) {
        if (plan_format_converts(planned))
                return planned->capacity_bytes;
        return planned->file_bytes + planned->capacity_bytes + planned->capacity_bytes / GROWTH_SHARE + GROWTH_SPARE;
}

static int check_growth(const struct job *job, const Drover__MoveFenceResult *fence, struct error *err) {
        char is[UNITS_TEXT_MAX], most[UNITS_TEXT_MAX];
        for (size_t i = 0; i < fence->n_disks; i++) {
                const Drover__MoveDisk *planned = job->plan->disks[i];
                if (disk_bytes(planned, fence->disks[i]) <= disk_bytes_most(planned))
                        continue;
                error_set(err, ERROR_STALE, "%s has grown to %s since the plan was made, which left room for %s",
                          planned->target, units_format_size(disk_bytes(planned, fence->disks[i]), is),
                          units_format_size(disk_bytes_most(planned), most));
                error_hint(err, "give the command again");
                return -1;
        }
        return 0;
}

// Lengths can have grown since the plan was made: from the fence on, what the source said then counts.
int recipe_accept_images(struct job *job, struct job_step *step, const Drover__AgentResult *result, struct error *err) {
        (void) step;
        const Drover__MoveFenceResult *fence =
                result->value_case == DROVER__AGENT_RESULT__VALUE_FENCE ? result->fence : NULL;
        if (!fence || fence->n_disks != job->plan->n_disks)
                return error_set(err, ERROR_PROTOCOL, "the agent's answer is about other disks than the plan's");
        for (size_t i = 0; i < fence->n_disks; i++)
                if (strcmp(fence->disks[i]->target, job->plan->disks[i]->target) != 0)
                        return error_set(err, ERROR_PROTOCOL,
                                         "the agent's answer is about other disks than the plan's");
        if (fence->has_nvram != job->plan->has_nvram) { // an NVRAM file made since would be left behind
                error_set(err, ERROR_STALE, "the NVRAM of %s came or went since the plan was made", job->plan->vm_name);
                error_hint(err, "give the command again");
                return -1;
        }
        return check_growth(job, fence, err);
}

static void add_done_without(Drover__MovePlan *plan, char *text) {
        plan->done_without = memory_grow(plan->done_without, plan->n_done_without + 1, sizeof(*plan->done_without));
        plan->done_without[plan->n_done_without++] = text;
}

static Drover__AgentResult *images_result(const struct job *job) {
        return job_step_result(job_step_named((struct job *) job, job->plan->clone ? "hold" : "fence"));
}

bool recipe_remember_bitmaps(struct job *job) {
        Drover__MovePlan *plan = job->plan;
        Drover__AgentResult *result = images_result(job);
        bool any = false;
        if (result && result->value_case == DROVER__AGENT_RESULT__VALUE_FENCE && !plan->revives)
                for (size_t i = 0; i < plan->n_disks && i < result->fence->n_disks; i++) {
                        char *lost = plan_format_lost_bitmaps(plan, plan->disks[i], result->fence->disks[i]->bitmaps);
                        if (lost)
                                add_done_without(plan, lost);
                        any |= lost != NULL;
                }
        proto_free(result ? &result->base : NULL);
        return any;
}

uint64_t recipe_item_bytes(const struct job *job, unsigned item) {
        Drover__AgentResult *result = images_result(job);
        const Drover__MoveDisk *disk = item < job->plan->n_disks ? job->plan->disks[item] : NULL;
        uint64_t bytes = disk ? disk_bytes(disk, disk) : job->plan->nvram_bytes;
        if (result && result->value_case == DROVER__AGENT_RESULT__VALUE_FENCE)
                bytes = disk ? disk_bytes(disk, result->fence->disks[item]) : result->fence->nvram_bytes;
        if (result)
                proto_free(&result->base);
        return bytes;
}

Drover__MoveDisk *recipe_item_disk(const struct job *job, unsigned item) {
        Drover__MoveDisk *disk;
        if (item < job->plan->n_disks) {
                disk = recipe_copy_disk(job->plan->disks[item]);
        } else {
                disk = new (Drover__MoveDisk);
                drover__move_disk__init(disk);
                disk->target = memory_string("nvram");
                disk->format = memory_string("raw");
        }
        disk->file_bytes = recipe_item_bytes(job, item);
        return disk;
}

Drover__TransferItem recipe_item_kind(const struct job *job, unsigned item) {
        return item < job->plan->n_disks ? DROVER__TRANSFER_ITEM__TRANSFER_ITEM_DISK
                                         : DROVER__TRANSFER_ITEM__TRANSFER_ITEM_NVRAM;
}

FILL(send) { // the runner adds the order, with a ticket for this attempt
        UNUSED;
        VERB(request, transfer_send, TRANSFER_SEND, transfer_send, TransferSend)
        verb->item = recipe_item_kind(job, step->item);
        verb->target = memory_string(recipe_item_name(job, step->item));
        verb->file_bytes = recipe_item_bytes(job, step->item);
        if (step->item < job->plan->n_disks && plan_format_converts(job->plan->disks[step->item]))
                verb->format = memory_string(job->plan->disks[step->item]->source_format);
        if (job->plan->clone) {
                verb->in_place = true;
                verb->source_uuid = memory_string(job->plan->vm_uuid);
        }
        return 0;
}

FILL(receive) {
        UNUSED;
        VERB(request, transfer_receive, TRANSFER_RECEIVE, transfer_receive, TransferReceive)
        verb->item = recipe_item_kind(job, step->item);
        verb->disk = recipe_item_disk(job, step->item);
        return 0;
}

int recipe_accept_copy(struct job *job, struct job_step *step, const Drover__AgentResult *result, struct error *err) {
        if (result->value_case != DROVER__AGENT_RESULT__VALUE_TRANSFER || !result->transfer->digest[0])
                return error_set(err, ERROR_PROTOCOL, "the agent's answer holds no digest");
        const char *disk = recipe_item_name(job, step->item);
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

// Which of these a clone can go back to is for its host to say.
static void take_snapshots(Drover__MoveInspectResult *inspect, Drover__MoveDefine *verb) {
        verb->current_snapshot = memory_string(inspect->current_snapshot);
        verb->n_snapshot_xml = inspect->n_snapshot_xml;
        verb->snapshot_xml = inspect->snapshot_xml;
        inspect->n_snapshot_xml = 0;
        inspect->snapshot_xml = NULL;
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
                verb->disks[i] = recipe_item_disk(job, i);
        verb->n_bridges = plan->n_bridges;
        verb->bridges = new_array(Drover__NameMap *, plan->n_bridges + 1);
        for (size_t i = 0; i < plan->n_bridges; i++)
                verb->bridges[i] = (Drover__NameMap *) proto_copy(&plan->bridges[i]->base);
        verb->has_nvram = plan->has_nvram;
        verb->definition_xml = check->inspect->definition_xml;
        check->inspect->definition_xml = (ProtobufCBinaryData){0};
        if (plan->identity)
                verb->identity = (Drover__CloneIdentity *) proto_copy(&plan->identity->base);
        take_snapshots(check->inspect, verb);
        proto_free(&check->base);
        return 0;
}

FILL(verify) {
        UNUSED;
        const Drover__MovePlan *plan = job->plan;
        VERB(request, move_verify, MOVE_VERIFY, move_verify, MoveVerify)
        verb->vm_name = memory_string(plan->new_name);
        verb->read_back = plan->read_back;
        verb->disks = new_array(Drover__MoveDisk *, plan->n_disks + 1);
        verb->digests = new_array(char *, plan->n_disks + 1);
        for (unsigned i = 0; i < plan->n_disks; i++) {
                if (plan->disks[i]->backing_target[0]) // a new image that holds nothing yet
                        continue;
                verb->disks[verb->n_disks++] = recipe_item_disk(job, i);
                verb->digests[verb->n_digests++] =
                        memory_string(job_transfer((struct job *) job, plan->disks[i]->target)->digest);
        }
        return 0;
}

const struct recipe_step recipe_send = {
        .name = "send", .place = AT_SOURCE, .fill = fill_send, .accept = recipe_accept_copy, .copies = true};
const struct recipe_step recipe_receive = {
        .name = "receive", .place = AT_TARGET, .fill = fill_receive, .accept = recipe_accept_copy, .copies = true};
const struct recipe_step recipe_define = {.name = "define", .place = AT_TARGET, .fill = fill_define};
const struct recipe_step recipe_verify = {.name = "verify", .place = AT_TARGET, .fill = fill_verify};
