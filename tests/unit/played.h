// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The runner with hosts that are played: whatever is asked is kept as it was asked, and answered when the test says so,
 * from a journal as an agent's, so that a controller that dies at any moment and comes back finds them as it left them.
 * Real store, fleet and authority. Include after cmocka.h.
 */
#include "common/cleanup.h"
#include "controller/job/plan.h"
#include "controller/job/runner.h"
#include "fleet_fixture.h"

#define PLAYED_MAX 2048

struct question {
        char host[NAME_UUID_LENGTH + 1];
        Drover__AgentRequest *request;
        bool answered;
};

static uv_loop_t loop;
static struct runner *runner;
static struct question questions[PLAYED_MAX];
static unsigned n_questions;
static uint64_t now_ms;
static int64_t now_wall;
static uint64_t played_file_bytes = 4096; // of each image, at the fence
static uint32_t played_bitmaps;           // the same

static inline uint64_t played_ms(void *data) {
        (void) data;
        return now_ms;
}
static inline int64_t played_wall(void *data) {
        (void) data;
        return now_wall;
}
static const struct clock played_clock = {.monotonic_ms = played_ms, .wall_seconds = played_wall};
static const struct runner_caller played_caller = {"alice", "operator", "192.0.2.9"};

static inline int played_send(void *data, const char *host, Drover__AgentRequest *request, uint64_t *ret_id,
                              struct error *err) {
        (void) data;
        if (!fleet_host_by_uuid(fleet, host)->online)
                return error_set(err, ERROR_UNREACHABLE, "no link");
        assert_true(n_questions < PLAYED_MAX);
        struct question *question = &questions[n_questions++];
        *question = (struct question){.request = (Drover__AgentRequest *) proto_copy(&request->base)};
        snprintf(question->host, sizeof(question->host), "%s", host);
        question->request->id = *ret_id = n_questions;
        return 0;
}

// Something has happened: the runner looks at all its jobs.
static inline void look(void) {
        runner_on_host(runner, LYON, lyon->online);
}

static inline void time_passes(unsigned seconds) {
        for (unsigned i = 0; i < seconds; i++) {
                now_ms += 1000;
                now_wall += 1;
                look();
        }
}

static inline void fill_inspect(const struct question *question, Drover__AgentResult *result) {
        const char *uuid = question->request->vm_uuid;
        struct fleet_vm *vm = fleet_vm_on(fleet, fleet_host_by_uuid(fleet, question->host), uuid);
        result->value_case = DROVER__AGENT_RESULT__VALUE_INSPECT;
        result->inspect = new (Drover__MoveInspectResult);
        drover__move_inspect_result__init(result->inspect);
        result->inspect->domain = vm ? (Drover__Domain *) proto_copy(&vm->domain->base)
                                     : new_domain(uuid, "any", "shut off", "52:54:00:00:00:01");
        result->inspect->definition_xml.data = (uint8_t *) memory_string("<domain/>");
        result->inspect->definition_xml.len = 9;
        result->inspect->snapshot_xml = new (ProtobufCBinaryData);
        result->inspect->n_snapshot_xml = 1;
        result->inspect->snapshot_xml[0].data = (uint8_t *) memory_string("<domainsnapshot/>");
        result->inspect->snapshot_xml[0].len = 17;
}

static inline void fill_images(char *const *targets, size_t n, Drover__AgentResult *result) {
        result->value_case = DROVER__AGENT_RESULT__VALUE_FENCE;
        result->fence = new (Drover__MoveFenceResult);
        drover__move_fence_result__init(result->fence);
        result->fence->disks = new_array(Drover__MoveDisk *, n + 1);
        for (; result->fence->n_disks < n; result->fence->n_disks++) {
                Drover__MoveDisk *disk = new (Drover__MoveDisk);
                drover__move_disk__init(disk);
                disk->target = memory_string(targets[result->fence->n_disks]);
                disk->file_bytes = played_file_bytes;
                disk->bitmaps = played_bitmaps;
                result->fence->disks[result->fence->n_disks] = disk;
        }
}

static inline void fill_transfer(const char *step, Drover__AgentResult *result) {
        const char *disk = strchr(step, '-') + 1;
        result->value_case = DROVER__AGENT_RESULT__VALUE_TRANSFER;
        result->transfer = new (Drover__TransferResult);
        drover__transfer_result__init(result->transfer);
        result->transfer->digest = memory_format("d2:%s", disk);
        result->transfer->state = new (Drover__TransferState);
        drover__transfer_state__init(result->transfer->state);
        result->transfer->state->disk = memory_string(disk);
        result->transfer->state->bytes_done = result->transfer->state->bytes_total = 4096;
        result->transfer->state->choice = memory_string("plain: the link is fast");
        result->transfer->resumed = 1;
}

static inline void fill_result(const struct question *question, Drover__AgentResult *result) {
        const Drover__AgentRequest *request = question->request;
        switch ((int) request->verb_case) {
        case DROVER__AGENT_REQUEST__VERB_MOVE_INSPECT:
                fill_inspect(question, result);
                break;
        case DROVER__AGENT_REQUEST__VERB_MOVE_FENCE:
                fill_images(request->move_fence->targets, request->move_fence->n_targets, result);
                break;
        case DROVER__AGENT_REQUEST__VERB_CLONE_HOLD:
                fill_images(request->clone_hold->targets, request->clone_hold->n_targets, result);
                break;
        case DROVER__AGENT_REQUEST__VERB_TRANSFER_SEND:
        case DROVER__AGENT_REQUEST__VERB_TRANSFER_RECEIVE:
        case DROVER__AGENT_REQUEST__VERB_CLONE_LOCAL:
                fill_transfer(request->step, result);
                break;
        case DROVER__AGENT_REQUEST__VERB_MOVE_DEFINE:
                result->value_case = DROVER__AGENT_RESULT__VALUE_DEFINE;
                result->define = new (Drover__MoveDefineResult);
                drover__move_define_result__init(result->define);
                result->define->definition_sha256 = memory_string("d00d");
                result->define->warnings = new_array(char *, 1);
                result->define->warnings[result->define->n_warnings++] =
                        memory_string("the clone does not know the snapshot live");
                break;
        case DROVER__AGENT_REQUEST__VERB_MOVE_SETTLE:
                result->value_case = DROVER__AGENT_RESULT__VALUE_SETTLE;
                result->settle = new (Drover__MoveSettleResult);
                drover__move_settle_result__init(result->settle);
                result->settle->images_version = memory_string("v1");
                break;
        default:
                break;
        }
}

// `why` NULL: it goes well.
static inline void answer(struct question *question, const struct error *why) {
        Drover__AgentResult *result = new (Drover__AgentResult);
        drover__agent_result__init(result);
        result->id = question->request->id;
        question->answered = true;
        if (why)
                result->failure = proto_failure(why);
        else
                fill_result(question, result);
        runner_on_result(runner, question->host, result);
        proto_free(&result->base);
}

static inline bool is_aside(const struct question *question) { // nobody waits for its answer
        Drover__AgentRequest__VerbCase verb = question->request->verb_case;
        return verb == DROVER__AGENT_REQUEST__VERB_CANCEL_STEP || verb == DROVER__AGENT_REQUEST__VERB_TRANSFER_RATE;
}

// The open question of this job's step; NULL: there is none.
static inline struct question *open_question(const char *job, const char *step) {
        for (unsigned i = 0; i < n_questions; i++)
                if (!questions[i].answered && !is_aside(&questions[i]) && strcmp(questions[i].request->job, job) == 0 &&
                    strcmp(questions[i].request->step, step) == 0)
                        return &questions[i];
        return NULL;
}

// Everything that this job asks goes well until it asks for this step, which stays open.
static inline void go_on_until(const char *job, const char *step) {
        for (unsigned rounds = 0; rounds < 100 && !open_question(job, step); rounds++)
                for (unsigned i = 0; i < n_questions && !open_question(job, step); i++)
                        if (!questions[i].answered && !is_aside(&questions[i]) &&
                            strcmp(questions[i].request->job, job) == 0)
                                answer(&questions[i], NULL);
        assert_non_null(open_question(job, step));
}

static inline void tell_transfer(const struct question *question, Drover__TransferState *state) {
        Drover__AgentProgress progress = DROVER__AGENT_PROGRESS__INIT;
        progress.id = question->request->id;
        progress.transfer = state;
        runner_on_progress(runner, question->host, &progress);
}

static inline void progress(const struct question *question, const char *disk, uint64_t done, uint64_t rate) {
        Drover__TransferState state = DROVER__TRANSFER_STATE__INIT;
        state.disk = (char *) disk;
        state.bytes_done = done;
        state.bytes_total = 1u << 30;
        state.rate_bytes_per_second = rate;
        tell_transfer(question, &state);
}

// vda has sent so much over the line.
static inline void progress_on_line(const struct question *question, uint64_t bytes) {
        Drover__TransferState state = DROVER__TRANSFER_STATE__INIT;
        state.disk = (char *) "vda";
        state.bytes_wire = bytes;
        tell_transfer(question, &state);
}

static inline void set_site(const char *name, const char *rates) {
        struct error err = ERROR_INIT;
        struct store_site site = {.timezone = "UTC"};
        snprintf(site.name, sizeof(site.name), "%s", name);
        snprintf(site.rates, sizeof(site.rates), "%s", rates);
        must(fleet_site_put(fleet, &site, &err), &err);
        look();
}

// A move that stops the VM hard and keeps to this rate (0: to none) has asked its first question.
static inline void begin_move(const char *vm, const char *host, uint64_t rate, char job[33]) {
        Drover__VmMove request = DROVER__VM_MOVE__INIT;
        Drover__MovePlan *plan = NULL;
        struct error err = ERROR_INIT;
        request.vm = (char *) vm;
        request.host = (char *) host;
        request.stop = DROVER__STOP_MODE__STOP_HARD;
        request.rate_bytes_per_second = rate;
        must(plan_move(fleet, &request, &plan, &err), &err);
        must(plan_refused(plan, &err), &err);
        must(runner_move(runner, plan, &played_caller, job, &err), &err);
        proto_free(&plan->base);
        look();
}

static inline Drover__JobRecord *record_of(const char *job) {
        Drover__JobRecord *record = NULL;
        struct error err = ERROR_INIT;
        must(runner_job(runner, job, &record, &err), &err);
        return record;
}

static inline void expect_note(const char *job, const char *note) {
        Drover__JobRecord *record = record_of(job);
        assert_string_equal(record->note, note);
        proto_free(&record->base);
}

static inline void expect_state(const char *job, const char *state) {
        Drover__JobRecord *record = record_of(job);
        if (strcmp(record->state, state) != 0)
                fail_msg("job %s is %s (%s), not %s", job, record->state,
                         record->error ? record->error->message : record->note, state);
        proto_free(&record->base);
}

static inline void open_runner(void) {
        struct error err = ERROR_INIT;
        const struct runner_port port = {.send = played_send};
        must(runner_new(&loop, store, fleet, authority, &played_clock, &port, &runner, &err), &err);
        must(runner_recover(runner, &err), &err);
}

static inline void close_runner(void) {
        runner_free(runner);
        uv_run(&loop, UV_RUN_NOWAIT);
}

static inline void forget_questions(void) {
        while (n_questions > 0)
                proto_free(&questions[--n_questions].request->base);
}

static inline int played_begin(void **state) {
        now_ms = 1000000;
        played_bitmaps = 0;
        now_wall = 1795262400; // 2026-11-21, noon in UTC: a Saturday
        if (make_fleet(state) < 0)
                return -1;
        uv_loop_init(&loop);
        open_runner();
        return 0;
}

static inline int played_end(void **state) {
        close_runner();
        uv_run(&loop, UV_RUN_DEFAULT);
        uv_loop_close(&loop);
        forget_questions();
        return drop_fleet(state);
}

// The controller dies without a word and comes back; the hosts connect again.
static inline void die_and_come_back(void) {
        close_runner();
        close_fleet();
        for (unsigned i = 0; i < n_questions; i++)
                questions[i].answered = true; // answers to the dead controller go nowhere
        open_fleet();
        open_runner();
        fleet_host_online(fleet, lyon, "192.0.2.1");
        fleet_host_online(fleet, nantes, "192.0.2.2");
        runner_on_host(runner, LYON, true);
        runner_on_host(runner, NANTES, true);
}

#define PLAYED_TEST(test) cmocka_unit_test_setup_teardown(test, played_begin, played_end)
