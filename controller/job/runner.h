// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Runs jobs: durable before they act. A job is a list of steps in groups; the steps of a group run side by side, each
 * asked of one host. What is committed to the store: the job with its plan before anything, each step's intent before
 * it is asked, its result before the next. After a restart the runner reads the unfinished jobs and asks again; agents
 * answer from their journals. Before the commit point failure or cancel undoes backwards; after it things only go
 * forwards.
 *
 *      queued -> running <-> waiting -> done | failed | cancelled | needs-operator
 */
#include "controller/authority/authority.h"
#include "controller/fleet/fleet.h"
#include "controller/job/plan.h"
#include <uv.h>

struct runner;
// How the runner reaches agents; the session layer fills it in. Results come back through runner_on_*.
struct runner_port {
        // Send to the host's open link; request->id is set by the port and returned. ERROR_UNREACHABLE when it has
        // none.
        int (*send)(void *data, const char *host_uuid, Drover__AgentRequest *request, uint64_t *ret_id,
                    struct error *err);
        void *data;
        const char *relay_address; // unused by the agents that know it themselves; NULL
};
int runner_new(uv_loop_t *loop, struct store *store, struct fleet *fleet, struct authority *authority,
               const struct clock *clock, const struct runner_port *port, struct runner **ret, struct error *err);
int runner_recover(struct runner *runner, struct error *err); // once, after runner_new: unfinished jobs go on
void runner_free(struct runner *runner);
void runner_set_stall(struct runner *runner, unsigned seconds); // without progress, until a transfer says so; 60

struct runner_caller {
        const char *user, *role, *address;
};
// Each gives the new job's id. The job has been committed when they return.
int runner_move(struct runner *runner, const Drover__MovePlan *plan, const struct runner_caller *caller,
                char ret_job[33], struct error *err);
int runner_clone(struct runner *runner, const Drover__MovePlan *plan, const struct runner_caller *caller,
                 char ret_job[33], struct error *err);
struct plan_others runner_others(const struct runner *runner); // for plan_clone()
// The way back of job `id`, planned; ERROR_CONFLICT with what to do instead when there is none. Then taken on.
int runner_plan_undo(struct runner *runner, const char *id, const Drover__JobUndo *request, Drover__MovePlan **ret,
                     struct error *err);
int runner_undo(struct runner *runner, const Drover__MovePlan *plan, const struct runner_caller *caller,
                char ret_job[33], struct error *err);
int runner_power(struct runner *runner, struct fleet_vm *vm, Drover__PowerAction action, unsigned timeout_seconds,
                 const struct runner_caller *caller, char ret_job[33], struct error *err);
int runner_purge(struct runner *runner, struct fleet_host *host, const char *retired_job, const char *vm_name,
                 const struct runner_caller *caller, char ret_job[33], struct error *err);
// Several moves together, with a name for all of them; those that are refused are recorded as such. At least one is
// not.
int runner_batch(struct runner *runner, const Drover__BatchPlan *plan, const char *what,
                 const struct runner_caller *caller, char ret_job[33], struct error *err);
// How long it will take, by what is known of the lines now: plans by themselves only assume something.
void runner_estimate(struct runner *runner, Drover__MovePlan *plan);
void runner_estimate_batch(struct runner *runner, Drover__BatchPlan *batch);
// What is left to do of a batch that has ended: 1 and the request for it; 0 when this job is none, or has not ended.
int runner_batch_again(struct runner *runner, const char *job, Drover__VmMoveMany **ret, char ret_what[320],
                       struct error *err);
int runner_cancel(struct runner *runner, const char *job,
                  struct error *err); // ERROR_CONFLICT after the commit, or when it has ended
int runner_retry(struct runner *runner, const char *job,
                 struct error *err); // a job in needs-operator goes on from where it stopped
// A job's own limit, of all its transfers together, now and after a restart. 0: none but its sites'.
int runner_set_rate(struct runner *runner, const char *job, uint64_t bytes_per_second, struct error *err);

// From the session layer.
void runner_on_progress(struct runner *runner, const char *host_uuid, const Drover__AgentProgress *progress);
void runner_on_result(struct runner *runner, const char *host_uuid, const Drover__AgentResult *result);
void runner_on_host(struct runner *runner, const char *host_uuid, bool online); // link up or down

// Everything about one job (steps, transfers), from memory or the store; proto_free(&ret->base).
int runner_job(struct runner *runner, const char *id, Drover__JobRecord **ret,
               struct error *err); // id: a unique beginning is enough
int runner_jobs(struct runner *runner, const char *state, unsigned limit, Drover__JobRecords **ret, struct error *err);
// The unfinished ones as they are now, newest first: what they wait for is known nowhere else. proto_free(&it->base).
Drover__JobRecords *runner_unfinished(const struct runner *runner);
// Followers are told of every change, at most 5 times a second a job, and always of the last one.
struct runner_follower;
typedef void (*runner_follow_fn)(const Drover__JobRecord *job, bool ended, void *data);
int runner_follow(struct runner *runner, const char *id, runner_follow_fn fn, void *data, struct runner_follower **ret,
                  struct error *err); // called once at least; after ended it is gone
void runner_unfollow(struct runner *runner, struct runner_follower *follower);
bool runner_has(const struct runner *runner, const char *id);          // unfinished, by its whole id
unsigned runner_count(const struct runner *runner, const char *state); // unfinished ones in this state
