// SPDX-License-Identifier: LGPL-2.1-or-later
/* Who gets how much of a line: fairness, links shared in part, rates of jobs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "controller/job/allot.h"

#include <stdio.h>
#include <stdlib.h>

static const struct allot_line lines[] = {{"lyon", 1200}, {"nantes", 300}, {"paris", 0}};

static struct allot_transfer transfer(const char *job, const char *source, const char *target, uint64_t job_rate) {
        return (struct allot_transfer){.job = job, .source_site = source, .target_site = target, .job_rate = job_rate};
}

static void expect(struct allot_transfer *transfers, size_t n, const uint64_t *rates) {
        allot_rates(transfers, n, lines, 3);
        for (size_t i = 0; i < n; i++)
                assert_int_equal(transfers[i].rate, rates[i]);
}
#define EXPECT(transfers, ...)                                                                                         \
        expect((transfers), sizeof(transfers) / sizeof((transfers)[0]), (uint64_t[]){__VA_ARGS__})

static void one_transfer_gets_the_narrower_of_the_two_lines(void **state) {
        (void) state;
        struct allot_transfer out[] = {transfer("a", "lyon", "nantes", 0)};
        struct allot_transfer free[] = {transfer("a", "paris", "rome", 0)};
        EXPECT(out, 300);
        EXPECT(free, 0);
}

static void what_uses_a_line_shares_it_alike(void **state) {
        (void) state;
        struct allot_transfer all[] = {transfer("a", "lyon", "paris", 0), transfer("b", "lyon", "rome", 0),
                                       transfer("c", "lyon", "paris", 0)};
        EXPECT(all, 400, 400, 400);
}

static void both_directions_of_a_line_are_its_own_each(void **state) {
        (void) state;
        struct allot_transfer all[] = {transfer("a", "lyon", "paris", 0), transfer("b", "paris", "lyon", 0)};
        EXPECT(all, 1200, 1200);
}

static void what_one_cannot_use_goes_to_the_others(void **state) {
        (void) state;
        struct allot_transfer all[] = {transfer("a", "lyon", "nantes", 0), transfer("b", "lyon", "paris", 0),
                                       transfer("c", "lyon", "paris", 0)};
        EXPECT(all, 300, 450, 450); // nantes takes no more
}

static void three_jobs_on_two_lines(void **state) {
        (void) state;
        struct allot_transfer all[] = {transfer("a", "lyon", "nantes", 0), transfer("b", "lyon", "nantes", 0),
                                       transfer("c", "lyon", "paris", 0)};
        EXPECT(all, 150, 150, 900);
        struct allot_transfer wishes[] = {transfer("a", "lyon", "nantes", 50), transfer("b", "lyon", "nantes", 0),
                                          transfer("c", "lyon", "paris", 100)};
        EXPECT(wishes, 50, 250, 100);
}

static void a_jobs_own_rate_is_for_all_its_transfers(void **state) {
        (void) state;
        struct allot_transfer all[] = {transfer("a", "lyon", "paris", 200), transfer("a", "lyon", "paris", 200),
                                       transfer("b", "lyon", "paris", 0)};
        EXPECT(all, 100, 100, 1000);
        struct allot_transfer alone[] = {transfer("a", "paris", "rome", 77)};
        EXPECT(alone, 77);
}

static void within_a_site_no_line_is_used_but_through_the_controller_it_is(void **state) {
        (void) state;
        struct allot_transfer all[] = {transfer("a", "nantes", "nantes", 0), transfer("b", "nantes", "paris", 0)};
        EXPECT(all, 0, 300);
        all[0].relayed = true;
        EXPECT(all, 150, 150);
}

static void nobody_who_is_limited_gets_nothing(void **state) {
        (void) state;
        struct allot_transfer all[500];
        for (size_t i = 0; i < 500; i++)
                all[i] = transfer("a", "nantes", "paris", 0);
        allot_rates(all, 500, lines, 3);
        for (size_t i = 0; i < 500; i++)
                assert_int_equal(all[i].rate, 1);
}

// Max-min: for every transfer there is a full limit among those it uses at which nobody has more than it has.
static void check_fair(const struct allot_transfer *all, size_t n, const struct allot_line *of, size_t n_of) {
        for (size_t i = 0; i < n; i++) {
                bool justified = false;
                for (size_t k = 0; k < n_of; k++)
                        for (int enters = 0; enters < 2; enters++) {
                                const char *mine = enters ? all[i].target_site : all[i].source_site;
                                uint64_t sum = 0, most = 0;
                                if (mine != of[k].site || of[k].bytes_per_second == 0)
                                        continue;
                                for (size_t j = 0; j < n; j++) {
                                        const char *site = enters ? all[j].target_site : all[j].source_site;
                                        sum += site == mine ? all[j].rate : 0;
                                        if (site == mine && all[j].rate > most)
                                                most = all[j].rate;
                                }
                                assert_true(sum <= of[k].bytes_per_second);
                                justified |= sum + n >= of[k].bytes_per_second && most <= all[i].rate + 1;
                        }
                justified |= all[i].job_rate > 0 && all[i].rate >= all[i].job_rate;
                if (!justified)
                        fail_msg("transfer %zu could have more than %llu", i, (unsigned long long) all[i].rate);
        }
}

static void any_mixture_is_fair(void **state) {
        (void) state;
        static const char *const sites[] = {"lyon", "nantes", "paris", "rome", "brest"};
        static char jobs[40][24];
        srand(7);
        for (unsigned round = 0; round < 300; round++) {
                struct allot_line some[5];
                struct allot_transfer all[40];
                size_t n = 1 + (size_t) rand() % 40;
                for (size_t i = 0; i < 5; i++)
                        some[i] = (struct allot_line){sites[i], 100000 + (uint64_t) rand() % 1000000};
                for (size_t i = 0; i < n; i++) {
                        size_t source = (size_t) rand() % 5;
                        snprintf(jobs[i], sizeof(jobs[i]), "%zu", i);
                        all[i] = transfer(jobs[i], sites[source], sites[(source + 1 + (size_t) rand() % 4) % 5],
                                          rand() % 3 ? 0 : 1 + (uint64_t) rand() % 100000);
                }
                allot_rates(all, n, some, 5);
                check_fair(all, n, some, 5);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(one_transfer_gets_the_narrower_of_the_two_lines),
                cmocka_unit_test(what_uses_a_line_shares_it_alike),
                cmocka_unit_test(both_directions_of_a_line_are_its_own_each),
                cmocka_unit_test(what_one_cannot_use_goes_to_the_others),
                cmocka_unit_test(three_jobs_on_two_lines),
                cmocka_unit_test(a_jobs_own_rate_is_for_all_its_transfers),
                cmocka_unit_test(within_a_site_no_line_is_used_but_through_the_controller_it_is),
                cmocka_unit_test(nobody_who_is_limited_gets_nothing),
                cmocka_unit_test(any_mixture_is_fair),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
