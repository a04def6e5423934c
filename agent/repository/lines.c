// SPDX-License-Identifier: LGPL-2.1-or-later
/* The lines of a repository's texts (see lines.h). Pure functions, any thread. */
#include "agent/repository/lines.h"
#include "common/civil.h"
#include "common/utf8.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

void lines_init(struct lines *lines, const void *text, size_t length) {
        *lines = (struct lines){.at = text, .begin = text, .end = (const char *) text + length};
}

int lines_wrong(const struct lines *lines, struct error *err, const char *format, ...) {
        va_list args;
        va_start(args, format);
        error_setv(err, ERROR_CORRUPT, format, args);
        va_end(args);
        return error_prefix(err, "line %u", lines->number);
}

// utf8_next() stops at a NUL, which is a control character: so it reads no further than the line's newline.
static bool is_clean(const char *text, const char *end) {
        while (text < end) {
                uint32_t point;
                unsigned bytes = utf8_next(text, &point);
                if (bytes == 0 || point < 0x20 || (point >= 0x7f && point < 0xa0))
                        return false;
                text += bytes;
        }
        return true;
}

static bool is_word(const char *text, size_t length) {
        if (length == 0 || length > LINES_WORD_MAX || !isascii(text[0]) || !isalpha((unsigned char) text[0]))
                return false;
        for (size_t i = 1; i < length; i++)
                if (text[i] != '-' && (!isascii(text[i]) || !isalnum((unsigned char) text[i])))
                        return false;
        return true;
}

int lines_next(struct lines *lines, struct line *ret_line, struct error *err) {
        if (lines->at == lines->end)
                return 0;
        lines->number++;
        const char *start = lines->at;
        const char *newline = memchr(start, '\n', (size_t) (lines->end - start));
        if (!newline)
                return lines_wrong(lines, err, "it is cut short");
        const char *space = memchr(start, ' ', (size_t) (newline - start));
        if (!space || !is_word(start, (size_t) (space - start)))
                return lines_wrong(lines, err, "it does not begin with a word and a space");
        if (space + 1 == newline)
                return lines_wrong(lines, err, "it has no value");
        if (!is_clean(space + 1, newline))
                return lines_wrong(lines, err, "its value has a control character in it or is not UTF-8");
        memset(ret_line, 0, sizeof *ret_line);
        memcpy(ret_line->word, start, (size_t) (space - start));
        ret_line->value = space + 1;
        ret_line->length = (size_t) (newline - space - 1);
        ret_line->offset = (size_t) (start - lines->begin);
        lines->at = newline + 1;
        return 1;
}

int lines_expect(struct lines *lines, const char *word, struct line *ret_line, struct error *err) {
        struct line line;
        int got = lines_next(lines, &line, err);
        if (got < 0)
                return -1;
        if (got == 0)
                return error_set(err, ERROR_CORRUPT, "line %u: \"%s\" expected, and there is no such line",
                                 lines->number + 1, word);
        if (strcmp(line.word, word) != 0)
                return lines_wrong(lines, err, "\"%s\" expected, not \"%s\"", word, line.word);
        *ret_line = line;
        return 0;
}

bool line_part(struct line *line, const char **ret_part, size_t *ret_length) {
        const char *space = memchr(line->value, ' ', line->length);
        size_t length = space ? (size_t) (space - line->value) : line->length;
        size_t taken = length + (space ? 1 : 0);
        if (length == 0 || (space && taken == line->length)) // nothing, or a space at the end
                return false;
        *ret_part = line->value;
        *ret_length = length;
        line->value += taken;
        line->length -= taken;
        return true;
}

static bool copy(const char *part, size_t length, char *ret_text, size_t size) {
        if (length >= size)
                return false;
        memcpy(ret_text, part, length);
        ret_text[length] = '\0';
        return true;
}

bool line_word(struct line *line, char *ret_text, size_t size) {
        const char *part;
        size_t length;
        return line_part(line, &part, &length) && copy(part, length, ret_text, size);
}

bool line_text(const struct line *line, char *ret_text, size_t size) {
        return copy(line->value, line->length, ret_text, size);
}

bool line_number(struct line *line, uint64_t *ret_number) {
        char text[20]; // 2^63 - 1 has 19 digits
        uint64_t number = 0;
        if (!line_word(line, text, sizeof text) || (text[0] == '0' && text[1]))
                return false;
        for (const char *digit = text; *digit; digit++) {
                if (*digit < '0' || *digit > '9')
                        return false;
                number = number * 10 + (uint64_t) (*digit - '0');
        }
        if (number > INT64_MAX)
                return false;
        *ret_number = number;
        return true;
}

static int digit_of(char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool lines_from_hex(const char *text, size_t text_length, uint8_t *ret_bytes, size_t length) {
        if (text_length != 2 * length)
                return false;
        for (size_t i = 0; i < text_length; i++)
                if (digit_of(text[i]) < 0)
                        return false;
        for (size_t i = 0; i < length; i++)
                ret_bytes[i] = (uint8_t) (digit_of(text[2 * i]) << 4 | digit_of(text[2 * i + 1]));
        return true;
}

void lines_to_hex(const uint8_t *bytes, size_t length, char *ret_text) {
        static const char hex[] = "0123456789abcdef";
        for (size_t i = 0; i < length; i++) {
                *ret_text++ = hex[bytes[i] >> 4];
                *ret_text++ = hex[bytes[i] & 15];
        }
        *ret_text = '\0';
}

static int two(const char *text) {
        return (text[0] - '0') * 10 + text[1] - '0';
}

bool lines_is_time(const char *text) {
        static const char form[] = "dddd-dd-ddTdd:dd:ddZ";
        if (strlen(text) != sizeof form - 1)
                return false;
        for (size_t i = 0; form[i]; i++)
                if (form[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
                        return false;
        int year = two(text) * 100 + two(text + 2), month = two(text + 5), day = two(text + 8);
        return year >= 1970 && month >= 1 && month <= 12 && day >= 1 && day <= civil_month_days(year, month) &&
               two(text + 11) < 24 && two(text + 14) < 60 && two(text + 17) < 60;
}
