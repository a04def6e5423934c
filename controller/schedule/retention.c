// SPDX-License-Identifier: LGPL-2.1-or-later
/* What is kept of restore points; see retention.h. */
#include "controller/schedule/retention.h"
#include "common/civil.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXAMPLE  "for example: --keep last=3,daily=7,weekly=4,monthly=12"
#define WORD_MAX 40 // of what is quoted

static const char *const words[RETENTION_REASONS] = {
#define X(symbol, word, is_rule) [symbol] = word,
        RETENTION_WHY(X)
#undef X
};

// ---- policies as text

struct word {
        char text[WORD_MAX + 1];
};

static struct word quote(const char *text, size_t length) {
        struct word word;
        snprintf(word.text, sizeof(word.text), "%.*s", length < WORD_MAX ? (int) length : WORD_MAX, text);
        return word;
}

static int no_such_rule(const char *name, struct error *err) {
        int nearest = name_nearest(name, (char *const *) words, RETENTION_RULES);
        error_set(err, ERROR_INVALID, "\"%s\" is no rule for what is kept", name);
        if (nearest >= 0)
                error_hint(err, "did you mean %s?", words[nearest]);
        error_hint(err, "the rules are last, hourly, daily, weekly, monthly and yearly");
        return -1;
}

static bool parse_number(const char *text, size_t length, uint16_t *ret) {
        unsigned value = 0;
        for (size_t i = 0; i < length; i++) {
                if (text[i] < '0' || text[i] > '9')
                        return false;
                value = value * 10 + (unsigned) (text[i] - '0');
                if (value > RETENTION_MOST)
                        return false;
        }
        *ret = (uint16_t) value;
        return length > 0;
}

// "daily=7"
static int parse_rule(const char *text, size_t length, struct retention *retention, bool *seen, struct error *err) {
        const char *equals = memchr(text, '=', length);
        size_t name_length = equals ? (size_t) (equals - text) : length;
        struct word name = quote(text, name_length);
        unsigned rule = 0;
        while (rule < RETENTION_RULES && strcmp(words[rule], name.text) != 0)
                rule++;
        if (rule == RETENTION_RULES)
                return no_such_rule(name.text, err);
        if (seen[rule]) {
                error_set(err, ERROR_INVALID, "\"%s\" is said twice", name.text);
                error_hint(err, EXAMPLE);
                return -1;
        }
        seen[rule] = true;
        if (equals && parse_number(equals + 1, length - name_length - 1, &retention->keep[rule]))
                return 0;
        error_set(err, ERROR_INVALID, "\"%s\": how many to keep is a number up to %d", quote(text, length).text,
                  RETENTION_MOST);
        error_hint(err, EXAMPLE);
        return -1;
}

static bool has_rules(const struct retention *retention) {
        for (unsigned rule = 0; rule < RETENTION_RULES; rule++)
                if (retention->keep[rule] > 0)
                        return true;
        return false;
}

int retention_parse(const char *text, struct retention *ret, struct error *err) {
        struct retention retention = {0};
        bool seen[RETENTION_RULES] = {0};
        const char *at = text;
        for (bool more = *text; more;) {
                size_t length = strcspn(at, ",");
                if (parse_rule(at, length, &retention, seen, err) < 0)
                        return -1;
                more = at[length] == ',';
                at += length + more;
        }
        if (!has_rules(&retention)) {
                error_set(err, ERROR_INVALID, "\"%s\" would keep nothing", quote(text, strlen(text)).text);
                error_hint(err, EXAMPLE);
                return -1;
        }
        *ret = retention;
        return 0;
}

char *retention_format(const struct retention *retention, char *buffer) {
        size_t length = 0;
        buffer[0] = '\0';
        for (unsigned rule = 0; rule < RETENTION_RULES; rule++)
                if (retention->keep[rule] > 0)
                        length += (size_t) snprintf(buffer + length, RETENTION_TEXT_MAX - length, "%s%s=%u",
                                                    length > 0 ? "," : "", words[rule], retention->keep[rule]);
        return buffer;
}

char *retention_reasons(unsigned reasons, char *buffer) {
        size_t length = 0;
        buffer[0] = '\0';
        for (unsigned why = 0; why < RETENTION_REASONS; why++)
                if (reasons & 1u << why)
                        length += (size_t) snprintf(buffer + length, RETENTION_TEXT_MAX - length, "%s%s",
                                                    length > 0 ? ", " : "", words[why]);
        return buffer;
}

// ---- what they keep

// A number for the period in which it lies, greater for later ones.
static int64_t period(enum retention_why rule, const struct zone *zone, int64_t at) {
        int32_t offset = zone_offset(zone, at);
        int64_t days = civil_floor(at + offset, CIVIL_DAY);
        struct civil civil = civil_of(at + offset);
        switch (rule) {
        case RETENTION_HOURLY: // when it began: the same of the clock can come twice
                return civil_floor(at + offset, 3600) * 3600 - offset;
        case RETENTION_DAILY:
                return days;
        case RETENTION_WEEKLY: // 1970-01-01 was a Thursday; the weeks of ISO 8601 know no end of a year
                return civil_floor(days + 3, 7);
        case RETENTION_MONTHLY:
                return civil.year * 12 + civil.month;
        default:
                return civil.year;
        }
}

struct ranked {
        const struct retention_point *point;
        size_t index;
};

static int newest_first(const void *one, const void *other) {
        const struct retention_point *a = ((const struct ranked *) one)->point,
                                     *b = ((const struct ranked *) other)->point;
        if (a->at != b->at)
                return a->at > b->at ? -1 : 1;
        return strcmp(b->id, a->id);
}

static void apply_rule(enum retention_why rule, unsigned keep, const struct zone *zone, const struct ranked *ranked,
                       size_t n, unsigned *ret_reasons) {
        int64_t last = INT64_MAX;
        for (size_t i = 0; i < n && keep > 0; i++) {
                int64_t now = rule == RETENTION_LAST ? -(int64_t) i : period(rule, zone, ranked[i].point->at);
                if (now >= last)
                        continue;
                ret_reasons[ranked[i].index] |= 1u << rule;
                last = now;
                keep--;
        }
}

void retention_apply(const struct retention *retention, const struct zone *zone, int64_t now,
                     const struct retention_point *points, size_t n, unsigned *ret_reasons) {
        _cleanup_(free_p) struct ranked *ranked = new_array(struct ranked, n + 1);
        bool without_rules = !has_rules(retention);
        size_t n_ranked = 0;
        for (size_t i = 0; i < n; i++) {
                ret_reasons[i] = without_rules ? 1u << RETENTION_ALL : 0;
                if (points[i].held)
                        ret_reasons[i] |= 1u << RETENTION_HELD;
                if (points[i].at > now)
                        ret_reasons[i] |= 1u << RETENTION_FUTURE;
                else
                        ranked[n_ranked++] = (struct ranked){.point = &points[i], .index = i};
        }
        qsort(ranked, n_ranked, sizeof(*ranked), newest_first);
        for (unsigned rule = 0; rule < RETENTION_RULES; rule++)
                apply_rule(rule, retention->keep[rule], zone, ranked, n_ranked, ret_reasons);
}
