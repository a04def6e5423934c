// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a step does on its thread: grant, intent, act, result, in this order and each committed before the next. It
 * touches its own struct step, the journal and what its verb works with; never the loop's state.
 */
#include "agent/session/step.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/memory.h"

#include <stdio.h>
#include <string.h>

static const struct sm_state states[] = {
        [STEP_QUEUED] = {.name = "queued", .next = SM_TO(STEP_RUNNING) | SM_TO(STEP_ENDED), .initial = true},
        [STEP_RUNNING] = {.name = "running", .next = SM_TO(STEP_ENDED)},
        [STEP_ENDED] = {.name = "ended", .final = true},
};

struct step *step_new(const struct verb *verb, const struct verb_host *host, Drover__AgentRequest *request) {
        struct step *step = new (struct step);
        step->verb = verb;
        step->host = host;
        step->request = request;
        step->answer_to = request->id;
        step->result = new (Drover__AgentResult);
        drover__agent_result__init(step->result);
        sm_init(&step->sm, states, ARRAY_SIZE(states), STEP_QUEUED);
        uv_mutex_init(&step->lock);
        return step;
}

static void free_result(struct step *step) {
        proto_free(step->result ? &step->result->base : NULL);
        step->result = NULL;
}

void step_free(struct step *step) {
        if (!step)
                return;
        free_result(step);
        proto_free(step->progress ? &step->progress->base : NULL);
        proto_free(&step->request->base);
        uv_mutex_destroy(&step->lock);
        free(step);
}

static bool is_cancelled(void *data) {
        struct step *step = data;
        return atomic_load(&step->cancelled);
}

static void on_progress(const Drover__TransferState *state, void *data) {
        struct step *step = data;
        Drover__TransferState *copy = (Drover__TransferState *) proto_copy(&state->base);
        uv_mutex_lock(&step->lock);
        Drover__TransferState *old = step->progress;
        step->progress = copy;
        uv_mutex_unlock(&step->lock);
        proto_free(old ? &old->base : NULL);
        uv_async_send(step->wake);
}

Drover__TransferState *step_take_progress(struct step *step) {
        uv_mutex_lock(&step->lock);
        Drover__TransferState *taken = steal(&step->progress);
        uv_mutex_unlock(&step->lock);
        return taken;
}

static int pass_fault(const struct step *step, const char *where, struct error *err) {
        char name[96];
        snprintf(name, sizeof name, "agent.step.%s.%s", step->verb->name, where);
        return fault_point(name, err);
}

// The intent, as it is kept: the same request has another id on each link.
static int pack_request(const struct step *step, struct buffer *bytes, struct error *err) {
        Drover__AgentRequest anonymous = *step->request;
        anonymous.id = 0;
        return PROTO_PACK(&anonymous, bytes, err);
}

static int take_recorded(struct step *step, const uint8_t *bytes, size_t length, struct error *err) {
        Drover__AgentResult *recorded = NULL;
        if (PROTO_UNPACK(agent_result, bytes, length, &recorded, err) < 0)
                return error_prefix(err, "the journalled result");
        free_result(step);
        step->result = recorded;
        step->replayed = true;
        return 0;
}

// Returns 1 when the journal had the result already, 0 when the step is to act.
static int commit_intent(struct step *step, struct error *err) {
        const Drover__AgentRequest *request = step->request;
        struct buffer packed;
        buffer_init(&packed, 0);
        enum journal_step state = JOURNAL_STEP_NEW;
        _cleanup_(free_p) uint8_t *recorded = NULL;
        size_t length = 0;
        int r = pack_request(step, &packed, err);
        if (!r)
                r = journal_step_begin(step->host->journal, request->job, request->step, request->attempt, packed.data,
                                       packed.length, &state, &recorded, &length, err);
        buffer_fini(&packed);
        if (r < 0)
                return -1;
        if (state != JOURNAL_STEP_DONE)
                return 0;
        return take_recorded(step, recorded, length, err) < 0 ? -1 : 1;
}

static int commit_result(struct step *step, struct error *err) {
        const Drover__AgentRequest *request = step->request;
        struct buffer packed;
        buffer_init(&packed, 0);
        int r = PROTO_PACK(step->result, &packed, err);
        if (!r)
                r = journal_step_end(step->host->journal, request->job, request->step, request->attempt, packed.data,
                                     packed.length, err);
        buffer_fini(&packed);
        return r;
}

static int act(struct step *step, struct error *err) {
        if (is_cancelled(step))
                return error_set(err, ERROR_CANCELLED, "cancelled before it began");
        struct verb_call call = {.host = step->host,
                                 .request = step->request,
                                 .result = step->result,
                                 .cancelled = is_cancelled,
                                 .progress = on_progress,
                                 .data = step};
        return step->verb->run(&call, err);
}

static int act_as_step(struct step *step, struct error *err) {
        int r = commit_intent(step, err);
        if (r)
                return r < 0 ? -1 : 0;
        if (pass_fault(step, "intent", err) < 0 || act(step, err) < 0 || pass_fault(step, "acted", err) < 0)
                return -1;
        if (commit_result(step, err) < 0)
                return -1;
        return pass_fault(step, "recorded", err);
}

static int perform(struct step *step, struct error *err) {
        const Drover__AgentRequest *request = step->request;
        if (request->epoch && journal_grant(step->host->journal, request->vm_uuid, request->epoch, err) < 0)
                return -1;
        return *request->job ? act_as_step(step, err) : act(step, err);
}

void step_work(void *data) {
        struct step *step = data;
        step->outcome = perform(step, &step->err);
        if (step->outcome == 0)
                return;
        free_result(step); // a value that was half made is not sent
        step->result = new (Drover__AgentResult);
        drover__agent_result__init(step->result);
}
