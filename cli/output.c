// SPDX-License-Identifier: LGPL-2.1-or-later
/* Tables, CSV, JSON and names out of JSON objects; see output.h. */
#include "cli/output.h"
#include "common/clock.h"
#include "common/memory.h"
#include "common/units.h"

#include <inttypes.h>
#include <libsmartcols/libsmartcols.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CELL_MAX 512

static const char *const format_words[] = {"table", "wide", "json", "jsonl", "csv", "name"};

int output_parse_format(const char *text, enum output_format *ret, struct error *err) {
        for (unsigned i = 0; i < sizeof(format_words) / sizeof(format_words[0]); i++)
                if (strcmp(text, format_words[i]) == 0) {
                        *ret = (enum output_format) i;
                        return 0;
                }
        error_set(err, ERROR_USAGE, "-o %s: no such format", text);
        error_hint(err, "-o table|wide|json|jsonl|csv|name");
        return -1;
}

bool output_terminal(void) {
        return isatty(STDERR_FILENO);
}

bool output_colour(void) {
        const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
        return output_terminal() && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

// What was printed before comes before, also where both streams end in one file.
void output_line(const char *format, ...) {
        va_list args;
        fflush(stdout);
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
        fputc('\n', stderr);
}

json_t *output_time(int64_t seconds) {
        char text[CLOCK_RFC3339_MAX];
        return seconds ? json_string(clock_rfc3339(seconds, text)) : json_null();
}

json_t *output_text(const char *text) {
        return text && *text ? json_string(text) : json_null();
}

static int64_t parse_time(const char *text) {
        struct tm tm = {0};
        return text && strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm) ? timegm(&tm) : 0;
}

static void format_age(int64_t at, char *cell) {
        char text[UNITS_TEXT_MAX];
        int64_t age = time(NULL) - at;
        if (age < 2)
                snprintf(cell, CELL_MAX, "now");
        else
                snprintf(cell, CELL_MAX, "%s ago", units_format_duration((uint64_t) age, text));
}

static void join_array(const json_t *array, char *cell) {
        size_t used = 0;
        cell[0] = '\0';
        for (size_t i = 0; i < json_array_size(array) && used < CELL_MAX - 1; i++) {
                const char *text = json_string_value(json_array_get(array, i));
                int n = snprintf(cell + used, CELL_MAX - used, "%s%s", i ? "," : "", text ? text : "?");
                used += n > 0 ? (size_t) n : 0;
        }
}

static void format_plain(const json_t *value, char *cell) {
        char text[UNITS_TEXT_MAX];
        if (json_is_string(value))
                snprintf(cell, CELL_MAX, "%s", json_string_value(value));
        else if (json_is_integer(value))
                snprintf(cell, CELL_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        else if (json_is_real(value))
                snprintf(text, sizeof(text), "%.1f", json_real_value(value)), snprintf(cell, CELL_MAX, "%s", text);
        else if (json_is_boolean(value))
                snprintf(cell, CELL_MAX, "%s", json_is_true(value) ? "yes" : "no");
        else if (json_is_array(value))
                join_array(value, cell);
}

// `people`: sizes and ages are rounded for reading; CSV keeps the numbers and times.
static void format_cell(const json_t *row, const struct column *column, bool people, char *cell) {
        const json_t *value = json_object_get(row, column->key);
        cell[0] = '\0';
        if (!value || json_is_null(value)) {
                if (people)
                        snprintf(cell, CELL_MAX, "-");
        } else if (column->kind == COLUMN_COUNT) {
                snprintf(cell, CELL_MAX, "%zu", json_array_size(value));
        } else if (people && column->kind == COLUMN_SIZE) {
                units_format_size((uint64_t) json_integer_value(value), cell);
        } else if (people && column->kind == COLUMN_RATE) {
                units_format_rate((uint64_t) json_integer_value(value), cell);
        } else if (people && column->kind == COLUMN_AGE) {
                format_age(parse_time(json_string_value(value)), cell);
        } else if (people && column->kind == COLUMN_SECONDS) {
                snprintf(cell, CELL_MAX, "%.1f s", json_number_value(value));
        } else {
                format_plain(value, cell);
                if (people && !cell[0])
                        snprintf(cell, CELL_MAX, column->kind == COLUMN_TEXT_OR_ALL ? "all" : "-");
        }
}

static bool right_aligned(enum column_kind kind) {
        return kind == COLUMN_SIZE || kind == COLUMN_RATE || kind == COLUMN_NUMBER || kind == COLUMN_COUNT ||
               kind == COLUMN_SECONDS;
}

static void print_table(const json_t *rows, const struct column *columns, bool wide, const char *indent) {
        struct libscols_table *table = scols_new_table();
        char cell[CELL_MAX];
        scols_table_set_column_separator(table, "  ");
        scols_table_enable_nowrap(table, 1);
        for (const struct column *column = columns; column->title; column++)
                if (wide || !column->wide)
                        scols_table_new_column(table, column->title, 0,
                                               right_aligned(column->kind) ? SCOLS_FL_RIGHT : 0);
        for (size_t i = 0; i < json_array_size(rows); i++) {
                struct libscols_line *line = scols_table_new_line(table, NULL);
                size_t n = 0;
                for (const struct column *column = columns; column->title; column++) {
                        if (!wide && column->wide)
                                continue;
                        format_cell(json_array_get(rows, i), column, true, cell);
                        scols_line_set_data(line, n++, cell);
                }
        }
        char *text = NULL;
        scols_table_set_termwidth(table, 1000);
        if (scols_print_table_to_string(table, &text) == 0 && text)
                for (char *line = text; line && *line;) {
                        size_t length = strcspn(line, "\n"), end = length;
                        while (end > 0 && line[end - 1] == ' ')
                                end--;
                        printf("%s%.*s\n", indent, (int) end, line);
                        line += length + (line[length] == '\n');
                }
        free(text);
        scols_unref_table(table);
}

static void print_csv_cell(const char *text) {
        if (!text[strcspn(text, "\",\n\r")]) {
                fputs(text, stdout);
                return;
        }
        putchar('"');
        for (; *text; text++) {
                if (*text == '"')
                        putchar('"');
                putchar(*text);
        }
        putchar('"');
}

static void print_csv(const json_t *rows, const struct column *columns) {
        char cell[CELL_MAX];
        for (const struct column *column = columns; column->title; column++)
                printf("%s%s", column == columns ? "" : ",", column->key);
        putchar('\n');
        for (size_t i = 0; i < json_array_size(rows); i++) {
                for (const struct column *column = columns; column->title; column++) {
                        if (column != columns)
                                putchar(',');
                        format_cell(json_array_get(rows, i), column, false, cell);
                        print_csv_cell(cell);
                }
                putchar('\n');
        }
}

static bool fits_a_cell(const json_t *value) {
        return !json_is_object(value) && !json_is_object(json_array_get(value, 0));
}

// One object as a sheet of one line. What has parts of its own does not fit a cell and is left out.
static void print_csv_object(const json_t *object) {
        char cell[CELL_MAX];
        const char *key, *comma = "";
        json_t *value;
        json_object_foreach((json_t *) object, key, value) {
                if (fits_a_cell(value)) {
                        printf("%s%s", comma, key);
                        comma = ",";
                }
        }
        comma = "\n";
        json_object_foreach((json_t *) object, key, value) {
                if (!fits_a_cell(value))
                        continue;
                fputs(comma, stdout);
                format_cell(object, &(struct column){.key = key}, false, cell);
                print_csv_cell(cell);
                comma = ",";
        }
        putchar('\n');
}

static void print_json(const json_t *value, size_t flags) {
        json_dumpf(value, stdout, flags | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
        putchar('\n');
}

// As it can be typed back: what stands at a site, on a host, with both before it.
static void print_name(const json_t *row, const char *name_key) {
        static const char *const places[] = {"site", "host"};
        for (unsigned i = 0; strcmp(name_key, "name") == 0 && i < 2; i++) {
                const char *place = json_string_value(json_object_get(row, places[i]));
                if (place)
                        printf("%s/", place);
        }
        const json_t *name = json_object_get(row, name_key);
        if (json_is_integer(name)) // an audit record has a number
                printf("%" JSON_INTEGER_FORMAT "\n", json_integer_value(name));
        else
                printf("%s\n", json_string_value(name));
}

void output_list(json_t *rows, const struct column *columns, enum output_format format, const char *name_key,
                 const char *empty) {
        switch (format) {
        case OUTPUT_JSON:
                print_json(rows, JSON_INDENT(2));
                break;
        case OUTPUT_JSONL:
                for (size_t i = 0; i < json_array_size(rows); i++)
                        print_json(json_array_get(rows, i), JSON_COMPACT);
                break;
        case OUTPUT_CSV:
                print_csv(rows, columns);
                break;
        case OUTPUT_NAME:
                for (size_t i = 0; i < json_array_size(rows); i++)
                        print_name(json_array_get(rows, i), name_key);
                break;
        default:
                if (json_array_size(rows) == 0)
                        output_line("%s", empty);
                else
                        print_table(rows, columns, format == OUTPUT_WIDE, "");
        }
        json_decref(rows);
}

// "memory_bytes" is shown as "memory", with its unit.
static enum column_kind kind_of_key(const char *key, char title[64]) {
        static const struct {
                const char *suffix;
                enum column_kind kind;
        } suffixes[] = {{"_bytes", COLUMN_SIZE},
                        {"_at", COLUMN_TIME},
                        {"_seconds", COLUMN_SECONDS},
                        {"_bytes_per_second", COLUMN_RATE}};
        snprintf(title, 64, "%s", key);
        enum column_kind kind = COLUMN_TEXT;
        for (unsigned i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
                size_t length = strlen(title), suffix = strlen(suffixes[i].suffix);
                if (length > suffix && strcmp(title + length - suffix, suffixes[i].suffix) == 0) {
                        title[length - suffix] = '\0';
                        kind = suffixes[i].kind;
                        break;
                }
        }
        if (strncmp(title, "bytes_", 6) == 0)
                kind = COLUMN_SIZE;
        for (char *c = title; *c; c++)
                if (*c == '_')
                        *c = ' ';
        return kind;
}

static bool holds_numbers(const json_t *rows, const char *key) {
        for (size_t i = 0; i < json_array_size(rows); i++)
                if (json_is_integer(json_object_get(json_array_get(rows, i), key)))
                        return true;
        return false;
}

static bool is_known_of_none(const json_t *rows, const char *key) {
        for (size_t i = 0; i < json_array_size(rows); i++)
                if (!json_is_null(json_object_get(json_array_get(rows, i), key)))
                        return false;
        return true;
}

// What is known of no row takes no column, unless with -o wide.
static void print_member_table(const char *title, const json_t *rows, bool wide) {
        struct column columns[24] = {0};
        char titles[24][64];
        unsigned n = 0;
        const char *key;
        json_t *value;
        json_object_foreach(json_array_get(rows, 0), key, value) {
                if (n == 23 || json_is_object(value) || (!wide && is_known_of_none(rows, key)))
                        continue;
                columns[n].kind = kind_of_key(key, titles[n]);
                if (columns[n].kind == COLUMN_TEXT && holds_numbers(rows, key))
                        columns[n].kind = COLUMN_NUMBER;
                for (char *c = titles[n]; *c; c++)
                        *c = (char) (*c >= 'a' && *c <= 'z' ? *c - 32 : *c);
                columns[n].title = titles[n];
                columns[n].key = key;
                n++;
        }
        if (n == 0) // libsmartcols would print an empty line for each row
                return;
        printf("%s:\n", title);
        print_table(rows, columns, true, "  ");
}

// A sentence a line; the title stands before the first.
static void show_sentences(const char *title, const json_t *texts) {
        for (size_t i = 0; i < json_array_size(texts); i++)
                printf("%-20s %s\n", i ? "" : title, json_string_value(json_array_get(texts, i)));
}

static void show_member(const char *key, const json_t *value, bool wide) {
        char title[64], cell[CELL_MAX];
        struct column column = {.key = key};
        column.kind = kind_of_key(key, title);
        if (json_is_array(value) && json_is_object(json_array_get(value, 0))) {
                print_member_table(title, value, wide);
                return;
        }
        if (json_is_null(value) || (json_is_array(value) && json_array_size(value) == 0))
                return;
        if (strcmp(key, "warnings") == 0) {
                show_sentences("warnings:", value);
                return;
        }
        json_t *row = json_object();
        json_object_set(row, key, (json_t *) value);
        if (json_is_object(value))
                snprintf(cell, sizeof(cell), "%s", json_string_value(json_object_get(value, "message")) ?: "");
        else
                format_cell(row, &column, true, cell);
        strncat(title, ":", sizeof(title) - strlen(title) - 1);
        printf("%-20s %s\n", title, cell);
        json_decref(row);
}

void output_show(json_t *object, enum output_format format, const char *name_key) {
        const char *key;
        json_t *value;
        if (format == OUTPUT_JSON) {
                print_json(object, JSON_INDENT(2));
        } else if (format == OUTPUT_JSONL) {
                print_json(object, JSON_COMPACT);
        } else if (format == OUTPUT_CSV) {
                print_csv_object(object);
        } else if (format == OUTPUT_NAME) {
                print_name(object, name_key);
        } else {
                json_object_foreach(object, key, value) show_member(key, value, format == OUTPUT_WIDE);
        }
        json_decref(object);
}

void output_error(const struct error *err, enum output_format format) {
        if (format == OUTPUT_JSON || format == OUTPUT_JSONL) {
                json_t *hints = json_array();
                for (unsigned i = 0; i < err->n_hints; i++)
                        json_array_append_new(hints, json_string(err->hints[i]));
                json_t *object = json_pack("{s:{s:s,s:s,s:o}}", "error", "code", error_word(err->code), "message",
                                           err->message, "hints", hints);
                fflush(stdout);
                json_dumpf(object, stderr, JSON_COMPACT);
                fputc('\n', stderr);
                json_decref(object);
                return;
        }
        output_line("%sdrover: %s%s", output_colour() ? "\033[31m" : "", err->message,
                    output_colour() ? "\033[0m" : "");
        for (unsigned i = 0; i < err->n_hints; i++)
                output_line("hint: %s", err->hints[i]);
}
