// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The table of the index in memory (see index_table.h). Names are hashes already; where one stands still depends on a
 * number of this process, because whoever fills a disk also chooses its names.
 */
#include "agent/repository/index_table.h"
#include "common/memory.h"
#include "common/random.h"
#include <pthread.h>
#include <stdlib.h>
#include <xxhash.h>

#define CAPACITY_MIN 1024u

static uint64_t seed;
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void make_seed(void) {
        seed = random_u64();
}

static uint32_t slot_of(const struct index_table *table, const struct chunk_name *name) {
        return (uint32_t) XXH3_64bits_withSeed(name->bytes, CHUNK_NAME, seed) & (table->n_slots - 1);
}

void index_table_fini(struct index_table *table) {
        free(table->records);
        free(table->slots);
        *table = (struct index_table){0};
}

void index_table_clear(struct index_table *table) {
        index_table_fini(table);
}

// false: a record of this name and pack is there. A pack that says one name a million times would else be a million
// slots to pass for each of them.
static bool enter(struct index_table *table, uint32_t number) {
        const struct segment_record *record = &table->records[number];
        uint32_t slot = slot_of(table, &record->name);
        for (; table->slots[slot]; slot = (slot + 1) & (table->n_slots - 1)) {
                const struct segment_record *other = &table->records[table->slots[slot] - 1];
                if (other->pack == record->pack && chunk_name_equal(&other->name, &record->name))
                        return false;
        }
        table->slots[slot] = number + 1;
        return true;
}

void index_table_reserve(struct index_table *table, uint32_t more) {
        uint32_t capacity = table->capacity ? table->capacity : CAPACITY_MIN;
        pthread_once(&seed_once, make_seed);
        while (capacity < table->n + more)
                capacity *= 2;
        if (capacity == table->capacity)
                return;
        table->records = memory_grow(table->records, capacity, sizeof *table->records);
        free(table->slots);
        table->capacity = capacity;
        table->n_slots = capacity * 2;
        table->slots = new_array(uint32_t, table->n_slots);
        for (uint32_t i = 0; i < table->n; i++)
                enter(table, i);
}

void index_table_add(struct index_table *table, const struct segment_record *record) {
        table->records[table->n] = *record;
        if (enter(table, table->n))
                table->n++;
}

const struct segment_record *index_table_find(const struct index_table *table, const struct chunk_name *name,
                                              bool (*wanted)(void *context, const struct segment_record *record),
                                              void *context) {
        if (table->n == 0)
                return NULL;
        for (uint32_t slot = slot_of(table, name); table->slots[slot]; slot = (slot + 1) & (table->n_slots - 1)) {
                const struct segment_record *record = &table->records[table->slots[slot] - 1];
                if (chunk_name_equal(&record->name, name) && wanted(context, record))
                        return record;
        }
        return NULL;
}

static int by_name(const void *a, const void *b, void *context) {
        const struct segment_record *records = context;
        const struct segment_record *one = &records[*(const uint32_t *) a], *other = &records[*(const uint32_t *) b];
        int order = chunk_name_compare(&one->name, &other->name);
        return order ? order : one->pack < other->pack ? -1 : one->pack > other->pack;
}

uint32_t *index_table_sort(const struct index_table *table) {
        uint32_t *order = new_array(uint32_t, table->n ? table->n : 1);
        for (uint32_t i = 0; i < table->n; i++)
                order[i] = i;
        qsort_r(order, table->n, sizeof *order, by_name, table->records);
        return order;
}

size_t index_table_bytes(const struct index_table *table) {
        return table->capacity * sizeof *table->records + table->n_slots * sizeof *table->slots;
}
