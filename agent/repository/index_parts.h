// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* What the files of the index share, and nobody else includes. */
#include "agent/repository/index.h"
#include "agent/repository/index_packs.h"
#include "agent/repository/index_table.h"
#include "agent/repository/segment.h"
#include <pthread.h>
#include <stdatomic.h>

#define INDEX_SEGMENTS_MAX 64u // merging keeps them under 40

struct index_merge;
struct index {
        int directory_fd;
        uint8_t repository[16];
        uint32_t table_max;
        pthread_rwlock_t lock; // held to read by who looks, to write by the writer when what is below changes
        struct index_table table;
        struct index_packs packs;
        struct segment *segments[INDEX_SEGMENTS_MAX]; // the oldest first
        uint32_t n_segments;
        bool failed;          // a segment could not be opened again: nothing can be said
        bool stale;           // the writer's: what is on disk is not known for sure
        uint32_t next_number; // the writer's: of a segment
        struct index_merge *merge;
        atomic_uint_fast64_t lookups, pages, pages_for_nothing;
};

// What is on disk counts from the manifest on. On failure it is as before, unless index->stale is set.
struct index_manifest {
        uint32_t generation, logged, next_number, n_segments;
        struct segment_head segments[INDEX_SEGMENTS_MAX];
};
int index_manifest_write(struct index *index, const struct index_manifest *manifest, struct error *err);
// ret_there false: there is none.
int index_manifest_read(struct index *index, struct index_manifest *ret, bool *ret_there, struct error *err);
// Remove what the manifest (NULL: none) does not name.
int index_manifest_sweep(int directory_fd, const struct index_manifest *manifest, struct error *err);

bool index_wanted(void *index, const struct segment_record *record); // its pack counts
int index_check_stale(const struct index *index, struct error *err);
void index_merge_free(struct index_merge *merge); // what it wrote goes; NULL is fine
