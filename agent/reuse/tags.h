// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The index in memory: where a piece of this name may stand. 8 bytes an entry (a tag of 32 bits, candidate and piece
 * number), open addressing; it doubles as it fills, up to its bound, and then takes no more. A wrong entry, and two
 * names with one tag, cost the read of a piece. Thread-safe.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TAGS_CANDIDATES_MAX 32u
#define TAGS_PIECES_MAX     (1u << 27) // of a candidate: 8 TiB; pieces beyond are not remembered

struct tags_place {
        unsigned candidate;
        uint64_t piece; // its number: offset / BLOCKS_PIECE
};
struct tags;
struct tags *tags_new(size_t bytes_max);    // of the table; at least 4 KiB
void tags_free(struct tags *tags);          // NULL is fine
uint32_t tags_of_name(const uint8_t *name); // never 0
// The first place of a tag counts. false: full.
bool tags_add(struct tags *tags, uint32_t tag, const struct tags_place *place);
bool tags_find(struct tags *tags, uint32_t tag, struct tags_place *ret);
// What stood there is something else by now; another place may be told later.
void tags_remove(struct tags *tags, uint32_t tag, const struct tags_place *place);
size_t tags_count(struct tags *tags);
size_t tags_bytes(struct tags *tags);
