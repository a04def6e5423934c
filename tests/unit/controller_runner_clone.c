// SPDX-License-Identifier: LGPL-2.1-or-later
/* The runner, with played hosts: clones through every failure and death of the controller, alone and many at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/log.h"
#include "played_story.h"

static char clone_uuid[NAME_UUID_LENGTH + 1];

static void start_clone(Drover__VmMove *move, bool reset, char job[33]) {
        Drover__VmClone request = DROVER__VM_CLONE__INIT;
        const struct plan_others others = runner_others(runner);
        Drover__MovePlan *plan = NULL;
        struct error err = ERROR_INIT;
        request.move = move;
        request.reset_identity = reset;
        must(plan_clone(fleet, &request, &others, &plan, &err), &err);
        must(plan_refused(plan, &err), &err);
        snprintf(clone_uuid, sizeof(clone_uuid), "%s", plan->identity->uuid);
        must(runner_clone(runner, plan, &played_caller, job, &err), &err);
        proto_free(&plan->base);
}

static void clone_to(const char *host, const char *name, char job[33]) {
        Drover__VmMove move = DROVER__VM_MOVE__INIT;
        move.vm = (char *) "lyon/kvm1/erp";
        move.host = (char *) host;
        move.new_name = (char *) name;
        start_clone(&move, false, job);
}

// With all that a clone can have: stopped, reset, started.
static void clone_running(char job[33]) {
        Drover__VmMove move = DROVER__VM_MOVE__INIT;
        move.vm = (char *) "lyon/kvm1/erp";
        move.host = (char *) "nantes/kvm2";
        move.new_name = (char *) "erp-test";
        move.stop = DROVER__STOP_MODE__STOP_HARD;
        move.start = DROVER__VM_MOVE__START__START_YES;
        start_clone(&move, true, job);
}

static void set_state(const char *text) {
        Drover__Domain *domain = fleet_vm_on(fleet, lyon, ERP)->domain;
        free(domain->state);
        domain->state = memory_string(text);
}

static int begin_off(void **state) {
        if (story_begin(state) < 0)
                return -1;
        set_state("shut off");
        return 0;
}
#define OFF_TEST(test) cmocka_unit_test_setup_teardown(test, begin_off, played_end)

static void assert_order(const char *const *order, unsigned n) {
        assert_int_equal(n_questions, n);
        for (unsigned i = 0; i < n; i++)
                assert_string_equal(questions[i].request->step, order[i]);
}

static void assert_nothing_is_held(void) {
        const struct fleet_owner *original = fleet_owner(fleet, ERP), *clone = fleet_owner(fleet, clone_uuid);
        assert_true(!original || (original->job[0] == '\0' && original->clones == 0));
        assert_string_equal(clone->job, "");
        assert_string_equal(clone->host_uuid, NANTES);
}

static void a_clone_across_hosts_asks_each_step_once_and_in_order(void **state) {
        (void) state;
        static const char *const order[] = {"check",       "reserve", "hold",   "send-vda", "receive-vda", "send-vdb",
                                            "receive-vdb", "define",  "verify", "confirm",  "settle"};
        char job[33];
        clone_to("nantes/kvm2", "erp-test", job);
        finish(job, "done");
        assert_order(order, ARRAY_SIZE(order));
        for (unsigned i = 0; i < n_questions; i++) // only the look at the original is about the original
                assert_string_equal(questions[i].request->vm_uuid, i == 0 ? ERP : clone_uuid);
        assert_nothing_is_held();
        assert_null(fleet_owner(fleet, ERP)); // nothing of it was granted to anybody
}

static void a_clone_on_one_host_copies_without_a_ticket(void **state) {
        (void) state;
        static const char *const order[] = {"check",  "reserve", "hold",    "copy-vda", "copy-vdb",
                                            "define", "verify",  "confirm", "settle"};
        struct error err = ERROR_INIT;
        Drover__JobRecord *record = NULL;
        char job[33];
        clone_to("lyon/kvm1", "erp-2", job);
        finish(job, "done");
        assert_order(order, ARRAY_SIZE(order));
        assert_int_equal(questions[3].request->verb_case, DROVER__AGENT_REQUEST__VERB_CLONE_LOCAL);
        must(runner_job(runner, job, &record, &err), &err);
        assert_string_equal(record->kind, "vm.clone");
        assert_string_equal(record->vm, "lyon/kvm1/erp");
        assert_string_equal(record->vm_uuid, ERP);
        assert_string_equal(record->clone, "lyon/kvm1/erp-2");
        assert_string_equal(record->clone_uuid, clone_uuid);
        assert_string_equal(record->transfers[0]->state->choice, "plain: the link is fast");
        assert_int_equal(record->transfers[0]->resumed, 1);
        proto_free(&record->base);
}

static void what_a_clone_has_to_do_without_is_kept_with_the_job(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        Drover__JobRecord *record = NULL;
        char job[33];
        clone_to("nantes/kvm2", "erp-test", job);
        finish(job, "done");
        assert_int_equal(questions[place_of("define") - 1].request->move_define->n_snapshot_xml,
                         1); // all: its host knows which of them it can have
        die_and_come_back();
        must(runner_job(runner, job, &record, &err), &err);
        assert_int_equal(record->n_warnings, 1);
        assert_string_equal(record->warnings[0], "the clone does not know the snapshot live");
        proto_free(&record->base);
}

static void dirty_bitmaps_that_a_clone_has_not_are_kept_with_the_job(void **state) {
        (void) state;
        Drover__VmMove move = DROVER__VM_MOVE__INIT;
        char job[33];
        move.vm = (char *) "lyon/kvm1/erp";
        move.host = (char *) "nantes/kvm2";
        move.new_name = (char *) "erp-test";
        move.format = (char *) "raw";
        start_clone(&move, false, job);
        played_bitmaps = 1;
        finish(job, "done");
        Drover__JobRecord *record = record_of(job);
        assert_int_equal(record->n_warnings, 2);
        assert_string_equal(record->warnings[0], "the clone does not know the snapshot live");
        assert_string_equal(record->warnings[1],
                            "vda: 1 dirty bitmap of erp stays with it: the clone's image is new and holds none");
        proto_free(&record->base);
}

static void a_running_original_is_stopped_and_started_again(void **state) {
        (void) state;
        static const char *const order[] = {"check",       "reserve",  "stop",        "hold",   "send-vda",
                                            "receive-vda", "send-vdb", "receive-vdb", "define", "verify",
                                            "confirm",     "reset",    "start",       "settle", "restart"};
        char job[33];
        clone_running(job);
        assert_string_equal(fleet_owner(fleet, ERP)->job, job); // for itself: nobody else's clone may find it off
        finish(job, "done");
        assert_order(order, ARRAY_SIZE(order));
        for (unsigned i = 0; i < n_questions; i++) {
                bool original = i == 0 || i == 2 || i == n_questions - 1;
                assert_string_equal(questions[i].request->vm_uuid, original ? ERP : clone_uuid);
                assert_true(questions[i].request->epoch > 0);
        }
        assert_string_equal(fleet_owner(fleet, ERP)->host_uuid, LYON);
        assert_nothing_is_held();
}

static void clone_running_beside_itself(char job[33]) {
        Drover__VmMove move = DROVER__VM_MOVE__INIT;
        move.vm = (char *) "lyon/kvm1/erp";
        move.host = (char *) "lyon/kvm1";
        move.new_name = (char *) "erp-2";
        move.stop = DROVER__STOP_MODE__STOP_HARD;
        start_clone(&move, false, job);
}

// A release cancels whatever its job has under way on the host, so on one host nothing of it may be.
static void on_one_host_the_original_is_given_back_when_nothing_else_is_under_way(void **state) {
        char job[33];
        silent_step = "settle";
        clone_running_beside_itself(job);
        for (unsigned i = 0; i < 60; i++)
                one_thing(job);
        assert_int_equal(times_asked("settle"), 1);
        assert_int_equal(times_asked("restart"), 0);
        silent_step = NULL;
        finish(job, "done");
        assert_int_equal(times_asked("restart"), 1);
        story_again(state);
        let_fail("define", ERROR_IO, 1);
        silent_step = "discard";
        clone_running_beside_itself(job);
        for (unsigned i = 0; i < 60; i++)
                one_thing(job);
        assert_int_equal(times_asked("discard"), 1);
        assert_int_equal(times_asked("release"), 0);
        silent_step = NULL;
        finish(job, "failed");
        assert_int_equal(times_asked("release"), 1);
}

static void fault_11_a_controller_that_dies_after_any_answer_finishes_the_clone(void **state) {
        (void) state;
        char job[33];
        clone_running(job);
        while (one_thing(job))
                die_and_come_back();
        finish(job, "done");
        assert_nothing_is_held();
        assert_int_equal(times_asked("discard"), 0);
        assert_int_equal(times_asked("release"), 0);
        for (unsigned i = 0; i < n_questions; i++)
                assert_int_equal(questions[i].request->attempt, 1);
}

static void a_failed_clone_is_taken_away_and_its_original_started_again(void **state) {
        static const char *const steps[] = {"reserve", "stop",   "hold",    "send-vda", "receive-vdb",
                                            "define",  "verify", "confirm", "reset",    "start"};
        for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
                char job[33];
                if (i > 0)
                        story_again(state);
                let_fail(steps[i], ERROR_NO_SPACE, 1);
                clone_running(job);
                finish(job, "failed");
                assert_int_equal(times_asked("discard"), 1);
                assert_int_equal(times_asked("release"), i == 0 ? 0 : 1);
                assert_int_equal(times_asked("restart"), 0);
                if (i > 0) {
                        const struct question *release = &questions[place_of("release") - 1];
                        assert_string_equal(release->request->vm_uuid, ERP);
                        // No stop that is still on its way counts after it.
                        assert_true(release->request->epoch > questions[2].request->epoch);
                }
                assert_string_equal(fleet_owner(fleet, ERP)->host_uuid, LYON);
                assert_nothing_is_held();
        }
}

static void fault_31_an_original_that_was_started_meanwhile_ends_the_clone(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        Drover__JobRecord *record = NULL;
        char job[33];
        let_fail("confirm", ERROR_CONFLICT, 1);
        clone_to("nantes/kvm2", "erp-test", job);
        finish(job, "failed");
        assert_int_equal(times_asked("discard"), 1);
        assert_int_equal(times_asked("release"), 0); // nothing was done to it
        must(runner_job(runner, job, &record, &err), &err);
        assert_int_equal(record->error->code, ERROR_CONFLICT);
        proto_free(&record->base);
        assert_nothing_is_held();
}

static void fault_74_cancelling_a_clone_at_every_step_leaves_the_original_as_before(void **state) {
        for (unsigned answers = 0; answers < 13; answers++) {
                struct error err = ERROR_INIT;
                char job[33];
                if (answers > 0)
                        story_again(state);
                clone_running(job);
                one_thing(job);
                while (n_answered < answers)
                        one_thing(job);
                must(runner_cancel(runner, job, &err), &err);
                finish(job, "cancelled");
                assert_int_equal(times_asked("restart"), 0);
                assert_nothing_is_held();
        }
}

static void many_clones_of_one_original_run_at_once(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        char jobs[8][33], other[33], name[16], text[128];
        for (unsigned i = 0; i < 8; i++) {
                snprintf(name, sizeof(name), "erp-%u", i);
                clone_to("nantes/kvm2", name, jobs[i]);
        }
        assert_int_equal(fleet_owner(fleet, ERP)->clones, 8);
        one_thing(jobs[0]);
        assert_true(times_asked("check") > 1); // nobody waits for another one's clone
        assert_int_equal(runner_power(runner, fleet_vm_on(fleet, lyon, ERP), DROVER__POWER_ACTION__POWER_START, 0,
                                      &played_caller, other, &err),
                         -1);
        snprintf(text, sizeof(text), "erp is being cloned by job %s", jobs[7]);
        assert_error(err, ERROR_CONFLICT, text);
        die_and_come_back();
        assert_int_equal(fleet_owner(fleet, ERP)->clones, 8);
        for (unsigned i = 0; i < 8; i++)
                finish(jobs[i], "done");
        assert_null(fleet_owner(fleet, ERP));
}

static void a_vm_that_linked_clones_lie_over_is_not_started(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        char job[33];
        fleet_vm_on(fleet, lyon, ERP)->domain->disks[0]->is_backing = true;
        assert_int_equal(runner_power(runner, fleet_vm_on(fleet, lyon, ERP), DROVER__POWER_ACTION__POWER_START, 0,
                                      &played_caller, job, &err),
                         -1);
        assert_error(err, ERROR_REFUSED, "erp cannot be started: linked clones lie over its disk vda");
        assert_string_equal(err.hints[0], "clone it, and start the clone: drover vm clone erp lyon/kvm1/NAME --linked "
                                          "--start");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                OFF_TEST(a_clone_across_hosts_asks_each_step_once_and_in_order),
                OFF_TEST(a_clone_on_one_host_copies_without_a_ticket),
                OFF_TEST(what_a_clone_has_to_do_without_is_kept_with_the_job),
                OFF_TEST(dirty_bitmaps_that_a_clone_has_not_are_kept_with_the_job),
                STORY_TEST(a_running_original_is_stopped_and_started_again),
                STORY_TEST(on_one_host_the_original_is_given_back_when_nothing_else_is_under_way),
                STORY_TEST(fault_11_a_controller_that_dies_after_any_answer_finishes_the_clone),
                STORY_TEST(a_failed_clone_is_taken_away_and_its_original_started_again),
                OFF_TEST(fault_31_an_original_that_was_started_meanwhile_ends_the_clone),
                STORY_TEST(fault_74_cancelling_a_clone_at_every_step_leaves_the_original_as_before),
                OFF_TEST(many_clones_of_one_original_run_at_once),
                OFF_TEST(a_vm_that_linked_clones_lie_over_is_not_started),
        };
        log_set_level(LOG_LEVEL_ERROR);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
