// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A stream of a receiver: takes what its connection brings, checks it, and puts it into the pipeline for the writers.
 * Nothing is written that was not checked, and nothing twice. receiving_work() is the stream's thread.
 */
#include "agent/transfer/answerer.h"
#include "agent/transfer/channel.h"
#include "agent/transfer/writers.h"

struct receiving { // what the streams of a receiver share
        struct flow *flow;
        struct writers *writers;   // which have begun when it has
        struct answerer *answerer; // NULL: nothing else to look in
        atomic_uint running;       // streams on which more may come
        pthread_mutex_t mutex;     // of what follows
        pthread_cond_t changed;
        bool begun;
};
void receiving_init(struct receiving *receiving, struct flow *flow, struct writers *writers, unsigned streams);
void receiving_fini(struct receiving *receiving);
void receiving_begin(struct receiving *receiving); // the conversation: length, digest and record are there
// A block of which all was found here, by its pieces' names, is in the parcel's buffer: gives it its hash and hands it
// on. The parcel is gone on success.
int receiving_found(struct receiving *receiving, struct parcel *parcel, struct error *err);
// Of a block these pieces were found, and the others not yet: writes them, and tells their hashes.
int receiving_part(struct receiving *receiving, struct parcel *parcel, uint16_t pieces, struct digest_known *ret,
                   struct error *err);
void receiving_work(struct receiving *receiving, struct channel *channel, unsigned stream); // from 0; fails the flow
