// SPDX-License-Identifier: LGPL-2.1-or-later
/* The index of pieces in memory (see tags.h): linear probing from the tag's upper bits, removal by moving back. */
#include "agent/reuse/tags.h"
#include "common/memory.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BITS 9u // 512 entries, 4 KiB

struct tags {
        pthread_mutex_t mutex;
        uint64_t *entries; // tag << 32 | candidate << 27 | piece; 0: empty
        unsigned bits, bits_max;
        size_t n;
};

static uint64_t entry_of(uint32_t tag, const struct tags_place *place) {
        return (uint64_t) tag << 32 | (uint64_t) place->candidate << 27 | place->piece;
}

static size_t mask_of(const struct tags *tags) {
        return ((size_t) 1 << tags->bits) - 1;
}

static size_t home_of(const struct tags *tags, uint64_t entry) {
        return (size_t) (entry >> (64 - tags->bits));
}

struct tags *tags_new(size_t bytes_max) {
        struct tags *tags = new (struct tags);
        pthread_mutex_init(&tags->mutex, NULL);
        tags->bits = tags->bits_max = FIRST_BITS;
        while (tags->bits_max < 32 && sizeof(uint64_t) << (tags->bits_max + 1) <= bytes_max)
                tags->bits_max++;
        tags->entries = new_array(uint64_t, (size_t) 1 << tags->bits);
        return tags;
}

void tags_free(struct tags *tags) {
        if (!tags)
                return;
        pthread_mutex_destroy(&tags->mutex);
        free(tags->entries);
        free(tags);
}

uint32_t tags_of_name(const uint8_t *name) {
        uint32_t tag;
        memcpy(&tag, name, sizeof tag);
        return tag ? tag : 1;
}

// Where the tag stands, or the empty entry where it would.
static size_t probe(const struct tags *tags, uint32_t tag) {
        size_t at = home_of(tags, (uint64_t) tag << 32);
        while (tags->entries[at] && tags->entries[at] >> 32 != tag)
                at = (at + 1) & mask_of(tags);
        return at;
}

static void grow(struct tags *tags) {
        uint64_t *old = tags->entries;
        size_t size = mask_of(tags) + 1;
        tags->bits++;
        tags->entries = new_array(uint64_t, size * 2);
        for (size_t i = 0; i < size; i++)
                if (old[i])
                        tags->entries[probe(tags, (uint32_t) (old[i] >> 32))] = old[i];
        free(old);
}

bool tags_add(struct tags *tags, uint32_t tag, const struct tags_place *place) {
        if (place->candidate >= TAGS_CANDIDATES_MAX || place->piece >= TAGS_PIECES_MAX)
                return true;
        pthread_mutex_lock(&tags->mutex);
        size_t at = probe(tags, tag);
        bool room = tags->entries[at] != 0;
        if (!room) {
                if (tags->n >= mask_of(tags) / 4 * 3 && tags->bits < tags->bits_max) {
                        grow(tags);
                        at = probe(tags, tag);
                }
                room = tags->n < mask_of(tags) / 4 * 3;
                if (room) {
                        tags->entries[at] = entry_of(tag, place);
                        tags->n++;
                }
        }
        pthread_mutex_unlock(&tags->mutex);
        return room;
}

bool tags_find(struct tags *tags, uint32_t tag, struct tags_place *ret) {
        pthread_mutex_lock(&tags->mutex);
        uint64_t entry = tags->entries[probe(tags, tag)];
        pthread_mutex_unlock(&tags->mutex);
        if (!entry)
                return false;
        *ret = (struct tags_place){.candidate = entry >> 27 & (TAGS_CANDIDATES_MAX - 1),
                                   .piece = entry & (TAGS_PIECES_MAX - 1)};
        return true;
}

// Whatever was pushed beyond the gap and would no longer be found comes back into it.
static void close_gap(struct tags *tags, size_t gap) {
        size_t mask = mask_of(tags);
        for (size_t at = (gap + 1) & mask; tags->entries[at]; at = (at + 1) & mask) {
                size_t home = home_of(tags, tags->entries[at]);
                if (((at - home) & mask) < ((at - gap) & mask))
                        continue;
                tags->entries[gap] = tags->entries[at];
                gap = at;
        }
        tags->entries[gap] = 0;
}

void tags_remove(struct tags *tags, uint32_t tag, const struct tags_place *place) {
        pthread_mutex_lock(&tags->mutex);
        size_t at = probe(tags, tag);
        if (tags->entries[at] == entry_of(tag, place)) {
                close_gap(tags, at);
                tags->n--;
        }
        pthread_mutex_unlock(&tags->mutex);
}

size_t tags_count(struct tags *tags) {
        pthread_mutex_lock(&tags->mutex);
        size_t n = tags->n;
        pthread_mutex_unlock(&tags->mutex);
        return n;
}

size_t tags_bytes(struct tags *tags) {
        pthread_mutex_lock(&tags->mutex);
        size_t bytes = sizeof(uint64_t) << tags->bits;
        pthread_mutex_unlock(&tags->mutex);
        return bytes;
}
