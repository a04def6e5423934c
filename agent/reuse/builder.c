// SPDX-License-Identifier: LGPL-2.1-or-later
/* Fills the index in the background (see builder.h). */
#include "agent/reuse/builder.h"
#include "agent/reuse/names.h"
#include "common/clock.h"
#include "common/memory.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NICE           10
#define IOPRIO_PROCESS 1               // ioprio_set(2): IOPRIO_WHO_PROCESS, 0 is this thread
#define IOPRIO_LOWEST  ((2 << 13) | 7) // best effort, level 7: what is idle might never be served
#define NAP_NS         20000000

struct builder {
        struct builder_config config;
        pthread_t thread;
        atomic_bool stop, finished;
        atomic_uint_least64_t bytes;
        uint64_t began_at;
        uint8_t *buffer;
};
struct reading { // of one candidate
        struct builder *builder;
        unsigned number;
        struct candidate *candidate;
        struct candidate_version version;
        struct shelf_book *book; // NULL: not kept
        uint64_t first;          // piece that tags[0] stands for
        unsigned n;
        bool any; // one of the tags is not 0
        uint32_t tags[SHELF_CHUNK];
};

static bool stopped(const struct builder *builder) {
        return atomic_load_explicit(&builder->stop, memory_order_relaxed);
}

static void pace(struct builder *builder, size_t length) {
        uint64_t bytes = atomic_fetch_add(&builder->bytes, length) + length;
        while (builder->config.rate && !stopped(builder) &&
               bytes * 1000 / builder->config.rate > clock_ms(&system_clock) - builder->began_at)
                nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
}

static bool remember(struct reading *reading, uint64_t piece, uint32_t tag) {
        struct tags_place place = {.candidate = reading->number, .piece = piece};
        return tag == 0 || tags_add(reading->builder->config.tags, tag, &place);
}

static bool recall(struct reading *reading, uint64_t *ret_next) {
        while (reading->book && shelf_book_read(reading->book, &reading->first, reading->tags, &reading->n)) {
                for (unsigned i = 0; i < reading->n; i++)
                        if (!remember(reading, reading->first + i, reading->tags[i]))
                                return false;
                *ret_next = (reading->first + reading->n) * BLOCKS_PIECE;
        }
        reading->n = 0;
        reading->any = false;
        return true;
}

// What was read is of this version only if the image is still that.
static void keep(struct reading *reading) {
        struct candidate_version now;
        bool kept = reading->book && reading->any;
        if (kept && (candidate_version(reading->candidate, &now, NULL) < 0 ||
                     memcmp(&now, &reading->version, sizeof now) != 0)) {
                shelf_book_drop(reading->book);
                reading->book = NULL;
                kept = false;
        }
        if (kept && !shelf_book_append(reading->book, reading->first, reading->tags, reading->n)) {
                shelf_book_close(reading->book);
                reading->book = NULL;
        }
        reading->n = 0;
        reading->any = false;
}

static bool is_zero(const uint8_t *piece) {
        return piece[0] == 0 && memcmp(piece, piece + 1, BLOCKS_PIECE - 1) == 0;
}

// The pieces of one block: false when the tags are full.
static bool take(struct reading *reading, uint64_t offset, size_t length) {
        uint8_t names[BLOCKS_PIECES][NAMES_BYTES];
        const uint8_t *buffer = reading->builder->buffer;
        uint16_t pieces = 0;
        unsigned n = (unsigned) (length / BLOCKS_PIECE);
        for (unsigned i = 0; i < n; i++)
                if (!is_zero(buffer + (size_t) i * BLOCKS_PIECE))
                        pieces |= (uint16_t) (1u << i);
        names_of_pieces(buffer, length, pieces, names);
        if (reading->n + n > SHELF_CHUNK || reading->first + reading->n != offset / BLOCKS_PIECE)
                keep(reading);
        if (reading->n == 0)
                reading->first = offset / BLOCKS_PIECE;
        for (unsigned i = 0; i < n; i++) {
                uint32_t tag = pieces >> i & 1 ? tags_of_name(names[i]) : 0;
                reading->tags[reading->n++] = tag;
                reading->any |= tag != 0;
                if (!remember(reading, offset / BLOCKS_PIECE + i, tag))
                        return false;
        }
        return true;
}

// Where the next block with data begins; false: there is none.
static bool next_data(const struct reading *reading, uint64_t *offset) {
        off_t data = lseek(reading->candidate->fd, (off_t) *offset, SEEK_DATA);
        if (data < 0)
                return errno != ENXIO; // it knows of no holes
        if ((uint64_t) data >= *offset + BLOCKS_BLOCK)
                *offset = (uint64_t) data / BLOCKS_BLOCK * BLOCKS_BLOCK;
        return true;
}

static bool read_candidate(struct reading *reading) {
        struct builder *builder = reading->builder;
        uint64_t offset = 0;
        bool room = recall(reading, &offset);
        while (room && !stopped(builder) && next_data(reading, &offset)) {
                size_t length = candidate_read(reading->candidate, offset, builder->buffer, BLOCKS_BLOCK);
                if (length < BLOCKS_PIECE)
                        break;
                room = take(reading, offset, length);
                pace(builder, length);
                offset += length / BLOCKS_PIECE * BLOCKS_PIECE;
        }
        keep(reading);
        return room;
}

static void *builder_main(void *pointer) {
        struct builder *builder = pointer;
        struct reading *reading = new (struct reading);
        bool room = true;
        // Neither matters enough to fail for.
        setpriority(PRIO_PROCESS, (id_t) gettid(), NICE);
        syscall(SYS_ioprio_set, IOPRIO_PROCESS, 0, IOPRIO_LOWEST);
        for (unsigned i = 0; room && i < builder->config.n && !stopped(builder); i++) {
                *reading =
                        (struct reading){.builder = builder, .number = i, .candidate = &builder->config.candidates[i]};
                if (candidate_version(reading->candidate, &reading->version, NULL) < 0)
                        continue;
                if (builder->config.shelf)
                        reading->book = shelf_book_open(builder->config.shelf, &reading->version);
                room = read_candidate(reading);
                shelf_book_close(reading->book);
        }
        free(reading);
        atomic_store(&builder->finished, true);
        return NULL;
}

struct builder *builder_start(const struct builder_config *config) {
        struct builder *builder = new (struct builder);
        builder->config = *config;
        builder->began_at = clock_ms(&system_clock);
        builder->buffer = blocks_buffer();
        if (pthread_create(&builder->thread, NULL, builder_main, builder) == 0)
                return builder;
        free(builder->buffer);
        free(builder);
        return NULL;
}

bool builder_finished(const struct builder *builder) {
        return atomic_load(&builder->finished);
}

uint64_t builder_bytes(const struct builder *builder) {
        return atomic_load(&builder->bytes);
}

void builder_stop(struct builder *builder) {
        if (!builder)
                return;
        atomic_store(&builder->stop, true);
        pthread_join(builder->thread, NULL);
        free(builder->buffer);
        free(builder);
}
