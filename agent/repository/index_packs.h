// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The numbers that the index gives to packs, so that a record needs 4 bytes and not 16. Kept in a file of its own,
 * packs-GENERATION: a log of what was added and removed, of which the manifest says how much counts. A number is given
 * again only when no record can bear it any more. No lock of its own; states change under the index's.
 */
#include "common/error.h"
#include <stdbool.h>
#include <stdint.h>

enum index_pack_state {
        INDEX_PACK_FREE,  // no such number
        INDEX_PACK_TABLE, // its names are in memory only
        INDEX_PACK_LIVE,  // in segments, and known on disk
        INDEX_PACK_GONE,  // removed; segments may still hold its records
};
struct index_pack {
        uint8_t id[16];
        uint32_t entries; // of a free one: the next free one + 1
        uint8_t state;
        uint8_t unlogged; // the log does not say yet that it is gone
        uint8_t dying;    // the merge that is under way drops the last of its records
};
struct index_packs {
        struct index_pack *packs;
        uint32_t n, capacity, free;
        uint32_t *slots; // number + 1 of packs, by id
        uint32_t n_slots, n_entered;
        uint64_t seed;
        uint32_t live;       // packs in TABLE and LIVE
        uint64_t gone;       // records of packs that are GONE, at most: merges drop some before
        uint32_t generation; // of the log, 0: none yet
        uint32_t logged;     // entries in it
};
void index_packs_init(struct index_packs *packs);
void index_packs_fini(struct index_packs *packs);
// The number of one in TABLE or LIVE.
bool index_packs_find(const struct index_packs *packs, const uint8_t id[16], uint32_t *ret_number);
bool index_packs_counts(const struct index_packs *packs, uint32_t number);   // in TABLE or LIVE
bool index_packs_unlogged(const struct index_packs *packs, uint32_t number); // GONE, and the log says LIVE
// ERROR_TOO_LARGE: there are INDEX_PACKS_MAX.
int index_packs_add(struct index_packs *packs, const uint8_t id[16], uint32_t entries, uint32_t *ret_number,
                    struct error *err);
void index_packs_remove(struct index_packs *packs, uint32_t number);
void index_packs_mark(struct index_packs *packs); // those that are gone from segments: dying
// The names in memory are in a segment and the log says so.
void index_packs_flushed(struct index_packs *packs, uint32_t logged);
void index_packs_bury(struct index_packs *packs); // after logging anew: what is dying is free
// Log what it lacks behind what it has; synced. *ret_logged: how many entries count then.
int index_packs_log(struct index_packs *packs, int directory_fd, uint32_t *ret_logged, struct error *err);
// A log of the next generation without what is dying, and without what is in memory only; synced.
int index_packs_log_anew(struct index_packs *packs, int directory_fd, uint32_t generation, uint32_t *ret_logged,
                         struct error *err);
int index_packs_load(struct index_packs *packs, int directory_fd, uint32_t generation, uint32_t logged,
                     struct error *err);
bool index_packs_generation_of(const char *file, uint32_t *ret_generation);
void index_packs_unlink(int directory_fd, uint32_t generation);
