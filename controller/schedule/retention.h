// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Which restore points of a VM are kept, and why. Pure; a policy is a value, embedded by its owner.
 *
 *      --keep last=3,hourly=24,daily=7,weekly=4,monthly=12,yearly=2
 *
 * A rule keeps the newest restore point of each of the newest so many periods that have one; a period without any does
 * not count against the number. What any rule keeps stays. Periods are those of the schedule's zone: hours of its clock
 * (of the one that comes twice when summer time ends, each), weeks from Monday. Only what there is counts, never what
 * time it is: however far the clock jumps, nothing is removed by its age. Restore points that are known to be damaged
 * are not to be given here, so that they push out no good ones.
 */
#include "common/zone.h"
#include <stdbool.h>

#define RETENTION_WHY(X)                                                                                               \
        /* symbol, word; a rule of the policy? */                                                                      \
        X(RETENTION_LAST, "last", true)                                                                                \
        X(RETENTION_HOURLY, "hourly", true)                                                                            \
        X(RETENTION_DAILY, "daily", true)                                                                              \
        X(RETENTION_WEEKLY, "weekly", true)                                                                            \
        X(RETENTION_MONTHLY, "monthly", true)                                                                          \
        X(RETENTION_YEARLY, "yearly", true)                                                                            \
        X(RETENTION_HELD, "held", false)     /* whoever asks says so */                                                \
        X(RETENTION_FUTURE, "future", false) /* dated later than now: it stays until its time, and counts nowhere */   \
        X(RETENTION_ALL, "no rules", false)  /* a policy without rules removes nothing */

enum retention_why {
#define X(symbol, word, is_rule) symbol,
        RETENTION_WHY(X)
#undef X
                RETENTION_REASONS
};
#define RETENTION_RULES    RETENTION_HELD
#define RETENTION_MOST     9999
#define RETENTION_TEXT_MAX 96 // with NUL, of a policy and of reasons

struct retention {
        uint16_t keep[RETENTION_RULES]; // 0: not a rule of it
};
struct retention_point {
        const char *id; // borrowed; of two that are as old, the greater one counts as newer
        int64_t at;     // when it was taken, seconds since 1970 UTC
        bool held;      // kept in any case, and counted as any other: taken just now, being read, kept by a person
};

// ERROR_INVALID says what is wrong, with an example as hint; a policy that would keep nothing is refused.
int retention_parse(const char *text, struct retention *ret, struct error *err);
char *retention_format(const struct retention *retention, char *buffer); // "last=3,daily=7"; RETENTION_TEXT_MAX
// For each of the points, in whatever order they come, a bit for each reason to keep it: 1u << RETENTION_DAILY; 0: it
// can go. Of points that are not all in the future the newest that is not is always kept.
void retention_apply(const struct retention *retention, const struct zone *zone, int64_t now,
                     const struct retention_point *points, size_t n, unsigned *ret_reasons);
char *retention_reasons(unsigned reasons, char *buffer); // "last, daily"; RETENTION_TEXT_MAX
