// SPDX-License-Identifier: LGPL-2.1-or-later
/* State machines: the moves a table allows, and that all else ends the process. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/sm.h"
#include "scratch.h"
#include <signal.h>

enum { IDLE, BUSY, DONE, FAILED, N_STATES };
static const struct sm_state states[N_STATES] = {
        [IDLE] = {.name = "idle", .next = SM_TO(BUSY), .initial = true},
        [BUSY] = {.name = "busy", .next = SM_TO(BUSY) | SM_TO(DONE) | SM_TO(FAILED)},
        [DONE] = {.name = "done", .final = true},
        [FAILED] = {.name = "failed", .next = SM_TO(IDLE)},
};

static void the_moves_of_the_table_are_made(void **state) {
        (void) state;
        struct sm sm;
        sm_init(&sm, states, N_STATES, IDLE);
        assert_string_equal(sm_name(&sm), "idle");
        static const unsigned path[] = {BUSY, BUSY, FAILED, IDLE, BUSY, DONE};
        for (size_t i = 0; i < sizeof(path) / sizeof(path[0]); i++) {
                assert_true(sm_may(&sm, path[i]));
                sm_move(&sm, path[i]);
                assert_int_equal(sm.current, path[i]);
        }
        assert_string_equal(sm_name(&sm), "done");
}

static void may_says_for_every_pair_what_the_table_says(void **state) {
        (void) state;
        static const bool allowed[N_STATES][N_STATES] = {
                [IDLE] = {[BUSY] = true},
                [BUSY] = {[BUSY] = true, [DONE] = true, [FAILED] = true},
                [FAILED] = {[IDLE] = true},
        };
        for (unsigned from = 0; from < N_STATES; from++)
                for (unsigned to = 0; to < N_STATES; to++) {
                        struct sm sm = {.states = states, .n = N_STATES, .current = from};
                        assert_int_equal(sm_may(&sm, to), allowed[from][to]);
                }
}

static void a_state_outside_the_table_is_never_allowed(void **state) {
        (void) state;
        struct sm sm;
        sm_init(&sm, states, N_STATES, IDLE);
        assert_false(sm_may(&sm, N_STATES));
        assert_false(sm_may(&sm, 33)); // 1u << 33 would be 1u << 1: busy
        assert_false(sm_may(&sm, UINT32_MAX));
}

static void move_against_the_table(void) {
        struct sm sm;
        sm_init(&sm, states, N_STATES, IDLE);
        sm_move(&sm, DONE);
}

static void move_out_of_a_final_state(void) {
        struct sm sm = {.states = states, .n = N_STATES, .current = DONE};
        sm_move(&sm, IDLE);
}

static void begin_in_the_middle(void) {
        struct sm sm;
        sm_init(&sm, states, N_STATES, BUSY);
}

static void begin_outside(void) {
        struct sm sm;
        sm_init(&sm, states, N_STATES, N_STATES);
}

static void lead_outside(void) {
        static const struct sm_state bad[] = {{.name = "a", .next = SM_TO(1), .initial = true}};
        struct sm sm;
        sm_init(&sm, bad, 1, 0);
}

static void lead_out_of_final(void) {
        static const struct sm_state bad[] = {{.name = "a", .next = SM_TO(0), .initial = true, .final = true}};
        struct sm sm;
        sm_init(&sm, bad, 1, 0);
}

static void have_no_name(void) {
        static const struct sm_state bad[] = {{.initial = true}};
        struct sm sm;
        sm_init(&sm, bad, 1, 0);
}

static void have_33_states(void) {
        static struct sm_state bad[33];
        for (int i = 0; i < 33; i++)
                bad[i] = (struct sm_state){.name = "a", .initial = true};
        struct sm sm;
        sm_init(&sm, bad, 33, 0);
}

static void ends_with_abort(void (*body)(void)) {
        int status = status_of_child(body);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void a_move_that_the_table_does_not_allow_ends_the_process(void **state) {
        (void) state;
        ends_with_abort(move_against_the_table);
        ends_with_abort(move_out_of_a_final_state);
}

static void a_beginning_that_is_not_initial_ends_the_process(void **state) {
        (void) state;
        ends_with_abort(begin_in_the_middle);
        ends_with_abort(begin_outside);
}

static void a_table_that_makes_no_sense_ends_the_process(void **state) {
        (void) state;
        ends_with_abort(lead_outside);
        ends_with_abort(lead_out_of_final);
        ends_with_abort(have_no_name);
        ends_with_abort(have_33_states);
}

static void a_table_of_32_states_works(void **state) {
        (void) state;
        static struct sm_state full[32];
        for (unsigned i = 0; i < 32; i++)
                full[i] = (struct sm_state){.name = "s", .next = i < 31 ? SM_TO(i + 1) : 0, .initial = i == 0};
        struct sm sm;
        sm_init(&sm, full, 32, 0);
        for (unsigned i = 1; i < 32; i++)
                sm_move(&sm, i);
        assert_int_equal(sm.current, 31);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_moves_of_the_table_are_made),
                cmocka_unit_test(may_says_for_every_pair_what_the_table_says),
                cmocka_unit_test(a_state_outside_the_table_is_never_allowed),
                cmocka_unit_test(a_move_that_the_table_does_not_allow_ends_the_process),
                cmocka_unit_test(a_beginning_that_is_not_initial_ends_the_process),
                cmocka_unit_test(a_table_that_makes_no_sense_ends_the_process),
                cmocka_unit_test(a_table_of_32_states_works),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
