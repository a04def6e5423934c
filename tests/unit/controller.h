// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* What the controller's unit tests share: a store in the scratch directory and a clock that is set by hand. */
#include "scratch.h"
#include "common/clock.h"
#include "controller/store/store.h"

#define UUID_1 "11111111-1111-4111-8111-111111111111"
#define UUID_2 "22222222-2222-4222-8222-222222222222"
#define UUID_3 "33333333-3333-4333-8333-333333333333"
#define UUID_4 "44444444-4444-4444-8444-444444444444"

#define OK(call)                                                                                                       \
        do {                                                                                                           \
                struct error ok_err = ERROR_INIT, *err = &ok_err;                                                      \
                if ((call) != 0)                                                                                       \
                        fail_msg("%s: %s", #call, ok_err.message);                                                     \
        } while (0)
#define FAILS(call, expected_code, expected_message)                                                                   \
        do {                                                                                                           \
                struct error fails_err = ERROR_INIT, *err = &fails_err;                                                \
                assert_int_equal((call), -1);                                                                          \
                assert_error(fails_err, (expected_code), (expected_message));                                          \
        } while (0)
#define FAILS_WITH_HINT(call, expected_code, expected_message, expected_hint)                                          \
        do {                                                                                                           \
                struct error fails_err = ERROR_INIT, *err = &fails_err;                                                \
                assert_int_equal((call), -1);                                                                          \
                assert_error(fails_err, (expected_code), (expected_message));                                          \
                assert_int_not_equal(fails_err.n_hints, 0);                                                            \
                assert_string_equal(fails_err.hints[0], (expected_hint));                                              \
        } while (0)

static int64_t hand_now = 1800000000; // seconds since 1970 UTC

static inline int64_t hand_wall(void *data) {
        (void) data;
        return hand_now;
}

static inline uint64_t hand_monotonic(void *data) {
        (void) data;
        return (uint64_t) hand_now * 1000;
}

static const struct clock hand_clock = {.monotonic_ms = hand_monotonic, .wall_seconds = hand_wall};

static inline void append(char *text, size_t size, const char *more) {
        size_t length = strlen(text);
        snprintf(text + length, size - length, "%s", more);
}

static inline struct store *open_store(const char *name) {
        struct store *store = NULL;
        OK(store_open(scratch_path(name), &store, err));
        return store;
}
