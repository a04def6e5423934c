// SPDX-License-Identifier: LGPL-2.1-or-later
/* Taking on the jobs that follow a plan: moves, clones, and the undoing of moves. Loop thread. */
#include "controller/job/engine.h"
#include "common/memory.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define UNDO_FRESH_MS 5000 // within which hosts have told what came of a job

// To the host that the VM is at: the epoch under which it may leave.
int planned_new(struct runner *runner, const struct recipe *recipe, const Drover__MovePlan *plan,
                const struct runner_caller *caller, struct job **ret, struct error *err) {
        char name[sizeof(((struct store_job *) NULL)->vm)];
        if (taking_check_free(runner, plan->vm_uuid, plan->vm_name, err) < 0)
                return -1;
        snprintf(name, sizeof(name), "%s/%s", plan->source_name, plan->vm_name);
        struct job *job = taking_new(recipe->kind, name, plan->vm_uuid, caller);
        snprintf(job->row.source, sizeof(job->row.source), "%s", plan->source_name);
        snprintf(job->row.target, sizeof(job->row.target), "%s", plan->target_name);
        job->row.epoch = taking_epoch(runner, plan->vm_uuid);
        if (fleet_grant(runner->fleet, plan->vm_uuid, plan->source_host, job->row.epoch, err) < 0) {
                job_free(job);
                return -1;
        }
        *ret = job;
        return 0;
}

static int take_plan(struct runner *runner, const struct recipe *recipe, const Drover__MovePlan *plan,
                     const struct runner_caller *caller, char ret_job[33], struct error *err) {
        struct job *job;
        if (planned_new(runner, recipe, plan, caller, &job, err) < 0)
                return -1;
        return taking_on(runner, job, &plan->base, ret_job, err);
}

int runner_move(struct runner *runner, const Drover__MovePlan *plan, const struct runner_caller *caller,
                char ret_job[33], struct error *err) {
        return take_plan(runner, &recipe_move, plan, caller, ret_job, err);
}

int runner_undo(struct runner *runner, const Drover__MovePlan *plan, const struct runner_caller *caller,
                char ret_job[33], struct error *err) {
        return take_plan(runner, &recipe_undo, plan, caller, ret_job, err);
}

// ---- clones

// A clone that stops its original needs it for itself; others share it.
static int check_original(struct runner *runner, const Drover__MovePlan *plan, struct error *err) {
        const struct fleet_owner *owner = fleet_owner(runner->fleet, plan->vm_uuid);
        if (!plan->was_running && (!owner || !owner->job[0]))
                return 0;
        return taking_check_free(runner, plan->vm_uuid, plan->vm_name, err);
}

static int grant_clone(struct runner *runner, const Drover__MovePlan *plan, struct job *job, struct error *err) {
        job->row.epoch = 1;
        if (fleet_grant(runner->fleet, plan->identity->uuid, plan->target_host, job->row.epoch, err) < 0)
                return -1;
        return plan->was_running ? fleet_grant(runner->fleet, plan->vm_uuid, plan->source_host,
                                               taking_epoch(runner, plan->vm_uuid), err)
                                 : 0;
}

int runner_clone(struct runner *runner, const Drover__MovePlan *plan, const struct runner_caller *caller,
                 char ret_job[33], struct error *err) {
        char name[sizeof(((struct store_job *) NULL)->vm)];
        if (check_original(runner, plan, err) < 0)
                return -1;
        snprintf(name, sizeof(name), "%s/%s", plan->source_name, plan->vm_name);
        struct job *job = taking_new(recipe_clone.kind, name, plan->identity->uuid, caller);
        snprintf(job->row.source, sizeof(job->row.source), "%s", plan->source_name);
        snprintf(job->row.target, sizeof(job->row.target), "%s", plan->target_name);
        if (grant_clone(runner, plan, job, err) < 0) {
                job_free(job);
                return -1;
        }
        return taking_on(runner, job, &plan->base, ret_job, err);
}

static bool has_mac(const char *mac, void *data) {
        const struct runner *runner = data;
        for (const struct job *job = runner->jobs; job; job = job->next)
                for (size_t i = 0; job->plan && i < job->plan->n_macs; i++)
                        if (strcasecmp(job->plan->macs[i], mac) == 0)
                                return true;
        return false;
}

static const char *has_name(const char *host_uuid, const char *name, void *data) {
        const struct runner *runner = data;
        for (const struct job *job = runner->jobs; job; job = job->next)
                if (job->plan && strcmp(job->plan->target_host, host_uuid) == 0 &&
                    strcmp(job->plan->new_name, name) == 0)
                        return job->row.id;
        return NULL;
}

struct plan_others runner_others(const struct runner *runner) {
        return (struct plan_others){.has_mac = has_mac, .has_name = has_name, .data = (void *) runner};
}

// ---- undo

static int not_a_move(const struct job *job, struct error *err) {
        const char *kind = job->row.kind;
        if (job->plan && job->plan->clone) {
                error_set(err, ERROR_CONFLICT, "job %s is a clone, which left its original as it was", job->row.id);
                error_hint(err, "it made %s/%s; drover vm show %s/%s", job->plan->target_name, job->plan->new_name,
                           job->plan->target_name, job->plan->new_name);
        } else if (job->plan && job->plan->undoes[0]) {
                error_set(err, ERROR_CONFLICT, "job %s took back job %s, and cannot be taken back itself", job->row.id,
                          job->plan->undoes);
                error_hint(err, "drover vm move %s/%s %s", job->plan->target_name, job->plan->new_name,
                           job->plan->source_name);
        } else {
                error_set(err, ERROR_CONFLICT, "job %s is a %s, and only a move can be taken back", job->row.id, kind);
        }
        return -1;
}

static int not_committed(const struct job *job, struct error *err) {
        error_set(err, ERROR_CONFLICT, "job %s is %s: it did not move %s", job->row.id, job->row.state,
                  job->plan->vm_name);
        error_hint(err, "drover job show %s", job->row.id);
        return -1;
}

static int not_ended(const struct job *job, struct error *err) {
        error_set(err, ERROR_CONFLICT, "job %s has not ended", job->row.id);
        if (job->row.committed)
                error_hint(err, "past its commit point it can only be finished: drover job follow %s", job->row.id);
        else
                error_hint(err, "drover job cancel %s", job->row.id);
        return -1;
}

static int is_batch(const struct job *job, struct error *err) {
        error_set(err, ERROR_CONFLICT, "job %s is several moves, which are taken back one by one", job->row.id);
        for (size_t i = 0; i < job->batch->n_plans; i++)
                if (strcmp(job->parts[i].state, "done") == 0)
                        error_hint(err, "drover job undo %s", job->parts[i].id);
        return -1;
}

static int check_undoable(const struct runner *runner, const struct job *job, struct error *err) {
        if (job->batch)
                return is_batch(job, err);
        if (strcmp(job->row.kind, recipe_move.kind) != 0)
                return not_a_move(job, err);
        if (runner_has(runner, job->row.id))
                return not_ended(job, err);
        if (!job->row.committed)
                return not_committed(job, err);
        if (!job->plan->undone_by[0])
                return 0;
        error_set(err, ERROR_CONFLICT, "job %s was taken back by job %s", job->row.id, job->plan->undone_by);
        error_hint(err, "drover job show %s", job->plan->undone_by);
        return -1;
}

int runner_plan_undo(struct runner *runner, const char *id, const Drover__JobUndo *request, Drover__MovePlan **ret,
                     struct error *err) {
        struct store_job row = {0};
        struct job *job = NULL;
        int found = store_job_get(runner->store, id, &row, err);
        if (found <= 0)
                return found < 0 ? -1 : error_set(err, ERROR_NOT_FOUND, "no job %s", id);
        int r = job_load(runner->store, &row, &job, err);
        store_job_fini(&row);
        if (r == 0)
                r = check_undoable(runner, job, err);
        if (r == 0)
                r = plan_undo(runner->fleet, job->plan, job->row.id,
                              clock_wall_ms() - job->row.finished_ms < UNDO_FRESH_MS, request, ret, err);
        if (r == 0)
                runner_estimate(runner, *ret);
        job_free(job);
        return r;
}
