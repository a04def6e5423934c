// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/transfer/rate: a rate is held, and can be changed. */
#include "agent/transfer/rate.h"
#include "common/units.h"
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#define BLOCK (1ull << 20)

static uint64_t now_ms;
static uint64_t told_ms(void *data) {
        (void) data;
        return now_ms;
}
static const struct clock told_clock = {.monotonic_ms = told_ms};

// Bytes that are on the wire within so many seconds, asking every millisecond.
static uint64_t sent_within(struct rate *rate, unsigned seconds) {
        uint64_t sent = 0;
        size_t portion = rate_portion(rate);
        for (unsigned i = 0; i < seconds * 1000; i++, now_ms++)
                while (rate_take(rate, portion) == 0)
                        sent += portion + RATE_OVERHEAD(portion);
        return sent;
}

static void a_rate_is_held(void **state) {
        (void) state;
        struct rate rate;
        rate_init(&rate, 10 * BLOCK, &told_clock);
        uint64_t sent = sent_within(&rate, 10);
        assert_in_range(sent, 99 * BLOCK, 101 * BLOCK);
        now_ms += 3600 * 1000; // an hour of rest does not save up an hour of bytes
        sent = sent_within(&rate, 1);
        assert_in_range(sent, 9 * BLOCK, 13 * BLOCK);
        rate_fini(&rate);
}

static void no_rate_never_waits_and_a_tiny_one_is_raised(void **state) {
        (void) state;
        struct rate rate;
        rate_init(&rate, 0, &told_clock);
        for (unsigned i = 0; i < 1000; i++)
                assert_int_equal(rate_take(&rate, RATE_PORTION), 0);
        rate_fini(&rate);
        rate_init(&rate, 1, &told_clock);
        assert_int_equal(rate_now(&rate), UNITS_RATE_LEAST);
        uint64_t sent = sent_within(&rate, 10);
        assert_in_range(sent, 9 * UNITS_RATE_LEAST, 11 * UNITS_RATE_LEAST);
        rate_fini(&rate);
        rate_init(&rate, UINT64_MAX, &told_clock); // as good as none, and no number overflows
        for (unsigned i = 0; i < 1000; i++, now_ms++)
                assert_int_equal(rate_take(&rate, RATE_PORTION), 0);
        rate_fini(&rate);
}

// 64kbit is a line, too; and what does not come to a byte in a millisecond is not lost.
static void a_slow_rate_is_held_and_told(void **state) {
        (void) state;
        static const uint64_t rates[] = {UNITS_RATE_LEAST, 2999, 5000, 8000, 12500};
        for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
                struct rate rate;
                rate_init(&rate, rates[i], &told_clock);
                assert_int_equal(rate_now(&rate), rates[i]);
                uint64_t sent = sent_within(&rate, 30);
                assert_in_range(sent, rates[i] * 29, rates[i] * 31);
                rate_fini(&rate);
        }
}

static void a_portion_is_a_packet_at_least(void **state) {
        (void) state;
        struct rate rate;
        rate_init(&rate, UNITS_RATE_LEAST, &told_clock);
        assert_int_equal(rate_portion(&rate), RATE_PORTION_LEAST);
        rate_set(&rate, 1 << 20);
        assert_int_equal(rate_portion(&rate), (1 << 20) / 20);
        rate_set(&rate, 1 << 30);
        assert_int_equal(rate_portion(&rate), RATE_PORTION);
        rate_set(&rate, 0);
        assert_int_equal(rate_portion(&rate), 0);
        rate_fini(&rate);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_rate_is_held),
                cmocka_unit_test(a_slow_rate_is_held_and_told),
                cmocka_unit_test(a_portion_is_a_packet_at_least),
                cmocka_unit_test(no_rate_never_waits_and_a_tiny_one_is_raised),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
