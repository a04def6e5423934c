// SPDX-License-Identifier: LGPL-2.1-or-later
/* Results that wait for the inventory: their order, and that none waits for ever. */
#include "agent/session/answers.h"
#include "common/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static struct {
        uv_loop_t loop;
        struct answers *answers;
        uint64_t sent[ANSWERS_MAX + 8]; // ids
        unsigned n_sent;
} scene;

static void on_send(const Drover__AgentResult *result, void *data) {
        (void) data;
        scene.sent[scene.n_sent++] = result->id;
}

static int set_up(void **state) {
        (void) state;
        memset(&scene, 0, sizeof scene);
        uv_loop_init(&scene.loop);
        scene.answers = answers_new(&scene.loop, on_send, NULL);
        return 0;
}

static int tear_down(void **state) {
        (void) state;
        answers_free(scene.answers);
        uv_run(&scene.loop, UV_RUN_DEFAULT);
        return uv_loop_close(&scene.loop);
}

static void hold(uint64_t id, uint64_t reading) {
        Drover__AgentResult result;
        drover__agent_result__init(&result);
        result.id = id;
        answers_hold(scene.answers, &result, reading);
}

static void a_reading_releases_what_waited_for_it_in_order(void **state) {
        (void) state;
        hold(1, 4);
        hold(2, 5);
        hold(3, 5);
        hold(4, 6);
        answers_release(scene.answers, 3);
        assert_int_equal(scene.n_sent, 0);
        answers_release(scene.answers, 5); // the fourth was made void by a resync
        assert_int_equal(scene.n_sent, 3);
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(scene.sent[i], i + 1);
        answers_release(scene.answers, 6);
        assert_int_equal(scene.sent[3], 4);
}

static void what_has_waited_too_long_goes_without(void **state) {
        (void) state;
        uint64_t begun = clock_ms(&system_clock);
        hold(1, 4);
        hold(2, 5);
        uv_run(&scene.loop, UV_RUN_DEFAULT); // until no timer is left
        assert_int_equal(scene.n_sent, 2);
        assert_int_equal(scene.sent[0], 1);
        assert_true(clock_ms(&system_clock) - begun >= ANSWERS_HOLD_MS);
}

static void more_than_the_bound_sends_the_oldest(void **state) {
        (void) state;
        for (unsigned i = 1; i <= ANSWERS_MAX; i++)
                hold(i, i);
        assert_int_equal(scene.n_sent, 0);
        hold(ANSWERS_MAX + 1, ANSWERS_MAX + 1);
        assert_int_equal(scene.n_sent, 1);
        assert_int_equal(scene.sent[0], 1);
}

static void what_is_dropped_is_never_sent(void **state) {
        (void) state;
        hold(1, 4);
        answers_drop(scene.answers);
        answers_release(scene.answers, 4);
        uv_run(&scene.loop, UV_RUN_DEFAULT);
        assert_int_equal(scene.n_sent, 0);
        hold(2, 5);
        answers_release(scene.answers, 5);
        assert_int_equal(scene.sent[0], 2);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(a_reading_releases_what_waited_for_it_in_order),
                TEST(what_has_waited_too_long_goes_without),
                TEST(more_than_the_bound_sends_the_oldest),
                TEST(what_is_dropped_is_never_sent),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
