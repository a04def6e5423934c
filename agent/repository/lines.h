// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The texts of a repository (docs/repository.md): lines of a word, a space and a value, read from bytes that anybody
 * may have written. A line ends with a newline; a word is a letter and letters, digits and hyphens after it; a value is
 * UTF-8 with no control character, and not empty. Nothing is copied. Pure functions, any thread.
 */
#include "common/error.h"
#include <stdint.h>

#define LINES_WORD_MAX 32

struct lines {
        const char *at, *begin, *end;
        unsigned number; // of the line that was read last, from 1
};
struct line {
        char word[LINES_WORD_MAX + 1];
        const char *value; // not ended by a NUL
        size_t length;
        size_t offset; // of the line in the text
};

void lines_init(struct lines *lines, const void *text, size_t length);
// 1: a line, 0: the text has ended, -1: ERROR_CORRUPT, "line 3: ..."
int lines_next(struct lines *lines, struct line *ret_line, struct error *err);
// The next line, which must have this word; "line 3: \"name\" expected, not \"host\"".
int lines_expect(struct lines *lines, const char *word, struct line *ret_line, struct error *err);
// ERROR_CORRUPT, with the number of the line in front of the message.
int lines_wrong(const struct lines *lines, struct error *err, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
// Cut the next part off the front of the line's value, up to a space; false: nothing is left, or two spaces follow one
// another.
bool line_part(struct line *line, const char **ret_part, size_t *ret_length);
// The same as a string, when it fits into `size` with its NUL.
bool line_word(struct line *line, char *ret_text, size_t size);
bool line_number(struct line *line, uint64_t *ret_number); // decimal, without leading zeros, at most 2^63 - 1
// The whole value as a string, when it fits.
bool line_text(const struct line *line, char *ret_text, size_t size);
// `length` bytes as 2 * `length` lower-case hex digits, which must be the whole of `text`.
bool lines_from_hex(const char *text, size_t text_length, uint8_t *ret_bytes, size_t length);
void lines_to_hex(const uint8_t *bytes, size_t length, char *ret_text); // with its NUL
// "2026-11-22T22:00:00Z" and nothing else, from 1970 to 9999.
bool lines_is_time(const char *text);
