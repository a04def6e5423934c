// SPDX-License-Identifier: LGPL-2.1-or-later
/* Summer time by rule; see zone_rule.h. */
#include "common/zone_rule.h"
#include "common/civil.h"

#include <stddef.h>

static int64_t turn_day(const struct zone_turn *turn, int64_t year) {
        int64_t day = civil_days(year, 1, 1);
        if (turn->kind == ZONE_DAY_OF_YEAR)
                return day + turn->day;
        if (turn->kind == ZONE_JULIAN) // counts no 29th of February
                return day + turn->day - 1 + (civil_is_leap(year) && turn->day > 59);
        day = civil_days(year, turn->month, 1);
        int64_t at = day + (turn->day + 6 - civil_weekday(day)) % 7 + (turn->week - 1) * 7;
        return at >= day + civil_month_days(year, turn->month) ? at - 7 : at; // week 5: the last one
}

// ---- parsing

static bool take_number(const char **at, int most, int *ret) {
        int value = 0;
        if (**at < '0' || **at > '9')
                return false;
        while (**at >= '0' && **at <= '9') {
                value = value * 10 + (*(*at)++ - '0');
                if (value > most)
                        return false;
        }
        *ret = value;
        return true;
}

// [+-]hh[:mm[:ss]]
static bool take_time(const char **at, int most_hours, int32_t *ret) {
        int sign = **at == '-' ? -1 : 1, hours = 0, minutes = 0, seconds = 0;
        *at += **at == '-' || **at == '+';
        if (!take_number(at, most_hours, &hours))
                return false;
        if (**at == ':' && (++*at, !take_number(at, 59, &minutes)))
                return false;
        if (**at == ':' && (++*at, !take_number(at, 59, &seconds)))
                return false;
        *ret = sign * (hours * 3600 + minutes * 60 + seconds);
        return true;
}

static bool is_letter(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// CET or <+03>
static bool take_name(const char **at) {
        const char *begin = *at;
        if (**at == '<') {
                while (**at && **at != '>')
                        ++*at;
                return *(*at) == '>' && ++*at;
        }
        while (is_letter(**at))
                ++*at;
        return *at - begin >= 3;
}

static bool take_turn(const char **at, struct zone_turn *ret) {
        *ret = (struct zone_turn){.kind = ZONE_DAY_OF_YEAR, .seconds = 2 * 3600};
        if (**at == 'M') {
                ret->kind = ZONE_WEEKDAY;
                ++*at;
                if (!take_number(at, 12, &ret->month) || ret->month == 0 || *(*at)++ != '.' ||
                    !take_number(at, 5, &ret->week) || ret->week == 0 || *(*at)++ != '.' ||
                    !take_number(at, 6, &ret->day))
                        return false;
        } else {
                ret->kind = **at == 'J' ? ZONE_JULIAN : ZONE_DAY_OF_YEAR;
                *at += **at == 'J';
                if (!take_number(at, 365, &ret->day) || (ret->kind == ZONE_JULIAN && ret->day == 0))
                        return false;
        }
        return **at != '/' || (++*at, take_time(at, 167, &ret->seconds));
}

bool zone_rule_parse(const char *text, struct zone_rule *ret) {
        struct zone_rule rule = {0};
        if (!take_name(&text) || !take_time(&text, 24, &rule.standard))
                return false;
        rule.standard = -rule.standard; // POSIX counts westward
        rule.summer = rule.standard + 3600;
        if (*text) {
                rule.has_summer = true;
                if (!take_name(&text))
                        return false;
                if (*text != ',') {
                        if (!take_time(&text, 24, &rule.summer))
                                return false;
                        rule.summer = -rule.summer;
                }
                if (*text++ != ',' || !take_turn(&text, &rule.begin) || *text++ != ',' || !take_turn(&text, &rule.end))
                        return false;
        }
        *ret = rule;
        return *text == '\0';
}

// ---- asking

static int64_t summer_begins(const struct zone_rule *rule, int64_t year) {
        return turn_day(&rule->begin, year) * CIVIL_DAY + rule->begin.seconds - rule->standard;
}

static int64_t summer_ends(const struct zone_rule *rule, int64_t year) {
        return turn_day(&rule->end, year) * CIVIL_DAY + rule->end.seconds - rule->summer;
}

// The newest turn at or before `at` decides: south of the equator summer goes over the end of the year.
int32_t zone_rule_offset(const struct zone_rule *rule, int64_t at) {
        int64_t year = civil_of(at).year, newest = INT64_MIN;
        bool summer = false;
        if (!rule->has_summer)
                return rule->standard;
        for (int64_t y = year - 1; y <= year + 1; y++) {
                int64_t begins = summer_begins(rule, y), ends = summer_ends(rule, y);
                if (begins <= at && begins >= newest) {
                        newest = begins;
                        summer = true;
                }
                if (ends <= at && ends > newest) {
                        newest = ends;
                        summer = false;
                }
        }
        return summer ? rule->summer : rule->standard;
}

int64_t zone_rule_next_change(const struct zone_rule *rule, int64_t at) {
        int64_t year = civil_of(at).year, next = INT64_MAX;
        if (!rule->has_summer)
                return INT64_MAX;
        for (int64_t y = year - 1; y <= year + 2; y++) {
                int64_t turns[] = {summer_begins(rule, y), summer_ends(rule, y)};
                for (size_t i = 0; i < 2; i++)
                        if (turns[i] > at && turns[i] < next &&
                            zone_rule_offset(rule, turns[i] - 1) != zone_rule_offset(rule, turns[i]))
                                next = turns[i];
        }
        return next;
}
