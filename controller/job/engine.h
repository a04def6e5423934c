// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What the files of the runner share: the runner itself and the calls between them. Nobody else includes this.
 *
 *      runner.c    the public calls; power and purge; recovery
 *      engine.c    one tick of one job: which group is next, what to do about it
 *      ask.c       a step's request: intent, sending, tickets, answers
 *      finish.c    commit, undo, and the end of a job
 *      follow.c    who watches
 *      planned.c   taking on what follows a plan: moves, clones, undo
 *      taking.c    what every job needs before it begins: a free VM, an epoch, its rows
 *      parts.c     batches: their parts, and how far these are
 *      shape.c     what each transfer may send
 *      outlook.c   how long that will take
 *      stall.c     transfers that stand still
 */
#include "controller/job/bounds.h"
#include "controller/job/outlook.h"
#include "controller/job/parts.h"
#include "controller/job/recipe.h"
#include "controller/job/runner.h"
#include "controller/job/shape.h"

#define ENGINE_RETRY_FIRST_MS  500u
#define ENGINE_RETRY_MOST_MS   15000u
#define ENGINE_COPY_AGAIN_MS   10u // the first attempts after a cut
#define ENGINE_COPY_MOST_MS    1000u
#define ENGINE_COPY_FAULTS_MAX 4u // tries at a copy that fails for another reason than an unreachable peer
#define ENGINE_UNFINISHED_MAX  10000u
#define ENGINE_STALL_MS        60000u
#define ENGINE_ANSWER_SECONDS  30u // for jobs that nobody wants done much later

struct runner_follower {
        struct runner_follower *next;
        char job[33];
        runner_follow_fn fn;
        void *data;
        uint64_t told_ms;
};

struct runner {
        uv_loop_t *loop;
        struct store *store;
        struct fleet *fleet;
        struct authority *authority;
        const struct clock *clock;
        struct runner_port port;
        struct job *jobs; // unfinished
        unsigned n_jobs;
        struct runner_follower *followers;
        struct shape shape;
        struct outlook outlook;
        unsigned stall_ms; // a transfer that stands still for so long says so; see stall.h
        uv_timer_t *timer; // one for all: retries, held fault points, followers
        bool ticking;
};

// engine.c
void engine_tick(struct runner *runner);              // every job that has something to do; safe to call from anywhere
void engine_wait(struct job *job, uint64_t delay_ms); // look at it again then
void engine_note(struct job *job, const char *format, ...) __attribute__((format(printf, 2, 3)));
void engine_set_state(struct job *job, enum job_state state);
void engine_hold(struct job *job); // its VM, and for a clone the original too
void engine_let_go(struct job *job);
bool engine_held(struct job *job, const struct job_step *step,
                 const char *place); // fault points "controller.<step>.<place>"
void engine_log(const struct job *job, const struct job_step *step, const char *what, const struct error *err);
// ask.c
int ask_begin(struct job *job, struct job_step *step, struct error *err); // intent, committed
int ask_send(struct job *job, struct job_step *step, struct error *err);  // to the host's link; ERROR_UNREACHABLE: none
void ask_cancel(struct job *job, struct job_step *step);
int ask_rate(struct job *job, struct job_step *step, uint64_t rate, struct error *err); // of a copy under way
void ask_answer(struct job *job, struct job_step *step, const Drover__AgentResult *result);
void ask_progress(struct job *job, struct job_step *step, const Drover__AgentProgress *progress);
bool ask_is_transient(enum error_code code);
// finish.c
int finish_commit(struct job *job, struct job_step *step, struct error *err);
void finish_fail(struct job *job,
                 const struct error *why); // undo, or needs-operator, or failed: as far as the job has come
void finish_explain(struct job *job);      // of one that needs an operator: what it met, after a restart
void finish_end(struct job *job);          // all steps of its direction are done
// runner.c
void runner_adopt(struct runner *runner, struct job *job); // last of all of them, and looked at from now on
// taking.c, for those that take jobs on
struct job *taking_new(const char *kind, const char *vm, const char *vm_uuid, const struct runner_caller *caller);
int taking_check_free(struct runner *runner, const char *vm_uuid, const char *name, struct error *err);
uint64_t taking_epoch(struct runner *runner, const char *vm_uuid); // higher than any that is known for this VM
// planned.c: a job that follows this plan, with the epoch granted for it; not stored yet, nor filled.
int planned_new(struct runner *runner, const struct recipe *recipe, const Drover__MovePlan *plan,
                const struct runner_caller *caller, struct job **ret, struct error *err);
// With its plan and its steps, not stored yet; what the store took is then the runner's.
int taking_fill(struct runner *runner, struct job *job, const ProtobufCMessage *spec, struct error *err);
void taking_adopt(struct runner *runner, struct job *job);
int taking_on(struct runner *runner, struct job *job, const ProtobufCMessage *spec, char ret_job[33],
              struct error *err); // committed, with its plan and steps; takes the job
// follow.c
void follow_tell(struct runner *runner, struct job *job, bool ended);
