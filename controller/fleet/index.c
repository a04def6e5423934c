// SPDX-License-Identifier: LGPL-2.1-or-later
/* A chained hash table from text to values, growing by doubling (see index.h). */
#include "controller/fleet/index.h"
#include "common/memory.h"
#include "common/random.h"
#include <string.h>
#include <xxhash.h>

#define BUCKETS_FIRST 16u

struct index_node {
        struct index_node *next;
        uint64_t hash;
        const char *key;
        void *value;
};

struct index {
        struct index_node **buckets; // a power of two of them
        size_t n_buckets, n;
        uint64_t seed;
};

struct index *index_new(void) {
        struct index *index = new (struct index);
        index->seed = random_u64();
        return index;
}

void index_free(struct index *index) {
        if (!index)
                return;
        index_clear(index, NULL);
        free(index->buckets);
        free(index);
}

static uint64_t hash_of(const struct index *index, const char *key) {
        return XXH3_64bits_withSeed(key, strlen(key), index->seed);
}

static struct index_node **bucket_of(const struct index *index, uint64_t hash) {
        return &index->buckets[hash & (index->n_buckets - 1)];
}

static void grow(struct index *index) {
        struct index bigger = {.n_buckets = index->n_buckets ? index->n_buckets * 2 : BUCKETS_FIRST};
        bigger.buckets = new_array(struct index_node *, bigger.n_buckets);
        for (size_t i = 0; i < index->n_buckets; i++)
                for (struct index_node *node; (node = index->buckets[i]);) {
                        struct index_node **bucket = bucket_of(&bigger, node->hash);
                        index->buckets[i] = node->next;
                        node->next = *bucket;
                        *bucket = node;
                }
        free(index->buckets);
        index->buckets = bigger.buckets;
        index->n_buckets = bigger.n_buckets;
}

void index_add(struct index *index, const char *key, void *value) {
        if (index->n >= index->n_buckets)
                grow(index);
        struct index_node *node = new (struct index_node);
        node->hash = hash_of(index, key);
        node->key = key;
        node->value = value;
        struct index_node **bucket = bucket_of(index, node->hash);
        node->next = *bucket;
        *bucket = node;
        index->n++;
}

void index_remove(struct index *index, const char *key, const void *value) {
        if (index->n == 0)
                return;
        uint64_t hash = hash_of(index, key);
        for (struct index_node **at = bucket_of(index, hash); *at; at = &(*at)->next) {
                struct index_node *node = *at;
                if (node->value != value || node->hash != hash || strcmp(node->key, key) != 0)
                        continue;
                *at = node->next;
                free(node);
                index->n--;
                return;
        }
}

static void *find_from(struct index_cursor *cursor) {
        for (; cursor->node; cursor->node = cursor->node->next)
                if (cursor->node->hash == cursor->hash && strcmp(cursor->node->key, cursor->key) == 0)
                        return cursor->node->value;
        return NULL;
}

void *index_first(const struct index *index, const char *key, struct index_cursor *cursor) {
        *cursor = (struct index_cursor){.key = key};
        if (index->n == 0)
                return NULL;
        cursor->hash = hash_of(index, key);
        cursor->node = *bucket_of(index, cursor->hash);
        return find_from(cursor);
}

void *index_next(struct index_cursor *cursor) {
        cursor->node = cursor->node->next;
        return find_from(cursor);
}

void *index_get(const struct index *index, const char *key) {
        struct index_cursor cursor;
        return index_first(index, key, &cursor);
}

size_t index_count(const struct index *index) {
        return index->n;
}

void index_clear(struct index *index, void (*free_value)(void *value)) {
        for (size_t i = 0; i < index->n_buckets; i++)
                for (struct index_node *node; (node = index->buckets[i]);) {
                        index->buckets[i] = node->next;
                        if (free_value)
                                free_value(node->value);
                        free(node);
                }
        index->n = 0;
}

int index_each(const struct index *index, int (*fn)(void *value, void *data), void *data) {
        for (size_t i = 0; i < index->n_buckets; i++)
                for (struct index_node *node = index->buckets[i]; node; node = node->next) {
                        int result = fn(node->value, data);
                        if (result < 0)
                                return result;
                }
        return 0;
}
