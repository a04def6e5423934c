// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * agent/reuse/finder and what it stands on: what the host has is found, by its place or by the index, and whatever
 * becomes of a candidate meanwhile, nothing counts as found but what was named.
 */
#include "agent/reuse/finder.h"
#include "agent/reuse/reuse_parts.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include "scratch.h"

#define BLOCK ((size_t) BLOCKS_BLOCK)
#define PIECE ((size_t) BLOCKS_PIECE)
#define GRAIN ((size_t) BLOCKS_GRAIN)

static uint8_t *noise(size_t length, uint64_t seed) {
        uint8_t *bytes = memory_new(length);
        for (size_t i = 0; i < length; i += 8) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                uint64_t word = seed ^ seed >> 29;
                memcpy(bytes + i, &word, length - i < 8 ? length - i : 8);
        }
        return bytes;
}

static void write_image(const char *name, const uint8_t *bytes, size_t length) {
        int fd = open(scratch_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, bytes, length), length);
        close(fd);
}

static void overwrite(const char *name, size_t offset, const uint8_t *bytes, size_t length) {
        int fd = open(scratch_path(name), O_WRONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, bytes, length, (off_t) offset), length);
        close(fd);
}

static struct reuse *reuse_of(struct shelf *shelf, unsigned n, const char *const *names) {
        int fds[64];
        for (unsigned i = 0; i < n; i++) {
                fds[i] = open(scratch_path(names[i]), O_RDONLY | O_CLOEXEC);
                assert_true(fds[i] >= 0);
        }
        return reuse_new(fds, n, &(struct reuse_config){.shelf = shelf});
}
#define REUSE_OF(shelf, ...)                                                                                           \
        reuse_of(shelf, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__})

static void wait_for_index(struct reuse *reuse) {
        reuse_begin(reuse);
        for (unsigned i = 0; !builder_finished(reuse->builder); i++) {
                assert_true(i < 20000);
                nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
}

struct look { // one block of an image that is looked for
        struct finder *finder;
        struct finder_block block;
        uint8_t *buffer;
        finder_prints prints;
};

static void look_open(struct look *look, struct reuse *reuse) {
        look->finder = finder_new(reuse);
        look->buffer = blocks_buffer();
}

static void look_close(struct look *look) {
        finder_free(look->finder);
        free(look->buffer);
}

static void look_for(struct look *look, const uint8_t *image, size_t length, size_t offset) {
        size_t left = length - offset;
        look->block = (struct finder_block){.offset = offset, .length = (uint32_t) (left < BLOCK ? left : BLOCK)};
        for (unsigned i = 0; i < BLOCKS_PIECES; i++)
                if (names_piece_length(look->block.length, i))
                        look->block.named |= (uint16_t) (1u << i);
        names_of_pieces(image + offset, look->block.length, look->block.named, look->block.names);
        finder_find(look->finder, &look->block, look->buffer, look->prints);
        assert_int_equal(look->block.found & ~look->block.named, 0);
        assert_int_equal(look->block.alike & (look->block.found | ~look->block.named), 0);
        for (unsigned i = 0; i < BLOCKS_PIECES; i++)
                if (look->block.found >> i & 1)
                        assert_memory_equal(look->buffer + i * PIECE, image + offset + i * PIECE,
                                            names_piece_length(look->block.length, i));
}

// As the source and the sink do: the grains whose prints differ travel, the others are what the candidate has. The
// block's candidate is read again when `again`. Returns how many did not travel. liar: a grain whose print is the same
// by accident; -1: none.
static unsigned put_together(struct look *look, const uint8_t *image, bool again, int liar) {
        uint16_t were_alike = look->block.alike;
        unsigned same = 0;
        const uint8_t *theirs = again ? finder_alike(look->finder, &look->block) : look->buffer;
        for (unsigned i = 0; i < BLOCKS_PIECES; i++) {
                uint8_t prints[NAMES_GRAINS][NAMES_PRINT];
                const uint8_t *piece = image + look->block.offset + i * PIECE;
                size_t length = names_piece_length(look->block.length, i);
                if (!(were_alike >> i & 1))
                        continue;
                names_of_grains(piece, length, prints);
                if (again) // another block was in the buffer meanwhile
                        memcpy(look->buffer + i * PIECE, theirs + i * PIECE, length);
                for (unsigned k = 0; k < NAMES_GRAINS && k * GRAIN < length; k++)
                        if ((int) (i * NAMES_GRAINS + k) == liar ||
                            memcmp(prints[k], look->prints[i][k], NAMES_PRINT) == 0)
                                same++;
                        else
                                memcpy(look->buffer + i * PIECE + k * GRAIN, piece + k * GRAIN,
                                       length - k * GRAIN < GRAIN ? length - k * GRAIN : GRAIN);
        }
        finder_check(look->finder, &look->block, same, look->buffer);
        assert_int_equal(look->block.alike, 0);
        for (unsigned i = 0; i < BLOCKS_PIECES; i++)
                if (look->block.found >> i & 1)
                        assert_memory_equal(look->buffer + i * PIECE, image + look->block.offset + i * PIECE,
                                            names_piece_length(look->block.length, i));
        return same;
}

static void a_copy_is_found_whole(void **state) {
        (void) state;
        size_t length = 3 * BLOCK + 5 * PIECE + 777;
        _cleanup_(free_p) uint8_t *image = noise(length, 1);
        write_image("copy", image, length);
        struct reuse *reuse = REUSE_OF(NULL, "copy");
        struct look look;
        struct reuse_counts counts;
        look_open(&look, reuse);
        for (size_t offset = 0; offset < length; offset += BLOCK) {
                look_for(&look, image, length, offset);
                assert_int_equal(look.block.found, look.block.named);
        }
        reuse_counts(reuse, &counts);
        assert_int_equal(counts.pieces, 3 * 16 + 6);
        assert_int_equal(counts.found, counts.pieces);
        look_close(&look);
        reuse_free(reuse);
}

static void nothing_is_found_where_there_is_nothing(void **state) {
        (void) state;
        _cleanup_(free_p) uint8_t *image = noise(BLOCK, 1), *other = noise(BLOCK, 2);
        write_image("other", other, BLOCK);
        struct reuse *none = reuse_new(NULL, 0, &(struct reuse_config){0}), *reuse = REUSE_OF(NULL, "other");
        struct look look;
        assert_false(reuse_any(none));
        look_open(&look, none);
        look_for(&look, image, BLOCK, 0);
        assert_int_equal(look.block.found | look.block.alike, 0);
        look_close(&look);
        look_open(&look, reuse);
        look_for(&look, image, BLOCK, 0);
        assert_int_equal(look.block.found, 0);
        look_close(&look);
        reuse_free(none);
        reuse_free(reuse);
}

static void of_a_piece_that_is_alike_only_the_other_grains_are_needed(void **state) {
        (void) state;
        _cleanup_(free_p) uint8_t *image = noise(BLOCK, 1), *old = noise(BLOCK, 1);
        old[3 * PIECE + 5 * GRAIN] ^= 1;
        old[9 * PIECE + 15 * GRAIN + 4095] ^= 1;
        write_image("old", old, BLOCK);
        struct reuse *reuse = REUSE_OF(NULL, "old");
        struct look look;
        struct reuse_counts counts;
        look_open(&look, reuse);
        for (unsigned turn = 0; turn < 2; turn++) {
                look_for(&look, image, BLOCK, 0);
                assert_int_equal(look.block.alike, 1 << 3 | 1 << 9);
                assert_int_equal(put_together(&look, image, turn, -1), 30);
                assert_int_equal(finder_missing(&look.block), 0);
        }
        reuse_counts(reuse, &counts);
        assert_int_equal(counts.grains, 64);
        assert_int_equal(counts.same, 60);
        assert_int_equal(counts.wrong, 0);
        look_close(&look);
        reuse_free(reuse);
}

static void the_short_piece_at_the_end_is_put_together_too(void **state) {
        (void) state;
        size_t length = 2 * PIECE + 3 * GRAIN + 100;
        _cleanup_(free_p) uint8_t *image = noise(length, 1), *old = noise(length, 1);
        old[2 * PIECE + GRAIN] ^= 1;
        write_image("old", old, length);
        struct reuse *reuse = REUSE_OF(NULL, "old");
        struct look look;
        look_open(&look, reuse);
        look_for(&look, image, length, 0);
        assert_int_equal(look.block.found, 3);
        assert_int_equal(look.block.alike, 4);
        assert_int_equal(put_together(&look, image, true, -1), 3);
        assert_int_equal(look.block.found, 7);
        look_close(&look);
        reuse_free(reuse);
}

// Two grains with one print, as somebody who can make such would have it: the source takes another grain for the same.
static void a_grain_that_only_has_the_same_print_is_noticed(void **state) {
        (void) state;
        _cleanup_(free_p) uint8_t *image = noise(BLOCK, 1), *old = noise(BLOCK, 1);
        old[3 * PIECE + 5 * GRAIN] ^= 1;
        old[4 * PIECE + 5 * GRAIN] ^= 1;
        write_image("old", old, BLOCK);
        struct reuse *reuse = REUSE_OF(NULL, "old");
        struct look look;
        struct reuse_counts counts;
        look_open(&look, reuse);
        look_for(&look, image, BLOCK, 0);
        put_together(&look, image, false, 3 * NAMES_GRAINS + 5);
        assert_int_equal(finder_missing(&look.block), 1 << 3);
        reuse_counts(reuse, &counts);
        assert_int_equal(counts.wrong, 1);
        look_close(&look);
        reuse_free(reuse);
}

static void a_candidate_that_changes_before_the_grains_come_is_noticed(void **state) {
        (void) state;
        _cleanup_(free_p) uint8_t *image = noise(BLOCK, 1), *old = noise(BLOCK, 1), *other = noise(PIECE, 9);
        old[3 * PIECE] ^= 1;
        old[4 * PIECE] ^= 1;
        old[15 * PIECE] ^= 1;
        write_image("old", old, BLOCK);
        struct reuse *reuse = REUSE_OF(NULL, "old");
        struct look look;
        look_open(&look, reuse);
        look_for(&look, image, BLOCK, 0);
        assert_int_equal(look.block.alike, 1 << 3 | 1 << 4 | 1 << 15);
        overwrite("old", 3 * PIECE, other, PIECE);
        assert_int_equal(truncate(scratch_path("old"), (off_t) (15 * PIECE + GRAIN)), 0);
        put_together(&look, image, true, -1);
        assert_int_equal(finder_missing(&look.block), 1 << 3 | 1 << 15);
        look_close(&look);
        reuse_free(reuse);
}

static void pieces_that_stand_elsewhere_are_found_by_the_index(void **state) {
        (void) state;
        _cleanup_(free_p) uint8_t *image = noise(BLOCK, 1), *first = noise(2 * BLOCK, 2), *second = noise(4 * BLOCK, 3);
        for (unsigned i = 0; i < 8; i++)
                memcpy(second + 3 * BLOCK + i * PIECE, image + (15 - 2 * i) * PIECE, PIECE);
        memcpy(first + 7 * PIECE, image + 2 * PIECE, PIECE);
        write_image("first", first, 2 * BLOCK);
        write_image("second", second, 4 * BLOCK);
        struct reuse *reuse = REUSE_OF(NULL, "first", "second");
        struct look look;
        struct reuse_counts counts;
        wait_for_index(reuse);
        look_open(&look, reuse);
        look_for(&look, image, BLOCK, 0);
        assert_int_equal(look.block.found, 0xaaaa | 1 << 2);
        reuse_counts(reuse, &counts);
        assert_int_equal(counts.indexed, 9);
        look_close(&look);
        reuse_free(reuse);
}

static void zeros_and_holes_are_not_indexed(void **state) {
        (void) state;
        _cleanup_(free_p) uint8_t *image = noise(PIECE, 1);
        write_image("sparse", (uint8_t[4]){0}, 4);
        overwrite("sparse", 64 * BLOCK + PIECE, image, PIECE);
        assert_int_equal(truncate(scratch_path("sparse"), (off_t) (1024 * BLOCK)), 0);
        struct reuse *reuse = REUSE_OF(NULL, "sparse");
        wait_for_index(reuse);
        assert_int_equal(tags_count(reuse->tags), 1);
        assert_true(builder_bytes(reuse->builder) <= 4 * BLOCK);
        reuse_free(reuse);
}

static void an_index_that_became_wrong_costs_a_read_and_is_mended(void **state) {
        (void) state;
        _cleanup_(free_p) uint8_t *image = noise(BLOCK, 1), *old = noise(4 * BLOCK, 2), *other = noise(4 * BLOCK, 3);
        memcpy(old + 3 * BLOCK, image, BLOCK);
        write_image("old", old, 4 * BLOCK);
        struct reuse *reuse = REUSE_OF(NULL, "old");
        struct look look;
        wait_for_index(reuse);
        look_open(&look, reuse);
        overwrite("old", 3 * BLOCK, other, 4 * PIECE); // written
        look_for(&look, image, BLOCK, 0);
        assert_int_equal(look.block.found, 0xfff0);
        assert_int_equal(tags_count(reuse->tags), 60);
        assert_int_equal(truncate(scratch_path("old"), (off_t) (3 * BLOCK + 8 * PIECE)), 0); // cut short
        look_for(&look, image, BLOCK, 0);
        assert_int_equal(look.block.found, 0x00f0);
        write_image("new", other, 4 * BLOCK);
        assert_int_equal(rename(scratch_path("new"), scratch_path("old")), 0); // replaced: the open file is the old one
        look_for(&look, image, BLOCK, 0);
        assert_int_equal(look.block.found, 0x00f0);
        look_close(&look);
        reuse_free(reuse);
}

static void what_was_indexed_is_remembered_for_the_next_transfer(void **state) {
        (void) state;
        _cleanup_(free_p) uint8_t *image = noise(BLOCK, 1), *old = noise(80 * BLOCK, 2);
        memcpy(old + 70 * BLOCK, image, BLOCK);
        write_image("old", old, 80 * BLOCK);
        struct shelf *shelf = NULL;
        struct look look;
        assert_int_equal(shelf_open(scratch_path("shelf"), 1 << 20, &shelf, NULL), 0);
        for (unsigned turn = 0; turn < 3; turn++) {
                if (turn == 2)
                        overwrite("old", 70 * BLOCK, old, BLOCK);
                struct reuse *reuse = REUSE_OF(shelf, "old");
                wait_for_index(reuse);
                uint64_t read = builder_bytes(reuse->builder);
                assert_int_equal(read, turn == 1 ? 0 : 80 * BLOCK);
                look_open(&look, reuse);
                look_for(&look, image, BLOCK, 0);
                assert_int_equal(look.block.found, turn == 2 ? 0 : 0xffff);
                look_close(&look);
                reuse_free(reuse);
        }
        shelf_free(shelf);
}

static void the_index_takes_no_more_memory_than_it_may(void **state) {
        (void) state;
        _cleanup_(free_p) uint8_t *old = noise(64 * BLOCK, 2);
        write_image("old", old, 64 * BLOCK);
        int fd = open(scratch_path("old"), O_RDONLY | O_CLOEXEC);
        struct reuse *reuse = reuse_new(&fd, 1, &(struct reuse_config){.index_bytes = 4096});
        wait_for_index(reuse);
        assert_int_equal(tags_bytes(reuse->tags), 4096);
        assert_in_range(tags_count(reuse->tags), 300, 512);
        assert_true(builder_bytes(reuse->builder) < 40 * BLOCK);
        reuse_free(reuse);
}

static void the_index_reads_no_faster_than_it_may(void **state) {
        (void) state;
        _cleanup_(free_p) uint8_t *old = noise(64 * BLOCK, 2);
        write_image("old", old, 64 * BLOCK);
        int fd = open(scratch_path("old"), O_RDONLY | O_CLOEXEC);
        struct reuse *reuse = reuse_new(&fd, 1, &(struct reuse_config){.index_rate = 1 << 20});
        reuse_begin(reuse);
        for (unsigned i = 0; builder_bytes(reuse->builder) == 0 && i < 5000; i++)
                nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        assert_in_range(builder_bytes(reuse->builder), 1, 10 * BLOCK);
        reuse_free(reuse); // at once
}

static void the_likeliest_candidate_is_learnt(void **state) {
        (void) state;
        size_t length = 40 * BLOCK;
        _cleanup_(free_p) uint8_t *image = noise(length, 1), *other = noise(length, 2);
        const char *names[] = {"a", "b", "c", "d", "e", "f", "copy"};
        for (unsigned i = 0; i < 7; i++)
                write_image(names[i], i == 6 ? image : other, length);
        struct reuse *reuse = reuse_of(NULL, 7, names);
        struct look look;
        unsigned found = 0;
        look_open(&look, reuse);
        for (size_t offset = 0; offset < length; offset += BLOCK) {
                look_for(&look, image, length, offset);
                found += look.block.found == 0xffff;
                if (offset >= 10 * BLOCK)
                        assert_int_equal(look.block.found, 0xffff);
        }
        assert_true(found >= 36);
        assert_true(candidate_promise(&reuse->candidates[6]) > 900);
        look_close(&look);
        reuse_free(reuse);
}

static void a_candidate_that_never_has_it_is_left_alone_but_now_and_then(void **state) {
        (void) state;
        size_t length = 200 * BLOCK;
        _cleanup_(free_p) uint8_t *image = noise(length, 1);
        write_image("other", image, 0);
        assert_int_equal(truncate(scratch_path("other"), (off_t) length), 0);
        struct reuse *reuse = REUSE_OF(NULL, "other");
        struct look look;
        look_open(&look, reuse);
        for (size_t offset = 0; offset < length; offset += BLOCK)
                look_for(&look, image, length, offset);
        assert_true(candidate_hopeless(&reuse->candidates[0]));
        assert_in_range(atomic_load(&reuse->candidates[0].tried), 256, 256 + 4 * 16);
        look_close(&look);
        reuse_free(reuse);
}

static void prints_are_left_out_when_comparing_grains_was_in_vain(void **state) {
        (void) state;
        size_t length = 20 * BLOCK;
        _cleanup_(free_p) uint8_t *image = noise(length, 1), *other = noise(length, 2);
        write_image("other", other, length);
        struct reuse *reuse = REUSE_OF(NULL, "other");
        struct look look;
        unsigned compared = 0;
        look_open(&look, reuse);
        for (size_t offset = 0; offset < length; offset += BLOCK) {
                look_for(&look, image, length, offset);
                compared += look.block.alike != 0;
                put_together(&look, image, false, -1);
        }
        assert_int_equal(compared, 4);
        look_close(&look);
        reuse_free(reuse);
}

static void a_candidate_that_cannot_be_read_is_given_up(void **state) {
        (void) state;
        _cleanup_(free_p) uint8_t *image = noise(BLOCK, 1);
        write_image("image", image, BLOCK);
        _cleanup_(close_p) int fd = open(scratch_path("image"), O_WRONLY | O_CLOEXEC); // every read fails
        struct reuse *reuse = REUSE_OF(NULL, "image");
        assert_true(dup2(fd, reuse->candidates[0].fd) >= 0);
        assert_true(dup2(fd, reuse->candidates[0].direct_fd) >= 0);
        struct look look;
        look_open(&look, reuse);
        for (unsigned i = 0; i < 8; i++) {
                look_for(&look, image, BLOCK, 0);
                assert_int_equal(look.block.found | look.block.alike, 0);
        }
        assert_true(candidate_hopeless(&reuse->candidates[0]));
        look_close(&look);
        reuse_free(reuse);
}

static void only_so_many_regular_files_are_candidates(void **state) {
        (void) state;
        int fds[40];
        _cleanup_(free_p) uint8_t *image = noise(PIECE, 1);
        write_image("image", image, PIECE);
        for (unsigned i = 0; i < 40; i++)
                fds[i] =
                        i ? open(scratch_path("image"), O_RDONLY | O_CLOEXEC) : open("/dev/null", O_RDONLY | O_CLOEXEC);
        struct reuse *reuse = reuse_new(fds, 40, &(struct reuse_config){0});
        assert_int_equal(reuse->n, REUSE_CANDIDATES_MAX);
        reuse_free(reuse);
        for (unsigned i = 0; i < 40; i++)
                assert_int_equal(fcntl(fds[i], F_GETFD), -1);
}

// A guest writes while its image is looked at, by two finders and the index.
struct guest {
        const uint8_t *image, *other;
        size_t length;
        struct reuse *reuse;
        atomic_bool stop;
        atomic_uint turns;
};

static void *write_on(void *data) {
        struct guest *guest = data;
        int fd = open(scratch_path("running"), O_WRONLY | O_CLOEXEC);
        for (unsigned i = 0; !atomic_load(&guest->stop); i++) {
                size_t at = i * 7919u % (guest->length / GRAIN) * GRAIN;
                const uint8_t *from = i / 64 % 2 ? guest->image : guest->other;
                if (pwrite(fd, from + at, GRAIN, (off_t) at) != (ssize_t) GRAIN)
                        abort();
                if (i % 1024 == 1023 &&
                    (ftruncate(fd, (off_t) (guest->length / 2)) < 0 || ftruncate(fd, (off_t) guest->length) < 0))
                        abort();
        }
        close(fd);
        return NULL;
}

static void *look_on(void *data) {
        struct guest *guest = data;
        struct look look;
        look_open(&look, guest->reuse);
        for (unsigned turn = 0; turn < 6; turn++) {
                for (size_t offset = 0; offset < guest->length; offset += BLOCK) {
                        look_for(&look, guest->image, guest->length, offset); // looks at what was found
                        put_together(&look, guest->image, turn % 2, -1);
                }
                atomic_fetch_add(&guest->turns, 1);
        }
        look_close(&look);
        return NULL;
}

static void a_running_guests_image_never_gives_wrong_content(void **state) {
        (void) state;
        struct guest guest = {.length = 16 * BLOCK};
        _cleanup_(free_p) uint8_t *image = noise(guest.length, 1), *other = noise(guest.length, 2);
        pthread_t writer, lookers[2];
        guest.image = image;
        guest.other = other;
        write_image("running", image, guest.length);
        guest.reuse = REUSE_OF(NULL, "running");
        assert_int_equal(pthread_create(&writer, NULL, write_on, &guest), 0);
        for (unsigned i = 0; i < 2; i++)
                assert_int_equal(pthread_create(&lookers[i], NULL, look_on, &guest), 0);
        for (unsigned i = 0; i < 2; i++)
                pthread_join(lookers[i], NULL);
        atomic_store(&guest.stop, true);
        pthread_join(writer, NULL);
        assert_int_equal(atomic_load(&guest.turns), 12);
        reuse_free(guest.reuse);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                SCRATCH_TEST(a_copy_is_found_whole),
                SCRATCH_TEST(nothing_is_found_where_there_is_nothing),
                SCRATCH_TEST(of_a_piece_that_is_alike_only_the_other_grains_are_needed),
                SCRATCH_TEST(the_short_piece_at_the_end_is_put_together_too),
                SCRATCH_TEST(a_grain_that_only_has_the_same_print_is_noticed),
                SCRATCH_TEST(a_candidate_that_changes_before_the_grains_come_is_noticed),
                SCRATCH_TEST(pieces_that_stand_elsewhere_are_found_by_the_index),
                SCRATCH_TEST(zeros_and_holes_are_not_indexed),
                SCRATCH_TEST(an_index_that_became_wrong_costs_a_read_and_is_mended),
                SCRATCH_TEST(what_was_indexed_is_remembered_for_the_next_transfer),
                SCRATCH_TEST(the_index_takes_no_more_memory_than_it_may),
                SCRATCH_TEST(the_index_reads_no_faster_than_it_may),
                SCRATCH_TEST(the_likeliest_candidate_is_learnt),
                SCRATCH_TEST(a_candidate_that_never_has_it_is_left_alone_but_now_and_then),
                SCRATCH_TEST(prints_are_left_out_when_comparing_grains_was_in_vain),
                SCRATCH_TEST(a_candidate_that_cannot_be_read_is_given_up),
                SCRATCH_TEST(only_so_many_regular_files_are_candidates),
                SCRATCH_TEST(a_running_guests_image_never_gives_wrong_content),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
