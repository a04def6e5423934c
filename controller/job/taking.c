// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Taking a job on: whether its VM is free, the epoch that it is granted, the job with its plan and its steps, and then
 * into the store and the runner's hands. Part of the runner; loop thread.
 */
#include "controller/job/engine.h"
#include "common/memory.h"

#include <stdio.h>
#include <string.h>

struct job *taking_new(const char *kind, const char *vm, const char *vm_uuid, const struct runner_caller *caller) {
        struct job *job = new (struct job);
        job_new_id(job->row.id);
        snprintf(job->row.kind, sizeof(job->row.kind), "%s", kind);
        snprintf(job->row.vm, sizeof(job->row.vm), "%s", vm);
        snprintf(job->row.vm_uuid, sizeof(job->row.vm_uuid), "%s", vm_uuid);
        snprintf(job->row.user, sizeof(job->row.user), "%s", caller->user);
        job->row.created_ms = clock_wall_ms();
        job->recipe = recipe_by_kind(kind);
        sm_init(&job->sm, job_states, JOB_STATES, JOB_QUEUED);
        return job;
}

int taking_fill(struct runner *runner, struct job *job, const ProtobufCMessage *spec, struct error *err) {
        struct buffer bytes;
        buffer_init(&bytes, 0);
        int r = runner->n_jobs >= ENGINE_UNFINISHED_MAX
                        ? error_set(err, ERROR_BUSY, "%u jobs are unfinished already", ENGINE_UNFINISHED_MAX)
                        : proto_pack(spec, &bytes, err);
        if (r == 0) {
                job->row.spec_length = bytes.length;
                job->row.spec = memory_new(bytes.length + 1);
                if (bytes.length)
                        memcpy(job->row.spec, bytes.data, bytes.length);
                r = job->recipe->load(job, err);
        }
        if (r == 0)
                job->recipe->steps(job);
        buffer_fini(&bytes);
        return r;
}

void taking_adopt(struct runner *runner, struct job *job) {
        runner_adopt(runner, job);
        engine_log(job, NULL, "job taken on", NULL);
}

// The job with its plan and its steps is committed before anything is done about it.
int taking_on(struct runner *runner, struct job *job, const ProtobufCMessage *spec, char ret_job[33],
              struct error *err) {
        if (taking_fill(runner, job, spec, err) < 0 || job_store_all(job, runner->store, err) < 0) {
                job_free(job);
                return -1;
        }
        memcpy(ret_job, job->row.id, 33);
        taking_adopt(runner, job);
        return 0;
}

int taking_check_free(struct runner *runner, const char *vm_uuid, const char *name, struct error *err) {
        const struct fleet_owner *owner = fleet_owner(runner->fleet, vm_uuid);
        if (!owner || (!owner->job[0] && owner->clones == 0))
                return 0;
        const char *job = owner->job[0] ? owner->job : owner->clone_job;
        error_set(err, ERROR_CONFLICT, "%s is %s by job %s", name, owner->job[0] ? "held" : "being cloned", job);
        error_hint(err, "drover job follow %s", job);
        return -1;
}

// Higher than anything that the controller or either host has ever heard for this VM, so that a controller restored
// from an old copy catches up instead of being refused for ever.
uint64_t taking_epoch(struct runner *runner, const char *vm_uuid) {
        struct fleet_vm *vms[8];
        const struct fleet_owner *owner = fleet_owner(runner->fleet, vm_uuid);
        uint64_t epoch = owner ? owner->epoch : 0;
        size_t n = fleet_vms_by_uuid(runner->fleet, vm_uuid, vms, 8);
        for (size_t i = 0; i < n && i < 8; i++)
                if (vms[i]->domain->epoch > epoch)
                        epoch = vms[i]->domain->epoch;
        return epoch + 1;
}
