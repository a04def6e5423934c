// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Jobs with played hosts (played.h) that go on by themselves, one thing after another: each question is answered in
 * turn, well but for what the test has said should fail or stay unanswered. Include after cmocka.h.
 */
#include "played.h"

static unsigned n_answered;
static const char *fail_step;     // this step fails ...
static enum error_code fail_code; // ... with this, ...
static unsigned fail_times;       // ... so often
static const char *silent_step;   // this one is never answered

static inline void let_fail(const char *step, enum error_code code, unsigned times) {
        fail_step = step;
        fail_code = code;
        fail_times = times;
}

static inline void answer_in_turn(struct question *question) {
        struct error why = ERROR_INIT;
        bool fails = fail_step && fail_times > 0 && strcmp(question->request->step, fail_step) == 0;
        n_answered++;
        if (fails) {
                fail_times--;
                error_set(&why, fail_code, "played failure");
        }
        answer(question, fails ? &why : NULL);
}

// What a cancelled step answers.
static inline void answer_cancelled(const char *step) {
        struct error why = ERROR_INIT;
        error_set(&why, ERROR_CANCELLED, "cancelled");
        for (unsigned i = 0; i < n_questions; i++)
                if (!questions[i].answered && strcmp(questions[i].request->step, step) == 0) {
                        n_answered++;
                        answer(&questions[i], &why);
                }
}

// The first open question is answered, or else time passes. False when the job has ended.
static inline bool one_thing(const char *job) {
        for (unsigned i = 0; i < n_questions; i++)
                if (!questions[i].answered && !is_aside(&questions[i]) &&
                    !(silent_step && strcmp(questions[i].request->step, silent_step) == 0)) {
                        answer_in_turn(&questions[i]);
                        return true;
                }
        Drover__JobRecord *record = record_of(job);
        bool ended = record->finished_ms != 0 || strcmp(record->state, "needs-operator") == 0;
        proto_free(&record->base);
        uv_update_time(&loop);
        time_passes(1);
        return !ended;
}

static inline void finish(const char *job, const char *state) {
        for (unsigned i = 0; i < 500 && one_thing(job); i++)
                ;
        expect_state(job, state);
}

static inline unsigned times_asked(const char *step) {
        unsigned n = 0;
        for (unsigned i = 0; i < n_questions; i++)
                n += strcmp(questions[i].request->step, step) == 0;
        return n;
}

static inline unsigned place_of(const char *step) {
        for (unsigned i = 0; i < n_questions; i++)
                if (strcmp(questions[i].request->step, step) == 0)
                        return i + 1;
        return 0;
}

static inline void forget_story(void) {
        forget_questions();
        n_answered = 0;
}

static inline int story_begin(void **state) {
        n_answered = fail_times = 0;
        fail_step = silent_step = NULL;
        return played_begin(state);
}

// From the beginning, within one test.
static inline void story_again(void **state) {
        assert_int_equal(played_end(state), 0);
        assert_int_equal(story_begin(state), 0);
}

#define STORY_TEST(test) cmocka_unit_test_setup_teardown(test, story_begin, played_end)
