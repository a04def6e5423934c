// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Answering what a source asks (see answering.h). A block that was named has a slot, by its number; a slot goes
 *
 *      FREE --named--> ASKED --> LOOKING --all found--> FREE
 *                                   |
 *                                   +--> WANTED --comes--> RECOVERING --right, and in the digest--> FREE
 *                                          ^                   |
 *                                          +--asked for whole--+
 *
 * The conversation's thread fills slots, the lookers look, the streams' threads recover. All under the mutex but
 * reading, hashing and talking.
 */
#include "agent/transfer/answering.h"
#include "agent/reuse/finder.h"
#include "agent/transfer/receiving.h"
#include "agent/transfer/talk.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/units.h"
#include <string.h>

#define LOOKERS     4u   // each waits for the disk, twice a block
#define SLOTS       512u // blocks that may be named and not settled
#define FINDERS     8u
#define SETTLED_MAX 16u // told in one message
#define PRINTS      (NAMES_GRAINS * NAMES_PRINT)

enum slot_state { SLOT_FREE, SLOT_ASKED, SLOT_LOOKING, SLOT_WANTED, SLOT_RECOVERING };
struct slot {
        enum slot_state state;
        struct finder_block block;
        struct digest_known written; // what was found
        struct slot *next;           // of those that are asked
};
struct answering {
        struct answerer answerer;
        struct reuse *reuse;
        struct receiving *receiving;
        struct flow *flow;
        struct talk *talk;
        pthread_t lookers[LOOKERS];
        unsigned running;
        pthread_mutex_t mutex; // of what follows
        pthread_cond_t asked;
        bool ended;
        struct slot *first, **last;
        struct slot slots[SLOTS];
        struct finder *finders[FINDERS]; // that no stream uses now
        unsigned n_finders;
        uint64_t settled[SETTLED_MAX];
        unsigned n_settled;
};

static struct slot *slot_of(struct answering *answering, uint64_t offset) {
        return &answering->slots[offset / BLOCKS_BLOCK % SLOTS];
}

// ---- telling
// What is settled and, if not NULL, what is wanted. The mutex is held, and given up for talking.
static int tell(struct answering *answering, Drover__DataWanted *wanted, struct error *err) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataWants wants = DROVER__DATA_WANTS__INIT;
        Drover__DataWanted blocks[SETTLED_MAX], *list[SETTLED_MAX + 1];
        for (unsigned i = 0; i < answering->n_settled; i++) {
                drover__data_wanted__init(&blocks[i]);
                blocks[i].offset = answering->settled[i];
                list[wants.n_blocks++] = &blocks[i];
        }
        if (wanted)
                list[wants.n_blocks++] = wanted;
        if (wants.n_blocks == 0)
                return 0;
        answering->n_settled = 0;
        wants.blocks = list;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_WANTS;
        envelope.wants = &wants;
        pthread_mutex_unlock(&answering->mutex);
        int result = talk_post(answering->talk, &envelope, err);
        pthread_mutex_lock(&answering->mutex);
        return result;
}

// The slot is free from now on: the source may name another block that needs it as soon as it is told.
static int settle(struct answering *answering, struct slot *slot, struct error *err) {
        answering->settled[answering->n_settled++] = slot->block.offset;
        *slot = (struct slot){0};
        bool more = answering->first && answering->n_settled < SETTLED_MAX;
        return more ? 0 : tell(answering, NULL, err);
}

static int want(struct answering *answering, struct slot *slot, finder_prints prints, struct error *err) {
        Drover__DataWanted wanted = DROVER__DATA_WANTED__INIT;
        uint8_t packed[BLOCKS_PIECES * PRINTS];
        for (unsigned i = 0; i < BLOCKS_PIECES; i++)
                if (slot->block.alike >> i & 1) {
                        memcpy(packed + wanted.prints.len, prints[i], PRINTS);
                        wanted.prints.len += PRINTS;
                }
        wanted.prints.data = packed;
        wanted.offset = slot->block.offset;
        wanted.missing = finder_missing(&slot->block);
        wanted.alike = slot->block.alike;
        slot->state = SLOT_WANTED;
        return tell(answering, &wanted, err);
}

// ---- looking
static void clear_unnamed(const struct finder_block *block, uint8_t *buffer) {
        for (unsigned i = 0; i < BLOCKS_PIECES; i++)
                if (!(block->named >> i & 1))
                        memset(buffer + (size_t) i * BLOCKS_PIECE, 0, names_piece_length(block->length, i));
}

static void count_reused(struct answering *answering, uint64_t grains, uint64_t length) {
        uint64_t bytes = grains * BLOCKS_GRAIN;
        atomic_fetch_add(&answering->flow->bytes_reused, bytes < length ? bytes : length);
}

// All of it was found. Gives the parcel away.
static int complete(struct answering *answering, struct slot *slot, struct parcel *parcel, struct error *err) {
        struct finder_block *block = &slot->block;
        clear_unnamed(block, parcel->buffer);
        count_reused(answering, (uint64_t) __builtin_popcount(block->named) * NAMES_GRAINS, block->length);
        pthread_mutex_unlock(&answering->mutex);
        int result = receiving_found(answering->receiving, parcel, err);
        if (result < 0)
                pipeline_give_back(answering->flow->pipeline, parcel);
        pthread_mutex_lock(&answering->mutex);
        return result < 0 ? -1 : settle(answering, slot, err);
}

// Reads and, of a block of which something is lacking, writes what is found. The slot is this thread's meanwhile.
static int find(struct answering *answering, struct finder *finder, struct slot *slot, struct parcel *parcel,
                finder_prints prints, struct error *err) {
        struct finder_block *block = &slot->block;
        finder_find(finder, block, parcel->buffer, prints);
        parcel->offset = block->offset;
        parcel->length = block->length;
        if (finder_missing(block) == 0 || block->found == 0)
                return 0;
        return receiving_part(answering->receiving, parcel, block->found, &slot->written, err);
}

static int look(struct answering *answering, struct finder *finder, struct slot *slot, struct error *err) {
        finder_prints *prints = memory_new(sizeof *prints);
        struct pipeline *pipeline = answering->flow->pipeline;
        slot->state = SLOT_LOOKING;
        pthread_mutex_unlock(&answering->mutex);
        struct parcel *parcel = pipeline_take(pipeline);
        int result = parcel ? find(answering, finder, slot, parcel, *prints, err)
                            : error_set(err, ERROR_CANCELLED, "stopped");
        pthread_mutex_lock(&answering->mutex);
        if (result == 0 && finder_missing(&slot->block) == 0) {
                result = complete(answering, slot, parcel, err);
        } else if (parcel) {
                pipeline_give_back(pipeline, parcel);
                result = result < 0 ? -1 : want(answering, slot, *prints, err);
        }
        free(prints);
        return result;
}

static struct slot *next_asked(struct answering *answering) {
        struct slot *slot;
        while (!(slot = answering->first) && !answering->ended && !flow_stopping(answering->flow))
                flow_tick(&answering->asked, &answering->mutex);
        if (!slot || answering->ended || flow_stopping(answering->flow))
                return NULL;
        answering->first = slot->next;
        if (!answering->first)
                answering->last = &answering->first;
        return slot;
}

static void *looker_main(void *pointer) {
        struct answering *answering = pointer;
        struct finder *finder = finder_new(answering->reuse);
        struct error why = ERROR_INIT;
        struct slot *slot;
        int result = 0;
        pthread_mutex_lock(&answering->mutex);
        while (result == 0 && (slot = next_asked(answering)))
                result = look(answering, finder, slot, &why);
        pthread_mutex_unlock(&answering->mutex);
        if (result < 0)
                flow_fail(answering->flow, &why);
        finder_free(finder);
        return NULL;
}

// ---- what is asked
// Of the block at this offset; 0 beyond the image.
static uint32_t length_at(const struct flow *flow, uint64_t offset) {
        uint64_t left = offset < flow->bytes_total ? flow->bytes_total - offset : 0;
        return left < BLOCKS_BLOCK ? (uint32_t) left : BLOCKS_BLOCK;
}

static int check(struct answering *answering, const Drover__DataNamed *named, struct error *err) {
        uint32_t length = length_at(answering->flow, named->offset);
        uint32_t whole = (1u << (length + BLOCKS_PIECE - 1) / BLOCKS_PIECE) - 1;
        if (named->offset % BLOCKS_BLOCK || length == 0 || named->pieces == 0 || named->pieces & ~whole ||
            named->names.len != (size_t) __builtin_popcount(named->pieces) * NAMES_BYTES)
                return error_set(err, ERROR_PROTOCOL, "the source names a block at %llu that makes no sense",
                                 (unsigned long long) named->offset);
        if (slot_of(answering, named->offset)->state != SLOT_FREE)
                return error_set(err, ERROR_PROTOCOL, "the source names more blocks than it may");
        return 0;
}

static int take_named(struct answering *answering, const Drover__DataNamed *named, struct error *err) {
        const uint8_t *name = named->names.data;
        if (check(answering, named, err) < 0)
                return -1;
        struct slot *slot = slot_of(answering, named->offset);
        *slot = (struct slot){.state = SLOT_ASKED,
                              .block = {.offset = named->offset,
                                        .length = length_at(answering->flow, named->offset),
                                        .named = (uint16_t) named->pieces}};
        for (unsigned i = 0; i < BLOCKS_PIECES; i++)
                if (named->pieces >> i & 1) {
                        memcpy(slot->block.names[i], name, NAMES_BYTES);
                        name += NAMES_BYTES;
                }
        // After it was noted as named (see receiving.c): what is there already is not to be overwritten.
        if (digest_has(answering->flow->digest, named->offset))
                return error_set(err, ERROR_PROTOCOL, "the source names the block at %llu, which it has sent",
                                 (unsigned long long) named->offset);
        *answering->last = slot;
        answering->last = &slot->next;
        return 0;
}

static int ask(struct answerer *answerer, const Drover__DataNames *names, struct error *err) {
        struct answering *answering = (struct answering *) answerer;
        int result = 0;
        pthread_mutex_lock(&answering->mutex);
        for (size_t i = 0; i < names->n_blocks && result == 0; i++)
                result = take_named(answering, names->blocks[i], err);
        pthread_cond_broadcast(&answering->asked);
        pthread_mutex_unlock(&answering->mutex);
        return result;
}

// ---- what has come
// Puts what came to what is written and what is alike, which is in `theirs`. Returns the grains that did not travel;
// *ret_same: those of them that are the candidate's.
static unsigned merge(const struct slot *slot, struct parcel *parcel, const uint8_t *theirs, unsigned *ret_same) {
        unsigned n = 0;
        *ret_same = 0;
        for (size_t i = 0; i < grains_count(slot->block.length); i++) {
                size_t begin = i * BLOCKS_GRAIN, left = slot->block.length - begin;
                size_t length = left < BLOCKS_GRAIN ? left : BLOCKS_GRAIN;
                if (slot->written.pieces >> i / NAMES_GRAINS & 1) {
                        n++;
                } else if (grains_has(&parcel->grains, i)) {
                        continue;
                } else if (slot->block.alike >> i / NAMES_GRAINS & 1) {
                        memcpy(parcel->buffer + begin, theirs + begin, length);
                        ++*ret_same;
                        n++;
                } else {
                        memset(parcel->buffer + begin, 0, length);
                }
        }
        return n;
}

// true: the block is whole, as far as names tell.
static bool put_together(struct answering *answering, struct slot *slot, struct parcel *parcel, struct finder *finder) {
        struct finder_block *block = &slot->block;
        uint16_t alike = block->alike;
        unsigned same;
        const uint8_t *theirs = alike ? finder_alike(finder, block) : NULL;
        if (block->alike != alike)
                return false;
        unsigned grains = merge(slot, parcel, theirs, &same);
        if (alike)
                finder_check(finder, block, same, parcel->buffer);
        if ((block->found & alike) != alike)
                return false;
        count_reused(answering, grains, block->length);
        return true;
}

// As if nothing were alike.
static int ask_again(struct answering *answering, struct slot *slot, struct error *err) {
        slot->block.found = slot->written.pieces;
        slot->block.alike = 0;
        return want(answering, slot, NULL, err);
}

static struct finder *take_finder(struct answering *answering) {
        return answering->n_finders > 0 ? answering->finders[--answering->n_finders] : finder_new(answering->reuse);
}

static void give_finder(struct answering *answering, struct finder *finder) {
        if (answering->n_finders < FINDERS)
                answering->finders[answering->n_finders++] = finder;
        else
                finder_free(finder);
}

static int recover(struct answerer *answerer, struct parcel *parcel, struct digest_known *ret, struct error *err) {
        struct answering *answering = (struct answering *) answerer;
        struct slot *slot = slot_of(answering, parcel->offset);
        char text[UNITS_TEXT_MAX];
        pthread_mutex_lock(&answering->mutex);
        if (slot->state != SLOT_WANTED || slot->block.offset != parcel->offset ||
            slot->block.length != parcel->length) {
                pthread_mutex_unlock(&answering->mutex);
                return error_set(err, ERROR_PROTOCOL, "the block at %s was not asked for",
                                 units_format_size(parcel->offset, text));
        }
        slot->state = SLOT_RECOVERING;
        struct finder *finder = take_finder(answering);
        pthread_mutex_unlock(&answering->mutex);
        bool right = put_together(answering, slot, parcel, finder);
        *ret = slot->written;
        pthread_mutex_lock(&answering->mutex);
        give_finder(answering, finder);
        int result = right ? 0 : ask_again(answering, slot, err);
        pthread_mutex_unlock(&answering->mutex);
        return result < 0 ? -1 : right;
}

static int added(struct answerer *answerer, uint64_t offset, struct error *err) {
        struct answering *answering = (struct answering *) answerer;
        pthread_mutex_lock(&answering->mutex);
        int result = settle(answering, slot_of(answering, offset), err);
        pthread_mutex_unlock(&answering->mutex);
        return result;
}

static bool is_out(struct answerer *answerer, uint64_t offset) {
        struct answering *answering = (struct answering *) answerer;
        struct slot *slot = slot_of(answering, offset);
        pthread_mutex_lock(&answering->mutex);
        bool out = slot->state != SLOT_FREE && slot->block.offset == offset;
        pthread_mutex_unlock(&answering->mutex);
        return out;
}

static int check_settled(struct answerer *answerer, struct error *err) {
        struct answering *answering = (struct answering *) answerer;
        int result = 0;
        pthread_mutex_lock(&answering->mutex);
        for (unsigned i = 0; i < SLOTS && result == 0; i++)
                if (answering->slots[i].state != SLOT_FREE)
                        result =
                                error_set(err, ERROR_PROTOCOL, "the source ends while the block at %llu is asked about",
                                          (unsigned long long) answering->slots[i].block.offset);
        pthread_mutex_unlock(&answering->mutex);
        return result;
}

// ----
static void end(struct answerer *answerer) {
        struct answering *answering = (struct answering *) answerer;
        pthread_mutex_lock(&answering->mutex);
        answering->ended = true;
        pthread_cond_broadcast(&answering->asked);
        pthread_mutex_unlock(&answering->mutex);
        while (answering->running > 0)
                pthread_join(answering->lookers[--answering->running], NULL);
}

static int begin(struct answerer *answerer, struct receiving *receiving, struct talk *talk, struct error *err) {
        struct answering *answering = (struct answering *) answerer;
        answering->receiving = receiving;
        answering->talk = talk;
        answering->flow = talk->flow;
        for (; answering->running < LOOKERS; answering->running++) {
                int failed = pthread_create(&answering->lookers[answering->running], NULL, looker_main, answering);
                if (failed) {
                        end(answerer);
                        return error_errno(err, failed, "start a thread");
                }
        }
        return 0;
}

static const struct answerer_ops ops = {.begin = begin,
                                        .ask = ask,
                                        .recover = recover,
                                        .added = added,
                                        .is_out = is_out,
                                        .check_settled = check_settled,
                                        .end = end};

struct answerer *answering_new(struct reuse *reuse) {
        struct answering *answering = new (struct answering);
        answering->answerer.ops = &ops;
        answering->reuse = reuse;
        answering->last = &answering->first;
        pthread_mutex_init(&answering->mutex, NULL);
        flow_condition(&answering->asked);
        return &answering->answerer;
}

void answering_free(struct answerer *answerer) {
        struct answering *answering = (struct answering *) answerer;
        if (!answering)
                return;
        while (answering->n_finders > 0)
                finder_free(answering->finders[--answering->n_finders]);
        pthread_cond_destroy(&answering->asked);
        pthread_mutex_destroy(&answering->mutex);
        free(answering);
}
