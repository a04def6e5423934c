// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The writers of a transfer, which take parcels out of the pipeline and write them, and the syncer, which makes sure of
 * them every second and says so in the record of verified blocks. They outlast the transfer's failure: what has come is
 * written and recorded, unless the disk itself has failed. Owned by one transfer.
 */
#include "agent/blocks/sink.h"
#include "agent/blocks/verified.h"
#include "agent/transfer/flow.h"

#define WRITERS_COUNT   2u
#define WRITERS_THREADS (WRITERS_COUNT + 1)
#define WRITERS_SYNC_MS 1000u

struct writers {
        struct flow *flow;
        struct sink *sink;
        struct verified *verified; // NULL: nothing is remembered
        bool fresh;
        atomic_bool begun;     // record and sink are ready
        atomic_bool settled;   // all is written, synced and recorded
        pthread_mutex_t mutex; // of what follows
        pthread_cond_t changed;
        unsigned running; // writers
        bool wanted;      // to begin, with this:
        uint64_t bytes;
        int verified_fd;
        const char *image;
};
void writers_init(struct writers *writers, struct flow *flow, struct sink *sink);
void writers_fini(struct writers *writers);
// The image's length is known: opens the record, makes the sink ready. fd as in transfer_target.
int writers_begin(struct writers *writers, uint64_t bytes, int verified_fd, const char *image, struct error *err);
// The same on the syncer's thread, because a disk may take its time; the conversation is woken when it has begun.
void writers_want(struct writers *writers, uint64_t bytes, int verified_fd, const char *image);
// From any thread, once it has begun: writes these pieces of a block, of which the others come later. It is not
// recorded before they have, as a parcel that has these in `written`; when that is put, this has to be over.
int writers_part(struct writers *writers, const struct parcel *parcel, uint16_t pieces, struct error *err);
// Thread n of WRITERS_THREADS: the last one is the syncer. Fails the flow; wakes the conversation when all is settled.
void writers_work(struct writers *writers, unsigned n);
