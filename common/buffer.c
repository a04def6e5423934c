// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A growable run of bytes with a bound. Capacity doubles, but never beyond the bound, so that memory follows what was
 * put in; an allocation that has become large is given back when the content is gone.
 */
#include "common/buffer.h"
#include "common/memory.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_LEAST 64u
#define CAPACITY_KEPT  (64u << 10) // an empty buffer keeps at most this

void buffer_init(struct buffer *buffer, size_t limit) {
        *buffer = (struct buffer){.limit = limit};
}

void buffer_fini(struct buffer *buffer) {
        free(buffer->data);
        *buffer = (struct buffer){.limit = buffer->limit};
}

static int grow(struct buffer *buffer, size_t needed, struct error *err) {
        size_t capacity = buffer->capacity < CAPACITY_LEAST ? CAPACITY_LEAST : buffer->capacity;
        while (capacity < needed)
                if (__builtin_mul_overflow(capacity, 2, &capacity))
                        capacity = needed;
        if (buffer->limit && capacity > buffer->limit)
                capacity = buffer->limit;
        uint8_t *data = capacity > PTRDIFF_MAX ? NULL : realloc(buffer->data, capacity);
        if (!data)
                return error_set(err, ERROR_NO_MEMORY, "no memory for %zu bytes", capacity);
        buffer->data = data;
        buffer->capacity = capacity;
        return 0;
}

int buffer_reserve(struct buffer *buffer, size_t length, uint8_t **ret_space, struct error *err) {
        size_t needed;
        if (__builtin_add_overflow(buffer->length, length, &needed) || (buffer->limit && needed > buffer->limit))
                return error_set(err, ERROR_TOO_LARGE, "%zu bytes and %zu more are over the bound of %zu",
                                 buffer->length, length, buffer->limit ? buffer->limit : SIZE_MAX);
        // Data is allocated even for 0 bytes, so that the space is never NULL.
        if ((needed > buffer->capacity || !buffer->data) && grow(buffer, needed, err) < 0)
                return -1;
        *ret_space = buffer->data + buffer->length;
        return 0;
}

void buffer_commit(struct buffer *buffer, size_t length) {
        assert(length <= buffer->capacity - buffer->length);
        buffer->length += length;
}

int buffer_append(struct buffer *buffer, const void *bytes, size_t length, struct error *err) {
        if (length == 0)
                return 0;
        uint8_t *space;
        if (buffer_reserve(buffer, length, &space, err) < 0)
                return -1;
        memcpy(space, bytes, length);
        buffer_commit(buffer, length);
        return 0;
}

int buffer_append_text(struct buffer *buffer, const char *text, struct error *err) {
        return buffer_append(buffer, text, strlen(text), err);
}

int buffer_appendf(struct buffer *buffer, struct error *err, const char *format, ...) {
        char *text = NULL;
        va_list args;
        va_start(args, format);
        int length = vasprintf(&text, format, args);
        va_end(args);
        if (length < 0)
                return error_set(err, ERROR_NO_MEMORY, "no memory for a formatted text");
        int result = buffer_append(buffer, text, (size_t) length, err);
        free(text);
        return result;
}

void buffer_clear(struct buffer *buffer) {
        if (buffer->capacity > CAPACITY_KEPT)
                buffer_fini(buffer);
        buffer->length = 0;
}

void buffer_consume(struct buffer *buffer, size_t length) {
        assert(length <= buffer->length);
        if (length == buffer->length) {
                buffer_clear(buffer);
                return;
        }
        memmove(buffer->data, buffer->data + length, buffer->length - length);
        buffer->length -= length;
}

char *buffer_steal_text(struct buffer *buffer) {
        char *text = memory_grow(buffer->data, buffer->length + 1, 1);
        text[buffer->length] = '\0';
        buffer_init(buffer, buffer->limit);
        return text;
}
