// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* What reuse.c and finder.c share; for nobody else. */
#include "agent/reuse/builder.h"
#include "agent/reuse/reuse.h"
#include <pthread.h>

_Static_assert(REUSE_CANDIDATES_MAX <= TAGS_CANDIDATES_MAX, "a place names its candidate");

struct reuse {
        struct candidate candidates[REUSE_CANDIDATES_MAX];
        unsigned n;
        struct tags *tags;
        struct builder_config building;
        pthread_mutex_t mutex;   // of builder
        struct builder *builder; // from the first search on
        atomic_bool begun;
        atomic_uint_least64_t pieces, found, alike, indexed, grains, same, wrong;
};
// Counts; and begins to build the index when too little is found without it.
void reuse_learn(struct reuse *reuse, unsigned named, unsigned found, unsigned alike);
void reuse_learn_grains(struct reuse *reuse, unsigned compared, unsigned same, unsigned wrong);
void reuse_begin(struct reuse *reuse); // to build the index
