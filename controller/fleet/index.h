// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A hash table from text to values; several values may bear one key. Keys and values belong to the caller and must live
 * as long as they are in the table. Hosts choose some of the keys, so the hash is seeded at random. Not thread-safe.
 */
#include "common/cleanup.h"
#include <stddef.h>
#include <stdint.h>

struct index;
struct index_node;
struct index *index_new(void);
void index_free(struct index *index); // NULL is fine; the values stay
DEFINE_CLEANUP(index_free, struct index *)
void index_add(struct index *index, const char *key, void *value);
void index_remove(struct index *index, const char *key, const void *value); // this pair, if it is there
void *index_get(const struct index *index, const char *key);                // one with this key, or NULL
size_t index_count(const struct index *index);

// All values of a key: for (v = index_first(i, key, &c); v; v = index_next(&c)). The table must not change meanwhile.
struct index_cursor {
        const struct index_node *node;
        const char *key;
        uint64_t hash;
};
void *index_first(const struct index *index, const char *key, struct index_cursor *cursor);
void *index_next(struct index_cursor *cursor);
// Empty it; free_value may be NULL. For that the keys may be within the values.
void index_clear(struct index *index, void (*free_value)(void *value));
// Call for each value, in no order; the table must not change meanwhile. A negative return ends it and is returned.
int index_each(const struct index *index, int (*fn)(void *value, void *data), void *data);
