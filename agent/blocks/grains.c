// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sets of grains (see grains.h). */
#include "agent/blocks/grains.h"
#include <string.h>

// Eight words at a time, so that the compiler makes wide loads of it; most grains hold something in their first ones.
static bool holds_nothing(const uint8_t *bytes, size_t length) {
        size_t at = 0;
        for (; at + 64 <= length; at += 64) {
                uint64_t words[8], all = 0;
                memcpy(words, bytes + at, sizeof words);
                for (unsigned i = 0; i < 8; i++)
                        all |= words[i];
                if (all)
                        return false;
        }
        for (; at < length; at++)
                if (bytes[at])
                        return false;
        return true;
}

size_t grains_count(size_t length) {
        return (length + BLOCKS_GRAIN - 1) / BLOCKS_GRAIN;
}

static size_t grain_end(size_t n, size_t length) {
        size_t end = n * BLOCKS_GRAIN;
        return end < length ? end : length;
}

void grains_find_in(const uint8_t *block, size_t length, uint16_t pieces, struct grains *ret) {
        struct grains found = {0};
        for (size_t i = 0; i < grains_count(length); i++) {
                size_t begin = i * BLOCKS_GRAIN;
                if (pieces >> begin / BLOCKS_PIECE & 1)
                        grains_set(&found, i, !holds_nothing(block + begin, grain_end(i + 1, length) - begin));
        }
        *ret = found;
}

void grains_find(const uint8_t *block, size_t length, struct grains *ret) {
        grains_find_in(block, length, UINT16_MAX, ret);
}

void grains_fill(struct grains *grains, size_t length) {
        memset(grains, 0, sizeof *grains);
        for (size_t i = 0; i < grains_count(length); i++)
                grains_set(grains, i, true);
}

bool grains_empty(const struct grains *grains) {
        uint64_t all = 0;
        for (unsigned i = 0; i < GRAINS_WORDS; i++)
                all |= grains->words[i];
        return !all;
}

bool grains_has(const struct grains *grains, size_t n) {
        return grains->words[n / 64] >> (n % 64) & 1;
}

void grains_set(struct grains *grains, size_t n, bool there) {
        uint64_t bit = 1ull << (n % 64);
        if (there)
                grains->words[n / 64] |= bit;
        else
                grains->words[n / 64] &= ~bit;
}

bool grains_next(const struct grains *grains, size_t length, bool there, size_t *at, struct grains_run *ret) {
        size_t count = grains_count(length), first = *at / BLOCKS_GRAIN;
        while (first < count && grains_has(grains, first) != there)
                first++;
        size_t end = first;
        while (end < count && grains_has(grains, end) == there)
                end++;
        *ret = (struct grains_run){grain_end(first, length), grain_end(end, length)};
        *at = end * BLOCKS_GRAIN;
        return end > first;
}

size_t grains_bytes(const struct grains *grains, size_t length) {
        struct grains_run run;
        size_t bytes = 0;
        for (size_t at = 0; grains_next(grains, length, true, &at, &run);)
                bytes += run.end - run.begin;
        return bytes;
}

bool grains_within(const struct grains *grains, size_t length) {
        for (size_t i = grains_count(length); i < BLOCKS_GRAINS; i++)
                if (grains_has(grains, i))
                        return false;
        return true;
}

void grains_pack(const struct grains *grains, uint8_t ret[GRAINS_BYTES]) {
        for (unsigned i = 0; i < GRAINS_BYTES; i++)
                ret[i] = (uint8_t) (grains->words[i / 8] >> (i % 8 * 8));
}

void grains_unpack(struct grains *grains, const uint8_t *bytes, size_t length) {
        memset(grains, 0, sizeof *grains);
        for (size_t i = 0; i < length && i < GRAINS_BYTES; i++)
                grains->words[i / 8] |= (uint64_t) bytes[i] << (i % 8 * 8);
}
