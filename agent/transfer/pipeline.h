// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Parcels on their way from those that make them to those that use them up: a queue with a fixed set of parcels, each
 * with the buffer of a block. So disks work while the network does, and memory does not depend on the image. Owned by
 * one transfer; any thread. A parcel belongs to who took or got it, until it is put or given back.
 */
#include "agent/blocks/grains.h"
#include "agent/blocks/digest.h"

enum parcel_kind {
        PARCEL_BLOCK, // one block, in the buffer
        PARCEL_ZERO,  // a range that reads as zeros
        PARCEL_KEEP,  // blocks that the sink has verified before
};
struct parcel {
        struct parcel *next;
        enum parcel_kind kind;
        uint64_t offset, length;
        uint8_t *buffer;
        uint8_t hash[DIGEST_HASH]; // of a block
        struct grains grains;      // that hold anything (at the source: that are to be sent)
        bool answered;             // the sink has said what it lacks of it (agent/transfer/asker.h)
        uint16_t written;          // at the sink: pieces that are on the disk already; the buffer has them not
};

struct pipeline;
struct pipeline *pipeline_new(unsigned parcels);
void pipeline_free(struct pipeline *pipeline); // NULL is fine
// An empty one; waits until there is one. NULL when the pipeline has been stopped.
struct parcel *pipeline_take(struct pipeline *pipeline);
void pipeline_put(struct pipeline *pipeline, struct parcel *parcel);
// The next one, in the order in which they were put; waits until there is one. NULL when it is closed or stopped and
// all have been got.
struct parcel *pipeline_get(struct pipeline *pipeline);
struct parcel *pipeline_get_now(struct pipeline *pipeline); // the same without waiting; NULL when there is none now
void pipeline_give_back(struct pipeline *pipeline, struct parcel *parcel);
void pipeline_close(struct pipeline *pipeline); // nothing more will be put
void pipeline_stop(struct pipeline *pipeline);  // nobody makes any more; what was put may still be got
// How long those who get have waited for those who put, and the other way round, in all: who is the slower.
void pipeline_waited(struct pipeline *pipeline, uint64_t *ret_hungry_us, uint64_t *ret_full_us);
