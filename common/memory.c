// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Allocation: the kind that ends the process when there is none, for bookkeeping with a bound elsewhere, and
 * memory_try() for sizes that come from outside. Any thread.
 */
#include "common/memory.h"
#include "common/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// No core file: it would hold keys, and there is nothing to learn from it.
static void *check(void *memory, size_t count, size_t size) {
        if (memory)
                return memory;
        char bytes[64];
        snprintf(bytes, sizeof(bytes), "%zux%zu", count, size);
        log_error("out of memory, ending", "bytes", bytes, NULL);
        _exit(EXIT_FAILURE);
}

void *memory_new(size_t size) {
        return check(calloc(1, size ? size : 1), 1, size);
}

void *memory_new_array(size_t count, size_t size) {
        if (count == 0 || size == 0)
                return memory_new(0);
        return check(calloc(count, size), count, size);
}

void *memory_grow(void *old, size_t count, size_t size) {
        if (count == 0 || size == 0)
                count = size = 1; // realloc(p, 0) may free
        return check(reallocarray(old, count, size), count, size);
}

char *memory_string(const char *text) {
        return text ? check(strdup(text), 1, strlen(text) + 1) : NULL;
}

char *memory_format(const char *format, ...) {
        char *text = NULL;
        va_list args;
        va_start(args, format);
        if (vasprintf(&text, format, args) < 0)
                text = NULL;
        va_end(args);
        return check(text, 1, 0);
}

int memory_try(size_t size, void **ret_memory, struct error *err) {
        void *memory = size > PTRDIFF_MAX ? NULL : calloc(1, size ? size : 1);
        if (!memory)
                return error_set(err, ERROR_NO_MEMORY, "no memory for %zu bytes", size);
        *ret_memory = memory;
        return 0;
}
