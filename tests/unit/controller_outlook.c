// SPDX-License-Identifier: LGPL-2.1-or-later
/* How long a plan says that it will take: by rates, hours, and what lines carried before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "controller/job/plan_batch.h"
#include "played.h"

#define MIB  (1ull << 20)
#define REST 1 // beyond copying

static uint32_t seconds_between(char *source, char *target, uint64_t bytes, uint64_t rate) {
        Drover__MovePlan plan = DROVER__MOVE_PLAN__INIT;
        plan.source_host = plan.source_name = source;
        plan.target_host = plan.target_name = target;
        plan.bytes_to_copy = bytes;
        plan.rate_bytes_per_second = rate;
        runner_estimate(runner, &plan);
        return plan.estimated_seconds - REST;
}

static uint32_t seconds(uint64_t bytes, uint64_t rate) {
        static char lyon_host[] = "lyon/kvm1", nantes_host[] = "nantes/kvm2";
        return seconds_between(lyon_host, nantes_host, bytes, rate);
}

static void a_line_that_nothing_is_known_of_is_one_of_a_gigabit(void **state) {
        (void) state;
        assert_int_equal(seconds(1100 * MIB, 0), 10);
        assert_int_equal(seconds(1100 * MIB, 11 * MIB), 100);
        assert_int_equal(seconds(0, 0), 0);
}

static void the_lower_rate_of_both_sites_and_the_job_counts(void **state) {
        (void) state;
        set_site("lyon", "80Mbit");
        assert_int_equal(seconds(100000000, 0), 10);
        set_site("nantes", "8Mbit");
        assert_int_equal(seconds(100000000, 0), 100);
        assert_int_equal(seconds(100000000, 500000), 200);
        assert_int_equal(seconds(100000000, 5000000), 100);
        assert_int_equal(seconds_between((char *) "lyon/kvm1", (char *) "lyon/kvm2", 1100 * MIB, 0), 10);
}

static void a_copy_that_runs_into_other_hours_takes_their_rates(void **state) {
        (void) state;
        set_site("lyon", "8Mbit@sat:0-12:02\n80Mbit"); // it is noon
        assert_int_equal(seconds(60000000, 0), 60);
        assert_int_equal(seconds(120000000 + 100000000, 0), 120 + 10);
        set_site("nantes", "full@8-18\n80kbit"); // and at night next to nothing
        assert_int_equal(seconds(10000000, 0), 10);
        uint64_t by_day = 120000000 + (6 * 3600 - 120) * 10000000ull, by_night = 14 * 3600 * 10000ull;
        assert_int_equal(seconds(by_day + by_night + 10000000, 0), 20 * 3600 + 1);
}

static void a_line_that_closes_for_long_is_still_estimated(void **state) {
        (void) state;
        set_site("lyon", "8bit");
        assert_int_equal(seconds(UINT64_MAX, 0), UINT32_MAX - REST);
}

// A move whose first disk was so much, came over in so many seconds, and was to keep to this rate.
static void line_carries(uint64_t bytes, unsigned took, uint64_t rate) {
        struct error err = ERROR_INIT;
        char job[33];
        begin_move("erp", "nantes/kvm2", rate, job);
        go_on_until(job, "receive-vda");
        for (unsigned i = 0; i < took; i++)
                now_ms += 1000;
        progress_on_line(open_question(job, "send-vda"), bytes);
        Drover__AgentResult *result = new (Drover__AgentResult);
        drover__agent_result__init(result);
        fill_result(open_question(job, "receive-vda"), result);
        result->id = open_question(job, "receive-vda")->request->id;
        result->transfer->state->bytes_done = bytes + 500 * MIB; // with zeros, which never travel
        result->transfer->state->bytes_zero = 500 * MIB;
        open_question(job, "receive-vda")->answered = true;
        runner_on_result(runner, NANTES, result);
        proto_free(&result->base);
        must(runner_cancel(runner, job, &err), &err);
        for (unsigned rounds = 0; rounds < 50; rounds++) {
                for (unsigned i = 0; i < n_questions; i++)
                        if (!questions[i].answered)
                                answer(&questions[i], NULL);
                look();
        }
        expect_state(job, "cancelled");
}

static void what_a_line_carried_before_is_expected_of_it(void **state) {
        (void) state;
        line_carries(MIB, 10, 0); // too little to tell
        assert_int_equal(seconds(1100 * MIB, 0), 10);
        line_carries(100 * MIB, 10, 0);
        assert_int_equal(seconds(1100 * MIB, 0), 110);
        assert_int_equal(seconds(1100 * MIB, 1 * MIB), 1100);
        line_carries(100 * MIB, 5, 0);
        assert_int_equal(seconds(900 * MIB, 0), 60); // the mean of old and new
}

static void what_a_limit_held_back_says_nothing_of_the_line(void **state) {
        (void) state;
        line_carries(100 * MIB, 100, MIB);
        assert_int_equal(seconds(1100 * MIB, 0), 10);
        line_carries(100 * MIB, 10, 0);
        line_carries(100 * MIB, 100, MIB);
        assert_int_equal(seconds(1100 * MIB, 0), 110);
        line_carries(100 * MIB, 100, 500 * MIB); // here it was not the limit
        assert_int_equal(seconds(11 * MIB * 100 / 2, 0), 100);
}

static void those_of_a_wave_share_the_line_and_waves_follow_each_other(void **state) {
        (void) state;
        Drover__BatchPlan batch = DROVER__BATCH_PLAN__INIT;
        Drover__MovePlan plans[4], *all[4];
        set_site("lyon", "80Mbit");
        for (unsigned i = 0; i < ARRAY_SIZE(plans); i++) {
                drover__move_plan__init(all[i] = &plans[i]);
                plans[i].source_host = plans[i].source_name = (char *) "lyon/kvm1";
                plans[i].target_host = plans[i].target_name = (char *) "nantes/kvm2";
                plans[i].bytes_to_copy = 100000000;
                plans[i].wave = i < 2 ? 1 : 2;
        }
        Drover__Refusal refusal = DROVER__REFUSAL__INIT, *refusals = &refusal;
        plans[3].refusals = &refusals;
        plans[3].n_refusals = 1;
        plans[3].wave = 0;
        plans[2].rate_bytes_per_second = 1000000;
        batch.plans = all;
        batch.n_plans = ARRAY_SIZE(plans);
        batch.waves = 2;
        runner_estimate_batch(runner, &batch);
        assert_int_equal(plans[0].estimated_seconds, 10 + REST);
        assert_int_equal(plans[2].estimated_seconds, 100 + REST);
        assert_int_equal(plans[3].estimated_seconds, 0);
        assert_int_equal(batch.estimated_seconds, 20 + 100 + REST);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                PLAYED_TEST(a_line_that_nothing_is_known_of_is_one_of_a_gigabit),
                PLAYED_TEST(the_lower_rate_of_both_sites_and_the_job_counts),
                PLAYED_TEST(a_copy_that_runs_into_other_hours_takes_their_rates),
                PLAYED_TEST(a_line_that_closes_for_long_is_still_estimated),
                PLAYED_TEST(what_a_line_carried_before_is_expected_of_it),
                PLAYED_TEST(what_a_limit_held_back_says_nothing_of_the_line),
                PLAYED_TEST(those_of_a_wave_share_the_line_and_waves_follow_each_other),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
