// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Allocation for bookkeeping that has a bound elsewhere: a daemon that cannot get a few hundred bytes says so in its
 * log and ends (its journal makes that safe, its unit starts it again). Sizes that come from outside use
 * memory_try(), which fails with ERROR_NO_MEMORY instead.
 */
#include "common/error.h"
#include <stdint.h>

void *memory_new(size_t size);                           // zeroed; never NULL
void *memory_new_array(size_t count, size_t size);       // zeroed; overflow-checked; never NULL
void *memory_grow(void *old, size_t count, size_t size); // overflow-checked; what is added is not zeroed
char *memory_string(const char *text);                   // NULL gives NULL
char *memory_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Zeroed. ERROR_NO_MEMORY: "no memory for N bytes".
int memory_try(size_t size, void **ret_memory, struct error *err);
// clang-format takes "new" for the operator of C++ and would make this a macro without arguments.
// clang-format off
#define new(type) ((type *) memory_new(sizeof(type)))
// clang-format on
#define new_array(type, count) ((type *) memory_new_array((count), sizeof(type)))
