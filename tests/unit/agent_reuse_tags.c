// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/reuse/tags: the index in memory says what a plain list would say, within its bound. */
#include "agent/reuse/tags.h"
#include "common/memory.h"
#include <stdlib.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

static uint32_t noise(uint32_t *seed) {
        *seed = *seed * 1664525u + 1013904223u;
        return *seed >> 8 | *seed << 24;
}

static void an_empty_index_knows_nothing(void **state) {
        (void) state;
        struct tags *tags = tags_new(4096);
        struct tags_place place;
        assert_false(tags_find(tags, 1, &place));
        assert_int_equal(tags_count(tags), 0);
        tags_free(tags);
        tags_free(NULL);
}

static void the_first_place_of_a_tag_counts(void **state) {
        (void) state;
        struct tags *tags = tags_new(4096);
        struct tags_place place;
        assert_true(tags_add(tags, 7, &(struct tags_place){.candidate = 31, .piece = TAGS_PIECES_MAX - 1}));
        assert_true(tags_add(tags, 7, &(struct tags_place){.candidate = 2, .piece = 3}));
        assert_true(tags_find(tags, 7, &place));
        assert_int_equal(place.candidate, 31);
        assert_int_equal(place.piece, TAGS_PIECES_MAX - 1);
        assert_int_equal(tags_count(tags), 1);
        tags_free(tags);
}

static void a_place_is_removed_only_when_it_is_the_one_that_was_told(void **state) {
        (void) state;
        struct tags *tags = tags_new(4096);
        struct tags_place place = {.candidate = 1, .piece = 10}, other = {.candidate = 1, .piece = 11};
        assert_true(tags_add(tags, 7, &place));
        tags_remove(tags, 7, &other);
        assert_true(tags_find(tags, 7, &(struct tags_place){0}));
        tags_remove(tags, 7, &place);
        assert_false(tags_find(tags, 7, &(struct tags_place){0}));
        assert_true(tags_add(tags, 7, &other));
        assert_true(tags_find(tags, 7, &place));
        assert_int_equal(place.piece, 11);
        tags_free(tags);
}

static void pieces_beyond_what_a_place_can_say_are_left_out(void **state) {
        (void) state;
        struct tags *tags = tags_new(4096);
        assert_true(tags_add(tags, 7, &(struct tags_place){.candidate = 0, .piece = TAGS_PIECES_MAX}));
        assert_true(tags_add(tags, 7, &(struct tags_place){.candidate = TAGS_CANDIDATES_MAX, .piece = 0}));
        assert_int_equal(tags_count(tags), 0);
        tags_free(tags);
}

static void a_full_index_takes_no_more_and_stays_within_its_bound(void **state) {
        (void) state;
        struct tags *tags = tags_new(64 << 10);
        uint32_t seed = 1, n = 0;
        while (tags_add(tags, noise(&seed) | 1, &(struct tags_place){.piece = n}))
                assert_true(++n < 8192);
        assert_in_range(n, 6000, 8192);
        assert_int_equal(tags_bytes(tags), 64 << 10);
        assert_int_equal(tags_count(tags), n);
        seed = 1;
        struct tags_place place;
        assert_true(tags_find(tags, noise(&seed) | 1, &place));
        assert_int_equal(place.piece, 0);
        tags_free(tags);
}

// Neighbouring tags share their home, so that runs are long and wrap around the end.
static void it_says_what_a_list_says_whatever_is_added_and_removed(void **state) {
        (void) state;
        enum { TAGS = 3000, ROUNDS = 60000 };
        struct tags *tags = tags_new(1 << 20);
        uint64_t *pieces = new_array(uint64_t, TAGS); // 0: not there
        uint32_t seed = 42;
        for (uint32_t round = 1; round <= ROUNDS; round++) {
                uint32_t i = noise(&seed) % TAGS;
                uint32_t tag = i % 2 ? UINT32_MAX - i : 1 + i * 1000003u;
                struct tags_place place = {.candidate = i % 32, .piece = pieces[i]};
                if (!pieces[i]) {
                        place.piece = pieces[i] = round;
                        assert_true(tags_add(tags, tag, &place));
                } else if (noise(&seed) % 3 == 0) {
                        tags_remove(tags, tag, &place);
                        pieces[i] = 0;
                }
                i = noise(&seed) % TAGS;
                tag = i % 2 ? UINT32_MAX - i : 1 + i * 1000003u;
                assert_int_equal(tags_find(tags, tag, &place), pieces[i] != 0);
                if (pieces[i])
                        assert_int_equal(place.piece, pieces[i]);
        }
        free(pieces);
        tags_free(tags);
}

static void no_name_has_the_tag_of_an_empty_place(void **state) {
        (void) state;
        uint8_t zeros[16] = {0}, name[16] = {1, 2, 3, 4};
        assert_int_equal(tags_of_name(zeros), 1);
        assert_int_not_equal(tags_of_name(name), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_empty_index_knows_nothing),
                cmocka_unit_test(the_first_place_of_a_tag_counts),
                cmocka_unit_test(a_place_is_removed_only_when_it_is_the_one_that_was_told),
                cmocka_unit_test(pieces_beyond_what_a_place_can_say_are_left_out),
                cmocka_unit_test(a_full_index_takes_no_more_and_stays_within_its_bound),
                cmocka_unit_test(it_says_what_a_list_says_whatever_is_added_and_removed),
                cmocka_unit_test(no_name_has_the_tag_of_an_empty_place),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
