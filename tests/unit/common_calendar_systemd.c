// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Calendar expressions mean what they mean to systemd: a corpus, and expressions made up at random from a grammar and
 * from mistyping what it gave, are asked of systemd-analyze in several time zones. CALENDAR_SEED=N repeats a run.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/calendar.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/random.h"
#include "scratch.h"
#include <sys/wait.h>
#include <time.h>

#define MOMENTS 5
#define BATCH   48
#define LINE    1400

struct answer {
        char normal[CALENDAR_TEXT_MAX];
        unsigned n;
        int64_t moments[MOMENTS];
};

static const char *const zones[] = {
        "UTC",          "Europe/Paris", "America/New_York", "America/Havana", "Australia/Lord_Howe",
        "Asia/Kolkata", "Asia/Beirut",  "Pacific/Apia"};
static uint64_t noise;

// ---- systemd-analyze

static FILE *start_systemd(const char *zone, int64_t base, char *const *expressions, unsigned n, pid_t *ret_child) {
        _cleanup_(free_p) char *since = memory_format("--base-time=@%lld", (long long) base);
        char *arguments[BATCH + 6] = {"systemd-analyze", "calendar", "--iterations=5", since, "--"};
        int ends[2];
        memcpy(arguments + 5, expressions, n * sizeof(*expressions));
        if (pipe(ends) < 0)
                fail_msg("no pipe");
        *ret_child = fork();
        if (*ret_child == 0) {
                setenv("TZ", zone, 1);
                setenv("LC_ALL", "C", 1);
                dup2(ends[1], STDOUT_FILENO);
                dup2(ends[1], STDERR_FILENO);
                close(ends[0]);
                close(ends[1]);
                execvp(arguments[0], arguments);
                _exit(127);
        }
        close(ends[1]);
        return fdopen(ends[0], "r");
}

static void add_moment(struct answer *answer, const char *text, bool again) {
        struct tm tm = {0};
        if (strncmp(text, "never", 5) == 0)
                return;
        const char *end = strptime(text + 4, "%Y-%m-%d %H:%M:%S", &tm);
        if (!end)
                fail_msg("no time: %s", text);
        if (!again && answer->n == MOMENTS)
                fail_msg("more than %u", MOMENTS);
        answer->n += !again;
        answer->moments[answer->n - 1] = timegm(&tm);
}

// An expression that it refuses gives no answer, and so does one that it loses itself in. A time is followed by the
// same time in UTC unless it is that.
static unsigned ask_systemd(const char *zone, int64_t base, char *const *expressions, unsigned n, struct answer *ret,
                            bool *ret_lost) {
        char line[LINE];
        unsigned answers = 0;
        int status;
        pid_t child;
        bool is_lost = false;
        FILE *out = start_systemd(zone, base, expressions, n, &child);
        while (fgets(line, sizeof(line), out)) {
                const char *normal = strstr(line, "Normalized form: "), *at = strstr(line, "Next elapse: ");
                line[strcspn(line, "\n")] = '\0';
                if (!at)
                        at = strstr(line, "Iter. #");
                is_lost |= strncmp(line, "Failed to determine next elapse", 31) == 0;
                if (normal) {
                        memset(&ret[answers], 0, sizeof(*ret));
                        snprintf(ret[answers++].normal, CALENDAR_TEXT_MAX, "%s", normal + 17);
                } else if (at)
                        add_moment(&ret[answers - 1], strchr(at, ':') + 2, false);
                else if ((at = strstr(line, "(in UTC): ")))
                        add_moment(&ret[answers - 1], at + 10, true);
        }
        fclose(out);
        waitpid(child, &status, 0);
        if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
                fail_msg("systemd-analyze cannot be run: apt install systemd");
        if (ret_lost)
                *ret_lost = is_lost;
        return answers;
}

// ---- comparing

static struct zone *open_zone(const char *name) {
        struct error err = ERROR_INIT;
        struct zone *zone = NULL;
        if (zone_open(name, &zone, &err) < 0)
                fail_msg("%s", err.message);
        return zone;
}

static void parse(const char *text, struct calendar *ret) {
        struct error err = ERROR_INIT;
        if (calendar_parse(text, ret, &err) < 0)
                fail_msg("%s", err.message);
}

static void compare_normal(const char *text, const struct answer *answer) {
        struct calendar calendar;
        char normal[CALENDAR_TEXT_MAX];
        parse(text, &calendar);
        if (strcmp(calendar_format(&calendar, normal), answer->normal) != 0)
                fail_msg("'%s' is '%s' here, and '%s' to systemd", text, normal, answer->normal);
}

// What the clock shows twice systemd may mean the second time, when it comes there from afar.
static bool is_shown_again(const struct zone *zone, int64_t first, int64_t second) {
        return second > first && second - first == zone_offset(zone, first) - zone_offset(zone, second);
}

static void compare_moments(const char *text, const char *zone_name, int64_t base, const struct answer *answer) {
        struct calendar calendar;
        parse(text, &calendar);
        struct zone *zone = open_zone(calendar_zone(&calendar, zone_name));
        // It looks for the end of a month with the summer time of another day of it, and finds another day.
        bool is_sound = !calendar.from_end || zone_next_change(zone, base) == INT64_MAX;
        for (unsigned i = 0; i < MOMENTS && is_sound; i++) {
                int64_t expected = i < answer->n ? answer->moments[i] : INT64_MAX;
                int64_t at = calendar_next(&calendar, zone, i > 0 ? answer->moments[i - 1] : base, CALENDAR_SKIP);
                if (at != expected && (expected == INT64_MAX || !is_shown_again(zone, at, expected)))
                        fail_msg("'%s' in %s after %lld: moment %u is %lld here, and %lld to systemd", text, zone_name,
                                 (long long) base, i, (long long) at, (long long) expected);
                if (at == INT64_MAX)
                        break;
        }
        zone_free(zone);
}

static void refuse_all(const char *zone, int64_t base, char *const *texts, unsigned n) {
        struct answer answers[BATCH];
        if (n > 0 && ask_systemd(zone, base, texts, n, answers, NULL) > 0)
                fail_msg("'%s' is '%s' to systemd, and refused here", texts[0], answers[0].normal);
}

static void take_all(const char *zone, int64_t base, char *const *texts, unsigned n) {
        struct answer answers[BATCH];
        bool is_lost;
        if (n > 0 && ask_systemd(zone, base, texts, n, answers, NULL) == n)
                for (unsigned i = 0; i < n; i++)
                        compare_normal(texts[i], &answers[i]);
        else // one of them
                for (unsigned i = 0; i < n; i++)
                        if (ask_systemd(zone, base, &texts[i], 1, answers, &is_lost) == 1)
                                compare_normal(texts[i], &answers[0]);
                        else if (!is_lost)
                                fail_msg("'%s' is taken here, and refused by systemd", texts[i]);
}

// Where a step leads out of its field, systemd 252 goes on in the middle of the next day or year, or loses itself
// between months with and without summer time. It does not when it is told where to stop.
static void close_steps(struct calendar *calendar) {
        static const int32_t most[CALENDAR_FIELDS] = {CALENDAR_YEAR_MAX, 12, 31, 23, 59, 59};
        struct calendar_part *part = calendar->parts;
        for (unsigned field = 0; field < CALENDAR_FIELDS; field++)
                for (unsigned i = 0; i < calendar->n[field]; i++, part++) {
                        if (part->step == 0 || part->last >= 0)
                                continue;
                        part->last = most[field] - (most[field] - part->first) % part->step;
                        if (field == CALENDAR_DAY && calendar->from_end) {
                                part->last = part->first;
                                part->first = (part->first - 1) % part->step + 1;
                        }
                }
}

static void meet_all(const char *zone, int64_t base, char *const *texts, unsigned n) {
        char *closed[BATCH];
        struct answer answers[BATCH];
        struct calendar calendar;
        for (unsigned i = 0; i < n; i++) {
                closed[i] = new_array(char, CALENDAR_TEXT_MAX);
                parse(texts[i], &calendar);
                close_steps(&calendar);
                calendar_format(&calendar, closed[i]);
        }
        if (n > 0 && ask_systemd(zone, base, closed, n, answers, NULL) != n)
                fail_msg("systemd does not answer in %s, for '%s' and others", zone, texts[0]);
        for (unsigned i = 0; i < n; i++) {
                compare_moments(texts[i], zone, base, &answers[i]);
                free(closed[i]);
        }
}

// What is taken here systemd takes, with the same meaning; what is refused here it refuses.
static void compare_all(const char *zone, int64_t base, char *const *texts, unsigned n) {
        char *taken[BATCH], *refused[BATCH];
        unsigned n_taken = 0, n_refused = 0;
        struct calendar calendar;
        for (unsigned i = 0; i < n; i++)
                if (calendar_parse(texts[i], &calendar, NULL) == 0)
                        taken[n_taken++] = texts[i];
                else
                        refused[n_refused++] = texts[i];
        refuse_all(zone, base, refused, n_refused);
        take_all(zone, base, taken, n_taken);
        meet_all(zone, base, taken, n_taken);
}

static int64_t utc(int year, int month, int day) {
        struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};
        return timegm(&tm);
}

static void compare_list(const char *const *texts, size_t n) {
        for (size_t i = 0; i < n; i += BATCH)
                for (size_t z = 0; z < ARRAY_SIZE(zones); z++)
                        compare_all(zones[z], utc(2026, 2, 27) + 3600 * (int64_t) z, (char *const *) texts + i,
                                    (unsigned) (n - i < BATCH ? n - i : BATCH));
}

// ---- the corpus

static void what_systemd_takes_is_taken(void **state) {
        static const char *const texts[] = {
                // systemd.time(7)
                "Sat,Thu,Mon..Wed,Sat..Sun", "Mon,Sun 12-*-* 2,1:23", "Wed *-1", "Wed..Wed,Wed *-1", "Wed, 17:48",
                "Wed..Sat,Tue 12-10-15 1:2:3", "*-*-7 0:0:0", "10-15", "monday *-12-* 17:00",
                "Mon,Fri *-*-3,1,2 *:30:45", "12,14,13,12:20,10,30", "12..14:10,20,30", "mon,fri *-1/2-1,3 *:30:45",
                "03-05 08:05:40", "08:05:40", "05:40", "Sat,Sun 12-05 08:05:40", "Sat,Sun 08:05:40", "2003-03-05 05:40",
                "2003-02..04-05", "2003-03-05 05:40 UTC", "2003-03-05", "03-05", "minutely", "hourly", "daily",
                "daily UTC", "monthly", "weekly", "weekly Pacific/Auckland", "yearly", "annually", "quarterly",
                "semiannually", "biannually", "bi-annually", "semi-annually", "anually", "*:2/3", "*-02~03",
                "Mon *-05~07/1", "Thu,Fri 2012-*-1,5 11:12:13",
                // what people type
                "mon..fri 22:30", "Sat *-*-1..7 18:00:00", "*-*~1 06:00 Europe/Paris", "*:0/15", "DAILY utc", "Mon-Fri",
                "Sun 03:00 America/New_York", "8..18:00", "*-*-1,15 4:00", "*-*-31 23:59:59", "*-02-29",
                "Fri *-*~07/1 21:00", "2027-01-01", "2199-12-31 23:59:59", "*-*-* 02:30:00", "*-*-* 00:00..59/7:*",
                // corners
                "@0", "@1893456000", "Tue @1893456000", "Mon @1893456000", "@1893456000 Europe/Paris", "*-*~*", "*-*",
                "*:*", "*:*:*", "*:*:0/1", "*:*:00/1,30", "*:0/1", "5..5:0", "1..5/10:0", "0..0:0", "0/1,0/1:0",
                "*-*~1..6/2", "*-*~28", "*-*~28/27", "*-*-30/1", "*-*~10/3 1:0", "*-02~29/1", "*-2,4-29..31", "*-02-31",
                "69-1-1", "70-1-1", "99..05-1-1", "2000/4-02-29", "1970..2199/229-01-01", "Mon ", "2026-01-01 ",
                "Mon   *-*-*   12:00", "Mon,", "Mon..Wed,Fri..Sun", "Mon..Tue", "Mon..Sun", "Mon..Wed-Wed,Sun 1:1",
                "TUESDAY..tHu", "0000000012:00", "0-1-1", "00:00:00 Etc/UTC", "23:0/59", "23/1:0", "*-12/1-*"};
        (void) state;
        compare_list(texts, ARRAY_SIZE(texts));
}

static void what_systemd_refuses_is_refused(void **state) {
        static const char *const texts[] = {"",
                                            " ",
                                            " daily",
                                            "daily ",
                                            "daily  UTC",
                                            "UTC",
                                            " UTC",
                                            "foo",
                                            "every day",
                                            "Mon..",
                                            "Mon.Tue",
                                            "Mon-",
                                            "..Mon",
                                            ",Mon",
                                            "Mon,,Tue",
                                            "Mon, Tue",
                                            "sat..mon",
                                            "Mon..Wed..Fri",
                                            "Mond",
                                            "Montag",
                                            "Mon,12:00",
                                            "Mon-01-01",
                                            "12",
                                            "*",
                                            "Mon *",
                                            "12:",
                                            ":12",
                                            "12:60",
                                            "24:00",
                                            "12:00:60",
                                            "12:00:00:00",
                                            "-1:00",
                                            "+1:00",
                                            "*/5:00",
                                            "*:*/5",
                                            "0/0:00",
                                            "0/24:00",
                                            "5..3:00",
                                            "1..:00",
                                            "..3:00",
                                            "1,:00",
                                            ",1:00",
                                            "*,1:00",
                                            "1,*:00",
                                            "2026-13-01",
                                            "2026-00-01",
                                            "2026-01-00",
                                            "2026-01-32",
                                            "1969-01-01",
                                            "2200-01-01",
                                            "2026~01-01",
                                            "2026~01~01",
                                            "*-*~29",
                                            "*-*~0",
                                            "*-*~28/28",
                                            "2026-01-01-01",
                                            "2026-01-01T00:00",
                                            "2026/01/01",
                                            "12:00 12:00",
                                            "2026-01-01 2026-01-01",
                                            "12:00 Mon",
                                            "12:00 Nowhere/Land",
                                            "12:00 Europe/paris",
                                            "12:00 +01:00",
                                            "12:00 ",
                                            "12.00",
                                            "12:00pm",
                                            "12:00 am",
                                            "@",
                                            "@x",
                                            "@5 5",
                                            "@99999999999",
                                            "5 12:00",
                                            "*-*-*-*",
                                            "1/2/3:00",
                                            "1..2..3:00",
                                            "12:00\tUTC",
                                            "12:00\nUTC",
                                            "0x1:00",
                                            "12:00 ../UTC",
                                            "12:00 /etc/passwd",
                                            "\xc3\xa9t\xc3\xa9",
                                            "never"};
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                struct calendar calendar;
                if (calendar_parse(texts[i], &calendar, NULL) == 0)
                        fail_msg("'%s' is taken", texts[i]);
        }
        compare_list(texts, ARRAY_SIZE(texts));
}

// ---- at random

static unsigned below(unsigned bound) {
        noise = noise * 6364136223846793005u + 1442695040888963407u;
        return (unsigned) (noise >> 33) % bound;
}

static char *put(char *at, const char *format, ...) __attribute__((format(printf, 2, 3)));
static char *put(char *at, const char *format, ...) {
        va_list args;
        va_start(args, format);
        at += vsprintf(at, format, args);
        va_end(args);
        return at;
}

static char *put_list(char *at, int least, int most, bool any) {
        if (any && below(3) == 0)
                return put(at, "*");
        for (unsigned n = below(4) ? 1 : 1 + below(4); n > 0; n--) {
                int span = most - least + 1, first = least + (int) below((unsigned) span);
                at = put(at, below(2) ? "%d" : "%02d", first);
                if (below(4) == 0 && first < most)
                        at = put(at, "..%02d", first + (int) below((unsigned) (most - first + 1)));
                if (below(4) == 0)
                        at = put(at, "/%u", 1 + below((unsigned) (most - first) + 1));
                at = put(at, n > 1 ? "," : "");
        }
        return at;
}

static char *put_days(char *at) {
        static const char *const names[] = {"Mon", "tuesday", "WED", "Thu", "fri", "Saturday", "sun"};
        for (unsigned n = 1 + below(3); n > 0; n--) {
                unsigned first = below(7);
                at = put(at, "%s", names[first]);
                if (below(3) == 0)
                        at = put(at, "%s%s", below(4) ? ".." : "-", names[first + below(7 - first)]);
                at = put(at, n > 1 || below(8) == 0 ? "," : "");
        }
        return put(at, " ");
}

static char *put_date(char *at) {
        bool from_end = below(4) == 0;
        if (below(2)) {
                at = below(3) ? put(at, "*") : put_list(at, below(2) ? 2024 : 1970, below(2) ? 2034 : 2199, true);
                at = put(at, "-");
        }
        at = put_list(at, 1, 12, true);
        at = put(at, from_end ? "~" : "-");
        return put_list(at, 1, from_end ? 28 : 31, true);
}

static void make_up(char *at) {
        static const char *const words[] = {"minutely", "Hourly", "daily", "weekly", "monthly", "quarterly", "yearly"};
        unsigned parts = 1 + below(7);
        if (below(40) == 0)
                at = put(at, "%s", words[below(ARRAY_SIZE(words))]);
        else {
                if (parts & 1)
                        at = put_days(at);
                if (parts & 2)
                        at = put_date(at);
                if (parts & 2 && parts & 4)
                        at = put(at, " ");
                if (parts & 4) {
                        at = put_list(at, 0, 23, true);
                        at = put(at, ":");
                        at = put_list(at, 0, 59, true);
                }
                if (parts & 4 && below(2)) {
                        at = put(at, ":");
                        at = put_list(at, 0, 59, true);
                }
        }
        if (below(6) == 0)
                put(at, " %s", zones[below(ARRAY_SIZE(zones))]);
}

// A character is left out, comes twice, or is another one.
static void mistype(char *text) {
        static const char other[] = "0123456789*/,.-~: @MoUTC";
        size_t length = strlen(text), at = below((unsigned) length);
        switch (below(3)) {
        case 0:
                memmove(text + at, text + at + 1, length - at);
                break;
        case 1:
                memmove(text + at + 1, text + at, length - at + 1);
                break;
        default:
                text[at] = other[below(sizeof(other) - 1)];
        }
}

// What systemd alone takes (fractions, a sign after "@") or alone refuses (seconds from 5 to 5; of several days from
// the end, those that it believes to be more than 28 because it counts the days before them in the list).
static bool is_comparable(const char *text) {
        for (const char *dot = strchr(text, '.'); dot; dot = strchr(dot + 2, '.')) {
                const char *first = dot;
                while (first > text && first[-1] >= '0' && first[-1] <= '9')
                        first--;
                if (dot[1] != '.' || (first < dot && atoi(first) == atoi(dot + 2)))
                        return false;
        }
        const char *from_end = strchr(text, '~');
        return !strchr(text, '@') && (!from_end || strcspn(from_end, ",") > strcspn(from_end, " "));
}

// The clock shows an hour twice: systemd may mean the second of the two when it is asked within it.
static bool is_set_back(const char *name, int64_t at) {
        struct zone *zone = open_zone(name);
        bool is = zone_offset(zone, at) < zone_offset(zone, at - 86400);
        zone_free(zone);
        return is;
}

static int64_t some_moment(const char *zone) {
        int64_t at = utc(2020, 1, 1) + below(900000000);
        if (below(2)) // shortly before the clock is set
                for (struct zone *open = open_zone(zone); open; zone_free(open), open = NULL)
                        if (zone_next_change(open, at) < utc(2060, 1, 1))
                                at = zone_next_change(open, at) - below(90000) - 1;
        return is_set_back(zone, at) ? at + 86400 : at;
}

static void compare_random(void (*change)(char *text)) {
        static char texts[BATCH][LINE];
        char *list[BATCH];
        for (unsigned round = 0; round < ARRAY_SIZE(zones); round++) {
                const char *zone = zones[round % ARRAY_SIZE(zones)];
                unsigned n = 0;
                while (n < BATCH) {
                        memset(texts[n], 0, LINE);
                        make_up(texts[n]);
                        if (change)
                                change(texts[n]);
                        if (is_comparable(texts[n])) {
                                list[n] = texts[n];
                                n++;
                        }
                }
                compare_all(zone, some_moment(zone), list, n);
        }
}

static void made_up_expressions_mean_the_same(void **state) {
        (void) state;
        compare_random(NULL);
}

static void mistyped_expressions_are_taken_or_refused_alike(void **state) {
        (void) state;
        compare_random(mistype);
}

int main(void) {
        const char *seed = getenv("CALENDAR_SEED");
        noise = seed ? strtoull(seed, NULL, 10) : random_u32();
        print_message("CALENDAR_SEED=%llu\n", (unsigned long long) noise);
        const struct CMUnitTest tests[] = {cmocka_unit_test(what_systemd_takes_is_taken),
                                           cmocka_unit_test(what_systemd_refuses_is_refused),
                                           cmocka_unit_test(made_up_expressions_mean_the_same),
                                           cmocka_unit_test(mistyped_expressions_are_taken_or_refused_alike)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
