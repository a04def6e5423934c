// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The runner with real store, fleet and authority, and hosts that are played: each answers what it is asked and keeps a
 * journal as an agent does, so that a controller that dies at any moment and comes back finds them as it left them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "controller/job/plan.h"
#include "controller/job/runner.h"
#include "fleet_fixture.h"

#define ASKED_MAX 256

struct asked {
        char host[NAME_UUID_LENGTH + 1], step[32];
        uint32_t attempt;
        uint64_t id, epoch;
        Drover__AgentRequest__VerbCase verb;
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

static uint64_t played_ms(void *data) {
        (void) data;
        return now_ms;
}
static int64_t played_wall(void *data) {
        (void) data;
        return time(NULL);
}
static const struct clock played_clock = {.monotonic_ms = played_ms, .wall_seconds = played_wall};

static int port_send(void *data, const char *host, Drover__AgentRequest *request, uint64_t *ret_id, struct error *err) {
        (void) data;
        struct fleet_host *to = fleet_host_by_uuid(fleet, host);
        if (!to->online)
                return error_set(err, ERROR_UNREACHABLE, "no link");
        assert_true(n_asked < ASKED_MAX);
        struct asked *entry = &asked[n_asked++];
        *entry = (struct asked){0};
        snprintf(entry->host, sizeof(entry->host), "%s", host);
        snprintf(entry->step, sizeof(entry->step), "%s", request->step);
        entry->attempt = request->attempt;
        entry->epoch = request->epoch;
        entry->verb = request->verb_case;
        entry->id = *ret_id = n_asked;
        return 0;
}

static void fill_inspect(Drover__AgentResult *result) {
        result->value_case = DROVER__AGENT_RESULT__VALUE_INSPECT;
        result->inspect = new (Drover__MoveInspectResult);
        drover__move_inspect_result__init(result->inspect);
        result->inspect->domain = new_domain(ERP, "erp", "running", "52:54:00:00:00:01");
        result->inspect->definition_xml.data = (uint8_t *) memory_string("<domain/>");
        result->inspect->definition_xml.len = 9;
}

static void fill_fence(Drover__AgentResult *result) {
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

static void fill_transfer(Drover__AgentResult *result, const char *step) {
        const char *disk = strchr(step, '-') + 1;
        result->value_case = DROVER__AGENT_RESULT__VALUE_TRANSFER;
        result->transfer = new (Drover__TransferResult);
        drover__transfer_result__init(result->transfer);
        result->transfer->digest = memory_format("d2:%s", disk);
        result->transfer->state = new (Drover__TransferState);
        drover__transfer_state__init(result->transfer->state);
        result->transfer->state->disk = memory_string(disk);
        result->transfer->state->bytes_done = 4096;
}

static void answer(struct asked *entry) {
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
        } else if (entry->verb == DROVER__AGENT_REQUEST__VERB_MOVE_FENCE) {
                fill_fence(result);
        } else if (entry->verb == DROVER__AGENT_REQUEST__VERB_TRANSFER_SEND ||
                   entry->verb == DROVER__AGENT_REQUEST__VERB_TRANSFER_RECEIVE) {
                fill_transfer(result, entry->step);
        }
        n_answered++;
        runner_on_result(runner, entry->host, result);
        proto_free(&result->base);
}

// What a cancelled step answers.
static void answer_cancelled(const char *step) {
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

static void open_runner(void) {
        struct error err = ERROR_INIT;
        const struct runner_port port = {.send = port_send};
        must(runner_new(&loop, store, fleet, authority, &played_clock, &port, &runner, &err), &err);
        must(runner_recover(runner, &err), &err);
}

static void close_runner(void) {
        runner_free(runner);
        uv_run(&loop, UV_RUN_NOWAIT);
}

static int begin(void **state) {
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

static int end(void **state) {
        close_runner();
        uv_run(&loop, UV_RUN_DEFAULT);
        uv_loop_close(&loop);
        return drop_fleet(state);
}

// The controller dies without a word and comes back; the hosts connect again.
static void die_and_come_back(void) {
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

static void start_move(char job[33]) {
        static const struct runner_caller caller = {"alice", "operator", "192.0.2.9"};
        Drover__VmMove request = DROVER__VM_MOVE__INIT;
        Drover__MovePlan *plan = NULL;
        struct error err = ERROR_INIT;
        request.vm = (char *) "erp";
        request.host = (char *) "nantes/kvm2";
        request.stop = DROVER__STOP_MODE__STOP_HARD;
        must(plan_move(fleet, &request, &plan, &err), &err);
        must(plan_refused(plan, &err), &err);
        must(runner_move(runner, plan, &caller, job, &err), &err);
        proto_free(&plan->base);
}

// One thing happens: the first open question is answered, or else time passes. False when the job has ended.
static bool one_thing(const char *job) {
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

static void finish(const char *job, const char *state) {
        struct error err = ERROR_INIT;
        Drover__JobRecord *record = NULL;
        for (unsigned i = 0; i < 500 && one_thing(job); i++)
                ;
        must(runner_job(runner, job, &record, &err), &err);
        assert_string_equal(record->state, state);
        proto_free(&record->base);
}

static unsigned times_asked(const char *step) {
        unsigned n = 0;
        for (unsigned i = 0; i < n_asked; i++)
                n += strcmp(asked[i].step, step) == 0;
        return n;
}

static unsigned place_of(const char *step) {
        for (unsigned i = 0; i < n_asked; i++)
                if (strcmp(asked[i].step, step) == 0)
                        return i + 1;
        return 0;
}

static void assert_owner(const char *host) {
        assert_string_equal(fleet_owner(fleet, ERP)->host_uuid, host);
        assert_string_equal(fleet_owner(fleet, ERP)->job, "");
}

static void a_move_asks_each_step_once_and_in_order(void **state) {
        (void) state;
        static const char *const order[] = {"check",       "reserve",  "stop",        "fence",  "send-vda",
                                            "receive-vda", "send-vdb", "receive-vdb", "define", "verify",
                                            "confirm",     "start",    "retire",      "settle"};
        char job[33];
        start_move(job);
        assert_string_equal(fleet_owner(fleet, ERP)->job, job);
        finish(job, "done");
        assert_int_equal(n_asked, ARRAY_SIZE(order));
        for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
                assert_string_equal(asked[i].step, order[i]);
        assert_owner(NANTES);
        assert_true(asked[n_asked - 1].epoch > asked[0].epoch);
}

static void fault_11_a_controller_that_dies_after_any_answer_finishes_the_move(void **state) {
        (void) state;
        char job[33];
        start_move(job);
        while (one_thing(job))
                die_and_come_back();
        finish(job, "done");
        assert_owner(NANTES);
        assert_int_equal(times_asked("discard"), 0);
        assert_int_equal(times_asked("release"), 0);
        for (unsigned i = 0; i < n_asked; i++) // asked again is the same attempt: the agent answers from its journal
                assert_int_equal(asked[i].attempt, 1);
}

// Every step that can fail before the commit, each with the source given back afterwards, and never a second start.
static void a_failure_before_the_commit_is_undone_at_both_ends(void **state) {
        static const char *const steps[] = {"reserve", "stop",   "fence",   "send-vda", "receive-vdb",
                                            "define",  "verify", "confirm", "start"};
        for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
                char job[33];
                if (i > 0) {
                        end(state);
                        begin(state);
                }
                fail_step = steps[i];
                fail_code = ERROR_NO_SPACE;
                fail_times = 1;
                start_move(job);
                finish(job, "failed");
                assert_owner(LYON);
                assert_int_equal(times_asked("discard"), 1);
                assert_int_equal(times_asked("release"), i == 0 ? 0 : 1);
                assert_int_equal(times_asked("retire"), 0);
                if (i >= 5) // once it was to be defined there, the target is cleared first
                        assert_true(place_of("discard") < place_of("release"));
                assert_true(asked[place_of("discard") - 1].epoch > asked[0].epoch);
        }
}

static void fault_74_cancel_at_every_step_is_as_before(void **state) {
        for (unsigned answers = 0; answers < 12; answers++) {
                struct error err = ERROR_INIT;
                char job[33];
                if (answers > 0) {
                        end(state);
                        begin(state);
                }
                start_move(job);
                one_thing(job); // the first tick asks
                while (n_answered < answers)
                        one_thing(job);
                must(runner_cancel(runner, job, &err), &err);
                finish(job, "cancelled");
                assert_owner(LYON);
                assert_int_equal(times_asked("retire"), 0);
        }
}

static void cancel_after_the_commit_is_refused(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        char job[33], text[128];
        silent_step = "retire";
        start_move(job);
        for (unsigned i = 0; i < 40; i++)
                one_thing(job);
        assert_int_equal(runner_cancel(runner, job, &err), -1);
        snprintf(text, sizeof(text), "job %s is past its commit point and can only be finished", job);
        assert_error(err, ERROR_CONFLICT, text);
        silent_step = NULL;
        finish(job, "done");
}

static void fault_02_an_offline_target_is_waited_for_and_the_wait_is_told(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        Drover__JobRecord *record = NULL;
        char job[33];
        start_move(job);
        while (!place_of("fence"))
                one_thing(job);
        fleet_host_offline(fleet, nantes);
        runner_on_host(runner, NANTES, false);
        for (unsigned i = 0; i < 20; i++)
                one_thing(job);
        must(runner_job(runner, job, &record, &err), &err);
        assert_string_equal(record->state, "waiting");
        assert_string_equal(record->note, "nantes/kvm2 is offline");
        proto_free(&record->base);
        fleet_host_online(fleet, nantes, "192.0.2.2");
        runner_on_host(runner, NANTES, true);
        finish(job, "done");
        assert_owner(NANTES);
}

static void an_unreachable_peer_is_tried_over_the_next_path(void **state) {
        (void) state;
        char job[33];
        fail_step = "send-vda";
        fail_code = ERROR_UNREACHABLE;
        fail_times = 2;
        silent_step = "receive-vda";
        start_move(job);
        for (unsigned i = 0; i < 60 && times_asked("send-vda") < 3; i++) {
                one_thing(job);
                if (times_asked("send-vda") < 3)
                        answer_cancelled("receive-vda");
        }
        silent_step = NULL;
        finish(job, "done");
        assert_int_equal(times_asked("send-vda"), 3);
        assert_int_equal(asked[place_of("send-vda") - 1].attempt, 1);
        assert_owner(NANTES);
}

static void an_undo_that_fails_needs_an_operator_and_goes_on_when_told(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        char job[33];
        start_move(job);
        while (!place_of("define"))
                one_thing(job);
        must(runner_cancel(runner, job, &err), &err);
        fail_step = "release";
        fail_code = ERROR_IO;
        fail_times = 1;
        finish(job, "needs-operator");
        die_and_come_back();
        assert_string_equal(fleet_owner(fleet, ERP)->job, job); // still held
        must(runner_retry(runner, job, &err), &err);
        finish(job, "cancelled");
        assert_owner(LYON);
}

static void a_second_job_for_a_held_vm_is_a_conflict(void **state) {
        (void) state;
        static const struct runner_caller caller = {"alice", "operator", "192.0.2.9"};
        struct error err = ERROR_INIT;
        char job[33], other[33], text[128];
        start_move(job);
        assert_int_equal(runner_power(runner, fleet_vm_on(fleet, lyon, ERP), DROVER__POWER_ACTION__POWER_START, 0,
                                      &caller, other, &err),
                         -1);
        snprintf(text, sizeof(text), "erp is held by job %s", job);
        assert_error(err, ERROR_CONFLICT, text);
        finish(job, "done");
}

static void fault_25_a_controller_restored_from_an_old_copy_catches_up_with_the_epochs(void **state) {
        (void) state;
        Drover__Domain *domain = new_domain(ERP, "erp", "running", "52:54:00:00:00:01");
        char job[33];
        domain->epoch = 41; // what the host has been granted by the controller that is gone
        tell_picture(lyon, domain, 50 * GIB);
        start_move(job);
        finish(job, "done");
        assert_true(asked[0].epoch > 41);
}

static void power_jobs_are_recorded_and_end(void **state) {
        (void) state;
        static const struct runner_caller caller = {"alice", "operator", "192.0.2.9"};
        struct error err = ERROR_INIT;
        Drover__JobRecord *record = NULL;
        char job[33];
        must(runner_power(runner, fleet_vm_on(fleet, lyon, ERP), DROVER__POWER_ACTION__POWER_STOP, 0, &caller, job,
                          &err),
             &err);
        finish(job, "done");
        must(runner_job(runner, job, &record, &err), &err);
        assert_string_equal(record->kind, "vm.stop");
        assert_string_equal(record->vm, "lyon/kvm1/erp");
        assert_string_equal(record->user, "alice");
        assert_int_equal(asked[0].verb, DROVER__AGENT_REQUEST__VERB_DOMAIN_POWER);
        proto_free(&record->base);
}

static unsigned told;
static char last_state[16];
static void on_followed(const Drover__JobRecord *job, bool ended, void *data) {
        (void) data;
        (void) ended;
        told++;
        snprintf(last_state, sizeof(last_state), "%s", job->state);
}

static void followers_hear_of_the_end(void **state) {
        (void) state;
        struct runner_follower *follower = NULL;
        struct error err = ERROR_INIT;
        char job[33];
        told = 0;
        start_move(job);
        must(runner_follow(runner, job, on_followed, NULL, &follower, &err), &err);
        finish(job, "done");
        assert_true(told >= 2);
        assert_string_equal(last_state, "done");
        must(runner_follow(runner, job, on_followed, NULL, &follower, &err), &err); // of one that has ended: once
        assert_null(follower);
}

#define RUNNER_TEST(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void) {
        const struct CMUnitTest tests[] = {
                RUNNER_TEST(a_move_asks_each_step_once_and_in_order),
                RUNNER_TEST(fault_11_a_controller_that_dies_after_any_answer_finishes_the_move),
                RUNNER_TEST(a_failure_before_the_commit_is_undone_at_both_ends),
                RUNNER_TEST(fault_74_cancel_at_every_step_is_as_before),
                RUNNER_TEST(cancel_after_the_commit_is_refused),
                RUNNER_TEST(fault_02_an_offline_target_is_waited_for_and_the_wait_is_told),
                RUNNER_TEST(an_unreachable_peer_is_tried_over_the_next_path),
                RUNNER_TEST(an_undo_that_fails_needs_an_operator_and_goes_on_when_told),
                RUNNER_TEST(a_second_job_for_a_held_vm_is_a_conflict),
                RUNNER_TEST(fault_25_a_controller_restored_from_an_old_copy_catches_up_with_the_epochs),
                RUNNER_TEST(power_jobs_are_recorded_and_end),
                RUNNER_TEST(followers_hear_of_the_end),
        };
        log_set_level(LOG_LEVEL_ERROR);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
