// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Asking before sending (see asking.h). A block that is out has a slot, by its number; a slot goes
 *
 *      FREE --NAMING--> NAMED --answered: lacks something--> LACKING --sent--> SENT --settled--> FREE
 *                        |                                     ^                |
 *                        +--settled--> FREE                    +--not right-----+
 *
 * Readers name and send; the conversation's thread answers. All under the mutex but reading, hashing and talking.
 */
#include "agent/transfer/asking.h"
#include "agent/reuse/names.h"
#include "agent/transfer/readers.h"
#include "agent/transfer/worth.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <stdlib.h>
#include <string.h>

#define SLOTS       512u // more than ASKING_SPAN and what readers are ahead of each other: no two that are out share one
#define ANSWERS_MAX 4u   // for one block
#define PRINTS      (NAMES_GRAINS * NAMES_PRINT)

_Static_assert(SLOTS > ASKING_SPAN + DIGEST_EARLY_MAX, "no two blocks that are out share a slot");

enum slot_state { SLOT_FREE, SLOT_NAMING, SLOT_NAMED, SLOT_LACKING, SLOT_SENDING, SLOT_SENT };
struct slot {
        enum slot_state state;
        uint64_t block; // its number
        uint32_t length;
        unsigned answers;
        uint16_t named, lacking, alike;
        uint8_t hash[DIGEST_HASH];
        uint8_t *prints; // of the pieces in alike, one after another
};
struct batch {
        unsigned n;
        Drover__DataNamed blocks[ASKING_BATCH];
        uint8_t names[ASKING_BATCH][BLOCKS_PIECES * NAMES_BYTES];
};
struct asking {
        struct asker asker;
        struct flow *flow;
        struct talk *talk;
        struct source *source;
        const struct coding *coding; // whose channels tell how the network does
        struct recalled *recalled;
        struct rate *rate;
        pthread_mutex_t mutex; // of what follows
        pthread_cond_t changed;
        struct worth worth;
        uint64_t told_ms; // what came of it
        struct slot slots[SLOTS];
        unsigned out, lacking;           // blocks
        uint64_t hands[READERS_THREADS]; // blocks that readers offer just now; UINT64_MAX: none
        struct batch batch;
};

static struct slot *slot_of(struct asking *asking, uint64_t block) {
        return &asking->slots[block % SLOTS];
}

// ---- naming
static int post(struct asking *asking, const struct batch *batch, struct error *err) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataNames names = DROVER__DATA_NAMES__INIT;
        Drover__DataNamed blocks[ASKING_BATCH], *list[ASKING_BATCH];
        for (unsigned i = 0; i < batch->n; i++) {
                blocks[i] = batch->blocks[i];
                blocks[i].names.data = (uint8_t *) batch->names[i];
                list[i] = &blocks[i];
        }
        names.n_blocks = batch->n;
        names.blocks = list;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_NAMES;
        envelope.names = &names;
        if (batch->n == 0)
                return 0;
        if (rate_wait(asking->rate, drover__data_envelope__get_packed_size(&envelope), asking->flow, err) < 0)
                return -1;
        return talk_post(asking->talk, &envelope, err);
}

// Says what has been gathered. Called with the mutex held, which is given up meanwhile.
static int flush(struct asking *asking, struct error *err) {
        struct batch *batch = new (struct batch);
        *batch = asking->batch;
        asking->batch.n = 0;
        pthread_mutex_unlock(&asking->mutex);
        int result = post(asking, batch, err);
        pthread_mutex_lock(&asking->mutex);
        free(batch);
        return result;
}

static void add_to_batch(struct asking *asking, const struct slot *slot, const uint8_t (*names)[NAMES_BYTES]) {
        struct batch *batch = &asking->batch;
        Drover__DataNamed *block = &batch->blocks[batch->n];
        size_t n = 0;
        for (unsigned i = 0; i < BLOCKS_PIECES; i++)
                if (slot->named >> i & 1)
                        memcpy(batch->names[batch->n] + NAMES_BYTES * n++, names[i], NAMES_BYTES);
        drover__data_named__init(block);
        block->offset = slot->block * BLOCKS_BLOCK;
        block->pieces = slot->named;
        block->names.len = NAMES_BYTES * n;
        batch->n++;
}

static uint16_t pieces_with_grains(const struct grains *grains, size_t length) {
        uint16_t pieces = 0;
        for (size_t i = 0; i < grains_count(length); i++)
                if (grains_has(grains, i))
                        pieces |= (uint16_t) (1u << i / NAMES_GRAINS);
        return pieces;
}

// Takes the parcel. The mutex is held, and given up for hashing and talking.
static int name(struct asking *asking, struct parcel *parcel, struct error *err) {
        uint8_t names[BLOCKS_PIECES][NAMES_BYTES];
        struct slot *slot = slot_of(asking, parcel->offset / BLOCKS_BLOCK);
        *slot = (struct slot){.state = SLOT_NAMING,
                              .block = parcel->offset / BLOCKS_BLOCK,
                              .length = (uint32_t) parcel->length,
                              .named = pieces_with_grains(&parcel->grains, (size_t) parcel->length)};
        memcpy(slot->hash, parcel->hash, DIGEST_HASH);
        asking->out++;
        pthread_mutex_unlock(&asking->mutex);
        uint64_t began = coding_now_us();
        names_of_pieces(parcel->buffer, slot->length, slot->named, names);
        uint64_t took = coding_now_us() - began;
        pthread_mutex_lock(&asking->mutex);
        worth_named(&asking->worth, slot->length, took);
        slot->state = SLOT_NAMED;
        pipeline_give_back(asking->flow->pipeline, parcel);
        add_to_batch(asking, slot, (const uint8_t(*)[NAMES_BYTES]) names);
        return asking->batch.n == ASKING_BATCH ? flush(asking, err) : 0;
}

// ---- sending what is lacking
// The first one before `end`.
static struct slot *find_lacking(struct asking *asking, uint64_t end) {
        struct slot *first = NULL;
        for (unsigned i = 0; i < SLOTS && asking->lacking > 0; i++) {
                struct slot *slot = &asking->slots[i];
                if (slot->state == SLOT_LACKING && slot->block < end && (!first || slot->block < first->block))
                        first = slot;
        }
        return first;
}

// Of a piece that is alike, every grain that is another, be it zeros.
static void reduce_alike(const struct slot *slot, struct parcel *parcel, unsigned piece, const uint8_t *prints) {
        uint8_t ours[NAMES_GRAINS][NAMES_PRINT];
        size_t first = (size_t) piece * NAMES_GRAINS, n = grains_count(slot->length);
        names_of_grains(parcel->buffer + (size_t) piece * BLOCKS_PIECE, names_piece_length(slot->length, piece), ours);
        for (size_t k = 0; k < NAMES_GRAINS && first + k < n; k++)
                grains_set(&parcel->grains, first + k, memcmp(prints + k * NAMES_PRINT, ours[k], NAMES_PRINT) != 0);
}

// Only what the sink lacks.
static void reduce(const struct slot *slot, struct parcel *parcel) {
        const uint8_t *prints = slot->prints;
        grains_find_in(parcel->buffer, slot->length, slot->lacking, &parcel->grains);
        for (unsigned i = 0; i < BLOCKS_PIECES; i++)
                if (slot->alike >> i & 1) {
                        reduce_alike(slot, parcel, i, prints);
                        prints += PRINTS;
                }
}

// What of the block need not travel, in grains.
static unsigned saved_of(const struct slot *slot, const struct parcel *parcel) {
        struct grains there = parcel->grains;
        unsigned named = 0, sent = 0;
        for (size_t i = 0; i < grains_count(slot->length); i++) {
                named += slot->named >> i / NAMES_GRAINS & 1;
                sent += grains_has(&there, i);
        }
        return named > sent ? named - sent : 0;
}

static bool lacks(const struct slot *slot, size_t piece) {
        return piece < BLOCKS_PIECES && slot->lacking >> piece & 1;
}

// The pieces that are lacking, to their places; a gap that is read faster than another read begins is read along.
static int read_lacking(struct source *source, const struct slot *slot, uint8_t *buffer, struct error *err) {
        for (size_t i = 0, end; i < BLOCKS_PIECES; i = end + 1) {
                for (end = i; lacks(slot, end) || (end > i && (lacks(slot, end + 1) || lacks(slot, end + 2)));)
                        end++;
                size_t begin = i * BLOCKS_PIECE, last = end * BLOCKS_PIECE;
                if (last > slot->length)
                        last = slot->length;
                if (end > i &&
                    source_read(source, slot->block * BLOCKS_BLOCK + begin, buffer + begin, last - begin, err) < 0)
                        return -1;
        }
        return 0;
}

static int fill(struct asking *asking, struct slot *slot, struct parcel *parcel, struct error *err) {
        parcel->kind = PARCEL_BLOCK;
        parcel->offset = slot->block * BLOCKS_BLOCK;
        parcel->length = slot->length;
        parcel->answered = true;
        memcpy(parcel->hash, slot->hash, DIGEST_HASH);
        if (read_lacking(asking->source, slot, parcel->buffer, err) < 0)
                return -1;
        reduce(slot, parcel);
        return 0;
}

static void learn(struct asking *asking, const struct slot *slot, unsigned saved) {
        uint64_t bytes = (uint64_t) saved * BLOCKS_GRAIN;
        worth_learn(&asking->worth, (unsigned) __builtin_popcount(slot->named), saved);
        atomic_fetch_add(&asking->flow->bytes_reused, bytes < slot->length ? bytes : slot->length);
}

// One block that is lacking something; the mutex is held, and given up meanwhile. While it is SLOT_SENDING the slot is
// this thread's.
static int send_lacking(struct asking *asking, struct slot *slot, struct error *err) {
        struct pipeline *pipeline = asking->flow->pipeline;
        slot->state = SLOT_SENDING;
        asking->lacking--;
        pthread_mutex_unlock(&asking->mutex);
        struct parcel *parcel = pipeline_take(pipeline);
        int result = parcel ? fill(asking, slot, parcel, err) : error_set(err, ERROR_CANCELLED, "stopped");
        unsigned saved = result == 0 ? saved_of(slot, parcel) : 0;
        pthread_mutex_lock(&asking->mutex);
        free(steal(&slot->prints));
        slot->state = SLOT_SENT;
        if (result == 0) {
                learn(asking, slot, slot->answers == 1 ? saved : 0);
                pipeline_put(pipeline, parcel);
        } else if (parcel) {
                pipeline_give_back(pipeline, parcel);
        }
        return result;
}

static int send_all_lacking(struct asking *asking, uint64_t end, struct error *err) {
        struct slot *slot;
        while ((slot = find_lacking(asking, end)))
                if (send_lacking(asking, slot, err) < 0)
                        return -1;
        return 0;
}

// ---- offers
static uint64_t first_out(const struct asking *asking) {
        uint64_t first = UINT64_MAX;
        for (unsigned i = 0; i < SLOTS; i++)
                if (asking->slots[i].state != SLOT_FREE && asking->slots[i].block < first)
                        first = asking->slots[i].block;
        for (unsigned i = 0; i < READERS_THREADS; i++)
                if (asking->hands[i] < first)
                        first = asking->hands[i];
        return first;
}

static bool too_far(const struct asking *asking, uint64_t block) {
        uint64_t first = first_out(asking);
        return asking->slots[block % SLOTS].state != SLOT_FREE || (block > first && block - first >= ASKING_SPAN);
}

// Nothing goes further ahead of what is out, asked or not. Whoever has a block in hand sends only what lies before it:
// otherwise it could be kept from its own for as long as there is something to send.
static int keep_near(struct asking *asking, uint64_t block, struct error *err) {
        if (send_all_lacking(asking, block, err) < 0)
                return -1;
        while (too_far(asking, block)) {
                if (flow_stopping(asking->flow))
                        return error_set(err, ERROR_CANCELLED, "stopped");
                if (asking->batch.n > 0 ? flush(asking, err) < 0 : send_all_lacking(asking, block, err) < 0)
                        return -1;
                if (!find_lacking(asking, block) && too_far(asking, block))
                        flow_tick(&asking->changed, &asking->mutex);
        }
        return 0;
}

// What has gone over the network, as bytes of the image.
static uint64_t sent_of(struct flow *flow) {
        uint64_t done = atomic_load(&flow->bytes_done), not_sent = atomic_load(&flow->bytes_zero);
        not_sent += atomic_load(&flow->bytes_kept) + atomic_load(&flow->bytes_reused);
        return done > not_sent ? done - not_sent : 0;
}

static void tell(struct asking *asking, uint64_t now_ms) {
        char text[WORTH_TEXT_MAX];
        if (now_ms - asking->told_ms < WORTH_TELL_MS)
                return;
        asking->told_ms = now_ms;
        flow_choose_asking(asking->flow, worth_text(&asking->worth, text));
        recalled_set_link(asking->recalled, asking->worth.link);
}

static bool is_worth_it(struct asking *asking) {
        struct flow *flow = asking->flow;
        struct worth_now now = {.ms = clock_ms(flow->clock), .sent = sent_of(flow), .rate = atomic_load(&flow->rate)};
        now.hidden = flow->path == DROVER__TRANSFER_PATH__PATH_RELAY;
        for (unsigned i = 0; i < asking->coding->streams; i++) {
                struct delivered stream;
                channel_look(asking->coding->channels[i], &stream);
                now.wire += stream.bytes;
                now.busy_us += stream.busy_us;
                now.held_us += stream.held_us;
                now.hidden |= stream.queued;
        }
        bool asks = worth_asking(&asking->worth, &now);
        tell(asking, now.ms);
        return asks;
}

static uint64_t *take_in_hand(struct asking *asking, uint64_t block) {
        unsigned i = 0;
        while (asking->hands[i] != UINT64_MAX) // there are as many places as readers
                i++;
        asking->hands[i] = block;
        return &asking->hands[i];
}

static bool offer(struct asker *asker, struct parcel *parcel) {
        struct asking *asking = (struct asking *) asker;
        struct error why = ERROR_INIT;
        bool taken = false;
        pthread_mutex_lock(&asking->mutex);
        uint64_t *hand = take_in_hand(asking, parcel->offset / BLOCKS_BLOCK);
        int result = keep_near(asking, *hand, &why);
        if (result == 0 && parcel->kind == PARCEL_BLOCK && is_worth_it(asking)) {
                taken = true;
                result = name(asking, parcel, &why);
        }
        *hand = UINT64_MAX;
        pthread_mutex_unlock(&asking->mutex);
        if (result < 0)
                flow_fail(asking->flow, &why);
        return taken;
}

static int settle(struct asker *asker, struct error *err) {
        struct asking *asking = (struct asking *) asker;
        pthread_mutex_lock(&asking->mutex);
        int result = flush(asking, err);
        while (result == 0 && asking->out > 0) {
                if (flow_stopping(asking->flow))
                        result = error_set(err, ERROR_CANCELLED, "stopped");
                else if (asking->lacking > 0)
                        result = send_all_lacking(asking, UINT64_MAX, err);
                else
                        flow_tick(&asking->changed, &asking->mutex);
        }
        pthread_mutex_unlock(&asking->mutex);
        return result;
}

// ---- answers
static void slot_clear(struct slot *slot) {
        free(slot->prints);
        *slot = (struct slot){0};
}

static void settled(struct asking *asking, struct slot *slot) {
        if (slot->state == SLOT_NAMED) { // all of it was found
                learn(asking, slot, (unsigned) __builtin_popcount(slot->named) * NAMES_GRAINS);
                atomic_fetch_add(&asking->flow->bytes_done, slot->length);
        }
        slot_clear(slot);
        asking->out--;
}

static int check(const struct slot *slot, const Drover__DataWanted *wanted, struct error *err) {
        uint32_t lacking = wanted->missing, alike = wanted->alike;
        if (wanted->offset % BLOCKS_BLOCK || slot->block != wanted->offset / BLOCKS_BLOCK ||
            (slot->state != SLOT_NAMED && slot->state != SLOT_SENT))
                return error_set(err, ERROR_PROTOCOL, "the sink answers for a block at %llu that it was not asked for",
                                 (unsigned long long) wanted->offset);
        if (lacking & ~(uint32_t) slot->named || alike & ~lacking ||
            wanted->prints.len != (size_t) __builtin_popcount(alike) * PRINTS || slot->answers >= ANSWERS_MAX)
                return error_set(err, ERROR_PROTOCOL, "the sink's answer for the block at %llu makes no sense",
                                 (unsigned long long) wanted->offset);
        return 0;
}

static int take_answer(struct asking *asking, const Drover__DataWanted *wanted, struct error *err) {
        struct slot *slot = slot_of(asking, wanted->offset / BLOCKS_BLOCK);
        if (check(slot, wanted, err) < 0)
                return -1;
        if (wanted->missing == 0) {
                settled(asking, slot);
                return 0;
        }
        if (slot->state == SLOT_SENT) // it did not count
                atomic_fetch_sub(&asking->flow->bytes_done, slot->length);
        slot->answers++;
        slot->lacking = (uint16_t) wanted->missing;
        slot->alike = (uint16_t) wanted->alike;
        slot->prints = wanted->prints.len ? memory_new(wanted->prints.len) : NULL;
        if (slot->prints)
                memcpy(slot->prints, wanted->prints.data, wanted->prints.len);
        slot->state = SLOT_LACKING;
        asking->lacking++;
        return 0;
}

static int answer(struct asker *asker, const Drover__DataWants *wants, struct error *err) {
        struct asking *asking = (struct asking *) asker;
        int result = 0;
        pthread_mutex_lock(&asking->mutex);
        for (size_t i = 0; i < wants->n_blocks && result == 0; i++)
                result = take_answer(asking, wants->blocks[i], err);
        pthread_cond_broadcast(&asking->changed);
        pthread_mutex_unlock(&asking->mutex);
        return result;
}

// ----
static void asking_free(struct asker *asker) {
        struct asking *asking = (struct asking *) asker;
        for (unsigned i = 0; i < SLOTS; i++)
                slot_clear(&asking->slots[i]);
        pthread_cond_destroy(&asking->changed);
        pthread_mutex_destroy(&asking->mutex);
        free(asking);
}

static const struct asker_ops ops = {.offer = offer, .answer = answer, .settle = settle, .free = asking_free};

struct asker *asking_new(struct flow *flow, struct talk *talk, struct source *source, const struct coding *coding,
                         struct recalled *recalled, struct rate *rate) {
        struct asking *asking = new (struct asking);
        asking->asker.ops = &ops;
        asking->flow = flow;
        asking->talk = talk;
        asking->source = source;
        asking->coding = coding;
        asking->recalled = recalled;
        asking->rate = rate;
        worth_init(&asking->worth, recalled_link(recalled));
        for (unsigned i = 0; i < READERS_THREADS; i++)
                asking->hands[i] = UINT64_MAX;
        pthread_mutex_init(&asking->mutex, NULL);
        flow_condition(&asking->changed);
        return &asking->asker;
}
