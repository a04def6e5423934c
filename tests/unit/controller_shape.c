// SPDX-License-Identifier: LGPL-2.1-or-later
/* What transfers are told to send: by site, hour, job and company. And transfers that stand still. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/units.h"
#include "played.h"

#define WEB "dddddddd-dddd-4ddd-8ddd-dddddddddddd"

static uint64_t ordered(const char *job, const char *step) {
        go_on_until(job, step);
        return open_question(job, step)->request->transfer_send->order->rate_bytes_per_second;
}

// The newest rate that this job's source was told on the way; the number of times it was told.
static unsigned told(const char *job, uint64_t *ret_rate) {
        unsigned n = 0;
        for (unsigned i = 0; i < n_questions; i++)
                if (questions[i].request->verb_case == DROVER__AGENT_REQUEST__VERB_TRANSFER_RATE &&
                    strcmp(questions[i].request->job, job) == 0) {
                        *ret_rate = questions[i].request->transfer_rate->rate_bytes_per_second;
                        n++;
                }
        return n;
}

static void expect_told(const char *job, unsigned times, uint64_t rate) {
        uint64_t newest = 0;
        assert_int_equal(told(job, &newest), times);
        assert_int_equal(newest, rate);
}

static uint64_t shown_rate(const char *job) {
        Drover__JobRecord *record = record_of(job);
        uint64_t rate = record->n_transfers ? record->transfers[0]->state->rate_bytes_per_second : 0;
        proto_free(&record->base);
        return rate;
}

static void a_transfer_begins_with_the_rate_of_its_sites(void **state) {
        (void) state;
        char job[33];
        set_site("lyon", "8Mbit\n4Mbit@mon..fri:8-18");
        begin_move("erp", "nantes/kvm2", 0, job);
        assert_int_equal(ordered(job, "send-vda"), 1000000);
        assert_int_equal(shown_rate(job), 1000000);
        expect_told(job, 0, 0);
}

static void a_sites_rate_that_was_stored_before_there_was_a_least_is_the_least(void **state) {
        (void) state;
        char job[33];
        set_site("lyon", "8kbit");
        begin_move("erp", "nantes/kvm2", 0, job);
        assert_int_equal(ordered(job, "send-vda"), UNITS_RATE_LEAST);
}

static void a_change_of_the_site_reaches_a_running_transfer(void **state) {
        (void) state;
        char job[33];
        begin_move("erp", "nantes/kvm2", 0, job);
        assert_int_equal(ordered(job, "send-vda"), 0);
        set_site("nantes", "800kbit");
        expect_told(job, 1, 100000);
        assert_int_equal(shown_rate(job), 100000);
        set_site("nantes", "full");
        expect_told(job, 2, 0);
}

static void the_hour_turns_while_a_transfer_runs(void **state) {
        (void) state;
        char job[33];
        set_site("lyon", "8Mbit@sat:0-12:02\nfull");
        begin_move("erp", "nantes/kvm2", 0, job);
        assert_int_equal(ordered(job, "send-vda"), 1000000);
        time_passes(119);
        expect_told(job, 0, 0);
        time_passes(1);
        expect_told(job, 1, 0);
}

static void transfers_that_come_and_go_share_the_line(void **state) {
        (void) state;
        char erp[33], crm[33];
        set_site("lyon", "8Mbit");
        begin_move("erp", "nantes/kvm2", 0, erp);
        assert_int_equal(ordered(erp, "send-vda"), 1000000);
        tell_picture(lyon, new_domain(WEB, "web", "shut off", "52:54:00:00:00:07"), 50 * GIB);
        begin_move("web", "nantes/kvm2", 300000, crm);
        assert_int_equal(ordered(crm, "send-vda"), 300000);
        expect_told(erp, 1, 700000);
        go_on_until(crm, "define"); // its second disk was a transfer as well
        expect_told(erp, 4, 1000000);
}

static void a_jobs_own_rate_is_changed_kept_and_taken_away(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        char job[33];
        begin_move("erp", "nantes/kvm2", 5000, job);
        assert_int_equal(ordered(job, "send-vda"), 5000);
        must(runner_set_rate(runner, job, 7000, &err), &err);
        expect_told(job, 1, 7000);
        die_and_come_back();
        assert_int_equal(open_question(job, "send-vda")->request->transfer_send->order->rate_bytes_per_second, 7000);
        must(runner_set_rate(runner, job, 0, &err), &err);
        expect_told(job, 2, 0);
        Drover__JobRecord *record = record_of(job);
        assert_int_equal(record->rate_bytes_per_second, 0);
        proto_free(&record->base);
}

static void what_is_shown_of_a_share_too_small_is_what_is_kept_to(void **state) {
        (void) state;
        char job[33];
        begin_move("erp", "nantes/kvm2", 7, job); // as a database that was written by hand may say
        assert_int_equal(ordered(job, "send-vda"), UNITS_RATE_LEAST);
        assert_int_equal(shown_rate(job), UNITS_RATE_LEAST);
}

static void a_job_without_transfers_has_no_rate(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct fleet_vm *vm;
        char job[33], text[160];
        must(fleet_resolve_vm(fleet, "crm", &vm, &err), &err);
        must(runner_power(runner, vm, DROVER__POWER_ACTION__POWER_START, 0, &played_caller, job, &err), &err);
        assert_int_equal(runner_set_rate(runner, job, 5, &err), -1);
        snprintf(text, sizeof(text), "job %s copies nothing, so it has no rate", job);
        assert_string_equal(err.message, text);
        look();
        go_on_until(job, "start");
        answer(open_question(job, "start"), NULL);
        assert_int_equal(runner_set_rate(runner, job, 5, &err), -1);
        snprintf(text, sizeof(text), "job %s has ended: it is done", job);
        assert_string_equal(err.message, text);
}

static void a_source_that_keeps_to_another_rate_is_told_again(void **state) {
        (void) state;
        char job[33];
        set_site("lyon", "8Mbit");
        begin_move("erp", "nantes/kvm2", 0, job);
        ordered(job, "send-vda");
        progress(open_question(job, "send-vda"), "vda", 1, 0);
        look();
        expect_told(job, 0, 0); // it may not have heard yet
        time_passes(3);
        progress(open_question(job, "send-vda"), "vda", 2, 0);
        look();
        expect_told(job, 1, 1000000);
        time_passes(3);
        progress(open_question(job, "send-vda"), "vda", 3, 1000000);
        look();
        expect_told(job, 1, 1000000);
}

static void after_the_link_was_away_the_rate_is_told_again(void **state) {
        (void) state;
        char job[33];
        set_site("lyon", "8Mbit");
        begin_move("erp", "nantes/kvm2", 0, job);
        ordered(job, "send-vda");
        fleet_host_offline(fleet, lyon);
        runner_on_host(runner, LYON, false);
        set_site("lyon", "16Mbit");
        fleet_host_online(fleet, lyon, "192.0.2.1");
        time_passes(1);
        expect_told(job, 1, 2000000); // the agent goes on with what it runs, and does not read the order again
}

static void fault_02_a_transfer_that_stands_still_says_so_and_takes_another_path(void **state) {
        (void) state;
        char job[33];
        struct error cancelled = ERROR_INIT;
        begin_move("erp", "nantes/kvm2", 0, job);
        go_on_until(job, "receive-vda");
        progress(open_question(job, "receive-vda"), "vda", 1 << 20, 0);
        time_passes(59);
        expect_note(job, "");
        time_passes(16);
        expect_note(job, "vda: no progress for 75 s over the direct path; if that goes on, another path is tried");
        progress(open_question(job, "receive-vda"), "vda", 2 << 20, 0);
        look();
        expect_note(job, "");
        time_passes(120);
        progress(open_question(job, "receive-vda"), "vda", 2 << 20, 0); // its last words are no reason to stay
        error_set(&cancelled, ERROR_CANCELLED, "cancelled");
        answer(open_question(job, "send-vda"), &cancelled);
        answer(open_question(job, "receive-vda"), &cancelled);
        expect_note(job, "receive-vda: no progress for 120 s over the direct path; trying again");
        time_passes(1);
        assert_int_equal(open_question(job, "send-vda")->request->attempt, 2);
        time_passes(125); // nothing has moved since: this attempt gets twice the time
        assert_int_equal(open_question(job, "send-vda")->request->attempt, 2);
        expect_note(job, "vda: no progress for 120 s over the reverse path; if that goes on, another path is tried");
        expect_state(job, "running");
}

// The end that hears of the cut is the cause; the other one was told to stop, and says no more than that.
static void fault_01_an_end_that_was_told_to_stop_is_no_failure_of_its_own(void **state) {
        (void) state;
        char job[33];
        struct error cancelled = ERROR_INIT, cut = ERROR_INIT;
        error_set(&cancelled, ERROR_CANCELLED, "cancelled");
        error_set(&cut, ERROR_UNREACHABLE, "the connection was reset");
        begin_move("erp", "nantes/kvm2", 0, job);
        go_on_until(job, "receive-vda");
        for (unsigned i = 0; i < 20; i++) { // more often than anything else may happen to a copy
                answer(open_question(job, "send-vda"), i % 3 ? &cut : &cancelled);
                answer(open_question(job, "receive-vda"), i % 3 == 1 ? &cut : &cancelled);
                expect_note(job, i % 3 == 1   ? "receive-vda: the connection was reset; trying again"
                                 : i % 3 == 2 ? "send-vda: the connection was reset; trying again"
                                              : "receive-vda: cancelled; trying again");
                time_passes(60);
        }
        expect_state(job, "running");
}

static void fault_02_where_a_low_rate_is_slow_nobody_complains(void **state) {
        (void) state;
        char job[33];
        begin_move("erp", "nantes/kvm2", 10000, job); // 2 MiB take 209 s
        go_on_until(job, "receive-vda");
        time_passes(260);
        expect_note(job, "");
        time_passes(15);
        expect_note(job, "vda: no progress for 270 s over the direct path; if that goes on, another path is tried");
}

static void fault_02_saying_that_one_is_alive_is_no_progress(void **state) {
        (void) state;
        char job[33];
        begin_move("erp", "nantes/kvm2", 0, job);
        go_on_until(job, "receive-vda");
        for (unsigned i = 0; i < 60; i++) {
                progress_on_line(open_question(job, "receive-vda"), i * 28);
                time_passes(1);
        }
        expect_note(job, "vda: no progress for 60 s over the direct path; if that goes on, another path is tried");
        progress_on_line(open_question(job, "receive-vda"), 20000);
        look();
        expect_note(job, "");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                PLAYED_TEST(a_transfer_begins_with_the_rate_of_its_sites),
                PLAYED_TEST(a_sites_rate_that_was_stored_before_there_was_a_least_is_the_least),
                PLAYED_TEST(a_change_of_the_site_reaches_a_running_transfer),
                PLAYED_TEST(the_hour_turns_while_a_transfer_runs),
                PLAYED_TEST(transfers_that_come_and_go_share_the_line),
                PLAYED_TEST(a_jobs_own_rate_is_changed_kept_and_taken_away),
                PLAYED_TEST(what_is_shown_of_a_share_too_small_is_what_is_kept_to),
                PLAYED_TEST(a_job_without_transfers_has_no_rate),
                PLAYED_TEST(a_source_that_keeps_to_another_rate_is_told_again),
                PLAYED_TEST(after_the_link_was_away_the_rate_is_told_again),
                PLAYED_TEST(fault_02_a_transfer_that_stands_still_says_so_and_takes_another_path),
                PLAYED_TEST(fault_02_saying_that_one_is_alive_is_no_progress),
                PLAYED_TEST(fault_01_an_end_that_was_told_to_stop_is_no_failure_of_its_own),
                PLAYED_TEST(fault_02_where_a_low_rate_is_slow_nobody_complains),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
