// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Errors: filling, prefixing and translating `struct error`. Every text is put together in a buffer of its own before
 * it replaces what was there, so that an error's own message may be an argument. Nothing is allocated.
 */
#include "common/error.h"
#include "common/cleanup.h"
#include "common/utf8.h"
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const struct {
        enum error_code code;
        const char *word;
        int exit_code;
} codes[] = {
#define X(symbol, number, word, exit_code) {symbol, word, exit_code},
        ERROR_CODES(X)
#undef X
};

// Put `text` into `field` of `size` bytes, cut with "..." at the end of a character.
static void put(char *field, size_t size, const char *text) {
        size_t length = strlen(text);
        if (length < size) {
                memcpy(field, text, length + 1);
                return;
        }
        size_t kept = utf8_cut(text, size - sizeof("..."));
        memcpy(field, text, kept);
        memcpy(field + kept, "...", sizeof("..."));
}

// One byte more than a field holds, so that put() sees what has to be cut.
static void format_clean(char *buffer, size_t size, const char *format, va_list args)
        __attribute__((format(printf, 3, 0)));
static void format_clean(char *buffer, size_t size, const char *format, va_list args) {
        if (vsnprintf(buffer, size, format, args) < 0)
                buffer[0] = '\0';
        utf8_clean(buffer);
}

static enum error_code code_of_errno(int value) {
        switch (value) {
        case ENOSPC:
        case EDQUOT:
                return ERROR_NO_SPACE;
        case ENOMEM:
                return ERROR_NO_MEMORY;
        case ENOENT:
                return ERROR_NOT_FOUND;
        case EACCES:
        case EPERM:
                return ERROR_DENIED;
        default:
                return ERROR_IO;
        }
}

int error_setv(struct error *err, enum error_code code, const char *format, va_list args) {
        if (!err)
                return -1;
        char text[ERROR_MESSAGE_MAX + 8];
        format_clean(text, sizeof(text), format, args);
        err->code = code;
        err->n_hints = 0;
        put(err->message, sizeof(err->message), text);
        return -1;
}

int error_set(struct error *err, enum error_code code, const char *format, ...) {
        va_list args;
        va_start(args, format);
        error_setv(err, code, format, args);
        va_end(args);
        return -1;
}

int error_errno(struct error *err, int errno_value, const char *format, ...) {
        if (!err)
                return -1;
        // Not strerror(): what we say crosses the wire and is compared by tests, so it does not follow a locale.
        const char *reason = strerrordesc_np(errno_value);
        char what[ERROR_MESSAGE_MAX + 8];
        va_list args;
        va_start(args, format);
        format_clean(what, sizeof(what), format, args);
        va_end(args);
        enum error_code code = code_of_errno(errno_value);
        if (reason)
                return error_set(err, code, "%s: %s", what, reason);
        return error_set(err, code, "%s: error %d", what, errno_value);
}

int error_prefix(struct error *err, const char *format, ...) {
        if (!err)
                return -1;
        char what[ERROR_MESSAGE_MAX + 8], text[2 * ERROR_MESSAGE_MAX + 16];
        va_list args;
        va_start(args, format);
        format_clean(what, sizeof(what), format, args);
        va_end(args);
        snprintf(text, sizeof(text), "%s: %s", what, err->message);
        put(err->message, sizeof(err->message), text);
        return -1;
}

void error_hint(struct error *err, const char *format, ...) {
        if (!err || err->n_hints >= ERROR_HINTS_MAX)
                return;
        char text[ERROR_HINT_MAX + 8];
        va_list args;
        va_start(args, format);
        format_clean(text, sizeof(text), format, args);
        va_end(args);
        put(err->hints[err->n_hints++], ERROR_HINT_MAX, text);
}

void error_clear(struct error *err) {
        if (!err)
                return;
        err->code = ERROR_NONE;
        err->n_hints = 0;
        err->message[0] = '\0';
}

const char *error_word(enum error_code code) {
        for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
                if (codes[i].code == code)
                        return codes[i].word;
        return "failed";
}

int error_exit_code(enum error_code code) {
        for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
                if (codes[i].code == code)
                        return codes[i].exit_code;
        return 1;
}

enum error_code error_from_number(unsigned number) {
        for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
                if ((unsigned) codes[i].code == number)
                        return codes[i].code;
        return ERROR_FAILED;
}
