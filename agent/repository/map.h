// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Which chunks a disk is made of: the map of docs/repository.md. Level 0 are the disk's chunks; a chunk of level 1
 * holds the names of 2048 of these in order (128 MiB of the disk), one of level 2 those of 2048 of level 1 (256 GiB); a
 * restore point has the names of level 2: 256 of the longest disk. Chunks of a map are named, and all zeros left out,
 * as others.
 *
 * The builder takes names from several threads and keeps at most MAP_WINDOW chunks of level 1 at a time, 1 MiB; a
 * cursor belongs to one thread and keeps one chunk of each level. What a map says of itself is not believed: every
 * chunk of it is verified by its name, and lengths follow from the disk's.
 */
#include "agent/repository/chunk.h"
#include "common/error.h"

#define MAP_FAN       (CHUNK_BYTES / CHUNK_NAME) // names in a chunk of a map
#define MAP_WINDOW    16u
#define MAP_BYTES_MAX (64ull << 40) // of a disk: BLOCKS_BYTES_MAX

struct map_root {                 // of a disk
        uint64_t bytes;           // at most MAP_BYTES_MAX
        struct chunk_name *names; // map_root_count(bytes), of level 2; the owner's, free()
        struct chunk_name digest; // SHA-256 of `bytes` (8 bytes, little endian) and of these names
};
uint64_t map_chunks(uint64_t bytes); // of level 0, the last one of them shorter
uint64_t map_leaves(uint64_t bytes); // of level 1
size_t map_root_count(uint64_t bytes);
void map_root_digest(const struct map_root *root, struct chunk_name *ret_digest);

// ---- building
// Keeps a chunk of the map under its name: called one at a time under the builder's lock, in order within a level, with
// content that is not all zeros and only valid during the call. It is plain also in a sealed repository (see the page).
typedef int (*map_store)(void *closure, const struct chunk_name *name, const void *content, size_t length,
                         struct error *err);
struct map_builder;
// key: of names, for a sealed repository, else NULL; copied.
struct map_builder *map_builder_new(uint64_t bytes, const struct chunk_key *key, map_store store, void *closure);
void map_builder_free(struct map_builder *builder);
/*
 * Names of `n` chunks from the first on; names NULL: these are zeros. Each chunk comes once: ERROR_PROTOCOL when it has
 * been there or is none of the disk. What lies further ahead than the window waits until what is missing has come from
 * another thread, so that a single thread has to add in order. An error of store() is given to every call after it.
 * ERROR_CANCELLED after map_builder_stop().
 */
int map_builder_add(struct map_builder *builder, uint64_t first, uint64_t n, const struct chunk_name *names,
                    struct error *err);
// All chunks under this one of level 1 at once: what did not change since the point before is not even read.
int map_builder_keep(struct map_builder *builder, uint64_t leaf, const struct chunk_name *name, struct error *err);
// Stores what is left and gives the root; ERROR_PROTOCOL names the first chunk that never came. Once.
int map_builder_finish(struct map_builder *builder, struct map_root *ret_root, struct error *err);
void map_builder_stop(struct map_builder *builder); // wakes all that wait

// ---- reading
struct map_source {
        // Exactly `length` bytes of the chunk of this name, else an error. It is verified here.
        int (*fetch)(void *closure, const struct chunk_name *name, void *content, size_t length, struct error *err);
        void *closure;
        const struct chunk_key *key; // of names, for a sealed repository, else NULL
        bool unverified;             // what the owner of a sealed repository reads, having no key: by check sums only
};
struct map_run {
        uint64_t first, n;              // chunks of the disk
        const struct chunk_name *names; // NULL: zeros. Valid until the next call
};
struct map_cursor;
// The root and the source stay the caller's and must outlive it.
struct map_cursor *map_cursor_new(const struct map_root *root, const struct map_source *source);
void map_cursor_free(struct map_cursor *cursor);
void map_cursor_seek(struct map_cursor *cursor, uint64_t chunk);
// The next chunks that are all zeros, or none of them and under one chunk of level 1. 1: a run, 0: the disk has ended.
int map_cursor_next(struct map_cursor *cursor, struct map_run *ret_run, struct error *err);
// The same for names of level 1 (the run counts in these), for what compares maps or keeps parts of them.
int map_cursor_next_leaves(struct map_cursor *cursor, struct map_run *ret_run, struct error *err);

// Every name that is not zeros, in the order of the disk, those of a map before what is under them. It returns 1 for a
// chunk of a map to see what it holds, 0 to leave that aside (because it has been seen), -1 with err to end.
typedef int (*map_on_name)(void *closure, const struct chunk_name *name, unsigned level, struct error *err);
int map_visit(const struct map_root *root, const struct map_source *source, map_on_name visit, void *closure,
              struct error *err);
