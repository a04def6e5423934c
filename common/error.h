// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Errors: a code from one closed list, a one-line message that says what and why, and hints that say what to type.
 * A function that can fail takes a `struct error *err` last (may be NULL) and returns 0 or -1; a negative return means
 * that err, if given, is filled. Each layer on the way up prefixes what it was doing:
 *     move erp: copy vda: write at 3.2 GiB: No space left on device
 * The codes travel over the wire and become exit codes, so numbers are never reused.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#define ERROR_CODES(X)                                                                                                 \
        /* symbol, number on the wire, word in JSON, exit code of the command line */                                  \
        X(ERROR_NONE, 0, "none", 0)                                                                                    \
        X(ERROR_FAILED, 1, "failed", 1)                                                                                \
        X(ERROR_USAGE, 2, "usage", 2)                                                                                  \
        X(ERROR_PARTLY, 3, "partly-done", 3)                                                                           \
        X(ERROR_DENIED, 4, "not-permitted", 4)                                                                         \
        X(ERROR_NOT_FOUND, 5, "not-found", 5)                                                                          \
        X(ERROR_CONFLICT, 6, "conflict", 6)                                                                            \
        X(ERROR_REFUSED, 7, "refused", 7)                                                                              \
        X(ERROR_UNREACHABLE, 8, "unreachable", 8)                                                                      \
        X(ERROR_DETACHED, 9, "detached", 9)                                                                            \
        X(ERROR_INTERRUPTED, 10, "interrupted", 130)                                                                   \
        X(ERROR_TIMEOUT, 11, "timeout", 1)                                                                             \
        X(ERROR_CANCELLED, 12, "cancelled", 1)                                                                         \
        X(ERROR_PROTOCOL, 13, "protocol", 1)   /* the peer broke the rules; the connection is closed */                \
        X(ERROR_VERSION, 14, "version", 1)     /* no protocol version in common */                                     \
        X(ERROR_TOO_LARGE, 15, "too-large", 1) /* over a bound */                                                      \
        X(ERROR_NO_SPACE, 16, "no-space", 1)                                                                           \
        X(ERROR_IO, 17, "io", 1)                                                                                       \
        X(ERROR_NO_MEMORY, 18, "no-memory", 1)                                                                         \
        X(ERROR_STALE, 19, "stale", 1) /* an epoch or definition that is no longer the current one */                  \
        X(ERROR_LIBVIRT, 20, "libvirt", 1)                                                                             \
        X(ERROR_DATABASE, 21, "database", 1)                                                                           \
        X(ERROR_TLS, 22, "tls", 1)                                                                                     \
        X(ERROR_CORRUPT, 23, "corrupt", 1) /* a check sum or digest differs */                                         \
        X(ERROR_INVALID, 24, "invalid", 2) /* a value outside what is allowed */                                       \
        X(ERROR_BUSY, 25, "busy", 6)       /* a bound on work in progress is reached; ask again */

enum error_code {
#define X(symbol, number, word, exit_code) symbol = number,
        ERROR_CODES(X)
#undef X
};

#define ERROR_MESSAGE_MAX 1024
#define ERROR_HINTS_MAX   16
#define ERROR_HINT_MAX    512

struct error {
        enum error_code code;
        unsigned n_hints;
        char message[ERROR_MESSAGE_MAX]; // one line, no newline, UTF-8, cut with "..." when longer
        char hints[ERROR_HINTS_MAX][ERROR_HINT_MAX];
};

#define ERROR_INIT ((struct error){.code = ERROR_NONE})

// Fill err (when not NULL) and return -1. Control characters in the result are replaced by '?'.
int error_set(struct error *err, enum error_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));
int error_setv(struct error *err, enum error_code code, const char *format, va_list args)
        __attribute__((format(printf, 3, 0)));
// The same with ": " and the text of errno_value appended; ENOSPC/EDQUOT, ENOMEM, ENOENT, EACCES give their own codes.
int error_errno(struct error *err, int errno_value, const char *format, ...) __attribute__((format(printf, 3, 4)));
// Put "what: " before the message; returns -1 so that `return error_prefix(err, "...")` reads well.
int error_prefix(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Add one hint; silently ignored when there are ERROR_HINTS_MAX already.
void error_hint(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
void error_clear(struct error *err);
const char *error_word(enum error_code code);       // "no-space"; unknown codes give "failed"
int error_exit_code(enum error_code code);          // 0..255
enum error_code error_from_number(unsigned number); // from the wire; unknown numbers give ERROR_FAILED
