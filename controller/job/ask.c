// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Asking a host for a step: the intent is committed before the request leaves, the result before anyone acts on it.
 * Asked again with the same attempt, an agent answers from its journal, joins what still runs, or finishes what it
 * began.
 */
#include "controller/job/engine.h"
#include "controller/job/stall.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/random.h"

#include <stdio.h>
#include <string.h>

// What may pass by itself: the peer or its libvirt is away, or too busy just now.
bool ask_is_transient(enum error_code code) {
        return code == ERROR_UNREACHABLE || code == ERROR_BUSY;
}

int ask_begin(struct job *job, struct job_step *step, struct error *err) {
        step->state = STEP_RUNNING;
        step->row.started_ms = clock_wall_ms();
        step->row.finished_ms = 0;
        step->begun_ms = clock_ms(job->runner->clock);
        error_clear(&step->error);
        step->note[0] = '\0';
        if (job_store_step(job, step, job->runner->store, err) < 0) {
                step->state = STEP_PENDING;
                return -1;
        }
        job->changed = true;
        return 0;
}

static const Drover__TransferPath paths[] = {DROVER__TRANSFER_PATH__PATH_DIRECT, DROVER__TRANSFER_PATH__PATH_REVERSE,
                                             DROVER__TRANSFER_PATH__PATH_RELAY};

#define N_PATHS ((unsigned) ARRAY_SIZE(paths))

static struct job_step *other_end(struct job *job, const struct job_step *step) {
        for (unsigned i = 0; i < job->n_steps; i++) {
                struct job_step *other = &job->steps[i];
                if (other != step && other->group == step->group && other->undo == step->undo &&
                    other->row.attempt == step->row.attempt && other->ticket_attempt == step->row.attempt)
                        return other;
        }
        return NULL;
}

// Each attempt takes the next path, beginning with the one that worked last; a forced path is the only one. Both ends
// of an attempt take the same.
static Drover__TransferPath path_for(struct job *job, const struct job_step *step, const char *disk) {
        const struct job_step *other = other_end(job, step);
        struct job_transfer *transfer = job_transfer(job, disk);
        if (job->plan->path)
                return job->plan->path;
        if (other)
                return other->path;
        if (step->row.attempt == 1)
                transfer->path_shift = job->path_first;
        return paths[(step->row.attempt - 1 + transfer->path_shift) % N_PATHS];
}

// Something has come over this path: what is cut is tried again on it, and so is the next disk.
static void path_worked(struct job *job, struct job_transfer *transfer, const struct job_step *step) {
        for (unsigned i = 0; i < N_PATHS; i++) {
                if (paths[i] != step->path)
                        continue;
                job->path_first = i;
                transfer->path_shift = i + N_PATHS - step->row.attempt % N_PATHS;
        }
}

static int new_ticket(const struct job *job, const struct job_step *step, const char *disk, Drover__TransferPath path,
                      ProtobufCBinaryData *ret, struct error *err) {
        Drover__Ticket *ticket = new (Drover__Ticket);
        struct buffer bytes;
        buffer_init(&bytes, 0);
        drover__ticket__init(ticket);
        ticket->job = memory_string(job->row.id);
        ticket->disk = memory_string(disk);
        ticket->attempt = step->row.attempt;
        ticket->source_host = memory_string(job->plan->source_host);
        ticket->sink_host = memory_string(job->plan->target_host);
        ticket->path = path;
        int r = authority_ticket(job->runner->authority, ticket, &bytes, err);
        if (r == 0) {
                ret->len = bytes.length;
                ret->data = memory_new(bytes.length + 1);
                memcpy(ret->data, bytes.data, bytes.length);
        }
        buffer_fini(&bytes);
        proto_free(&ticket->base);
        return r;
}

// Both ends of one attempt need the same ticket: the end that is asked first has it made, and it is kept beside the
// step.
static int shared_ticket(struct job *job, struct job_step *step, const char *disk, Drover__TransferPath path,
                         ProtobufCBinaryData *ret, struct error *err) {
        const struct job_step *other = other_end(job, step);
        if (!other)
                return new_ticket(job, step, disk, path, ret, err);
        ret->len = other->ticket.length;
        ret->data = memory_new(ret->len + 1);
        memcpy(ret->data, other->ticket.data, ret->len);
        return 0;
}

static void set_peer(Drover__TransferOrder *order, const struct fleet_host *host) {
        order->peer_address = memory_string(host->data_address[0] ? host->data_address : host->address);
        order->peer_port = host->data_port;
}

static int make_order(struct job *job, struct job_step *step, const char *disk, Drover__TransferOrder **ret,
                      struct error *err) {
        Drover__TransferPath path = path_for(job, step, disk);
        const struct fleet_host *source = fleet_host_by_uuid(job->runner->fleet, job->plan->source_host);
        const struct fleet_host *sink = fleet_host_by_uuid(job->runner->fleet, job->plan->target_host);
        if (!source || !sink)
                return error_set(err, ERROR_NOT_FOUND, "a host of this job has been removed");
        Drover__TransferOrder *order = new (Drover__TransferOrder);
        drover__transfer_order__init(order);
        if (shared_ticket(job, step, disk, path, &order->ticket, err) < 0) {
                proto_free(&order->base);
                return -1;
        }
        buffer_clear(&step->ticket);
        buffer_append(&step->ticket, order->ticket.data, order->ticket.len, NULL);
        step->ticket_attempt = step->row.attempt;
        step->path = path;
        if (step->kind->place == AT_SOURCE)
                order->rate_bytes_per_second = shape_first(job, step);
        if (path == DROVER__TRANSFER_PATH__PATH_DIRECT && step->kind->place == AT_SOURCE)
                set_peer(order, sink);
        else if (path == DROVER__TRANSFER_PATH__PATH_REVERSE && step->kind->place == AT_TARGET)
                set_peer(order, source);
        *ret = order;
        return 0;
}

static int add_order(struct job *job, struct job_step *step, Drover__AgentRequest *request, struct error *err) {
        if (request->verb_case == DROVER__AGENT_REQUEST__VERB_TRANSFER_SEND)
                return make_order(job, step, request->transfer_send->target, &request->transfer_send->order, err);
        if (request->verb_case != DROVER__AGENT_REQUEST__VERB_TRANSFER_RECEIVE)
                return 0; // from one place on a host to another
        return make_order(job, step, request->transfer_receive->disk->target, &request->transfer_receive->order, err);
}

// Which VM the request is about, and the epoch of its grant.
static void set_subject(const struct job *job, const struct job_step *step, Drover__AgentRequest *request) {
        const char *uuid = step->kind->original ? job->plan->vm_uuid : job->row.vm_uuid;
        const struct fleet_owner *owner = step->kind->original ? fleet_owner(job->runner->fleet, uuid) : NULL;
        request->vm_uuid = memory_string(uuid);
        request->epoch = owner ? owner->epoch : step->kind->original ? 0 : job->row.epoch;
}

int ask_send(struct job *job, struct job_step *step, struct error *err) {
        Drover__AgentRequest *request = new (Drover__AgentRequest);
        drover__agent_request__init(request);
        request->job = memory_string(job->row.id);
        request->step = memory_string(step->row.name);
        request->attempt = step->row.attempt;
        set_subject(job, step, request);
        int r = step->kind->fill(job, step, request, err);
        if (r == 0 && step->kind->copies)
                r = add_order(job, step, request, err);
        if (r == 0)
                r = job->runner->port.send(job->runner->port.data, step->host_uuid, request, &step->request_id, err);
        if (r == 0)
                step->asked = true;
        if (r == 0 && step->kind->copies)
                stall_begin(job, step);
        proto_free(&request->base);
        return r;
}

void ask_cancel(struct job *job, struct job_step *step) {
        Drover__AgentRequest *request = new (Drover__AgentRequest);
        drover__agent_request__init(request);
        request->job = memory_string(job->row.id);
        set_subject(job, step, request);
        request->verb_case = DROVER__AGENT_REQUEST__VERB_CANCEL_STEP;
        request->cancel_step = new (Drover__CancelStep);
        drover__cancel_step__init(request->cancel_step);
        request->cancel_step->step = memory_string(step->row.name);
        uint64_t id;
        struct error err = ERROR_INIT;
        if (job->runner->port.send(job->runner->port.data, step->host_uuid, request, &id, &err) < 0)
                engine_log(job, step, "cannot cancel the step", &err);
        step->cancelling = true;
        proto_free(&request->base);
}

int ask_rate(struct job *job, struct job_step *step, uint64_t rate, struct error *err) {
        Drover__AgentRequest *request = new (Drover__AgentRequest);
        uint64_t id;
        drover__agent_request__init(request);
        request->job = memory_string(job->row.id);
        set_subject(job, step, request);
        request->verb_case = DROVER__AGENT_REQUEST__VERB_TRANSFER_RATE;
        request->transfer_rate = new (Drover__TransferRate);
        drover__transfer_rate__init(request->transfer_rate);
        request->transfer_rate->step = memory_string(step->row.name);
        request->transfer_rate->rate_bytes_per_second = rate;
        int r = job->runner->port.send(job->runner->port.data, step->host_uuid, request, &id, err);
        proto_free(&request->base);
        return r;
}

static int keep_result(struct job *job, struct job_step *step, const Drover__AgentResult *result, struct error *err) {
        struct buffer bytes;
        buffer_init(&bytes, 0);
        if (PROTO_PACK(result, &bytes, err) < 0)
                return -1;
        free(step->row.result);
        step->row.result_length = bytes.length;
        step->row.result = memory_new(bytes.length + 1);
        memcpy(step->row.result, bytes.data, bytes.length);
        buffer_fini(&bytes);
        step->state = STEP_DONE;
        step->row.finished_ms = clock_wall_ms();
        return job_store_step(job, step, job->runner->store, err);
}

static void keep_transfer(struct job *job, const struct job_step *step, const Drover__AgentResult *result) {
        if (result->value_case != DROVER__AGENT_RESULT__VALUE_TRANSFER || !result->transfer->state)
                return;
        const Drover__TransferState *state = result->transfer->state;
        struct error err = ERROR_INIT;
        for (unsigned i = 0; i < job->n_transfers; i++) {
                struct job_transfer *transfer = &job->transfers[i];
                if (strcmp(transfer->disk, state->disk) != 0)
                        continue;
                bool from_sink = step->kind->place == AT_TARGET;
                job_transfer_heard(transfer, state, step->row.attempt, from_sink);
                if (from_sink) { // who has the verified blocks
                        transfer->resumed = result->transfer->resumed;
                        outlook_heard(job, step, state);
                }
                struct buffer bytes;
                buffer_init(&bytes, 0);
                struct store_transfer row = {
                        .attempt = transfer->attempt, .resumed = transfer->resumed, .digest = transfer->digest};
                snprintf(row.job, sizeof(row.job), "%s", job->row.id);
                snprintf(row.disk, sizeof(row.disk), "%s", transfer->disk);
                Drover__TransferState all = transfer->state;
                all.disk = transfer->disk;
                all.choice = transfer->choice;
                if (PROTO_PACK(&all, &bytes, &err) == 0) {
                        row.state = bytes.data;
                        row.state_length = bytes.length;
                        if (store_transfer_put(job->runner->store, &row, &err) < 0)
                                engine_log(job, NULL, "cannot record the transfer", &err);
                }
                buffer_fini(&bytes);
        }
}

void ask_answer(struct job *job, struct job_step *step, const Drover__AgentResult *result) {
        struct error err = ERROR_INIT;
        step->asked = false;
        job->changed = true;
        int r = result->failure ? proto_error(result->failure, &err) : 0;
        if (r == 0 && step->kind->accept)
                r = step->kind->accept(job, step, result, &err);
        if (r == 0) {
                keep_transfer(job, step, result);
                r = keep_result(job, step, result, &err);
                if (r < 0) { // the answer stands in the agent's journal: ask again
                        step->state = STEP_RUNNING;
                        engine_log(job, step, "cannot record the result; asking again", &err);
                        engine_wait(job, 1000);
                        return;
                }
                job->transient_failures = 0;
                return;
        }
        stall_explain(job, step, &err);
        step->state = STEP_FAILED;
        step->error = err;
        step->row.finished_ms = clock_wall_ms();
        engine_log(job, step, "step failed", &err);
        struct error ignored = ERROR_INIT;
        if (job_store_step(job, step, job->runner->store, &ignored) < 0)
                engine_log(job, step, "cannot record the failure", &ignored);
}

void ask_progress(struct job *job, struct job_step *step, const Drover__AgentProgress *progress) {
        job->changed = true;
        snprintf(step->note, sizeof(step->note), "%s", progress->note);
        if (!progress->transfer || !step->kind->copies)
                return;
        stall_heard(job, step, progress->transfer);
        bool from_sink = step->kind->place == AT_TARGET;
        if (!from_sink)
                shape_heard(job, step, progress->transfer);
        struct job_transfer *transfer = job_transfer(job, progress->transfer->disk);
        job_transfer_heard(transfer, progress->transfer, step->row.attempt, from_sink);
        if (!from_sink)
                return;
        transfer->attempt = step->row.attempt;
        const Drover__TransferState *state = progress->transfer;
        if (state->bytes_done > 0 && step->path && step->stalled_seconds == 0)
                path_worked(job, transfer, step);
        if (state->bytes_done > state->bytes_kept + state->bytes_zero)
                job->transient_failures = 0; // something new: what is cut now is tried again at once
}
