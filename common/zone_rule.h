// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What a time zone does each year from now on, as the end of its file says it ("CET-1CEST,M3.5.0,M10.5.0/3": POSIX TZ,
 * with the extensions of RFC 9636, section 3.3.1). Internal to zone.c and its tests. Pure.
 */
#include <stdbool.h>
#include <stdint.h>

enum zone_day_kind { ZONE_JULIAN, ZONE_DAY_OF_YEAR, ZONE_WEEKDAY }; // Jn, n, Mm.w.d
struct zone_turn {
        enum zone_day_kind kind;
        int day, month, week;
        int32_t seconds; // after the midnight with which that day begins
};
struct zone_rule {
        int32_t standard, summer; // seconds east of UTC
        bool has_summer;
        struct zone_turn begin, end; // of summer time
};
bool zone_rule_parse(const char *text, struct zone_rule *ret);
int32_t zone_rule_offset(const struct zone_rule *rule, int64_t at);
int64_t zone_rule_next_change(const struct zone_rule *rule, int64_t at); // INT64_MAX: never
