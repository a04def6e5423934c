// SPDX-License-Identifier: LGPL-2.1-or-later
/* Transfers that stand still; see stall.h. */
#include "controller/job/stall.h"
#include "controller/job/engine.h"
#include "controller/job/recipe_parts.h"

#include <stdio.h>

#define STALL_SAY_STEP   15u // the note counts in these, seconds, where it begins with no less
#define STALL_DOUBLES    5u
#define STALL_WIRE_BYTES (16u << 10) // less than this is what ends say to show that they are alive
#define STALL_RATE_BYTES (2u << 20)  // what may be under way before an end reports: at a low rate that takes long

static struct job_transfer *transfer_of(struct job *job, const struct job_step *step) {
        return job_transfer(job, recipe_item_name(job, step->item));
}

static const char *path_word(Drover__TransferPath path) {
        return path == DROVER__TRANSFER_PATH__PATH_RELAY     ? "the relay"
               : path == DROVER__TRANSFER_PATH__PATH_REVERSE ? "the reverse path"
                                                             : "the direct path";
}

void stall_begin(struct job *job, const struct job_step *step) {
        transfer_of(job, step)->moved_ms = clock_ms(job->runner->clock);
}

// Any change at either end is progress; only more than ever before shows that this way works.
void stall_heard(struct job *job, const struct job_step *step, const Drover__TransferState *state) {
        struct job_transfer *transfer = transfer_of(job, step);
        bool at_target = step->kind->place == AT_TARGET;
        uint64_t mark = state->bytes_done + state->bytes_kept, wire = state->bytes_wire;
        bool sent = wire < transfer->wire[at_target] || wire - transfer->wire[at_target] >= STALL_WIRE_BYTES;
        if (mark == transfer->mark[at_target] && !sent)
                return;
        transfer->mark[at_target] = mark;
        transfer->wire[at_target] = wire;
        transfer->moved_ms = clock_ms(job->runner->clock);
        if (at_target && state->bytes_done > transfer->most_done) {
                transfer->most_done = state->bytes_done;
                transfer->stalls = 0;
        }
}

static uint64_t patience(const struct job_transfer *transfer) {
        uint64_t rate = transfer->state.rate_bytes_per_second;
        return rate ? STALL_RATE_BYTES * 1000ull / rate : 0;
}

static const char *waits_for(const struct job *job, const struct job_step *sink) {
        for (unsigned i = 0; i < job->n_steps; i++)
                if (job->steps[i].group == sink->group && job->steps[i].asked && job->steps[i].note[0])
                        return job->steps[i].note;
        return job->plan->path ? "it waits, for the path is a forced one" : "if that goes on, another path is tried";
}

static void say(struct job *job, const struct job_step *sink, uint64_t silent_ms) {
        unsigned seconds = (unsigned) (silent_ms / 1000), first = job->runner->stall_ms / 1000;
        job->stalled = true;
        engine_note(job, "%s: no progress for %u s over %s; %s", recipe_item_name(job, sink->item),
                    seconds - seconds % (first < STALL_SAY_STEP ? 1 : STALL_SAY_STEP), path_word(sink->path),
                    waits_for(job, sink));
}

// Both ends, so that neither waits for the other; their answers begin the next attempt.
static void end_attempt(struct job *job, struct job_step *sink, uint64_t silent_ms) {
        struct job_transfer *transfer = transfer_of(job, sink);
        transfer->stalls += transfer->stalls < STALL_DOUBLES;
        transfer->path_shift++; // it had worked, perhaps
        for (unsigned i = 0; i < job->n_steps; i++) {
                struct job_step *step = &job->steps[i];
                if (step->group != sink->group || step->undo != sink->undo || !step->asked)
                        continue;
                step->stalled_seconds = (unsigned) (silent_ms / 1000);
                if (!step->cancelling)
                        ask_cancel(job, step);
        }
        engine_log(job, sink, "transfer stands still; ending this attempt", NULL);
}

static void look(struct job *job, struct job_step *sink, bool *ret_stalled) {
        const struct job_transfer *transfer = transfer_of(job, sink);
        uint64_t silent = clock_ms(job->runner->clock) - transfer->moved_ms, slack = patience(transfer);
        uint64_t say_ms = job->runner->stall_ms, end_ms = 2 * say_ms << transfer->stalls;
        if (silent < say_ms + slack)
                return;
        *ret_stalled = true;
        say(job, sink, silent);
        if (!job->plan->path && sink->stalled_seconds == 0 && silent >= end_ms + slack)
                end_attempt(job, sink, silent);
}

void stall_tick(struct runner *runner) {
        for (struct job *job = runner->jobs; job; job = job->next) {
                bool stalled = false;
                for (unsigned i = 0; job->plan && i < job->n_steps; i++) {
                        struct job_step *step = &job->steps[i];
                        // Without a path it is a copy on one host, where no other path helps.
                        if (step->kind->copies && step->kind->place == AT_TARGET && step->asked && step->path)
                                look(job, step, &stalled);
                }
                if (job->stalled && !stalled) {
                        job->stalled = false;
                        if (job->sm.current == JOB_RUNNING)
                                engine_note(job, "%s", "");
                }
        }
}

void stall_explain(const struct job *job, const struct job_step *step, struct error *err) {
        if (step->stalled_seconds == 0 || err->code != ERROR_CANCELLED || job->row.cancel_requested)
                return;
        error_set(err, ERROR_UNREACHABLE, "no progress for %u s over %s", step->stalled_seconds, path_word(step->path));
}
