// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/repository/map: names come in any order and from several threads, and the map of them reads the same. */
#include "agent/blocks/blocks.h"
#include "agent/repository/map.h"
#include "common/memory.h"
#include <openssl/sha.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include "scratch.h"

#define LEAF ((uint64_t) MAP_FAN)

// ---- a store in memory
struct kept {
        struct chunk_name name;
        uint8_t *content;
        size_t length;
};
static struct kept kept[64];
static unsigned n_kept, fetched;
static int fail_with; // errno of the next fetch or store

static int store(void *closure, const struct chunk_name *name, const void *content, size_t length, struct error *err) {
        (void) closure;
        if (fail_with)
                return error_errno(err, fail_with, "store");
        assert_false(chunk_is_zero(content, length));
        assert_true(n_kept < 64);
        kept[n_kept].name = *name;
        kept[n_kept].content = memory_new(length);
        kept[n_kept].length = length;
        memcpy(kept[n_kept++].content, content, length);
        return 0;
}

static int fetch(void *closure, const struct chunk_name *name, void *content, size_t length, struct error *err) {
        (void) closure;
        fetched++;
        if (fail_with)
                return error_errno(err, fail_with, "read");
        for (unsigned i = 0; i < n_kept; i++)
                if (chunk_name_equal(&kept[i].name, name)) {
                        assert_int_equal(kept[i].length, length);
                        memcpy(content, kept[i].content, length);
                        return 0;
                }
        return error_set(err, ERROR_NOT_FOUND, "it is nowhere");
}
static const struct map_source source = {.fetch = fetch};

static int clear(void **state) {
        (void) state;
        while (n_kept > 0)
                free(kept[--n_kept].content);
        fail_with = 0;
        fetched = 0;
        return 0;
}

// ---- a disk: every seventh run of 300 chunks is zeros
static struct chunk_name name_of(uint64_t chunk) {
        struct chunk_name name = {0};
        if (chunk / 300 % 7 != 3) {
                memcpy(name.bytes, &chunk, sizeof chunk);
                name.bytes[31] = 1;
        }
        return name;
}

static struct chunk_name *names_of(uint64_t first, uint64_t n) {
        struct chunk_name *names = memory_new_array(n, sizeof *names);
        for (uint64_t i = 0; i < n; i++)
                names[i] = name_of(first + i);
        return names;
}

static void add(struct map_builder *builder, uint64_t first, uint64_t n) {
        struct error err = ERROR_INIT;
        struct chunk_name *names = names_of(first, n);
        if (map_builder_add(builder, first, n, names, &err) < 0)
                fail_msg("%s", err.message);
        free(names);
}

static struct map_root finish(struct map_builder *builder) {
        struct error err = ERROR_INIT;
        struct map_root root;
        if (map_builder_finish(builder, &root, &err) < 0)
                fail_msg("%s", err.message);
        map_builder_free(builder);
        return root;
}

static struct map_root build(uint64_t bytes) {
        struct map_builder *builder = map_builder_new(bytes, NULL, store, NULL);
        add(builder, 0, map_chunks(bytes));
        return finish(builder);
}

static void assert_reads_the_same(const struct map_root *root, uint64_t from) {
        struct map_cursor *cursor = map_cursor_new(root, &source);
        struct map_run run;
        struct error err = ERROR_INIT;
        uint64_t next = from;
        int got;
        map_cursor_seek(cursor, from);
        while ((got = map_cursor_next(cursor, &run, &err)) > 0) {
                assert_int_equal(run.first, next);
                for (uint64_t i = 0; i < run.n; i++) {
                        struct chunk_name name = name_of(next + i);
                        assert_true(chunk_name_equal(&name, run.names ? &run.names[i] : &chunk_zero_name));
                }
                next += run.n;
        }
        assert_int_equal(got, 0);
        assert_int_equal(next, map_chunks(root->bytes));
        map_cursor_free(cursor);
}

static void the_longest_disk_has_256_names(void **state) {
        (void) state;
        assert_int_equal(MAP_BYTES_MAX, BLOCKS_BYTES_MAX);
        assert_int_equal(map_root_count(MAP_BYTES_MAX), 256);
        assert_int_equal(map_root_count(0), 0);
        assert_int_equal(map_root_count(1), 1);
        assert_int_equal(map_root_count(256ull << 30), 1);
        assert_int_equal(map_root_count((256ull << 30) + 1), 2);
        assert_int_equal(map_chunks(UINT64_MAX), 1ull << 48);
}

static void what_was_added_is_read(void **state) {
        (void) state;
        static const uint64_t bytes[] = {1, CHUNK_BYTES, LEAF * CHUNK_BYTES, LEAF * CHUNK_BYTES + 1,
                                         5 * LEAF * CHUNK_BYTES - 777};
        for (unsigned i = 0; i < 5; i++) {
                struct map_root root = build(bytes[i]);
                assert_reads_the_same(&root, 0);
                assert_reads_the_same(&root, map_chunks(bytes[i]) / 2);
                assert_reads_the_same(&root, map_chunks(bytes[i]));
                free(root.names);
        }
}

static void the_layout_is_that_of_the_page(void **state) {
        (void) state;
        uint64_t chunks = LEAF + 10;
        struct map_root root = build(chunks * CHUNK_BYTES);
        struct chunk_name *names = names_of(0, chunks), leaves[2], top, digest;
        uint8_t text[40] = {0};
        SHA256(names[0].bytes, LEAF * 32, leaves[0].bytes);
        SHA256(names[LEAF].bytes, 10 * 32, leaves[1].bytes);
        SHA256(leaves[0].bytes, 64, top.bytes);
        assert_memory_equal(&root.names[0], &top, 32);
        for (unsigned i = 0; i < 8; i++)
                text[i] = (uint8_t) (root.bytes >> (8 * i));
        memcpy(text + 8, &top, 32);
        SHA256(text, sizeof text, digest.bytes);
        assert_memory_equal(&root.digest, &digest, 32);
        free(names);
        free(root.names);
}

static void order_makes_no_difference(void **state) {
        (void) state;
        uint64_t bytes = 9 * LEAF * CHUNK_BYTES + 5, chunks = map_chunks(bytes), step = 512;
        struct map_root one = build(bytes);
        struct map_builder *builder = map_builder_new(bytes, NULL, store, NULL);
        uint64_t steps = (chunks + step - 1) / step;
        for (uint64_t i = 0; i < steps; i++) { // 5 has no factor in common with the number of steps
                uint64_t first = i * 5 % steps * step;
                assert_int_not_equal(steps % 5, 0);
                add(builder, first, chunks - first < step ? chunks - first : step);
        }
        struct map_root other = finish(builder);
        assert_memory_equal(&one.digest, &other.digest, 32);
        free(one.names);
        free(other.names);
}

static struct map_builder *shared;
static pthread_mutex_t turns = PTHREAD_MUTEX_INITIALIZER;
static uint64_t turn;
static struct map_root unmade;

static int forget(void *closure, const struct chunk_name *name, const void *content, size_t length, struct error *err) {
        (void) closure, (void) name, (void) content, (void) length, (void) err;
        return 0;
}

static void *add_in_turn(void *closure) {
        uint64_t all = *(uint64_t *) closure;
        for (;;) {
                pthread_mutex_lock(&turns);
                uint64_t first = turn;
                turn += 16;
                pthread_mutex_unlock(&turns);
                if (first >= all)
                        return NULL;
                add(shared, first, all - first < 16 ? all - first : 16);
        }
}

static void threads_wait_for_what_is_missing(void **state) {
        (void) state;
        uint64_t all = 40 * LEAF + 3;
        pthread_t threads[4];
        struct map_builder *alone = map_builder_new(all * CHUNK_BYTES, NULL, forget, NULL);
        add(alone, 0, all);
        unmade = finish(alone);
        shared = map_builder_new(all * CHUNK_BYTES, NULL, forget, NULL);
        turn = 1; // the first chunk comes last: the others run into the end of the window
        for (unsigned i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, add_in_turn, &all), 0);
        add(shared, 0, 1);
        for (unsigned i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        struct map_root root = finish(shared);
        assert_memory_equal(&root.digest, &unmade.digest, 32);
        free(root.names);
        free(unmade.names);
}

static void *stop_soon(void *closure) {
        map_builder_stop(closure);
        return NULL;
}

static void a_stop_wakes_who_waits(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct map_builder *builder = map_builder_new(40 * LEAF * CHUNK_BYTES, NULL, store, NULL);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, stop_soon, builder), 0);
        assert_int_equal(map_builder_add(builder, 30 * LEAF, 1, NULL, &err), -1);
        assert_error(err, ERROR_CANCELLED, "stopped");
        pthread_join(thread, NULL);
        map_builder_free(builder);
}

static void fault_55_a_disk_of_64_tib_of_zeros_costs_nothing(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct map_builder *builder = map_builder_new(MAP_BYTES_MAX, NULL, store, NULL);
        assert_int_equal(map_builder_add(builder, 0, map_chunks(MAP_BYTES_MAX), NULL, &err), 0);
        struct map_root root = finish(builder);
        struct map_cursor *cursor = map_cursor_new(&root, &source);
        struct map_run run;
        assert_int_equal(n_kept, 0);
        assert_int_equal(map_cursor_next(cursor, &run, &err), 1);
        assert_null(run.names);
        assert_int_equal(run.n, map_chunks(MAP_BYTES_MAX));
        assert_int_equal(map_cursor_next(cursor, &run, &err), 0);
        assert_int_equal(fetched, 0);
        map_cursor_free(cursor);
        free(root.names);
}

static void parts_of_another_map_are_kept_unread(void **state) {
        (void) state;
        uint64_t bytes = 4 * LEAF * CHUNK_BYTES;
        struct map_root one = build(bytes);
        struct map_cursor *cursor = map_cursor_new(&one, &source);
        struct map_builder *builder = map_builder_new(bytes, NULL, store, NULL);
        struct map_run run;
        struct error err = ERROR_INIT;
        unsigned stored = n_kept;
        assert_int_equal(map_cursor_next_leaves(cursor, &run, &err), 1);
        assert_int_equal(run.n, 4);
        for (uint64_t i = 0; i < 4; i++)
                assert_int_equal(map_builder_keep(builder, i, &run.names[i], &err), 0);
        assert_int_equal(fetched, 1);
        assert_int_equal(map_builder_keep(builder, 2, &run.names[2], &err), -1);
        assert_error(err, ERROR_PROTOCOL, "chunk 4096 of the disk came twice");
        struct map_root other = finish(builder);
        assert_memory_equal(&one.digest, &other.digest, 32);
        assert_int_equal(n_kept, stored + 1); // the same chunk of level 2, which the store knows already
        map_cursor_free(cursor);
        free(one.names);
        free(other.names);
}

static void what_is_wrong_is_said(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct map_root root;
        struct map_builder *builder = map_builder_new(3 * CHUNK_BYTES, NULL, store, NULL);
        struct chunk_name name = name_of(0);
        assert_int_equal(map_builder_add(builder, 1, 3, NULL, &err), -1);
        assert_error(err, ERROR_PROTOCOL, "3 chunks from 1 on are none of this disk, which has 3");
        assert_int_equal(map_builder_add(builder, 0, 1, &name, &err), 0);
        assert_int_equal(map_builder_add(builder, 0, 1, &name, &err), -1);
        assert_error(err, ERROR_PROTOCOL, "chunk 0 of the disk came twice");
        assert_int_equal(map_builder_finish(builder, &root, &err), -1);
        assert_error(err, ERROR_PROTOCOL, "the disk is not complete: chunk 1 of 3 never came");
        fail_with = 28;
        assert_int_equal(map_builder_add(builder, 1, 2, NULL, &err), -1);
        assert_error(err, ERROR_NO_SPACE, "store: No space left on device");
        fail_with = 0;
        assert_int_equal(map_builder_finish(builder, &root, &err), -1);
        assert_error(err, ERROR_NO_SPACE, "store: No space left on device");
        map_builder_free(builder);
}

static void fault_61_67_a_map_under_another_name_is_damage_and_a_failed_read_is_not(void **state) {
        (void) state;
        struct map_root root = build(2 * LEAF * CHUNK_BYTES);
        struct map_cursor *cursor = map_cursor_new(&root, &source);
        struct map_run run;
        struct error err = ERROR_INIT;
        char hex[CHUNK_HEX], text[200];
        fail_with = 5;
        assert_int_equal(map_cursor_next(cursor, &run, &err), -1);
        assert_int_equal(err.code, ERROR_IO);
        fail_with = 0;
        kept[0].content[1000] ^= 1;
        assert_int_equal(map_cursor_next(cursor, &run, &err), -1);
        chunk_name_to_hex(&kept[0].name, hex);
        snprintf(text, sizeof text, "chunk %s of the map: its content has another name", hex);
        assert_error(err, ERROR_CORRUPT, text);
        kept[0].content[1000] ^= 1;
        assert_int_equal(map_cursor_next(cursor, &run, &err), 1);
        map_cursor_free(cursor);
        free(root.names);
}

struct seen {
        unsigned levels[3];
        bool leave_aside;
};
static int on_name(void *closure, const struct chunk_name *name, unsigned level, struct error *err) {
        struct seen *seen = closure;
        (void) err;
        assert_false(chunk_name_is_zero(name));
        seen->levels[level]++;
        return !(seen->leave_aside && level == 1);
}

static void every_name_is_visited(void **state) {
        (void) state;
        uint64_t chunks = 3 * LEAF;
        struct map_root root = build(chunks * CHUNK_BYTES);
        struct seen seen = {0}, aside = {.leave_aside = true};
        struct error err = ERROR_INIT;
        unsigned expected = 0;
        for (uint64_t i = 0; i < chunks; i++)
                expected += i / 300 % 7 != 3;
        assert_int_equal(map_visit(&root, &source, on_name, &seen, &err), 0);
        assert_int_equal(seen.levels[0], expected);
        assert_int_equal(seen.levels[1], 3);
        assert_int_equal(seen.levels[2], 1);
        assert_int_equal(map_visit(&root, &source, on_name, &aside, &err), 0);
        assert_int_equal(aside.levels[0], 0);
        free(root.names);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(the_longest_disk_has_256_names, clear),
                cmocka_unit_test_teardown(what_was_added_is_read, clear),
                cmocka_unit_test_teardown(the_layout_is_that_of_the_page, clear),
                cmocka_unit_test_teardown(order_makes_no_difference, clear),
                cmocka_unit_test_teardown(threads_wait_for_what_is_missing, clear),
                cmocka_unit_test_teardown(a_stop_wakes_who_waits, clear),
                cmocka_unit_test_teardown(fault_55_a_disk_of_64_tib_of_zeros_costs_nothing, clear),
                cmocka_unit_test_teardown(parts_of_another_map_are_kept_unread, clear),
                cmocka_unit_test_teardown(what_is_wrong_is_said, clear),
                cmocka_unit_test_teardown(fault_61_67_a_map_under_another_name_is_damage_and_a_failed_read_is_not,
                                          clear),
                cmocka_unit_test_teardown(every_name_is_visited, clear),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
