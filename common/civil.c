// SPDX-License-Identifier: LGPL-2.1-or-later
/* Days and dates; see civil.h. */
#include "common/civil.h"

#define YEARS_CYCLE 400 // after which leap years come again as they did
#define DAYS_CYCLE  146097

int64_t civil_floor(int64_t value, int64_t by) {
        return value / by - (value % by < 0);
}

bool civil_is_leap(int64_t year) {
        return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

int civil_month_days(int64_t year, int month) {
        static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
        return days[month - 1] + (month == 2 && civil_is_leap(year));
}

static int64_t year_begin(int64_t year) {
        int64_t before = year - 1;
        return (year - 1970) * 365 + (civil_floor(before, 4) - civil_floor(before, 100) + civil_floor(before, 400)) -
               (1969 / 4 - 1969 / 100 + 1969 / 400);
}

int64_t civil_days(int64_t year, int month, int day) {
        int64_t days = year_begin(year) + day - 1;
        for (int before = 1; before < month; before++)
                days += civil_month_days(year, before);
        return days;
}

int civil_weekday(int64_t days) {
        return (int) (((days + 3) % 7 + 7) % 7); // 1970-01-01 was a Thursday
}

struct civil civil_of(int64_t seconds) {
        int64_t days = civil_floor(seconds, CIVIL_DAY), year = 1970 + civil_floor(days * YEARS_CYCLE, DAYS_CYCLE);
        while (year_begin(year) > days)
                year--;
        while (year_begin(year + 1) <= days)
                year++;
        struct civil civil = {
                .year = year, .month = 1, .weekday = civil_weekday(days), .second = (int) (seconds - days * CIVIL_DAY)};
        int day = (int) (days - year_begin(year));
        for (; day >= civil_month_days(year, civil.month); civil.month++)
                day -= civil_month_days(year, civil.month);
        civil.day = day + 1;
        return civil;
}
