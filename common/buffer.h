// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* A growable run of bytes with a bound. Owned by whoever embeds it; not thread-safe. */
#include "common/error.h"
#include <stdint.h>

struct buffer {
        uint8_t *data;
        size_t length;
        size_t capacity;
        size_t limit; // appending beyond it fails with ERROR_TOO_LARGE; 0: no limit
};

void buffer_init(struct buffer *buffer, size_t limit);
void buffer_fini(struct buffer *buffer);
int buffer_append(struct buffer *buffer, const void *bytes, size_t length, struct error *err);
int buffer_append_text(struct buffer *buffer, const char *text, struct error *err);
int buffer_appendf(struct buffer *buffer, struct error *err, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
// Make room for `length` more bytes and give where they go; buffer_commit() says how many were written.
int buffer_reserve(struct buffer *buffer, size_t length, uint8_t **ret_space, struct error *err);
void buffer_commit(struct buffer *buffer, size_t length);
void buffer_consume(struct buffer *buffer, size_t length); // drop from the front; releases a large empty allocation
void buffer_clear(struct buffer *buffer);                  // the same for all of it
// Hand over the content as a NUL-terminated string (the caller frees); the buffer is empty afterwards.
char *buffer_steal_text(struct buffer *buffer);
