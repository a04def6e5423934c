// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Making the map of a disk (see map.h). Chunks of level 1 are filled within a window and leave it in order, at its
 * lower end; from there on everything is in order. Guarded by the builder's own mutex.
 */
#include "agent/repository/map.h"
#include "common/memory.h"
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct leaf {
        unsigned have;            // names that have come
        bool kept;                // as a whole, under `name`
        struct chunk_name name;   // then
        struct chunk_name *names; // NULL: those that came are zeros
        uint64_t came[MAP_FAN / 64];
};

struct map_builder {
        pthread_mutex_t mutex;
        pthread_cond_t changed;
        bool keyed, stopped;
        struct chunk_key key;
        map_store store;
        void *closure;
        uint64_t chunks, leaves;
        uint64_t next;                  // leaf: all before it have left
        struct leaf window[MAP_WINDOW]; // leaf n at n % MAP_WINDOW
        struct chunk_name upper[MAP_FAN];
        size_t n_upper, n_root;
        struct map_root root;
        struct error failed; // of store(), once and for all
};

struct map_builder *map_builder_new(uint64_t bytes, const struct chunk_key *key, map_store store, void *closure) {
        struct map_builder *builder = new (struct map_builder);
        assert(bytes <= MAP_BYTES_MAX);
        pthread_mutex_init(&builder->mutex, NULL);
        pthread_cond_init(&builder->changed, NULL);
        builder->keyed = key != NULL;
        if (key)
                builder->key = *key;
        builder->store = store;
        builder->closure = closure;
        builder->chunks = map_chunks(bytes);
        builder->leaves = map_leaves(bytes);
        builder->root.bytes = bytes;
        builder->root.names = new_array(struct chunk_name, map_root_count(bytes) + 1);
        return builder;
}

void map_builder_free(struct map_builder *builder) {
        if (!builder)
                return;
        for (unsigned i = 0; i < MAP_WINDOW; i++)
                free(builder->window[i].names);
        free(builder->root.names);
        explicit_bzero(&builder->key, sizeof builder->key);
        pthread_cond_destroy(&builder->changed);
        pthread_mutex_destroy(&builder->mutex);
        free(builder);
}

static unsigned leaf_size(const struct map_builder *builder, uint64_t leaf) {
        uint64_t left = builder->chunks - leaf * MAP_FAN;
        return left < MAP_FAN ? (unsigned) left : MAP_FAN;
}

// ---- what is complete leaves
static int keep(struct map_builder *builder, const struct chunk_name *names, size_t n, struct chunk_name *ret_name) {
        *ret_name = chunk_name_of(names, n * CHUNK_NAME, builder->keyed ? &builder->key : NULL);
        if (chunk_name_is_zero(ret_name))
                return 0;
        return builder->store(builder->closure, ret_name, names, n * CHUNK_NAME, &builder->failed);
}

static int leave(struct map_builder *builder, struct leaf *leaf) {
        struct chunk_name name = leaf->kept ? leaf->name : chunk_zero_name;
        if (leaf->names && keep(builder, leaf->names, leaf_size(builder, builder->next), &name) < 0)
                return -1;
        free(leaf->names);
        memset(leaf, 0, sizeof *leaf);
        builder->upper[builder->n_upper++] = name;
        builder->next++;
        if (builder->n_upper < MAP_FAN && builder->next < builder->leaves)
                return 0;
        if (keep(builder, builder->upper, builder->n_upper, &name) < 0)
                return -1;
        builder->root.names[builder->n_root++] = name;
        builder->n_upper = 0;
        return 0;
}

static int leave_all(struct map_builder *builder, struct error *err) {
        uint64_t before = builder->next;
        int result = 0;
        while (result == 0 && builder->next < builder->leaves) {
                struct leaf *leaf = &builder->window[builder->next % MAP_WINDOW];
                if (leaf->have < leaf_size(builder, builder->next))
                        break;
                result = leave(builder, leaf);
        }
        if (builder->next != before || result < 0)
                pthread_cond_broadcast(&builder->changed);
        if (result < 0 && err)
                *err = builder->failed;
        return result;
}

// ---- what comes
static int twice(uint64_t chunk, struct error *err) {
        return error_set(err, ERROR_PROTOCOL, "chunk %llu of the disk came twice", (unsigned long long) chunk);
}

// Its place in the window, when there is one for it.
static int await_place(struct map_builder *builder, uint64_t which, struct leaf **ret_leaf, struct error *err) {
        while (!builder->stopped && !builder->failed.code && which >= builder->next + MAP_WINDOW)
                pthread_cond_wait(&builder->changed, &builder->mutex);
        if (builder->stopped)
                return error_set(err, ERROR_CANCELLED, "stopped");
        if (builder->failed.code) {
                if (err)
                        *err = builder->failed;
                return -1;
        }
        if (which < builder->next)
                return twice(which * MAP_FAN, err);
        *ret_leaf = &builder->window[which % MAP_WINDOW];
        return 0;
}

static int put(struct leaf *leaf, uint64_t first, unsigned n, const struct chunk_name *names, struct error *err) {
        unsigned begin = (unsigned) (first % MAP_FAN);
        for (unsigned i = begin; i < begin + n; i++)
                if (leaf->kept || leaf->came[i / 64] >> i % 64 & 1)
                        return twice(first + i - begin, err);
        for (unsigned i = begin; i < begin + n; i++)
                leaf->came[i / 64] |= 1ull << i % 64;
        leaf->have += n;
        if (names && !leaf->names && !chunk_is_zero(names, n * sizeof *names))
                leaf->names = new_array(struct chunk_name, MAP_FAN);
        if (names && leaf->names)
                memcpy(leaf->names + begin, names, n * sizeof *names);
        return 0;
}

static int add_locked(struct map_builder *builder, uint64_t first, uint64_t n, const struct chunk_name *names,
                      struct error *err) {
        while (n > 0) {
                struct leaf *leaf;
                uint64_t room = MAP_FAN - first % MAP_FAN;
                unsigned some = (unsigned) (n < room ? n : room);
                if (await_place(builder, first / MAP_FAN, &leaf, err) < 0 || put(leaf, first, some, names, err) < 0 ||
                    leave_all(builder, err) < 0)
                        return -1;
                first += some;
                n -= some;
                names = names ? names + some : NULL;
        }
        return 0;
}

int map_builder_add(struct map_builder *builder, uint64_t first, uint64_t n, const struct chunk_name *names,
                    struct error *err) {
        if (first > builder->chunks || n > builder->chunks - first)
                return error_set(err, ERROR_PROTOCOL, "%llu chunks from %llu on are none of this disk, which has %llu",
                                 (unsigned long long) n, (unsigned long long) first,
                                 (unsigned long long) builder->chunks);
        pthread_mutex_lock(&builder->mutex);
        int result = add_locked(builder, first, n, names, err);
        pthread_mutex_unlock(&builder->mutex);
        return result;
}

static int keep_locked(struct map_builder *builder, uint64_t which, const struct chunk_name *name, struct error *err) {
        struct leaf *leaf;
        if (await_place(builder, which, &leaf, err) < 0)
                return -1;
        if (leaf->have > 0)
                return twice(which * MAP_FAN, err);
        leaf->kept = true;
        leaf->name = *name;
        leaf->have = leaf_size(builder, which);
        return leave_all(builder, err);
}

int map_builder_keep(struct map_builder *builder, uint64_t leaf, const struct chunk_name *name, struct error *err) {
        if (leaf >= builder->leaves)
                return error_set(err, ERROR_PROTOCOL, "part %llu is none of this disk's map, which has %llu",
                                 (unsigned long long) leaf, (unsigned long long) builder->leaves);
        pthread_mutex_lock(&builder->mutex);
        int result = keep_locked(builder, leaf, name, err);
        pthread_mutex_unlock(&builder->mutex);
        return result;
}

// ---- the end
static int incomplete(const struct map_builder *builder, struct error *err) {
        const struct leaf *leaf = &builder->window[builder->next % MAP_WINDOW];
        unsigned i = 0;
        while (leaf->came[i / 64] >> i % 64 & 1) // one is missing, else the leaf would have left
                i++;
        unsigned long long chunk = builder->next * MAP_FAN + i;
        return error_set(err, ERROR_PROTOCOL, "the disk is not complete: chunk %llu of %llu never came", chunk,
                         (unsigned long long) builder->chunks);
}

int map_builder_finish(struct map_builder *builder, struct map_root *ret_root, struct error *err) {
        int result = -1;
        pthread_mutex_lock(&builder->mutex);
        if (builder->failed.code) {
                if (err)
                        *err = builder->failed;
        } else if (builder->next < builder->leaves) {
                incomplete(builder, err);
        } else {
                map_root_digest(&builder->root, &builder->root.digest);
                *ret_root = builder->root;
                builder->root.names = NULL;
                result = 0;
        }
        pthread_mutex_unlock(&builder->mutex);
        return result;
}

void map_builder_stop(struct map_builder *builder) {
        pthread_mutex_lock(&builder->mutex);
        builder->stopped = true;
        pthread_cond_broadcast(&builder->changed);
        pthread_mutex_unlock(&builder->mutex);
}
