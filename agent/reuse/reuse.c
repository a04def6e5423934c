// SPDX-License-Identifier: LGPL-2.1-or-later
/* The candidates and the index of one transfer (see reuse.h). */
#include "agent/reuse/names.h"
#include "agent/reuse/reuse_parts.h"
#include "common/memory.h"
#include <stdlib.h>
#include <unistd.h>

#define INDEX_AFTER 128 // pieces that were looked for

struct reuse *reuse_new(const int *fds, unsigned n, const struct reuse_config *config) {
        struct reuse *reuse = new (struct reuse);
        for (unsigned i = 0; i < n; i++) {
                if (reuse->n == REUSE_CANDIDATES_MAX)
                        close(fds[i]);
                else if (candidate_open(&reuse->candidates[reuse->n], fds[i], reuse->n, NULL) == 0)
                        reuse->n++;
        }
        pthread_mutex_init(&reuse->mutex, NULL);
        reuse->tags = tags_new(config->index_bytes ? config->index_bytes : REUSE_INDEX_BYTES);
        reuse->building = (struct builder_config){
                .candidates = reuse->candidates,
                .n = reuse->n,
                .tags = reuse->tags,
                .shelf = config->shelf,
                .rate = config->index_rate ? config->index_rate : REUSE_INDEX_RATE,
        };
        return reuse;
}

void reuse_free(struct reuse *reuse) {
        if (!reuse)
                return;
        builder_stop(reuse->builder);
        if (reuse->building.shelf)
                shelf_trim(reuse->building.shelf);
        for (unsigned i = 0; i < reuse->n; i++)
                candidate_close(&reuse->candidates[i]);
        tags_free(reuse->tags);
        pthread_mutex_destroy(&reuse->mutex);
        free(reuse);
}

bool reuse_any(const struct reuse *reuse) {
        return reuse->n > 0;
}

// Where a copy of the image stands, reading all the others for an index only keeps the disk from its work. What is
// alike counts as known until its grains have been compared, and then as far as they were the same.
static void judge(struct reuse *reuse) {
        uint64_t pieces = atomic_load(&reuse->pieces), grains = atomic_load(&reuse->grains);
        uint64_t known = (atomic_load(&reuse->found) + atomic_load(&reuse->alike)) * NAMES_GRAINS;
        known = known + atomic_load(&reuse->same) - (grains < known ? grains : known);
        if (pieces >= INDEX_AFTER && known * 4 < pieces * NAMES_GRAINS * 3)
                reuse_begin(reuse);
}

void reuse_learn(struct reuse *reuse, unsigned named, unsigned found, unsigned alike) {
        atomic_fetch_add(&reuse->pieces, named);
        atomic_fetch_add(&reuse->found, found);
        atomic_fetch_add(&reuse->alike, alike);
        judge(reuse);
}

void reuse_learn_grains(struct reuse *reuse, unsigned compared, unsigned same, unsigned wrong) {
        atomic_fetch_add(&reuse->grains, compared);
        atomic_fetch_add(&reuse->same, same);
        atomic_fetch_add(&reuse->wrong, wrong);
        judge(reuse);
}

void reuse_begin(struct reuse *reuse) {
        if (reuse->n == 0 || atomic_load_explicit(&reuse->begun, memory_order_relaxed))
                return;
        pthread_mutex_lock(&reuse->mutex);
        if (!atomic_exchange(&reuse->begun, true))
                reuse->builder = builder_start(&reuse->building);
        pthread_mutex_unlock(&reuse->mutex);
}

void reuse_counts(const struct reuse *reuse, struct reuse_counts *ret) {
        *ret = (struct reuse_counts){
                .pieces = atomic_load(&reuse->pieces),
                .found = atomic_load(&reuse->found),
                .indexed = atomic_load(&reuse->indexed),
                .grains = atomic_load(&reuse->grains),
                .same = atomic_load(&reuse->same),
                .wrong = atomic_load(&reuse->wrong),
        };
}
