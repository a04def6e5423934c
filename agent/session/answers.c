// SPDX-License-Identifier: LGPL-2.1-or-later
/* A queue in the order of arrival, which is the order of readings and of deadlines, too; loop thread only. */
#include "agent/session/answers.h"
#include "common/clock.h"
#include "common/memory.h"
#include "common/timer.h"

#include <stdlib.h>

struct held {
        struct held *next;
        Drover__AgentResult *result;
        uint64_t reading;
        uint64_t until_ms; // monotonic
};

struct answers {
        answers_send_fn send;
        void *data;
        struct timer *late;
        struct held *first, **last;
        unsigned n;
};

static struct held *take_first(struct answers *answers) {
        struct held *held = answers->first;
        answers->first = held->next;
        if (!answers->first)
                answers->last = &answers->first;
        answers->n--;
        return held;
}

static void held_free(struct held *held) {
        proto_free(&held->result->base);
        free(held);
}

static void send_first(struct answers *answers) {
        struct held *held = take_first(answers);
        answers->send(held->result, answers->data);
        held_free(held);
}

// Waits for the deadline of the first, if there is one.
static void watch(struct answers *answers) {
        uint64_t now = clock_ms(&system_clock);
        if (!answers->first)
                timer_stop(answers->late);
        else
                timer_once(answers->late, answers->first->until_ms > now ? answers->first->until_ms - now : 0);
}

static void on_late(void *data) {
        struct answers *answers = data;
        while (answers->first && answers->first->until_ms <= clock_ms(&system_clock))
                send_first(answers);
        watch(answers);
}

struct answers *answers_new(uv_loop_t *loop, answers_send_fn send, void *data) {
        struct answers *answers = new (struct answers);
        answers->send = send;
        answers->data = data;
        answers->last = &answers->first;
        answers->late = timer_new(loop, on_late, answers);
        return answers;
}

void answers_free(struct answers *answers) {
        if (!answers)
                return;
        answers_drop(answers);
        timer_free(answers->late);
        free(answers);
}

void answers_hold(struct answers *answers, const Drover__AgentResult *result, uint64_t reading) {
        if (answers->n >= ANSWERS_MAX)
                send_first(answers);
        struct held *held = new (struct held);
        held->result = (Drover__AgentResult *) proto_copy(&result->base);
        held->reading = reading;
        held->until_ms = clock_ms(&system_clock) + ANSWERS_HOLD_MS;
        *answers->last = held;
        answers->last = &held->next;
        answers->n++;
        watch(answers);
}

void answers_release(struct answers *answers, uint64_t reading) {
        while (answers->first && answers->first->reading <= reading)
                send_first(answers);
        watch(answers);
}

void answers_drop(struct answers *answers) {
        while (answers->first)
                held_free(take_first(answers));
        watch(answers);
}
