// SPDX-License-Identifier: LGPL-2.1-or-later
/* The runner, with played hosts: moves and power actions through every failure and death of the controller. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/log.h"
#include "played_story.h"

static void start_move(char job[33]) {
        begin_move("erp", "nantes/kvm2", 0, job);
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
        assert_int_equal(n_questions, ARRAY_SIZE(order));
        for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
                assert_string_equal(questions[i].request->step, order[i]);
        assert_owner(NANTES);
        assert_true(questions[n_questions - 1].request->epoch > questions[0].request->epoch);
}

// What the plan knew is from before the VM was off.
static void dirty_bitmaps_that_a_move_loses_are_kept_with_the_job(void **state) {
        (void) state;
        Drover__VmMove request = DROVER__VM_MOVE__INIT;
        Drover__MovePlan *plan = NULL;
        struct error err = ERROR_INIT;
        char job[33];
        request.vm = (char *) "erp";
        request.host = (char *) "nantes/kvm2";
        request.stop = DROVER__STOP_MODE__STOP_HARD;
        request.format = (char *) "raw";
        must(plan_move(fleet, &request, &plan, &err), &err);
        assert_int_equal(plan->n_warnings, 0);
        must(runner_move(runner, plan, &played_caller, job, &err), &err);
        proto_free(&plan->base);
        played_bitmaps = 2;
        finish(job, "done");
        die_and_come_back();
        Drover__JobRecord *record = record_of(job);
        assert_int_equal(record->n_warnings, 1); // vdb is raw, and stays as it is
        assert_string_equal(record->warnings[0],
                            "vda: its image is made anew, without its 2 dirty bitmaps: a backup that follows them has "
                            "to begin with all of it");
        proto_free(&record->base);
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
        // Asked again is the same attempt: the agent answers from its journal.
        for (unsigned i = 0; i < n_questions; i++)
                assert_int_equal(questions[i].request->attempt, 1);
}

// Every step that can fail before the commit, each with the source given back afterwards, and never a second start.
static void a_failure_before_the_commit_is_undone_at_both_ends(void **state) {
        static const char *const steps[] = {"reserve", "stop",   "fence",   "send-vda", "receive-vdb",
                                            "define",  "verify", "confirm", "start"};
        for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
                char job[33];
                if (i > 0)
                        story_again(state);
                let_fail(steps[i], ERROR_NO_SPACE, 1);
                start_move(job);
                finish(job, "failed");
                assert_owner(LYON);
                assert_int_equal(times_asked("discard"), 1);
                assert_int_equal(times_asked("release"), i == 0 ? 0 : 1);
                assert_int_equal(times_asked("retire"), 0);
                if (i >= 5) // once it was to be defined there, the target is cleared first
                        assert_true(place_of("discard") < place_of("release"));
                assert_true(questions[place_of("discard") - 1].request->epoch > questions[0].request->epoch);
        }
}

static void fault_74_cancel_at_every_step_is_as_before(void **state) {
        for (unsigned answers = 0; answers < 12; answers++) {
                struct error err = ERROR_INIT;
                char job[33];
                if (answers > 0)
                        story_again(state);
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

static void fault_55_an_image_that_is_longer_than_it_can_have_grown_is_not_taken(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        Drover__JobRecord *record = NULL;
        char job[33];
        played_file_bytes = UINT64_C(1) << 45;
        start_move(job);
        finish(job, "failed");
        played_file_bytes = 4096;
        must(runner_job(runner, job, &record, &err), &err);
        assert_non_null(strstr(record->error->message, "vda has grown to 32.0 TiB since the plan was made"));
        assert_int_equal(times_asked("receive-vda"), 0);
        assert_owner(LYON);
        proto_free(&record->base);
}

// Until it asks for this step.
static void start_move_as_far_as(const char *step, char job[33]) {
        start_move(job);
        while (!place_of(step))
                one_thing(job);
}

static void fault_02_an_offline_target_is_waited_for_and_the_wait_is_told(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        Drover__JobRecord *record = NULL;
        char job[33];
        start_move_as_far_as("fence", job);
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
        let_fail("send-vda", ERROR_UNREACHABLE, 2);
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
        assert_int_equal(questions[place_of("send-vda") - 1].request->attempt, 1);
        assert_owner(NANTES);
}

static void an_undo_that_fails_needs_an_operator_and_goes_on_when_told(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        Drover__JobRecord *record = NULL;
        char job[33], note[200];
        start_move_as_far_as("define", job);
        must(runner_cancel(runner, job, &err), &err);
        let_fail("release", ERROR_IO, 1);
        finish(job, "needs-operator");
        die_and_come_back();
        assert_string_equal(fleet_owner(fleet, ERP)->job, job); // still held
        snprintf(note, sizeof(note), "played failure; when that is mended: drover job retry %s", job);
        must(runner_job(runner, job, &record, &err), &err);
        assert_string_equal(record->note, note); // and still told
        proto_free(&record->base);
        must(runner_retry(runner, job, &err), &err);
        finish(job, "cancelled");
        assert_owner(LYON);
}

static void fault_21_the_source_is_given_back_although_the_target_cannot_clear_up(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        char job[33];
        start_move_as_far_as("send-vda", job);
        let_fail("discard", ERROR_IO, 1);
        must(runner_cancel(runner, job, &err), &err);
        finish(job, "needs-operator");
        assert_int_equal(times_asked("release"), 1);
        for (unsigned i = place_of("release"); i < n_questions; i++) // and nobody called it off
                assert_int_not_equal(questions[i].request->verb_case, DROVER__AGENT_REQUEST__VERB_CANCEL_STEP);
        must(runner_retry(runner, job, &err), &err);
        finish(job, "cancelled");
        assert_int_equal(times_asked("release"), 1); // it was done then
        assert_int_equal(times_asked("discard"), 2);
        assert_owner(LYON);
}

static void fault_26_the_source_is_asked_again_while_the_target_is_away(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        char job[33];
        start_move_as_far_as("send-vda", job);
        let_fail("release", ERROR_UNREACHABLE, 2); // its libvirt is gone for a moment
        must(runner_cancel(runner, job, &err), &err);
        fleet_host_offline(fleet, nantes);
        runner_on_host(runner, NANTES, false);
        for (unsigned i = 0; i < 60; i++)
                one_thing(job);
        assert_int_equal(times_asked("release"), 3);
        expect_state(job, "waiting");
        expect_note(job, "nantes/kvm2 is offline");
        fleet_host_online(fleet, nantes, "192.0.2.2");
        runner_on_host(runner, NANTES, true);
        finish(job, "cancelled");
        assert_int_equal(times_asked("release"), 3);
        assert_owner(LYON);
}

static void a_second_job_for_a_held_vm_is_a_conflict(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        char job[33], other[33], text[128];
        start_move(job);
        assert_int_equal(runner_power(runner, fleet_vm_on(fleet, lyon, ERP), DROVER__POWER_ACTION__POWER_START, 0,
                                      &played_caller, other, &err),
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
        assert_true(questions[0].request->epoch > 41);
}

static void power_jobs_are_recorded_and_end(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        Drover__JobRecord *record = NULL;
        char job[33];
        must(runner_power(runner, fleet_vm_on(fleet, lyon, ERP), DROVER__POWER_ACTION__POWER_STOP, 0, &played_caller,
                          job, &err),
             &err);
        finish(job, "done");
        must(runner_job(runner, job, &record, &err), &err);
        assert_string_equal(record->kind, "vm.stop");
        assert_string_equal(record->vm, "lyon/kvm1/erp");
        assert_string_equal(record->user, "alice");
        assert_int_equal(questions[0].request->verb_case, DROVER__AGENT_REQUEST__VERB_DOMAIN_POWER);
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

int main(void) {
        const struct CMUnitTest tests[] = {
                STORY_TEST(a_move_asks_each_step_once_and_in_order),
                STORY_TEST(dirty_bitmaps_that_a_move_loses_are_kept_with_the_job),
                STORY_TEST(fault_11_a_controller_that_dies_after_any_answer_finishes_the_move),
                STORY_TEST(a_failure_before_the_commit_is_undone_at_both_ends),
                STORY_TEST(fault_74_cancel_at_every_step_is_as_before),
                STORY_TEST(cancel_after_the_commit_is_refused),
                STORY_TEST(fault_55_an_image_that_is_longer_than_it_can_have_grown_is_not_taken),
                STORY_TEST(fault_02_an_offline_target_is_waited_for_and_the_wait_is_told),
                STORY_TEST(an_unreachable_peer_is_tried_over_the_next_path),
                STORY_TEST(an_undo_that_fails_needs_an_operator_and_goes_on_when_told),
                STORY_TEST(fault_21_the_source_is_given_back_although_the_target_cannot_clear_up),
                STORY_TEST(fault_26_the_source_is_asked_again_while_the_target_is_away),
                STORY_TEST(a_second_job_for_a_held_vm_is_a_conflict),
                STORY_TEST(fault_25_a_controller_restored_from_an_old_copy_catches_up_with_the_epochs),
                STORY_TEST(power_jobs_are_recorded_and_end),
                STORY_TEST(followers_hear_of_the_end),
        };
        log_set_level(LOG_LEVEL_ERROR);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
