// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Days and dates of the proleptic Gregorian calendar, which is the one of the tz database and of everybody's clock. No
 * time zone in here: seconds are those of a clock on the wall, counted from its 1970-01-01. Pure functions, any thread.
 */
#include <stdbool.h>
#include <stdint.h>

#define CIVIL_DAY 86400 // seconds

struct civil {
        int64_t year;
        int month, day; // from 1
        int weekday;    // 0: Monday
        int second;     // of the day
};
int64_t civil_floor(int64_t value, int64_t by); // the quotient rounded down, also of what is negative
bool civil_is_leap(int64_t year);
int civil_month_days(int64_t year, int month);
int64_t civil_days(int64_t year, int month, int day); // since 1970-01-01
int civil_weekday(int64_t days);
struct civil civil_of(int64_t seconds);
