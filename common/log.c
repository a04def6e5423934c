// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Logging: one line is put together on the stack and written with one write(2), so that lines of several threads do not
 * mix (up to PIPE_BUF) and logging works without memory. Fields are name=value, quoted when they need it; what came
 * from outside cannot begin a line of its own.
 */
#include "common/log.h"
#include "common/clock.h"
#include "common/utf8.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096 // PIPE_BUF on Linux
#define VALUE_MAX      1024

struct line {
        size_t length;
        char text[LINE_MAX_BYTES];
};

static _Atomic int threshold = LOG_LEVEL_INFO;
static char program_name[64] = "drover";
static bool to_journal;

// systemd.exec(5): JOURNAL_STREAM holds device:inode of the stream; a redirected stderr is another one.
static bool stderr_is_journal(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        struct stat status;
        char ours[64];
        if (!stream || fstat(STDERR_FILENO, &status) < 0)
                return false;
        snprintf(ours, sizeof(ours), "%ju:%ju", (uintmax_t) status.st_dev, (uintmax_t) status.st_ino);
        return strcmp(stream, ours) == 0;
}

void log_init(const char *program, enum log_level level) {
        snprintf(program_name, sizeof(program_name), "%s", program);
        to_journal = stderr_is_journal();
        log_set_level(level);
}

void log_set_level(enum log_level level) {
        atomic_store(&threshold, (int) level);
}

static void add_bytes(struct line *line, const char *bytes, size_t length) {
        size_t room = sizeof(line->text) - 1 - line->length; // one byte is the newline's
        if (length > room)
                length = room;
        memcpy(line->text + line->length, bytes, length);
        line->length += length;
}

static void add(struct line *line, const char *text) {
        add_bytes(line, text, strlen(text));
}

static void clean_copy(char copy[VALUE_MAX], const char *text) {
        size_t length = utf8_cut(text, VALUE_MAX - 1);
        memcpy(copy, text, length);
        copy[length] = '\0';
        utf8_clean(copy);
}

static void add_field(struct line *line, const char *name, const char *value) {
        char copy[VALUE_MAX];
        clean_copy(copy, value);
        add(line, " ");
        add(line, name);
        add(line, "=");
        if (*copy && !strpbrk(copy, " \"=\\")) {
                add(line, copy);
                return;
        }
        add(line, "\"");
        for (const char *c = copy; *c; c++) {
                if (*c == '"' || *c == '\\')
                        add(line, "\\");
                add_bytes(line, c, 1);
        }
        add(line, "\"");
}

static void add_fields(struct line *line, va_list args) {
        for (const char *name; (name = va_arg(args, const char *));) {
                const char *value = va_arg(args, const char *);
                if (value)
                        add_field(line, name, value);
        }
}

static const char *level_word(enum log_level level) {
        switch (level) {
        case LOG_LEVEL_ERROR:
                return "error";
        case LOG_LEVEL_WARNING:
                return "warning";
        case LOG_LEVEL_INFO:
                return "info";
        case LOG_LEVEL_DEBUG:
                return "debug";
        }
        return "info";
}

static void begin(struct line *line, enum log_level level) {
        line->length = 0;
        char start[CLOCK_RFC3339_MAX + sizeof(program_name) + 16], stamp[CLOCK_RFC3339_MAX];
        if (to_journal)
                snprintf(start, sizeof(start), "<%d>", (int) level);
        else
                snprintf(start, sizeof(start), "%s %s %s: ", clock_rfc3339(clock_wall(&system_clock), stamp),
                         program_name, level_word(level));
        add(line, start);
}

static void add_message(struct line *line, const char *message) {
        char copy[VALUE_MAX];
        clean_copy(copy, message);
        add(line, copy);
}

// A log that cannot be written has nowhere to say so.
static void finish(struct line *line) {
        line->text[line->length++] = '\n';
        for (size_t done = 0; done < line->length;) {
                ssize_t n = write(STDERR_FILENO, line->text + done, line->length - done);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return;
                done += (size_t) n;
        }
}

void log_write(enum log_level level, const char *message, ...) {
        if ((int) level > atomic_load(&threshold))
                return;
        int saved = errno;
        struct line line;
        va_list args;
        begin(&line, level);
        add_message(&line, message);
        va_start(args, message);
        add_fields(&line, args);
        va_end(args);
        finish(&line);
        errno = saved;
}

void log_failure(enum log_level level, const char *what, const struct error *err, ...) {
        if ((int) level > atomic_load(&threshold))
                return;
        int saved = errno;
        struct line line;
        va_list args;
        begin(&line, level);
        add_message(&line, what);
        add(&line, ": ");
        add_message(&line, err->message);
        add_field(&line, "code", error_word(err->code));
        va_start(args, err);
        add_fields(&line, args);
        va_end(args);
        for (unsigned i = 0; i < err->n_hints; i++)
                add_field(&line, "hint", err->hints[i]);
        finish(&line);
        errno = saved;
}
