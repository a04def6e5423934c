// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A source whose sink lies (fault 40): what it says it has (agent/transfer/have) and what it says it wants
 * (agent/transfer/asking), against a model of the rules in proto/data.proto that is written down here once more. What
 * is taken is what the model takes; what is sent then is what the sink lacks, with the source's content and nothing
 * else; no queue grows without end.
 *
 * First byte: which of the two. Then messages (line.h); where a message's place is not 0 there is no message, but a
 * step of the source with a number of two bytes.
 */
#include "line.h"
#include "agent/transfer/asking.h"
#include "agent/transfer/have.h"
#include <poll.h>

#define IMAGE     (300ull * BLOCKS_BLOCK + 777)
#define HAVE_ALL  301u
#define PARCELS   20u
#define OUT_MAX   10u // blocks that are out at a time
#define OFFER_MAX 40u
#define ANSWERS   4u // for one block
#define PRINTS    (NAMES_GRAINS * NAMES_PRINT)

enum { STEP_FIRST = 1, STEP_SECOND = 2 };

// A step's number, or -1: a message is next.
static int next_step(struct line *line, unsigned *ret_kind) {
        unsigned kind = line->at[0] % 3;
        if (kind == 0)
                return -1;
        int number = line->at[1] | line->at[2] << 8;
        *ret_kind = kind;
        line->at += LINE_HEADER;
        return number;
}

// ---- what the sink has
struct known {
        bool has[HAVE_ALL];
        uint8_t hashes[HAVE_ALL][VERIFIED_HASH];
        uint64_t frontier, passed;
        bool complete, other;
        struct {
                uint64_t end;
        } runs[4096];
        unsigned n;
};

static bool know(struct known *known, const Drover__DataHave *have) {
        uint64_t count = have->hashes.len / VERIFIED_HASH;
        if (known->complete || have->hashes.len % VERIFIED_HASH || have->first < known->frontier ||
            have->first > HAVE_ALL || count > HAVE_ALL - have->first)
                return false;
        for (uint64_t i = 0; i < count; i++) {
                known->has[have->first + i] = true;
                memcpy(known->hashes[have->first + i], have->hashes.data + i * VERIFIED_HASH, VERIFIED_HASH);
        }
        known->frontier = have->first + count;
        known->complete = have->last;
        known->other |= have->has_other;
        if (count > 0 && known->frontier > known->passed)
                known->runs[known->n++].end = known->frontier;
        return true;
}

static bool is_full(const struct known *known) {
        unsigned n = 0;
        for (unsigned i = 0; i < known->n; i++)
                n += known->runs[i].end > known->passed;
        return n >= HAVE_QUEUE_MAX;
}

// A reader, which never goes back; and never beyond what is known, for there it would wait.
static void ask_or_pass(struct have *have, struct known *known, unsigned kind, uint64_t n) {
        uint8_t hash[VERIFIED_HASH];
        n %= HAVE_ALL;
        if (n < known->passed)
                return;
        if (kind == STEP_SECOND) {
                have_pass(have, n);
        } else if (!known->complete && known->frontier <= n) {
                return;
        } else {
                int has = have_ask(have, n, hash, NULL);
                need(has == known->has[n] && (!has || memcmp(hash, known->hashes[n], sizeof hash) == 0));
        }
        known->passed = n;
}

static void fuzz_have(struct line *line, struct flow *flow) {
        static struct known known;
        struct have *have = have_new(flow, IMAGE);
        unsigned kind;
        memset(&known, 0, sizeof known);
        while (!line_ended(line)) {
                struct error why = ERROR_INIT;
                Drover__DataEnvelope *envelope = NULL;
                int number = next_step(line, &kind);
                need(have_full(have) == is_full(&known) && have_has_other(have) == known.other);
                if (number >= 0) {
                        ask_or_pass(have, &known, kind, (uint64_t) number);
                        continue;
                }
                if (line_message(line, &envelope, NULL) < 0)
                        break;
                bool is_have = envelope->body_case == DROVER__DATA_ENVELOPE__BODY_HAVE && !is_full(&known) &&
                               known.n < sizeof known.runs / sizeof known.runs[0];
                bool good = is_have && know(&known, envelope->have);
                need(!is_have || (have_add(have, envelope->have, &why) == 0) == good);
                need(good || !is_have || (why.code == ERROR_PROTOCOL && *why.message));
                proto_free(&envelope->base);
                if (!good)
                        break;
        }
        have_free(have);
}

// ---- what the sink wants
enum state { STATE_FREE, STATE_NAMED, STATE_LACKING, STATE_SENT };
struct out {
        enum state state;
        bool posted; // its names have been said
        unsigned answers;
        uint16_t named, missing, alike;
        uint8_t prints[BLOCKS_PIECES * PRINTS];
};
static struct {
        struct flow *flow;
        struct talk talk;
        struct source source;
        struct asker *asker;
        struct out out[HAVE_ALL];
        unsigned offered, n_out, lacking;
        uint64_t next;
        uint8_t content[BLOCKS_BLOCK];
} asked;

static size_t length_of(uint64_t block) {
        uint64_t left = IMAGE - block * BLOCKS_BLOCK;
        return left < BLOCKS_BLOCK ? (size_t) left : BLOCKS_BLOCK;
}

static int read_content(struct source *source, uint64_t offset, uint8_t *buffer, size_t length, struct error *err) {
        (void) source;
        (void) err;
        uint64_t block = offset / BLOCKS_BLOCK;
        size_t from = (size_t) (offset % BLOCKS_BLOCK);
        need(length > 0 && from + length <= length_of(block) && from % BLOCKS_GRAIN == 0);
        for (size_t at = 0; at < length; at += BLOCKS_GRAIN)
                memset(buffer + at, line_grain(block, (from + at) / BLOCKS_GRAIN),
                       length - at < BLOCKS_GRAIN ? length - at : BLOCKS_GRAIN);
        return 0;
}

static const struct source_ops source_ops = {.kind = "memory", .read = read_content};

// Whose grain has this print: the sink has it.
static bool same_print(const struct out *out, unsigned piece, size_t grain) {
        uint8_t ours[NAMES_GRAINS][NAMES_PRINT];
        unsigned before = (unsigned) __builtin_popcount(out->alike & ((1u << piece) - 1));
        names_of_grains(asked.content + (size_t) piece * BLOCKS_PIECE, BLOCKS_PIECE, ours);
        return memcmp(out->prints + before * PRINTS + grain * NAMES_PRINT, ours[grain], NAMES_PRINT) == 0;
}

// What goes to the streams: of the block that lacks something what is lacking, and no more.
static void check_sent(const struct parcel *parcel) {
        struct out *out = &asked.out[parcel->offset / BLOCKS_BLOCK];
        size_t length = length_of(parcel->offset / BLOCKS_BLOCK);
        uint8_t hash[DIGEST_HASH];
        struct grains all;
        need(parcel->kind == PARCEL_BLOCK && parcel->answered && parcel->length == length);
        need(out->state == STATE_LACKING && grains_within(&parcel->grains, length));
        line_content((size_t) (parcel->offset / BLOCKS_BLOCK), asked.content, length);
        grains_find(asked.content, length, &all);
        digest_block(asked.content, length, &all, hash);
        need(memcmp(hash, parcel->hash, DIGEST_HASH) == 0);
        for (size_t i = 0; i < grains_count(length); i++) {
                unsigned piece = (unsigned) (i / NAMES_GRAINS);
                bool alike = out->alike >> piece & 1;
                bool due = alike ? length_of(parcel->offset / BLOCKS_BLOCK) < BLOCKS_BLOCK ||
                                           !same_print(out, piece, i % NAMES_GRAINS)
                                 : out->missing >> piece & 1 && grains_has(&all, i);
                size_t begin = i * BLOCKS_GRAIN, left = length - begin;
                if (length == BLOCKS_BLOCK || !alike)
                        need(grains_has(&parcel->grains, i) == due);
                if (grains_has(&parcel->grains, i))
                        need(memcmp(parcel->buffer + begin, asked.content + begin,
                                    left < BLOCKS_GRAIN ? left : BLOCKS_GRAIN) == 0);
        }
        out->state = STATE_SENT;
        asked.lacking--;
}

static void take_sent(void) {
        struct parcel *parcel;
        while ((parcel = pipeline_get_now(asked.flow->pipeline))) {
                if (parcel->kind == PARCEL_BLOCK && parcel->answered)
                        check_sent(parcel);
                pipeline_give_back(asked.flow->pipeline, parcel);
        }
}

// What it says on the conversation, to __wrap_channel_write().
static void hear_names(void) {
        Drover__DataEnvelope *none = NULL;
        need(talk_next(&asked.talk, false, &none, NULL) == 0 && !none);
}

static void check_named(const Drover__DataNamed *named) {
        uint8_t names[BLOCKS_PIECES][NAMES_BYTES];
        uint64_t block = named->offset / BLOCKS_BLOCK;
        size_t n = 0;
        need(named->offset < IMAGE && named->offset % BLOCKS_BLOCK == 0 && !asked.out[block].posted);
        need(named->pieces == asked.out[block].named);
        line_content((size_t) block, asked.content, length_of(block));
        names_of_pieces(asked.content, length_of(block), (uint16_t) named->pieces, names);
        for (unsigned i = 0; i < BLOCKS_PIECES; i++)
                if (named->pieces >> i & 1)
                        need(n < named->names.len && memcmp(named->names.data + n, names[i], NAMES_BYTES) == 0 &&
                             (n += NAMES_BYTES));
        need(n == named->names.len);
        asked.out[block].posted = true;
}

int __wrap_channel_write(struct channel *channel, const void *bytes, size_t length, struct error *err);
int __wrap_channel_write(struct channel *channel, const void *bytes, size_t length, struct error *err) {
        (void) channel;
        (void) err;
        Drover__DataEnvelope *envelope = line_said(bytes, length);
        need(envelope->body_case == DROVER__DATA_ENVELOPE__BODY_NAMES && envelope->names->n_blocks <= ASKING_BATCH);
        for (size_t i = 0; i < envelope->names->n_blocks; i++)
                check_named(envelope->names->blocks[i]);
        proto_free(&envelope->base);
        return 0;
}

bool __wrap_channel_await(struct channel *channel, int wake_fd, uint32_t milliseconds);
bool __wrap_channel_await(struct channel *channel, int wake_fd, uint32_t milliseconds) {
        (void) channel;
        (void) wake_fd;
        (void) milliseconds;
        return false;
}

// ---- the source's steps
static void offer_block(unsigned skip) {
        struct pipeline *pipeline = asked.flow->pipeline;
        uint64_t block = asked.next + skip % 3;
        if (asked.n_out >= OUT_MAX || asked.offered >= OFFER_MAX || block >= HAVE_ALL)
                return;
        struct parcel *parcel = pipeline_take(pipeline);
        struct out *out = &asked.out[block];
        size_t length = length_of(block);
        parcel->kind = PARCEL_BLOCK;
        parcel->offset = block * BLOCKS_BLOCK;
        parcel->length = length;
        line_content((size_t) block, parcel->buffer, length);
        grains_find(parcel->buffer, length, &parcel->grains);
        digest_block(parcel->buffer, length, &parcel->grains, parcel->hash);
        struct out named = {.state = STATE_NAMED};
        for (size_t i = 0; i < grains_count(length); i++)
                if (grains_has(&parcel->grains, i))
                        named.named |= (uint16_t) (1u << i / NAMES_GRAINS);
        asked.next = block + 1;
        asked.offered++;
        *out = named;
        if (asked.asker->ops->offer(asked.asker, parcel)) {
                asked.n_out++;
        } else {
                out->state = STATE_FREE;
                pipeline_give_back(pipeline, parcel);
        }
}

// Zeros pass as well; whatever is lacking is sent then.
static void offer_zeros(void) {
        struct parcel *parcel = pipeline_take(asked.flow->pipeline);
        parcel->kind = PARCEL_ZERO;
        parcel->offset = asked.next * BLOCKS_BLOCK;
        parcel->length = BLOCKS_BLOCK;
        need(!asked.asker->ops->offer(asked.asker, parcel));
        pipeline_give_back(asked.flow->pipeline, parcel);
        take_sent();
        need(asked.lacking == 0);
}

static bool is_taken(const struct out *out, const Drover__DataWanted *wanted) {
        return (out->state == STATE_NAMED || out->state == STATE_SENT) && !(wanted->missing & ~(uint32_t) out->named) &&
               !(wanted->alike & ~wanted->missing) &&
               wanted->prints.len == (size_t) __builtin_popcount(wanted->alike) * PRINTS && out->answers < ANSWERS;
}

static bool take_wanted(const Drover__DataWanted *wanted) {
        uint64_t block = wanted->offset / BLOCKS_BLOCK;
        if (wanted->offset % BLOCKS_BLOCK || block >= HAVE_ALL || !is_taken(&asked.out[block], wanted))
                return false;
        struct out *out = &asked.out[block];
        if (wanted->missing == 0) {
                out->state = STATE_FREE;
                asked.n_out--;
                return true;
        }
        out->state = STATE_LACKING;
        out->answers++;
        out->missing = (uint16_t) wanted->missing;
        out->alike = (uint16_t) wanted->alike;
        if (wanted->prints.len > 0)
                memcpy(out->prints, wanted->prints.data, wanted->prints.len);
        asked.lacking++;
        return true;
}

static bool answer(const Drover__DataWants *wants) {
        struct error why = ERROR_INIT;
        bool good = true;
        for (size_t i = 0; i < wants->n_blocks && good; i++)
                good = take_wanted(wants->blocks[i]);
        int result = asked.asker->ops->answer(asked.asker, wants, &why);
        need((result == 0) == good && (good || (why.code == ERROR_PROTOCOL && *why.message)));
        return good;
}

static bool one_step(struct line *line) {
        Drover__DataEnvelope *envelope = NULL;
        unsigned kind;
        int number = next_step(line, &kind);
        bool goes_on = true;
        if (number >= 0) {
                if (kind == STEP_FIRST)
                        offer_block((unsigned) number);
                else
                        offer_zeros();
                take_sent();
        } else {
                if (line_message(line, &envelope, NULL) < 0)
                        return false;
                goes_on = envelope->body_case == DROVER__DATA_ENVELOPE__BODY_WANTS && answer(envelope->wants);
                proto_free(&envelope->base);
        }
        hear_names();
        return goes_on;
}

// When all is settled it ends at once; when it has been stopped, with that.
static void check_settled(bool good) {
        struct error why = ERROR_INIT;
        if (good && asked.n_out == 0) {
                need(asked.asker->ops->settle(asked.asker, &why) == 0);
                hear_names();
                return;
        }
        error_set(&why, ERROR_CANCELLED, "cancelled");
        flow_fail(asked.flow, &why);
        need(asked.asker->ops->settle(asked.asker, &why) < 0 || asked.n_out == 0);
}

static void fuzz_asking(struct line *line, struct flow *flow) {
        struct recall *recall = recall_new();
        struct recalled *recalled = recall_take(recall, "k3f7", "vda", NULL);
        struct coding coding = {0};
        struct rate rate;
        rate_init(&rate, 0, &line_clock);
        memset(&asked, 0, sizeof asked);
        flow_set_pipeline(flow, pipeline_new(PARCELS));
        atomic_store(&flow->rate, 1u << 20); // everything is asked
        talk_init(&asked.talk, flow, NULL, "the sink");
        source_init(&asked.source, &source_ops, IMAGE);
        asked.flow = flow;
        asked.asker = asking_new(flow, &asked.talk, &asked.source, &coding, recalled, &rate);
        bool good = true;
        while (good && !line_ended(line))
                good = one_step(line);
        check_settled(good);
        asked.asker->ops->free(asked.asker);
        talk_fini(&asked.talk);
        rate_fini(&rate);
        recalled_free(recalled);
        recall_free(recall);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (size < 1)
                return 0;
        struct line line = {data + 1, data + size};
        struct flow flow;
        flow_init(&flow, "vda", NULL, &line_clock);
        if (data[0] & 1)
                fuzz_asking(&line, &flow);
        else
                fuzz_have(&line, &flow);
        flow_fini(&flow);
        return 0;
}
