// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * One job in memory, as the runner works on it: its row and its steps' rows as the store has them, and what only
 * matters while it runs. Owned by the runner; loop thread.
 *
 * A job's steps stand in one list. Those of one group run side by side; groups run in order. When a job is undone, the
 * undo steps are appended to the list and the forward ones that had not ended stay as they are, for the record.
 */
#include "common/buffer.h"
#include "common/sm.h"
#include "controller/fleet/fleet.h"
#include "controller/store/store.h"
#include "proto/codec.h"

enum job_state {
        JOB_QUEUED,
        JOB_RUNNING,
        JOB_WAITING,
        JOB_DONE,
        JOB_FAILED,
        JOB_CANCELLED,
        JOB_NEEDS_OPERATOR,
        JOB_STATES
};
enum step_state { STEP_PENDING, STEP_RUNNING, STEP_DONE, STEP_FAILED, STEP_STATES };
extern const struct sm_state job_states[JOB_STATES];

struct job;
struct recipe_step;

struct job_step {
        struct store_step row;
        enum step_state state;
        const struct recipe_step *kind;
        unsigned item; // which disk of the plan; plan->n_disks: the NVRAM
        unsigned group;
        bool undo;
        char host_uuid[NAME_UUID_LENGTH + 1]; // "": done by the controller itself
        // while it is asked
        uint64_t begun_ms; // monotonic, of this attempt; 0: before this process
        bool asked;        // on the host's open link, and not yet answered
        bool cancelling;   // CancelStep has been sent for this attempt
        uint64_t request_id;
        struct error error;   // of the newest attempt
        struct buffer ticket; // of a copying step, signed; both ends of an attempt share it
        uint32_t ticket_attempt;
        Drover__TransferPath path; // of the newest attempt
        uint64_t rate;             // what its source may send, in bytes a second; 0: no limit
        bool rate_told;            // and has been told, ...
        uint64_t rate_told_ms;     // ... then
        unsigned stalled_seconds;  // this attempt was ended because it stood still so long; 0: it was not
        char note[160];
        char before[160]; // why the attempt before this one failed
};

struct job_transfer {
        char disk[16];
        uint32_t attempt, resumed;
        Drover__TransferState state; // its texts are NULL: they stand in `disk` and `choice`
        uint32_t counted_attempt;    // the newest that was heard of; what was sent before it:
        uint64_t wire_before, resent_before;
        char choice[160];
        char digest[80];
        unsigned path_shift; // attempt n takes path n - 1 + this, of the three (path_for() in ask.c)
        // see stall.h
        uint64_t moved_ms, mark[2], wire[2], most_done;
        unsigned stalls;
};

// One VM of a batch. In the order of its plan.
struct job_part {
        char id[33]; // "": refused, and so never begun
        char vm[320], state[16], note[200];
        Drover__Failure *error; // NULL: none
        uint64_t bytes_total, bytes_done;
};

struct recipe;
struct job {
        struct job *next; // list of the runner's unfinished jobs
        struct runner *runner;
        struct store_job row;
        struct sm sm;       // enum job_state
        struct error error; // why it failed or is undone
        const struct recipe *recipe;
        Drover__MovePlan *plan;       // of a move
        Drover__AgentRequest *single; // of a one-step job
        Drover__BatchPlan *batch;     // of a batch, which has no steps of its own
        struct job_part *parts;       // batch->n_plans of them
        struct job_step *steps;
        unsigned n_steps;
        struct job_transfer *transfers;
        unsigned n_transfers;
        uint64_t retry_at_ms;        // monotonic; 0: not waiting for a time
        unsigned transient_failures; // in a row, of the group under way, without anything having come over
        unsigned path_first;         // of the three, the one that worked last
        unsigned copy_faults;        // attempts at this copy that failed for another reason than reachability
        bool stalled;                // the note says so
        char note[200];              // what it waits for
        bool changed;                // followers are to be told
};

void job_free(struct job *job);
void job_new_id(char ret_id[33]);
const char *job_state_word(enum job_state state);
const char *step_state_word(enum step_state state);
struct job_step *job_add_step(struct job *job, const struct recipe_step *kind, unsigned group, unsigned item,
                              bool undo);
struct job_step *job_step_named(struct job *job, const char *name);
struct job_transfer *job_transfer(struct job *job, const char *disk);
// What one end says of an attempt. The source knows what went over the wire and how, and what earlier attempts sent
// stays counted; the sink knows what came of it: it has verified what it reports. The rate is the controller's own.
void job_transfer_heard(struct job_transfer *transfer, const Drover__TransferState *state, uint32_t attempt,
                        bool from_sink);
// The packed AgentResult of a finished step; NULL when it has none. proto_free() it.
Drover__AgentResult *job_step_result(const struct job_step *step);

// From and to the store.
void job_set_spec(struct job *job, const void *bytes, size_t length);   // copied
int job_store(struct job *job, struct store *store, struct error *err); // the job's own row
int job_store_step(struct job *job, struct job_step *step, struct store *store, struct error *err);
int job_store_all(struct job *job, struct store *store, struct error *err); // row and all steps, in one transaction
// Takes over what `row` owns.
int job_load(struct store *store, struct store_job *row, struct job **ret, struct error *err);
// A move that has been taken back says by which job: in its plan, on disk. Within the caller's transaction.
int job_mark_undone(struct store *store, const char *id, const char *by, struct error *err);
Drover__JobRecord *job_record(const struct job *job); // for people; proto_free()
