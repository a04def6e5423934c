// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Hashes of blocks, in chunks that are made as they are needed (see recall.h). The registry's mutex guards its list,
 * each record's own mutex its chunks; the count of bytes is shared.
 */
#include "agent/transfer/recall.h"
#include "common/memory.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 1024u // blocks
#define NAME  64

struct chunk {
        uint64_t number;
        struct chunk *next; // in its bucket
        uint64_t known[CHUNK / 64], sent[CHUNK / 64];
        uint8_t hashes[CHUNK][DIGEST_HASH];
};
#define BUCKETS 64u

struct recalled {
        struct recalled *next; // in the registry, the last used one first
        struct recall *recall;
        char job[NAME], disk[NAME];
        uint8_t version[SOURCE_VERSION_BYTES];
        bool versioned;
        atomic_uint_least64_t link;
        struct choice choice;  // of whoever has taken the record
        pthread_mutex_t mutex; // of what follows
        struct chunk *buckets[BUCKETS];
};

struct recall {
        pthread_mutex_t mutex; // of the list
        struct recalled *first;
        atomic_size_t bytes;
};

struct recall *recall_new(void) {
        struct recall *recall = new (struct recall);
        pthread_mutex_init(&recall->mutex, NULL);
        return recall;
}

static void free_record(struct recalled *recalled) {
        for (unsigned i = 0; i < BUCKETS; i++)
                for (struct chunk *chunk = recalled->buckets[i], *next; chunk; chunk = next) {
                        next = chunk->next;
                        atomic_fetch_sub(&recalled->recall->bytes, sizeof *chunk);
                        free(chunk);
                }
        pthread_mutex_destroy(&recalled->mutex);
        free(recalled);
}

void recall_free(struct recall *recall) {
        if (!recall)
                return;
        for (struct recalled *recalled = recall->first, *next; recalled; recalled = next) {
                next = recalled->next;
                free_record(recalled);
        }
        pthread_mutex_destroy(&recall->mutex);
        free(recall);
}

// ---- records
static struct recalled *unlink_record(struct recall *recall, const char *job, const char *disk) {
        for (struct recalled **link = &recall->first; *link; link = &(*link)->next) {
                struct recalled *recalled = *link;
                if (strcmp(recalled->job, job) != 0 || strcmp(recalled->disk, disk) != 0)
                        continue;
                *link = recalled->next;
                return recalled;
        }
        return NULL;
}

struct recalled *recall_take(struct recall *recall, const char *job, const char *disk,
                             const uint8_t version[SOURCE_VERSION_BYTES]) {
        pthread_mutex_lock(&recall->mutex);
        struct recalled *recalled = unlink_record(recall, job, disk);
        pthread_mutex_unlock(&recall->mutex);
        if (recalled && version && memcmp(recalled->version, version, SOURCE_VERSION_BYTES) == 0)
                return recalled;
        if (recalled)
                free_record(recalled);
        recalled = new (struct recalled);
        pthread_mutex_init(&recalled->mutex, NULL);
        recalled->recall = recall;
        snprintf(recalled->job, sizeof recalled->job, "%s", job);
        snprintf(recalled->disk, sizeof recalled->disk, "%s", disk);
        recalled->versioned = version;
        if (version)
                memcpy(recalled->version, version, SOURCE_VERSION_BYTES);
        return recalled;
}

// The oldest, until half of the room is free again.
static void make_room(struct recall *recall) {
        while (recall->first && atomic_load(&recall->bytes) > RECALL_BYTES_MAX / 2) {
                struct recalled **link = &recall->first;
                while ((*link)->next)
                        link = &(*link)->next;
                struct recalled *oldest = *link;
                *link = NULL;
                free_record(oldest);
        }
}

void recall_give_back(struct recall *recall, struct recalled *recalled) {
        if (!recalled)
                return;
        if (!recalled->versioned) {
                free_record(recalled);
                return;
        }
        pthread_mutex_lock(&recall->mutex);
        if (atomic_load(&recall->bytes) > RECALL_BYTES_MAX / 4 * 3)
                make_room(recall);
        recalled->next = recall->first;
        recall->first = recalled;
        pthread_mutex_unlock(&recall->mutex);
}

void recalled_free(struct recalled *recalled) {
        if (recalled)
                free_record(recalled);
}

// ---- one record
static struct chunk *find_chunk(struct recalled *recalled, uint64_t block, bool make) {
        uint64_t number = block / CHUNK;
        struct chunk **bucket = &recalled->buckets[number % BUCKETS], *chunk = *bucket;
        while (chunk && chunk->number != number)
                chunk = chunk->next;
        if (chunk || !make || !recalled->versioned)
                return chunk;
        if (atomic_fetch_add(&recalled->recall->bytes, sizeof *chunk) + sizeof *chunk > RECALL_BYTES_MAX) {
                atomic_fetch_sub(&recalled->recall->bytes, sizeof *chunk);
                return NULL;
        }
        chunk = new (struct chunk);
        chunk->number = number;
        chunk->next = *bucket;
        return *bucket = chunk;
}

bool recalled_get(struct recalled *recalled, uint64_t block, uint8_t ret[DIGEST_HASH]) {
        size_t n = block % CHUNK;
        pthread_mutex_lock(&recalled->mutex);
        const struct chunk *chunk = find_chunk(recalled, block, false);
        bool known = chunk && chunk->known[n / 64] >> (n % 64) & 1;
        if (known)
                memcpy(ret, chunk->hashes[n], DIGEST_HASH);
        pthread_mutex_unlock(&recalled->mutex);
        return known;
}

void recalled_put(struct recalled *recalled, uint64_t block, const uint8_t hash[DIGEST_HASH]) {
        size_t n = block % CHUNK;
        pthread_mutex_lock(&recalled->mutex);
        struct chunk *chunk = find_chunk(recalled, block, true);
        if (chunk) {
                memcpy(chunk->hashes[n], hash, DIGEST_HASH);
                chunk->known[n / 64] |= 1ull << (n % 64);
        }
        pthread_mutex_unlock(&recalled->mutex);
}

bool recalled_sent(struct recalled *recalled, uint64_t block) {
        size_t n = block % CHUNK;
        pthread_mutex_lock(&recalled->mutex);
        struct chunk *chunk = find_chunk(recalled, block, true);
        bool before = chunk && chunk->sent[n / 64] >> (n % 64) & 1;
        if (chunk)
                chunk->sent[n / 64] |= 1ull << (n % 64);
        pthread_mutex_unlock(&recalled->mutex);
        return before;
}

uint64_t recalled_link(const struct recalled *recalled) {
        return atomic_load(&recalled->link);
}

void recalled_set_link(struct recalled *recalled, uint64_t link) {
        atomic_store(&recalled->link, link);
}

bool recalled_choice(const struct recalled *recalled, struct choice *ret) {
        *ret = recalled->choice;
        return recalled->choice.measured > 0;
}

void recalled_set_choice(struct recalled *recalled, const struct choice *choice) {
        recalled->choice = *choice;
}
