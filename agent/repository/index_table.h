// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* The names of the index that are not in a segment yet: open addressing over an array. No lock of its own. */
#include "agent/repository/segment.h"

struct index_table {
        struct segment_record *records;
        uint32_t *slots; // number of a record + 1, 0: none
        uint32_t n, capacity, n_slots;
};
void index_table_fini(struct index_table *table);
void index_table_clear(struct index_table *table);
void index_table_reserve(struct index_table *table, uint32_t more);
// After reserve. Another one of the same name and pack is not kept.
void index_table_add(struct index_table *table, const struct segment_record *record);
// The first of this name that is wanted, or NULL.
const struct segment_record *index_table_find(const struct index_table *table, const struct chunk_name *name,
                                              bool (*wanted)(void *context, const struct segment_record *record),
                                              void *context);
// Numbers of the records in the order of names; the caller frees.
uint32_t *index_table_sort(const struct index_table *table);
size_t index_table_bytes(const struct index_table *table);
