// SPDX-License-Identifier: LGPL-2.1-or-later
/* What maps have in common, and reading them (see map.h); map_builder.c makes them. */
#include "agent/repository/map.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <openssl/sha.h>
#include <string.h>

static uint64_t parts_of(uint64_t whole, uint64_t part) {
        return whole / part + (whole % part > 0);
}

uint64_t map_chunks(uint64_t bytes) {
        return parts_of(bytes, CHUNK_BYTES);
}

uint64_t map_leaves(uint64_t bytes) {
        return parts_of(map_chunks(bytes), MAP_FAN);
}

size_t map_root_count(uint64_t bytes) {
        return (size_t) parts_of(map_leaves(bytes), MAP_FAN);
}

void map_root_digest(const struct map_root *root, struct chunk_name *ret_digest) {
        size_t n = map_root_count(root->bytes);
        uint8_t text[8 + CHUNK_NAME * (MAP_BYTES_MAX / CHUNK_BYTES / MAP_FAN / MAP_FAN)];
        for (unsigned i = 0; i < 8; i++)
                text[i] = (uint8_t) (root->bytes >> (8 * i));
        for (size_t i = 0; i < n; i++)
                memcpy(text + 8 + CHUNK_NAME * i, root->names[i].bytes, CHUNK_NAME);
        SHA256(text, 8 + CHUNK_NAME * n, ret_digest->bytes);
}

// ---- reading
struct level {
        uint64_t which; // chunk of this level that is in names; UINT64_MAX: none
        bool zero;      // it holds nothing, and names are not set
        struct chunk_name names[MAP_FAN];
};

struct map_cursor {
        const struct map_root *root;
        const struct map_source *source;
        uint64_t chunks, leaves, at; // at: the next chunk of the disk
        struct level leaf, upper;
};

struct map_cursor *map_cursor_new(const struct map_root *root, const struct map_source *source) {
        struct map_cursor *cursor = new (struct map_cursor);
        cursor->root = root;
        cursor->source = source;
        cursor->chunks = map_chunks(root->bytes);
        cursor->leaves = map_leaves(root->bytes);
        cursor->leaf.which = cursor->upper.which = UINT64_MAX;
        return cursor;
}

void map_cursor_free(struct map_cursor *cursor) {
        free(cursor);
}
DEFINE_CLEANUP(map_cursor_free, struct map_cursor *)

void map_cursor_seek(struct map_cursor *cursor, uint64_t chunk) {
        cursor->at = chunk;
}

static uint64_t least(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

static int load(const struct map_cursor *cursor, struct level *level, uint64_t which, const struct chunk_name *name,
                uint64_t n, struct error *err) {
        const struct map_source *source = cursor->source;
        struct chunk_name is;
        char hex[CHUNK_HEX];
        level->which = UINT64_MAX;
        level->zero = chunk_name_is_zero(name);
        if (!level->zero) {
                chunk_name_to_hex(name, hex);
                if (source->fetch(source->closure, name, level->names, (size_t) n * CHUNK_NAME, err) < 0)
                        return error_prefix(err, "chunk %s of the map", hex);
                if (!source->unverified) {
                        is = chunk_name_of(level->names, (size_t) n * CHUNK_NAME, source->key);
                        if (!chunk_name_equal(&is, name))
                                return error_set(err, ERROR_CORRUPT,
                                                 "chunk %s of the map: its content has another name", hex);
                }
        }
        level->which = which;
        return 0;
}

static int load_upper(struct map_cursor *cursor, uint64_t which, struct error *err) {
        if (cursor->upper.which == which)
                return 0;
        return load(cursor, &cursor->upper, which, &cursor->root->names[which],
                    least(MAP_FAN, cursor->leaves - which * MAP_FAN), err);
}

static int load_leaf(struct map_cursor *cursor, uint64_t which, struct error *err) {
        if (cursor->leaf.which == which)
                return 0;
        if (load_upper(cursor, which / MAP_FAN, err) < 0)
                return -1;
        const struct chunk_name *name = cursor->upper.zero ? &chunk_zero_name : &cursor->upper.names[which % MAP_FAN];
        return load(cursor, &cursor->leaf, which, name, least(MAP_FAN, cursor->chunks - which * MAP_FAN), err);
}

// From this place of a level on, up to `end`: how many names are zeros, or how many are none.
static uint64_t alike(const struct level *level, uint64_t at, uint64_t end, bool *ret_zero) {
        uint64_t n = end - at;
        const struct chunk_name *names = &level->names[at % MAP_FAN];
        *ret_zero = level->zero || chunk_name_is_zero(names);
        if (level->zero)
                return n;
        for (uint64_t i = 1; i < n; i++)
                if (chunk_name_is_zero(&names[i]) != *ret_zero)
                        return i;
        return n;
}

// One level's names as runs: `total` of them, from *at on.
static int next_run(struct map_cursor *cursor, struct level *level, uint64_t total, uint64_t *at,
                    int (*load_it)(struct map_cursor *, uint64_t, struct error *), struct map_run *ret_run,
                    struct error *err) {
        struct map_run run = {.first = *at};
        while (*at < total) {
                bool zero;
                if (load_it(cursor, *at / MAP_FAN, run.n == 0 ? err : NULL) < 0) {
                        if (run.n == 0)
                                return -1;
                        break; // the call after this one says so
                }
                uint64_t n = alike(level, *at, least(total, (*at / MAP_FAN + 1) * MAP_FAN), &zero);
                if (!zero && run.n > 0)
                        break;
                run.n += n;
                *at += n;
                if (!zero) {
                        run.names = &level->names[run.first % MAP_FAN];
                        break;
                }
        }
        if (run.n == 0)
                return 0;
        *ret_run = run;
        return 1;
}

int map_cursor_next(struct map_cursor *cursor, struct map_run *ret_run, struct error *err) {
        return next_run(cursor, &cursor->leaf, cursor->chunks, &cursor->at, load_leaf, ret_run, err);
}

int map_cursor_next_leaves(struct map_cursor *cursor, struct map_run *ret_run, struct error *err) {
        uint64_t at = parts_of(cursor->at, MAP_FAN);
        int result = next_run(cursor, &cursor->upper, cursor->leaves, &at, load_upper, ret_run, err);
        cursor->at = least(at * MAP_FAN, cursor->chunks);
        return result;
}

// ---- all names
struct walk {
        struct map_cursor *cursor;
        map_on_name visit;
        void *closure;
};

static int visit_leaf(struct walk *walk, uint64_t which, const struct chunk_name *name, struct error *err) {
        struct map_cursor *cursor = walk->cursor;
        int into = chunk_name_is_zero(name) ? 0 : walk->visit(walk->closure, name, 1, err);
        if (into <= 0)
                return into;
        if (load_leaf(cursor, which, err) < 0)
                return -1;
        uint64_t n = least(MAP_FAN, cursor->chunks - which * MAP_FAN);
        for (uint64_t i = 0; i < n; i++)
                if (!chunk_name_is_zero(&cursor->leaf.names[i]) &&
                    walk->visit(walk->closure, &cursor->leaf.names[i], 0, err) < 0)
                        return -1;
        return 0;
}

static int visit_upper(struct walk *walk, uint64_t which, struct error *err) {
        struct map_cursor *cursor = walk->cursor;
        const struct chunk_name *name = &cursor->root->names[which];
        int into = chunk_name_is_zero(name) ? 0 : walk->visit(walk->closure, name, 2, err);
        if (into <= 0)
                return into;
        if (load_upper(cursor, which, err) < 0)
                return -1;
        uint64_t n = least(MAP_FAN, cursor->leaves - which * MAP_FAN);
        for (uint64_t i = 0; i < n; i++)
                if (visit_leaf(walk, which * MAP_FAN + i, &cursor->upper.names[i], err) < 0)
                        return -1;
        return 0;
}

int map_visit(const struct map_root *root, const struct map_source *source, map_on_name visit, void *closure,
              struct error *err) {
        _cleanup_(map_cursor_free_p) struct map_cursor *cursor = map_cursor_new(root, source);
        struct walk walk = {.cursor = cursor, .visit = visit, .closure = closure};
        size_t n = map_root_count(root->bytes);
        for (size_t i = 0; i < n; i++)
                if (visit_upper(&walk, i, err) < 0)
                        return -1;
        return 0;
}
