// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Calendar expressions as they are sent. What is taken can be written down and means the same again; one moment comes
 * after the other.
 */
#include "common/calendar.h"
#include "common/civil.h"
#include <stdlib.h>
#include <string.h>

#define MOMENTS 6
#define BEGIN   1774000000 // shortly before summer time

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool holds) {
        if (!holds)
                abort();
}

static const struct zone *paris(void) {
        static struct zone *zone;
        if (!zone)
                need(zone_open("Europe/Paris", &zone, NULL) == 0);
        return zone;
}

// None comes that does not stand in the expression, but for those that are made up.
static void follow(const struct calendar *calendar, enum calendar_gap gap) {
        int64_t at = BEGIN;
        for (unsigned i = 0; i < MOMENTS && at != INT64_MAX; i++) {
                int64_t next = calendar_next(calendar, paris(), at, gap);
                need(next > at);
                if (next != INT64_MAX && gap == CALENDAR_SKIP && calendar->days)
                        need(calendar->days & 1u << civil_of(next + zone_offset(paris(), next)).weekday);
                at = next;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct calendar calendar, again;
        char normal[CALENDAR_TEXT_MAX], written[CALENDAR_TEXT_MAX];
        struct error err = ERROR_INIT;
        char *text = strndup((const char *) data, size);
        if (calendar_parse(text, &calendar, &err) == 0) {
                need(calendar_parse(calendar_format(&calendar, normal), &again, NULL) == 0);
                need(strcmp(calendar_format(&again, written), normal) == 0);
                need(memcmp(&calendar, &again, sizeof(calendar)) == 0);
                follow(&calendar, CALENDAR_SKIP);
                follow(&calendar, CALENDAR_MAKE_UP);
        } else
                need(err.code != ERROR_NONE && err.message[0]);
        free(text);
        return 0;
}
