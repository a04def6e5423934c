// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Sizes, rates and durations: strict parsers for what people type and formatters for what they read. Integers all the
 * way, so that what is shown does not depend on rounding modes. Pure functions, any thread.
 */
#include "common/units.h"
#include "common/cleanup.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct unit {
        const char *suffix;
        uint64_t factor;
};

static const struct unit sizes[] = {
        {"", 1}, {"K", 1ull << 10}, {"M", 1ull << 20}, {"G", 1ull << 30}, {"T", 1ull << 40}, {"P", 1ull << 50},
};
// Bytes a second for 1000, 1000^2 ... bits a second: each is a multiple of 125.
static const struct unit bits[] = {
        {"kbit", 125ull}, {"Mbit", 125000ull}, {"Gbit", 125000000ull}, {"Tbit", 125000000000ull}};
static const struct unit durations[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};

// Digits at the start of text; 0 when there are none, 1 when they fit, -1 on overflow. *ret_rest is what follows.
static int parse_digits(const char *text, uint64_t *ret_number, const char **ret_rest) {
        uint64_t number = 0;
        int result = 0;
        for (; *text >= '0' && *text <= '9'; text++) {
                if (result == 0)
                        result = 1;
                if (__builtin_mul_overflow(number, 10, &number) ||
                    __builtin_add_overflow(number, (uint64_t) (*text - '0'), &number))
                        result = -1;
        }
        *ret_number = number;
        *ret_rest = text;
        return result;
}

static int exact(const char *one, const char *other) {
        return strcmp(one, other);
}

// 1: done, 0: not of this kind, -1: overflow.
static int parse(const char *text, const struct unit *units, size_t n, int (*compare)(const char *, const char *),
                 uint64_t *ret_value) {
        uint64_t number;
        const char *rest;
        int digits = parse_digits(text, &number, &rest);
        if (digits == 0)
                return 0;
        for (size_t i = 0; i < n; i++)
                if (compare(rest, units[i].suffix) == 0) {
                        uint64_t value;
                        if (digits < 0 || __builtin_mul_overflow(number, units[i].factor, &value))
                                return -1;
                        *ret_value = value;
                        return 1;
                }
        return 0;
}

static int overflow(const char *text, const char *what, struct error *err) {
        return error_set(err, ERROR_INVALID, "\"%.40s\" is too large for a %s", text, what);
}

int units_parse_size(const char *text, uint64_t *ret_bytes, struct error *err) {
        int result = parse(text, sizes, ARRAY_SIZE(sizes), exact, ret_bytes);
        if (result > 0)
                return 0;
        if (result < 0)
                return overflow(text, "size", err);
        return error_set(err, ERROR_INVALID, "\"%.40s\" is not a size: write 4096, 512M or 20G (K, M, G, T, P)", text);
}

static int parse_rate(const char *text, uint64_t *ret_bytes_per_second, struct error *err) {
        if (strcmp(text, "full") == 0) {
                *ret_bytes_per_second = 0;
                return 0;
        }
        uint64_t rate = 0;
        // tc(8) writes "100mbit"; there is no millibit to take it for.
        int result = parse(text, bits, ARRAY_SIZE(bits), strcasecmp, &rate);
        // Without a unit 40 would be bytes a second, which nobody means.
        if (result == 0)
                result = parse(text, sizes + 1, ARRAY_SIZE(sizes) - 1, exact, &rate);
        if (result < 0)
                return overflow(text, "rate", err);
        if (result == 0)
                return error_set(err, ERROR_INVALID,
                                 "\"%.40s\" is not a rate: write 40Mbit, 1Gbit, 5M (bytes a second) or full", text);
        if (rate == 0)
                return error_set(err, ERROR_INVALID, "a rate of 0 would never end: write full for no limit");
        *ret_bytes_per_second = rate;
        return 0;
}

int units_parse_rate(const char *text, uint64_t *ret_bytes_per_second, struct error *err) {
        uint64_t rate;
        if (parse_rate(text, &rate, err) < 0 || units_check_rate(rate, err) < 0)
                return -1;
        *ret_bytes_per_second = rate;
        return 0;
}

int units_read_rate(const char *text, uint64_t *ret_bytes_per_second, struct error *err) {
        uint64_t rate;
        if (parse_rate(text, &rate, err) < 0)
                return -1;
        *ret_bytes_per_second = rate && rate < UNITS_RATE_LEAST ? UNITS_RATE_LEAST : rate;
        return 0;
}

int units_check_rate(uint64_t bytes_per_second, struct error *err) {
        char text[UNITS_TEXT_MAX];
        if (bytes_per_second == 0 || bytes_per_second >= UNITS_RATE_LEAST)
                return 0;
        return error_set(err, ERROR_INVALID, "a rate of %s is too slow: the least is 16kbit",
                         units_format_rate(bytes_per_second, text));
}

int units_parse_duration(const char *text, uint64_t *ret_seconds, struct error *err) {
        int result = parse(text, durations, ARRAY_SIZE(durations), exact, ret_seconds);
        if (result > 0)
                return 0;
        if (result < 0)
                return overflow(text, "duration", err);
        return error_set(err, ERROR_INVALID, "\"%.40s\" is not a duration: write 90s, 15m, 2h or 7d", text);
}

// One decimal, rounded half up; 1023.95 becomes 1.0 of the next unit.
static void format_decimal(uint64_t value, uint64_t base, const char *const *suffixes, size_t n, char *buffer) {
        uint64_t factor = 1;
        size_t unit = 0;
        while (unit + 1 < n && value / factor >= base) {
                factor *= base;
                unit++;
        }
        if (unit == 0) {
                snprintf(buffer, UNITS_TEXT_MAX, "%" PRIu64 " %s", value, suffixes[0]);
                return;
        }
        uint64_t tenths =
                value / factor * 10 + (uint64_t) (((unsigned __int128) (value % factor) * 10 + factor / 2) / factor);
        if (tenths >= base * 10 && unit + 1 < n) {
                tenths = 10;
                unit++;
        }
        snprintf(buffer, UNITS_TEXT_MAX, "%" PRIu64 ".%" PRIu64 " %s", tenths / 10, tenths % 10, suffixes[unit]);
}

char *units_format_size(uint64_t bytes, char *buffer) {
        static const char *const suffixes[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
        format_decimal(bytes, 1024, suffixes, ARRAY_SIZE(suffixes), buffer);
        return buffer;
}

char *units_format_rate(uint64_t bytes_per_second, char *buffer) {
        static const char *const suffixes[] = {"B/s", "kB/s", "MB/s", "GB/s", "TB/s"};
        format_decimal(bytes_per_second, 1000, suffixes, ARRAY_SIZE(suffixes), buffer);
        return buffer;
}

char *units_format_duration(uint64_t seconds, char *buffer) {
        if (seconds < 60)
                snprintf(buffer, UNITS_TEXT_MAX, "%" PRIu64 " s", seconds);
        else if (seconds < 3600)
                snprintf(buffer, UNITS_TEXT_MAX, "%" PRIu64 " min %02" PRIu64 " s", seconds / 60, seconds % 60);
        else if (seconds < 86400)
                snprintf(buffer, UNITS_TEXT_MAX, "%" PRIu64 " h %02" PRIu64 " min", seconds / 3600, seconds / 60 % 60);
        else
                snprintf(buffer, UNITS_TEXT_MAX, "%" PRIu64 " d %02" PRIu64 " h", seconds / 86400, seconds / 3600 % 24);
        return buffer;
}
