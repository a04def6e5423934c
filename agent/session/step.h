// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * One request between steps.c (its place in the queue, on the loop) and step_work.c (its work, on a thread). Members
 * are grouped by who touches them; only the atomics and what `lock` guards are shared while the step runs.
 */
#include "agent/session/verbs.h"
#include "common/sm.h"
#include <stdatomic.h>
#include <uv.h>

enum { STEP_QUEUED, STEP_RUNNING, STEP_ENDED };

struct step {
        // constant
        const struct verb *verb;
        const struct verb_host *host;
        Drover__AgentRequest *request;
        // the loop's
        struct sm sm;
        struct steps *steps;
        struct step *next;
        uint64_t answer_to; // id of the request that gets the result; 0: nobody waits
        bool told_waiting;
        uv_thread_t thread;
        // the worker's, and the loop's when it has ended
        Drover__AgentResult *result;
        struct error err;
        int outcome;
        bool replayed; // the result was in the journal
        // shared
        atomic_bool cancelled;
        atomic_bool done; // a thread of its own has nothing more to do
        uv_async_t *wake; // the runner's
        uv_mutex_t lock;
        Drover__TransferState *progress; // newest not yet sent
};

struct step *step_new(const struct verb *verb, const struct verb_host *host,
                      Drover__AgentRequest *request); // takes request
void step_free(struct step *step);
void step_work(void *data); // data: the step; all of its work, on its thread
// The newest progress, or NULL; the caller's.
Drover__TransferState *step_take_progress(struct step *step);
