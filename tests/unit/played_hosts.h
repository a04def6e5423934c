// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The runner with real store, fleet and authority, and hosts that are played: each answers what it is asked and keeps a
 * journal as an agent does, so that a controller that dies at any moment and comes back finds them as it left them.
 * Include after cmocka.h.
 */
#include <time.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "controller/job/plan.h"
#include "controller/job/runner.h"
#include "fleet_fixture.h"

#define ASKED_MAX 512

struct asked {
        char host[NAME_UUID_LENGTH + 1], vm[NAME_UUID_LENGTH + 1], step[32];
        uint32_t attempt;
        uint64_t id, epoch;
        Drover__AgentRequest__VerbCase verb;
        size_t snapshots; // of a definition
        bool answered;
};

static uv_loop_t loop;
static struct runner *runner;
static struct asked asked[ASKED_MAX];
static unsigned n_asked, n_answered;
static const char *fail_step;     // this step fails ...
static enum error_code fail_code; // ... with this, ...
static unsigned fail_times;       // ... so often
static const char *silent_step;   // this one is never answered
static uint64_t now_ms;

static inline uint64_t played_ms(void *data) {
        (void) data;
        return now_ms;
}
static inline int64_t played_wall(void *data) {
        (void) data;
        return time(NULL);
}
static const struct clock played_clock = {.monotonic_ms = played_ms, .wall_seconds = played_wall};

static inline int port_send(void *data, const char *host, Drover__AgentRequest *request, uint64_t *ret_id,
                            struct error *err) {
        (void) data;
        struct fleet_host *to = fleet_host_by_uuid(fleet, host);
        if (!to->online)
                return error_set(err, ERROR_UNREACHABLE, "no link");
        assert_true(n_asked < ASKED_MAX);
        struct asked *entry = &asked[n_asked++];
        *entry = (struct asked){0};
        snprintf(entry->host, sizeof(entry->host), "%s", host);
        snprintf(entry->vm, sizeof(entry->vm), "%s", request->vm_uuid);
        snprintf(entry->step, sizeof(entry->step), "%s", request->step);
        entry->attempt = request->attempt;
        entry->epoch = request->epoch;
        entry->verb = request->verb_case;
        if (entry->verb == DROVER__AGENT_REQUEST__VERB_MOVE_DEFINE)
                entry->snapshots = request->move_define->n_snapshot_xml;
        entry->id = *ret_id = n_asked;
        return 0;
}

static inline void fill_inspect(Drover__AgentResult *result) {
        result->value_case = DROVER__AGENT_RESULT__VALUE_INSPECT;
        result->inspect = new (Drover__MoveInspectResult);
        drover__move_inspect_result__init(result->inspect);
        result->inspect->domain = new_domain(ERP, "erp", "running", "52:54:00:00:00:01");
        result->inspect->definition_xml.data = (uint8_t *) memory_string("<domain/>");
        result->inspect->definition_xml.len = 9;
        result->inspect->snapshot_xml = new (ProtobufCBinaryData);
        result->inspect->n_snapshot_xml = 1;
        result->inspect->snapshot_xml[0].data = (uint8_t *) memory_string("<domainsnapshot/>");
        result->inspect->snapshot_xml[0].len = 17;
}

static inline void fill_fence(Drover__AgentResult *result) {
        static const char *const targets[] = {"vda", "vdb"};
        result->value_case = DROVER__AGENT_RESULT__VALUE_FENCE;
        result->fence = new (Drover__MoveFenceResult);
        drover__move_fence_result__init(result->fence);
        result->fence->disks = new_array(Drover__MoveDisk *, 2);
        for (; result->fence->n_disks < 2; result->fence->n_disks++) {
                Drover__MoveDisk *disk = new (Drover__MoveDisk);
                drover__move_disk__init(disk);
                disk->target = memory_string(targets[result->fence->n_disks]);
                disk->file_bytes = 4096;
                result->fence->disks[result->fence->n_disks] = disk;
        }
}

static inline void fill_transfer(Drover__AgentResult *result, const char *step) {
        const char *disk = strchr(step, '-') + 1;
        result->value_case = DROVER__AGENT_RESULT__VALUE_TRANSFER;
        result->transfer = new (Drover__TransferResult);
        drover__transfer_result__init(result->transfer);
        result->transfer->digest = memory_format("d2:%s", disk);
        result->transfer->state = new (Drover__TransferState);
        drover__transfer_state__init(result->transfer->state);
        result->transfer->state->disk = memory_string(disk);
        result->transfer->state->bytes_done = 4096;
        result->transfer->state->choice = memory_string("plain: the link is fast");
        result->transfer->resumed = 1;
}

static inline void answer(struct asked *entry) {
        Drover__AgentResult *result = new (Drover__AgentResult);
        struct error why = ERROR_INIT;
        drover__agent_result__init(result);
        result->id = entry->id;
        entry->answered = true;
        if (fail_step && fail_times > 0 && strcmp(entry->step, fail_step) == 0) {
                fail_times--;
                error_set(&why, fail_code, "played failure");
                result->failure = proto_failure(&why);
        } else if (entry->verb == DROVER__AGENT_REQUEST__VERB_MOVE_INSPECT) {
                fill_inspect(result);
        } else if (entry->verb == DROVER__AGENT_REQUEST__VERB_MOVE_FENCE ||
                   entry->verb == DROVER__AGENT_REQUEST__VERB_CLONE_HOLD) {
                fill_fence(result);
        } else if (entry->verb == DROVER__AGENT_REQUEST__VERB_TRANSFER_SEND ||
                   entry->verb == DROVER__AGENT_REQUEST__VERB_TRANSFER_RECEIVE ||
                   entry->verb == DROVER__AGENT_REQUEST__VERB_CLONE_LOCAL) {
                fill_transfer(result, entry->step);
        } else if (entry->verb == DROVER__AGENT_REQUEST__VERB_MOVE_DEFINE) {
                result->value_case = DROVER__AGENT_RESULT__VALUE_DEFINE;
                result->define = new (Drover__MoveDefineResult);
                drover__move_define_result__init(result->define);
                result->define->definition_sha256 = memory_string("d00d");
                result->define->warnings = new_array(char *, 1);
                result->define->warnings[result->define->n_warnings++] =
                        memory_string("the clone does not know the snapshot live");
        } else if (entry->verb == DROVER__AGENT_REQUEST__VERB_MOVE_SETTLE) {
                result->value_case = DROVER__AGENT_RESULT__VALUE_SETTLE;
                result->settle = new (Drover__MoveSettleResult);
                drover__move_settle_result__init(result->settle);
                result->settle->images_version = memory_string("v1");
        }
        n_answered++;
        runner_on_result(runner, entry->host, result);
        proto_free(&result->base);
}

// What a cancelled step answers.
static inline void answer_cancelled(const char *step) {
        for (unsigned i = 0; i < n_asked; i++) {
                if (asked[i].answered || strcmp(asked[i].step, step) != 0)
                        continue;
                const char *kept_step = fail_step;
                enum error_code kept_code = fail_code;
                fail_step = step;
                fail_code = ERROR_CANCELLED;
                fail_times++;
                answer(&asked[i]);
                fail_step = kept_step;
                fail_code = kept_code;
        }
}

static inline void open_runner(void) {
        struct error err = ERROR_INIT;
        const struct runner_port port = {.send = port_send};
        must(runner_new(&loop, store, fleet, authority, &played_clock, &port, &runner, &err), &err);
        must(runner_recover(runner, &err), &err);
}

static inline void close_runner(void) {
        runner_free(runner);
        uv_run(&loop, UV_RUN_NOWAIT);
}

static inline int begin(void **state) {
        n_asked = n_answered = 0;
        fail_step = silent_step = NULL;
        fail_times = 0;
        now_ms = 1000000;
        if (make_fleet(state) < 0)
                return -1;
        uv_loop_init(&loop);
        open_runner();
        return 0;
}

static inline int end(void **state) {
        close_runner();
        uv_run(&loop, UV_RUN_DEFAULT);
        uv_loop_close(&loop);
        return drop_fleet(state);
}

// The controller dies without a word and comes back; the hosts connect again.
static inline void die_and_come_back(void) {
        close_runner();
        close_fleet();
        for (unsigned i = 0; i < n_asked; i++)
                asked[i].answered = true; // answers to the dead controller go nowhere
        open_fleet();
        open_runner();
        fleet_host_online(fleet, lyon, "192.0.2.1");
        fleet_host_online(fleet, nantes, "192.0.2.2");
        runner_on_host(runner, LYON, true);
        runner_on_host(runner, NANTES, true);
}

// One thing happens: the first open question is answered, or else time passes. False when the job has ended.
static inline bool one_thing(const char *job) {
        struct error err = ERROR_INIT;
        Drover__JobRecord *record = NULL;
        for (unsigned i = 0; i < n_asked; i++)
                if (!asked[i].answered && asked[i].verb != DROVER__AGENT_REQUEST__VERB_CANCEL_STEP &&
                    !(silent_step && strcmp(asked[i].step, silent_step) == 0)) {
                        answer(&asked[i]);
                        return true;
                }
        must(runner_job(runner, job, &record, &err), &err);
        bool ended = record->finished_ms != 0 || strcmp(record->state, "needs-operator") == 0;
        proto_free(&record->base);
        now_ms += 1000;
        uv_update_time(&loop);
        runner_on_host(runner, LYON, lyon->online); // any event makes the runner look again
        return !ended;
}

static inline void finish(const char *job, const char *state) {
        struct error err = ERROR_INIT;
        Drover__JobRecord *record = NULL;
        for (unsigned i = 0; i < 500 && one_thing(job); i++)
                ;
        must(runner_job(runner, job, &record, &err), &err);
        assert_string_equal(record->state, state);
        proto_free(&record->base);
}

static inline unsigned times_asked(const char *step) {
        unsigned n = 0;
        for (unsigned i = 0; i < n_asked; i++)
                n += strcmp(asked[i].step, step) == 0;
        return n;
}

static inline unsigned place_of(const char *step) {
        for (unsigned i = 0; i < n_asked; i++)
                if (strcmp(asked[i].step, step) == 0)
                        return i + 1;
        return 0;
}

#define RUNNER_TEST(test) cmocka_unit_test_setup_teardown(test, begin, end)
