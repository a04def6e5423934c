// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What of a stream has been coded and waits for the network: a queue between the thread that codes and the one that
 * sends. Some parts of an image take ten times as long to code as they take to travel, others the other way round; as
 * long as the queue holds something, the link is busy while the coder catches up. Bounded in bytes; what travels plain
 * stays in its parcel, and few of these may wait, for the other streams have use for them. Owned by one stream.
 */
#include "agent/transfer/flow.h"
#include "proto/codec.h"

#define CODED_BYTES_MAX (4u << 20) // coded bytes that wait; one block may be more
#define CODED_PLAIN_MAX 2u         // parcels that wait as they are

struct coded_block {
        struct coded_block *next;
        struct parcel what; // what is said of it; the buffer is not ours any more unless it is `plain`
        struct parcel
                *plain; // whose bytes travel as they are, or which has none; given back once it has gone. NULL: coded
        Drover__DataCoding coding;
        uint8_t *bytes; // coded; the block's own
        size_t length;  // of what travels
};
struct coded_queue;
struct coded_queue *coded_new(struct flow *flow);
void coded_free(struct coded_queue *queue); // NULL is fine; with what is still in it, whose parcels go back
struct coded_block *coded_block_plain(struct parcel *parcel, size_t length);
struct coded_block *coded_block_coded(const struct parcel *parcel, Drover__DataCoding coding, const uint8_t *bytes,
                                      size_t length);                        // copies them
void coded_block_free(struct coded_block *block, struct pipeline *pipeline); // and its parcel goes back
// Takes the block over; waits for room. false: the flow has stopped, and the block is gone.
bool coded_put(struct coded_queue *queue, struct coded_block *block);
void coded_close(struct coded_queue *queue);                  // nothing more will be put
struct coded_block *coded_get_now(struct coded_queue *queue); // NULL: none at the moment
struct coded_block *coded_get(
        struct coded_queue *queue); // waits for the next. NULL: there is none any more, or the flow has stopped
