// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The readers of a transfer: they take the image's ranges in order, read and hash them, leave out what is zero or what
 * the sink has, and put the rest into the pipeline. Owned by one transfer; readers_work() is a reader's thread.
 */
#include "agent/blocks/source.h"
#include "agent/transfer/asker.h"
#include "agent/transfer/have.h"
#include "agent/transfer/recall.h"

#define READERS_THREADS  2u
#define READERS_KEEP_MAX DIGEST_RUN_MAX // blocks in one parcel

struct readers_next { // the next range, and what the sink has of it
        struct source_range range;
        int more; // as source_next()
        bool has;
        uint8_t theirs[DIGEST_HASH], ours[DIGEST_HASH];
        bool kept; // ours is known, and the same
};
struct readers {
        struct flow *flow;
        struct source *source;
        struct have *have;
        struct recalled *recalled;   // NULL: nothing is remembered
        struct asker *_Atomic asker; // NULL: nothing is asked, or it is not known yet whether it could be
        bool versioned;
        uint8_t version[SOURCE_VERSION_BYTES];
        atomic_uint running;
        atomic_bool finished;  // all is in the pipeline or asked for, the digest is complete
        pthread_mutex_t mutex; // of dealing out
        bool holds;
        struct readers_next held;
        uint8_t run[READERS_KEEP_MAX][DIGEST_HASH]; // of the kept blocks that are dealt out
};
// The source's version is taken here: before the first read.
int readers_init(struct readers *readers, struct flow *flow, struct source *source, struct error *err);
void readers_fini(struct readers *readers);
void readers_work(struct readers *readers); // fails the flow; wakes the conversation when it was the last
// Whether the source is as it was when they began; ERROR_STALE otherwise.
int readers_check_version(struct readers *readers, struct error *err);
