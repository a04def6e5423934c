// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What people and scripts see. Every record becomes one JSON object first (record.h), and tables, CSV and names are
 * made from that, so that no format can say more than another. Data goes to stdout, everything else to stderr.
 */
#include "common/error.h"
#include <jansson.h>

enum output_format { OUTPUT_TABLE, OUTPUT_WIDE, OUTPUT_JSON, OUTPUT_JSONL, OUTPUT_CSV, OUTPUT_NAME };
int output_parse_format(const char *text, enum output_format *ret, struct error *err);

enum column_kind {
        COLUMN_TEXT,
        COLUMN_TEXT_OR_ALL, // an array; one that is empty means all
        COLUMN_SIZE,
        COLUMN_RATE,
        COLUMN_NUMBER,
        COLUMN_AGE,
        COLUMN_TIME,
        COLUMN_YES,
        COLUMN_COUNT,
        COLUMN_SECONDS
};
struct column {
        const char *title; // NULL ends a list
        const char *key;   // of the JSON object; COLUMN_COUNT: of an array, its length
        enum column_kind kind;
        bool wide; // only with -o wide and csv
};
// Takes over `rows` (an array). `empty` is said on stderr when a table would have no row. name_key: for -o name.
void output_list(json_t *rows, const struct column *columns, enum output_format format, const char *name_key,
                 const char *empty);
void output_show(json_t *object, enum output_format format, const char *name_key); // takes it over
void output_error(const struct error *err, enum output_format format);
void output_line(const char *format, ...) __attribute__((format(printf, 1, 2))); // to stderr
bool output_terminal(void);                                                      // stderr is a terminal
bool output_colour(void);                                                        // and colour is welcome
json_t *output_time(int64_t seconds);                                            // RFC 3339, or null for 0
json_t *output_text(const char *text);                                           // null for ""
