// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The compressed blocks of a stream (fault 55): whatever comes, in portions of whatever size, only the grains that were
 * announced are written, no more memory is held than the stream may have, and the portions make no difference. What our
 * own coder has made comes back, and is not taken for a byte more or less than it is.
 *
 * First byte: how far the stream reaches, and whether the blocks are coded by ourselves. Then steps, each with a header
 * of STEP bytes: a kind, the block's length, a portion, how many bytes follow, how many bytes of grains before them.
 */
#include "agent/transfer/coder.h"
#include <sanitizer/allocator_interface.h>
#include <stdlib.h>
#include <string.h>

#define STEP  8u
#define OWN   (1u << 20) // what a decoder has beside its window: tables, and a block of zstd coming in and going out
#define EMPTY 0xa5       // in grains that nobody sends
#define LONG  (9u * BLOCKS_GRAIN)

enum { FAR = 1, OURS = 2 }; // of the first byte
enum { KIND_BEGINS = 1, KIND_SPOILT = 4, KIND_MASK = 8, KIND_SHORTER = 16 };

struct step {
        unsigned kind;
        size_t length, portion, n;
        struct grains grains;
        const uint8_t *bytes;
        bool begins;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool holds) {
        if (!holds)
                abort();
}

// ---- grains
// As they travel, there and back; and the runs are what the single grains say.
static void check_grains(const struct grains *grains, size_t length) {
        uint8_t packed[GRAINS_BYTES];
        struct grains again;
        struct grains_run run;
        size_t bytes = 0, last = 0;
        grains_pack(grains, packed);
        grains_unpack(&again, packed, sizeof packed);
        need(memcmp(grains, &again, sizeof again) == 0);
        for (size_t i = 0; i < grains_count(length); i++) {
                size_t begin = i * BLOCKS_GRAIN, left = length - begin;
                bytes += grains_has(grains, i) ? left < BLOCKS_GRAIN ? left : BLOCKS_GRAIN : 0;
        }
        need(grains_bytes(grains, length) == bytes);
        for (size_t at = 0; grains_next(grains, length, true, &at, &run); last = run.end) {
                need(run.begin >= last && run.end > run.begin && run.end <= length);
                bytes -= run.end - run.begin;
        }
        need(bytes == 0);
}

static void check_content(const struct step *step, const uint8_t *block, const uint8_t *expected) {
        static uint8_t untouched[BLOCKS_GRAIN];
        memset(untouched, EMPTY, sizeof untouched);
        for (size_t i = 0; i < grains_count(step->length); i++) {
                size_t begin = i * BLOCKS_GRAIN, left = step->length - begin;
                size_t n = left < BLOCKS_GRAIN ? left : BLOCKS_GRAIN;
                if (!grains_has(&step->grains, i))
                        need(memcmp(block + begin, untouched, n) == 0);
                else
                        need(!expected || memcmp(block + begin, expected + begin, n) == 0);
        }
}

// ---- one step
static bool next_step(const uint8_t **data, size_t *size, struct step *ret) {
        const uint8_t *at = *data;
        if (*size < STEP)
                return false;
        ret->kind = at[0];
        ret->length = 1 + (size_t) (at[1] | at[2] << 8) * 3 % LONG;
        ret->portion = 1 + (size_t) at[3] * at[3];
        ret->n = (size_t) (at[4] | at[5] << 8);
        size_t mask = ret->kind & KIND_MASK ? at[6] % (GRAINS_BYTES + 2u) : 0;
        ret->begins = ret->kind & KIND_BEGINS;
        *data += STEP;
        *size -= STEP;
        if (mask > *size)
                mask = *size;
        if (ret->kind & KIND_MASK)
                grains_unpack(&ret->grains, *data, mask);
        else
                grains_fill(&ret->grains, ret->length);
        *data += mask;
        *size -= mask;
        if (ret->n > *size)
                ret->n = *size;
        ret->bytes = *data;
        *data += ret->n;
        *size -= ret->n;
        return true;
}

struct ends {
        enum coder_reach reach;
        struct coder *coder;
        struct decoder *decoder, *other;
};

static int take(struct decoder *decoder, const struct step *step, size_t portion, uint8_t *block, struct error *err) {
        if (decoder_begin(decoder, step->begins, block, step->length, &step->grains, err) < 0)
                return -1;
        for (size_t at = 0; at < step->n; at += portion)
                if (decoder_take(decoder, step->bytes + at, step->n - at < portion ? step->n - at : portion, err) < 0)
                        return -1;
        return decoder_end(decoder, err);
}

// Both decoders, the other one with all at once. false: refused.
static bool decode(struct ends *ends, const struct step *step, const uint8_t *expected) {
        struct error why = ERROR_INIT;
        uint8_t *block = malloc(step->length), *other = malloc(step->length); // exactly: what lies behind is watched
        memset(block, EMPTY, step->length);
        memset(other, EMPTY, step->length);
        size_t held = __sanitizer_get_current_allocated_bytes();
        int result = take(ends->decoder, step, step->portion, block, &why);
        size_t holds = __sanitizer_get_current_allocated_bytes();
        need(holds <= held || holds - held <= (1ul << ends->reach) + OWN);
        need(result == 0 || (why.code == ERROR_PROTOCOL && *why.message));
        need(take(ends->other, step, step->n ? step->n : 1, other, NULL) == result);
        need(result == 0 || !expected);
        check_content(step, block, expected);
        check_content(step, other, result == 0 ? block : NULL);
        free(block);
        free(other);
        return result == 0;
}

// The bytes are what our coder is given; the block is then as it was, spoilt, or a byte longer than was announced.
static bool code_and_decode(struct ends *ends, struct step *step) {
        static uint8_t spoilt[CODER_BYTES_MAX];
        uint8_t *block = malloc(step->length);
        const uint8_t *expected = block, *coded;
        for (size_t i = 0; i < step->length; i++)
                block[i] = step->n ? (uint8_t) (step->bytes[i % step->n] + i / 997) : 0;
        unsigned level = 1 + step->kind / 32 % 4;
        need(coder_code(ends->coder, level, CODER_NEAR, block, step->length, &step->grains, &coded, &step->n,
                        &step->begins, NULL) == 0 &&
             step->n <= CODER_BYTES_MAX);
        step->bytes = memcpy(spoilt, coded, step->n);
        if (step->kind & KIND_SPOILT && step->n > 0) {
                spoilt[step->portion % step->n] ^= (uint8_t) (1 + step->kind);
                expected = NULL;
        }
        bool shorter = step->kind & KIND_SHORTER && step->length > 1 &&
                       grains_has(&step->grains, (step->length - 1) / BLOCKS_GRAIN);
        if (shorter && (step->length - 1) % BLOCKS_GRAIN) {
                step->length--;
                need(!decode(ends, step, NULL) || !expected);
                free(block);
                return false;
        }
        bool whole = decode(ends, step, step->n > 0 ? expected : NULL);
        free(block);
        return whole && expected;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct step step;
        if (size < 1)
                return 0;
        bool ours = data[0] & OURS;
        struct ends ends = {.reach = data[0] & FAR ? CODER_FAR : CODER_NEAR, .coder = coder_new()};
        ends.decoder = decoder_new(ends.reach);
        ends.other = decoder_new(ends.reach);
        data++;
        size--;
        for (bool goes_on = true; goes_on && next_step(&data, &size, &step);) {
                if (!grains_within(&step.grains, step.length))
                        break;
                check_grains(&step.grains, step.length);
                goes_on = ours ? code_and_decode(&ends, &step) : decode(&ends, &step, NULL);
        }
        coder_free(ends.coder);
        decoder_free(ends.decoder);
        decoder_free(ends.other);
        return 0;
}
