// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sizes, rates and durations: what is accepted, what is refused and with which words. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/units.h"
#include "scratch.h"

typedef int (*parser)(const char *text, uint64_t *ret_value, struct error *err);

static void accepts(parser parse, const char *text, uint64_t expected) {
        struct error err = ERROR_INIT;
        uint64_t value = 12345;
        if (parse(text, &value, &err) < 0)
                fail_msg("%s", err.message);
        assert_int_equal(value, expected);
}

static void refuses(parser parse, const char *text, const char *message) {
        struct error err = ERROR_INIT;
        uint64_t value = 12345;
        assert_int_equal(parse(text, &value, &err), -1);
        assert_error(err, ERROR_INVALID, message);
        assert_int_equal(value, 12345);
}

static void sizes_are_powers_of_1024(void **state) {
        (void) state;
        accepts(units_parse_size, "0", 0);
        accepts(units_parse_size, "4096", 4096);
        accepts(units_parse_size, "1K", 1024);
        accepts(units_parse_size, "512M", 536870912);
        accepts(units_parse_size, "20G", 21474836480);
        accepts(units_parse_size, "3T", 3298534883328);
        accepts(units_parse_size, "1P", 1125899906842624);
        accepts(units_parse_size, "18446744073709551615", UINT64_MAX);
        accepts(units_parse_size, "16383P", 16383ull << 50);
}

static void sizes_with_signs_blanks_fractions_or_trailing_text_are_refused(void **state) {
        (void) state;
        static const char *const bad[] = {"",   "G",    "-1",  "+1", " 1",  "1 ",   "1.5G", "0x10",
                                          "1g", "1GiB", "1GB", "1E", "1 G", "1G\n", "20Gx", "NaN"};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                struct error err = ERROR_INIT;
                uint64_t value;
                assert_int_equal(units_parse_size(bad[i], &value, &err), -1);
                assert_int_equal(err.code, ERROR_INVALID);
        }
        refuses(units_parse_size, "1.5G", "\"1.5G\" is not a size: write 4096, 512M or 20G (K, M, G, T, P)");
}

static void sizes_that_overflow_are_refused(void **state) {
        (void) state;
        refuses(units_parse_size, "18446744073709551616", "\"18446744073709551616\" is too large for a size");
        refuses(units_parse_size, "16384P", "\"16384P\" is too large for a size");
        refuses(units_parse_size, "99999999999999999999999999999999999999999999999999G",
                "\"9999999999999999999999999999999999999999\" is too large for a size");
}

static void rates_are_bits_by_1000_or_bytes_by_1024(void **state) {
        (void) state;
        accepts(units_parse_rate, "40Mbit", 5000000);
        accepts(units_parse_rate, "1Gbit", 125000000);
        accepts(units_parse_rate, "100mbit", 12500000);
        accepts(units_parse_rate, "16kbit", UNITS_RATE_LEAST);
        accepts(units_parse_rate, "5M", 5242880);
        accepts(units_parse_rate, "2K", 2048);
        accepts(units_parse_rate, "full", 0);
}

static void rates_of_zero_overflow_or_trailing_text_are_refused(void **state) {
        (void) state;
        refuses(units_parse_rate, "0M", "a rate of 0 would never end: write full for no limit");
        refuses(units_parse_rate, "0", "\"0\" is not a rate: write 40Mbit, 1Gbit, 5M (bytes a second) or full");
        refuses(units_parse_rate, "0Mbit", "a rate of 0 would never end: write full for no limit");
        refuses(units_parse_rate, "fast", "\"fast\" is not a rate: write 40Mbit, 1Gbit, 5M (bytes a second) or full");
        refuses(units_parse_rate, "40", "\"40\" is not a rate: write 40Mbit, 1Gbit, 5M (bytes a second) or full");
        refuses(units_parse_rate, "5m", "\"5m\" is not a rate: write 40Mbit, 1Gbit, 5M (bytes a second) or full");
        refuses(units_parse_rate, "-5M", "\"-5M\" is not a rate: write 40Mbit, 1Gbit, 5M (bytes a second) or full");
        refuses(units_parse_rate, "15kbit", "a rate of 1.9 kB/s is too slow: the least is 16kbit");
        refuses(units_parse_rate, "1K", "a rate of 1.0 kB/s is too slow: the least is 16kbit");
        refuses(units_parse_rate, "999999999999999Gbit", "\"999999999999999Gbit\" is too large for a rate");
        refuses(units_parse_rate, "18446744073709551616Mbit", "\"18446744073709551616Mbit\" is too large for a rate");
}

static void a_stored_rate_that_is_too_slow_is_the_least(void **state) {
        (void) state;
        accepts(units_read_rate, "8kbit", UNITS_RATE_LEAST);
        accepts(units_read_rate, "1K", UNITS_RATE_LEAST);
        accepts(units_read_rate, "2K", 2048);
        accepts(units_read_rate, "full", 0);
        refuses(units_read_rate, "0M", "a rate of 0 would never end: write full for no limit");
}

static void durations_need_their_unit(void **state) {
        (void) state;
        accepts(units_parse_duration, "0s", 0);
        accepts(units_parse_duration, "90s", 90);
        accepts(units_parse_duration, "15m", 900);
        accepts(units_parse_duration, "2h", 7200);
        accepts(units_parse_duration, "7d", 604800);
        refuses(units_parse_duration, "90", "\"90\" is not a duration: write 90s, 15m, 2h or 7d");
        refuses(units_parse_duration, "1h30m", "\"1h30m\" is not a duration: write 90s, 15m, 2h or 7d");
        refuses(units_parse_duration, "-1s", "\"-1s\" is not a duration: write 90s, 15m, 2h or 7d");
        refuses(units_parse_duration, "", "\"\" is not a duration: write 90s, 15m, 2h or 7d");
        refuses(units_parse_duration, "213503982334602d", "\"213503982334602d\" is too large for a duration");
}

static void sizes_are_shown_with_one_decimal(void **state) {
        (void) state;
        char text[UNITS_TEXT_MAX];
        assert_string_equal(units_format_size(0, text), "0 B");
        assert_string_equal(units_format_size(1023, text), "1023 B");
        assert_string_equal(units_format_size(1024, text), "1.0 KiB");
        assert_string_equal(units_format_size(2576980378, text), "2.4 GiB");
        assert_string_equal(units_format_size((1ull << 40) - 1, text), "1.0 TiB");
        assert_string_equal(units_format_size(UINT64_MAX, text), "16384.0 PiB");
}

static void rates_are_shown_by_powers_of_1000(void **state) {
        (void) state;
        char text[UNITS_TEXT_MAX];
        assert_string_equal(units_format_rate(999, text), "999 B/s");
        assert_string_equal(units_format_rate(41200000, text), "41.2 MB/s");
        assert_string_equal(units_format_rate(999999, text), "1.0 MB/s");
        assert_string_equal(units_format_rate(1250000000, text), "1.3 GB/s");
}

static void durations_are_shown_by_their_two_largest_parts(void **state) {
        (void) state;
        char text[UNITS_TEXT_MAX];
        assert_string_equal(units_format_duration(0, text), "0 s");
        assert_string_equal(units_format_duration(42, text), "42 s");
        assert_string_equal(units_format_duration(80, text), "1 min 20 s");
        assert_string_equal(units_format_duration(65, text), "1 min 05 s");
        assert_string_equal(units_format_duration(7500, text), "2 h 05 min");
        assert_string_equal(units_format_duration(86399, text), "23 h 59 min");
        assert_string_equal(units_format_duration(273600, text), "3 d 04 h");
        assert_string_equal(units_format_duration(UINT64_MAX, text), "213503982334601 d 07 h");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(sizes_are_powers_of_1024),
                cmocka_unit_test(sizes_with_signs_blanks_fractions_or_trailing_text_are_refused),
                cmocka_unit_test(sizes_that_overflow_are_refused),
                cmocka_unit_test(rates_are_bits_by_1000_or_bytes_by_1024),
                cmocka_unit_test(rates_of_zero_overflow_or_trailing_text_are_refused),
                cmocka_unit_test(a_stored_rate_that_is_too_slow_is_the_least),
                cmocka_unit_test(durations_need_their_unit),
                cmocka_unit_test(sizes_are_shown_with_one_decimal),
                cmocka_unit_test(rates_are_shown_by_powers_of_1000),
                cmocka_unit_test(durations_are_shown_by_their_two_largest_parts),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
