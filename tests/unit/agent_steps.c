// SPDX-License-Identifier: LGPL-2.1-or-later
/* The runner of steps, with verbs of the test's own and a real journal: order, memory, cancelling, bounds. */
#include "agent/session/steps.h"
#include "common/fault.h"
#include "common/memory.h"
#include "common/worker.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>
#include "scratch.h"

#define VM          "6c1f8a8e-0f4e-4b3c-9d5e-0a1b2c3d4e5f"
#define OTHER       "11111111-2222-4333-8444-555555555555"
#define ANSWERS_MAX 96

struct answer {
        uint64_t id;
        bool behind, touched; // it is to go behind what was changed; that had been said before
        enum error_code code;
        char message[256];
        char value[64];
};

static struct {
        uv_loop_t loop;
        struct journal *journal;
        struct steps *steps;
        struct answer answers[ANSWERS_MAX];
        unsigned n_answers;
        char notes[8][128];
        unsigned n_notes;
        uint64_t bytes_done; // of the newest progress
        char touched[64];
        bool stopped;
} scene;

// What the verbs below do and have done.
static atomic_uint acted, at_work;
static atomic_bool gate; // `wait` ends when it is open

static void give_value(struct verb_call *call, const char *text) {
        Drover__DomainXmlResult *value = new (Drover__DomainXmlResult);
        drover__domain_xml_result__init(value);
        value->xml.len = strlen(text);
        value->xml.data = (uint8_t *) memory_string(text);
        call->result->value_case = DROVER__AGENT_RESULT__VALUE_DOMAIN_XML;
        call->result->domain_xml = value;
}

static int run_act(struct verb_call *call, struct error *err) {
        char text[32];
        (void) err;
        snprintf(text, sizeof text, "acted %u", atomic_fetch_add(&acted, 1) + 1);
        give_value(call, text);
        return 0;
}

static int run_fail(struct verb_call *call, struct error *err) {
        atomic_fetch_add(&acted, 1);
        give_value(call, "half made");
        return error_set(err, ERROR_NO_SPACE, "no room");
}

static int run_wait(struct verb_call *call, struct error *err) {
        atomic_fetch_add(&at_work, 1);
        while (!atomic_load(&gate) && !call->cancelled(call->data))
                nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        atomic_fetch_sub(&at_work, 1);
        if (!atomic_load(&gate))
                return error_set(err, ERROR_CANCELLED, "cancelled while it waited");
        return run_act(call, err);
}

static int run_copy(struct verb_call *call, struct error *err) {
        Drover__TransferState state;
        drover__transfer_state__init(&state);
        state.disk = (char *) "vda";
        state.bytes_done = 4711;
        call->progress(&state, call->data);
        return run_wait(call, err);
}

#define STEP (VERB_JOB | VERB_VM | VERB_EPOCH | VERB_CHANGES)
static const struct verb act = {.name = "act", .flags = STEP, .thread = VERB_POOL, .run = run_act};
static const struct verb failing = {.name = "failing", .flags = STEP, .thread = VERB_POOL, .run = run_fail};
static const struct verb telling = {.name = "telling", .flags = STEP | VERB_TELLS, .thread = VERB_POOL, .run = run_act};
static const struct verb telling_failing = {
        .name = "telling_failing", .flags = STEP | VERB_TELLS, .thread = VERB_POOL, .run = run_fail};
static const struct verb waiting = {.name = "waiting", .flags = STEP, .thread = VERB_THREAD, .run = run_wait};
static const struct verb copying = {.name = "copying", .flags = STEP, .thread = VERB_THREAD, .run = run_copy};
static const struct verb reading = {.name = "reading", .flags = VERB_READS, .thread = VERB_POOL, .run = run_act};
static const struct verb undoing = {
        .name = "undoing", .flags = STEP | VERB_PREEMPTS, .thread = VERB_THREAD, .run = run_act};
static const struct verb cancelling = {.name = "cancel_step", .thread = VERB_LOOP};

// ---- the scene

static void on_result(const Drover__AgentResult *result, bool behind, void *data) {
        (void) data;
        assert_true(scene.n_answers < ANSWERS_MAX);
        struct answer *answer = &scene.answers[scene.n_answers++];
        *answer = (struct answer){.id = result->id, .behind = behind, .touched = *scene.touched};
        if (result->failure) {
                assert_int_equal(result->value_case, DROVER__AGENT_RESULT__VALUE__NOT_SET);
                answer->code = error_from_number(result->failure->code);
                snprintf(answer->message, sizeof answer->message, "%s", result->failure->message);
        } else if (result->value_case == DROVER__AGENT_RESULT__VALUE_DOMAIN_XML) {
                snprintf(answer->value, sizeof answer->value, "%.*s", (int) result->domain_xml->xml.len,
                         (const char *) result->domain_xml->xml.data);
        }
}

static void on_progress(const Drover__AgentProgress *progress, void *data) {
        (void) data;
        if (progress->transfer)
                scene.bytes_done = progress->transfer->bytes_done;
        else
                snprintf(scene.notes[scene.n_notes++ % 8], 128, "%llu: %s", (unsigned long long) progress->id,
                         progress->note);
}

static void on_touched(const char *vm_uuid, void *data) {
        (void) data;
        snprintf(scene.touched, sizeof scene.touched, "%s", vm_uuid);
}

static void open_steps(void) {
        const struct steps_hooks hooks = {.result = on_result, .progress = on_progress, .touched = on_touched};
        const struct verb_host host = {.journal = scene.journal};
        scene.steps = steps_new(&scene.loop, &host, &hooks);
}

static int set_up(void **state) {
        struct error err = ERROR_INIT;
        scratch_make(state);
        memset(&scene, 0, sizeof scene);
        atomic_store(&acted, 0);
        atomic_store(&gate, false);
        uv_loop_init(&scene.loop);
        if (journal_open(scratch_path("agent.db"), &scene.journal, &err) < 0)
                return -1;
        setenv("DROVER_FAULT_DIR", scratch, 1);
        fault_init();
        open_steps();
        return 0;
}

static bool is_stopped(void) {
        return scene.stopped;
}

static void on_stopped(void *data) {
        (void) data;
        scene.stopped = true;
}

static void on_tick(uv_timer_t *timer) {
        (*(unsigned *) timer->data)++;
}

// Turns the loop until the condition holds. What a thread does wakes no loop, so it looks every millisecond.
static void until(bool (*condition)(void)) {
        unsigned ticks = 0;
        uv_timer_t timer;
        uv_timer_init(&scene.loop, &timer);
        timer.data = &ticks;
        uv_timer_start(&timer, on_tick, 1, 1);
        while (!condition() && ticks < 10000)
                uv_run(&scene.loop, UV_RUN_ONCE);
        uv_close((uv_handle_t *) &timer, NULL);
        uv_run(&scene.loop, UV_RUN_NOWAIT);
        if (!condition())
                fail_msg("the condition never came");
}

static void stop_steps(void) {
        scene.stopped = false;
        steps_stop(scene.steps, on_stopped, NULL);
        until(is_stopped);
        steps_free(scene.steps);
        uv_run(&scene.loop, UV_RUN_NOWAIT);
}

static int tear_down(void **state) {
        if (!scene.stopped)
                stop_steps();
        uv_run(&scene.loop, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&scene.loop), 0);
        journal_close(scene.journal);
        unsetenv("DROVER_FAULT_DIR");
        fault_init();
        return scratch_remove(state);
}

struct ask {
        uint64_t id;
        const char *job, *step, *vm;
        uint32_t attempt;
        uint64_t epoch;
};

static Drover__AgentRequest *request_of(struct ask ask) {
        Drover__AgentRequest *request = new (Drover__AgentRequest);
        drover__agent_request__init(request);
        request->id = ask.id;
        request->job = memory_string(ask.job ? ask.job : "job1");
        request->step = memory_string(ask.step ? ask.step : "step");
        request->vm_uuid = memory_string(ask.vm ? ask.vm : VM);
        request->attempt = ask.attempt ? ask.attempt : 1;
        request->epoch = ask.epoch ? ask.epoch : 7;
        return request;
}

static void submit(const struct verb *verb, struct ask ask) {
        struct error err = ERROR_INIT;
        if (steps_submit(scene.steps, verb, request_of(ask), &err) < 0)
                fail_msg("%s", err.message);
}

static void submit_cancel(uint64_t id, const char *step) {
        struct error err = ERROR_INIT;
        Drover__AgentRequest *request = request_of((struct ask){.id = id});
        request->verb_case = DROVER__AGENT_REQUEST__VERB_CANCEL_STEP;
        request->cancel_step = new (Drover__CancelStep);
        drover__cancel_step__init(request->cancel_step);
        request->cancel_step->step = memory_string(step);
        assert_int_equal(steps_submit(scene.steps, &cancelling, request, &err), 0);
}

static unsigned answers_wanted;
static bool has_answers(void) {
        return scene.n_answers >= answers_wanted;
}

// The answer that comes as number n (from 1).
static const struct answer *answer(unsigned n) {
        answers_wanted = n;
        until(has_answers);
        return &scene.answers[n - 1];
}

static bool nobody_is_left(void) {
        return steps_count(scene.steps) == 0;
}

static unsigned workers_wanted;
static bool are_at_work(void) {
        return atomic_load(&at_work) == workers_wanted;
}

static void wait_at_work(unsigned n) {
        workers_wanted = n;
        until(are_at_work);
}

static void assert_answer(const struct answer *given, uint64_t id, const char *value) {
        assert_string_equal(given->message, "");
        assert_int_equal(given->id, id);
        assert_string_equal(given->value, value);
}

static void assert_refusal(const struct answer *given, uint64_t id, enum error_code code, const char *message) {
        assert_string_equal(given->message, message);
        assert_int_equal(given->id, id);
        assert_int_equal(given->code, code);
}

// ---- acting and remembering

static void a_step_acts_and_answers(void **state) {
        (void) state;
        submit(&act, (struct ask){.id = 1});
        assert_answer(answer(1), 1, "acted 1");
        assert_string_equal(scene.touched, VM);
        assert_int_equal(steps_count(scene.steps), 0);
}

static void a_step_that_was_done_is_answered_from_the_journal(void **state) {
        (void) state;
        submit(&act, (struct ask){.id = 1});
        answer(1);
        stop_steps();
        open_steps();
        scene.stopped = false;
        submit(&act, (struct ask){.id = 5});
        assert_answer(answer(2), 5, "acted 1");
        assert_int_equal(atomic_load(&acted), 1);
}

static void a_failed_step_runs_again_when_it_is_asked_again(void **state) {
        (void) state;
        submit(&failing, (struct ask){.id = 1});
        assert_refusal(answer(1), 1, ERROR_NO_SPACE, "no room");
        submit(&failing, (struct ask){.id = 2});
        assert_refusal(answer(2), 2, ERROR_NO_SPACE, "no room");
        assert_int_equal(atomic_load(&acted), 2);
}

static void a_new_attempt_acts_again(void **state) {
        (void) state;
        submit(&act, (struct ask){.id = 1});
        answer(1);
        submit(&act, (struct ask){.id = 2, .attempt = 2});
        assert_answer(answer(2), 2, "acted 2");
}

static void a_result_goes_behind_what_the_step_changed(void **state) {
        (void) state;
        submit(&act, (struct ask){.id = 1, .step = "middle"});
        assert_false(answer(1)->behind);
        submit(&telling, (struct ask){.id = 2, .step = "last"});
        assert_true(answer(2)->behind);
        assert_true(answer(2)->touched);
}

static void a_failure_may_have_changed_something_too(void **state) {
        (void) state;
        submit(&telling_failing, (struct ask){.id = 1});
        assert_refusal(answer(1), 1, ERROR_NO_SPACE, "no room");
        assert_true(answer(1)->behind);
        assert_true(answer(1)->touched);
}

static void a_step_that_never_began_waits_for_no_inventory(void **state) {
        (void) state;
        submit(&waiting, (struct ask){.id = 1, .step = "one"});
        submit(&telling, (struct ask){.id = 2, .step = "two"});
        wait_at_work(1);
        submit(&undoing, (struct ask){.id = 3, .step = "undo"});
        assert_refusal(answer(1), 2, ERROR_CANCELLED, "cancelled before it began");
        assert_false(answer(1)->behind);
        answer(3);
}

static void what_is_no_step_of_a_job_leaves_no_memory(void **state) {
        (void) state;
        submit(&reading, (struct ask){.id = 1, .job = ""});
        submit(&reading, (struct ask){.id = 2, .job = ""});
        answer(2);
        assert_int_equal(atomic_load(&acted), 2);
}

static void fault_14_a_stale_epoch_is_refused(void **state) {
        (void) state;
        submit(&act, (struct ask){.id = 1, .epoch = 9});
        answer(1);
        submit(&act, (struct ask){.id = 2, .epoch = 8, .step = "late"});
        assert_int_equal(answer(2)->code, ERROR_STALE);
        assert_int_equal(atomic_load(&acted), 1);
}

static void fault_09_a_step_that_was_cut_before_it_acted_acts_when_asked_again(void **state) {
        (void) state;
        scratch_write("agent.step.act.intent", "fail");
        submit(&act, (struct ask){.id = 1});
        assert_refusal(answer(1), 1, ERROR_FAILED, "fault point agent.step.act.intent");
        assert_int_equal(atomic_load(&acted), 0);
        submit(&act, (struct ask){.id = 2});
        assert_answer(answer(2), 2, "acted 1");
}

static void fault_09_a_step_that_was_cut_before_its_result_acts_again(void **state) {
        (void) state;
        scratch_write("agent.step.act.acted", "fail");
        submit(&act, (struct ask){.id = 1});
        assert_refusal(answer(1), 1, ERROR_FAILED, "fault point agent.step.act.acted");
        submit(&act, (struct ask){.id = 2});
        assert_answer(answer(2), 2, "acted 2");
}

static void fault_09_a_step_that_was_cut_after_its_result_does_not_act_again(void **state) {
        (void) state;
        scratch_write("agent.step.act.recorded", "fail");
        submit(&act, (struct ask){.id = 1});
        assert_refusal(answer(1), 1, ERROR_FAILED, "fault point agent.step.act.recorded");
        submit(&act, (struct ask){.id = 2});
        assert_answer(answer(2), 2, "acted 1");
}

// ---- asked twice

static void a_repeated_request_attaches_to_the_running_step(void **state) {
        (void) state;
        submit(&waiting, (struct ask){.id = 1});
        wait_at_work(1);
        submit(&waiting, (struct ask){.id = 2});
        assert_refusal(answer(1), 1, ERROR_CANCELLED, "asked again as request 2, which gets the result");
        atomic_store(&gate, true);
        assert_answer(answer(2), 2, "acted 1");
        until(nobody_is_left);
        assert_int_equal(scene.n_answers, 2);
}

static void a_step_outlives_its_link_and_answers_on_the_next(void **state) {
        (void) state;
        submit(&waiting, (struct ask){.id = 1});
        wait_at_work(1);
        steps_detach(scene.steps);
        submit(&waiting, (struct ask){.id = 1}); // ids begin again with each link
        atomic_store(&gate, true);
        assert_answer(answer(1), 1, "acted 1");
}

static void a_result_that_nobody_waited_for_is_kept(void **state) {
        (void) state;
        submit(&waiting, (struct ask){.id = 1});
        wait_at_work(1);
        steps_detach(scene.steps);
        atomic_store(&gate, true);
        until(nobody_is_left);
        assert_int_equal(scene.n_answers, 0);
        submit(&waiting, (struct ask){.id = 1});
        assert_answer(answer(1), 1, "acted 1");
        assert_int_equal(atomic_load(&acted), 1);
}

static void a_newer_attempt_replaces_the_older(void **state) {
        (void) state;
        submit(&waiting, (struct ask){.id = 1});
        wait_at_work(1);
        submit(&waiting, (struct ask){.id = 2, .attempt = 2});
        assert_refusal(answer(1), 1, ERROR_CANCELLED, "cancelled while it waited");
        atomic_store(&gate, true);
        assert_answer(answer(2), 2, "acted 1");
}

static void an_older_attempt_is_refused(void **state) {
        (void) state;
        submit(&waiting, (struct ask){.id = 1, .attempt = 2});
        submit(&waiting, (struct ask){.id = 2, .attempt = 1});
        assert_refusal(answer(1), 2, ERROR_STALE, "attempt 1 of step step: attempt 2 is already under way");
}

static void another_verb_under_the_name_of_a_running_step_is_refused(void **state) {
        (void) state;
        submit(&waiting, (struct ask){.id = 1});
        submit(&act, (struct ask){.id = 2});
        assert_refusal(answer(1), 2, ERROR_CONFLICT, "step step of job job1 is a waiting, not a act");
}

static void an_id_that_is_in_use_breaks_the_rules(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        submit(&waiting, (struct ask){.id = 1});
        assert_int_equal(steps_submit(scene.steps, &act, request_of((struct ask){.id = 1, .step = "b"}), &err), -1);
        assert_error(err, ERROR_PROTOCOL, "request id 1 is in use");
        assert_int_equal(steps_submit(scene.steps, &act, request_of((struct ask){.id = 0}), &err), -1);
        assert_error(err, ERROR_PROTOCOL, "request id 0 is not allowed");
}

// ---- order

static void fault_32_steps_of_one_vm_run_one_after_another(void **state) {
        (void) state;
        submit(&waiting, (struct ask){.id = 1, .step = "one"});
        submit(&act, (struct ask){.id = 2, .step = "two"});
        submit(&act, (struct ask){.id = 3, .step = "three", .vm = OTHER});
        assert_answer(answer(1), 3, "acted 1"); // another VM's does not wait
        assert_int_equal(scene.n_notes, 1);
        assert_string_equal(scene.notes[0], "2: waits for waiting of job job1");
        atomic_store(&gate, true);
        assert_answer(answer(2), 1, "acted 2");
        assert_answer(answer(3), 2, "acted 3");
}

static void what_only_reads_does_not_wait(void **state) {
        (void) state;
        submit(&waiting, (struct ask){.id = 1});
        wait_at_work(1);
        submit(&reading, (struct ask){.id = 2, .job = ""});
        assert_answer(answer(1), 2, "acted 1");
}

static void progress_reaches_the_controller_while_the_step_runs(void **state) {
        (void) state;
        submit(&copying, (struct ask){.id = 1});
        wait_at_work(1);
        uv_run(&scene.loop, UV_RUN_NOWAIT);
        assert_int_equal(scene.bytes_done, 4711);
}

// ---- cancelling

static void a_cancelled_step_ends_soon(void **state) {
        (void) state;
        submit(&waiting, (struct ask){.id = 1, .step = "one"});
        wait_at_work(1);
        submit_cancel(2, "one");
        assert_answer(answer(1), 2, "");
        assert_refusal(answer(2), 1, ERROR_CANCELLED, "cancelled while it waited");
}

static void a_cancelled_step_that_waits_never_begins(void **state) {
        (void) state;
        submit(&waiting, (struct ask){.id = 1, .step = "one"});
        submit(&act, (struct ask){.id = 2, .step = "two"});
        submit_cancel(3, "two");
        answer(2);
        assert_refusal(&scene.answers[1], 2, ERROR_CANCELLED, "cancelled before it began");
        assert_int_equal(atomic_load(&acted), 0);
        assert_int_equal(steps_count(scene.steps), 1);
}

static void cancelling_what_is_not_there_is_done(void **state) {
        (void) state;
        submit_cancel(1, "nothing");
        assert_answer(answer(1), 1, "");
}

static void fault_74_undo_cancels_the_jobs_other_steps_and_runs_after_them(void **state) {
        (void) state;
        submit(&waiting, (struct ask){.id = 1, .step = "one"});
        submit(&act, (struct ask){.id = 2, .step = "two"});
        wait_at_work(1);
        submit(&undoing, (struct ask){.id = 3, .step = "undo"});
        assert_refusal(answer(1), 2, ERROR_CANCELLED, "cancelled before it began");
        assert_refusal(answer(2), 1, ERROR_CANCELLED, "cancelled while it waited");
        assert_answer(answer(3), 3, "acted 1");
}

static void undo_leaves_other_jobs_alone(void **state) {
        (void) state;
        submit(&waiting, (struct ask){.id = 1, .job = "job2", .vm = OTHER});
        wait_at_work(1);
        submit(&undoing, (struct ask){.id = 2, .step = "undo"});
        assert_answer(answer(1), 2, "acted 1");
        assert_int_equal(steps_count(scene.steps), 1);
}

static void stopping_cancels_all_and_answers_nobody(void **state) {
        (void) state;
        submit(&waiting, (struct ask){.id = 1, .step = "one"});
        submit(&act, (struct ask){.id = 2, .step = "two"});
        wait_at_work(1);
        stop_steps();
        assert_int_equal(scene.n_answers, 0);
        assert_int_equal(atomic_load(&acted), 0);
}

// ---- bounds

static void more_than_the_bound_is_busy_but_undo_gets_through(void **state) {
        (void) state;
        char step[16];
        for (unsigned i = 1; i <= STEPS_MAX; i++) {
                snprintf(step, sizeof step, "step%u", i);
                submit(&waiting, (struct ask){.id = i, .step = step});
        }
        submit(&act, (struct ask){.id = 100, .step = "more"});
        assert_refusal(answer(1), 100, ERROR_BUSY, "32 operations are in hand on this host already");
        submit(&undoing, (struct ask){.id = 101, .step = "undo"});
        assert_answer(answer(STEPS_MAX + 2), 101, "acted 1");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(a_step_acts_and_answers),
                TEST(a_step_that_was_done_is_answered_from_the_journal),
                TEST(a_failed_step_runs_again_when_it_is_asked_again),
                TEST(a_new_attempt_acts_again),
                TEST(a_result_goes_behind_what_the_step_changed),
                TEST(a_failure_may_have_changed_something_too),
                TEST(a_step_that_never_began_waits_for_no_inventory),
                TEST(what_is_no_step_of_a_job_leaves_no_memory),
                TEST(fault_14_a_stale_epoch_is_refused),
                TEST(fault_09_a_step_that_was_cut_before_it_acted_acts_when_asked_again),
                TEST(fault_09_a_step_that_was_cut_before_its_result_acts_again),
                TEST(fault_09_a_step_that_was_cut_after_its_result_does_not_act_again),
                TEST(a_repeated_request_attaches_to_the_running_step),
                TEST(a_step_outlives_its_link_and_answers_on_the_next),
                TEST(a_result_that_nobody_waited_for_is_kept),
                TEST(a_newer_attempt_replaces_the_older),
                TEST(an_older_attempt_is_refused),
                TEST(another_verb_under_the_name_of_a_running_step_is_refused),
                TEST(an_id_that_is_in_use_breaks_the_rules),
                TEST(fault_32_steps_of_one_vm_run_one_after_another),
                TEST(what_only_reads_does_not_wait),
                TEST(progress_reaches_the_controller_while_the_step_runs),
                TEST(a_cancelled_step_ends_soon),
                TEST(a_cancelled_step_that_waits_never_begins),
                TEST(cancelling_what_is_not_there_is_done),
                TEST(fault_74_undo_cancels_the_jobs_other_steps_and_runs_after_them),
                TEST(undo_leaves_other_jobs_alone),
                TEST(stopping_cancels_all_and_answers_nobody),
                TEST(more_than_the_bound_is_busy_but_undo_gets_through),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
