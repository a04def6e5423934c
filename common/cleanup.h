// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Ownership of locals: `_cleanup_(free_p) char *s = ...`; hand over with steal(&s). Destructors take NULL. */
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

// Take the pointer out of an owning local, leaving NULL behind.
#define steal(pointer)                                                                                                 \
        ({                                                                                                             \
                __typeof__(*(pointer)) _taken = *(pointer);                                                            \
                *(pointer) = NULL;                                                                                     \
                _taken;                                                                                                \
        })

static inline void free_p(void *pointer) {
        free(*(void **) pointer);
}
static inline void close_p(int *fd) {
        if (*fd >= 0)
                close(*fd);
}
static inline int steal_fd(int *fd) {
        int taken = *fd;
        *fd = -1;
        return taken;
}
// DEFINE_CLEANUP(buffer_free, struct buffer *) gives buffer_free_p for use with _cleanup_.
#define DEFINE_CLEANUP(function, type)                                                                                 \
        static inline void function##_p(type *pointer) {                                                               \
                if (*pointer)                                                                                          \
                        function(*pointer);                                                                            \
        }
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
