// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Answering what a source asks (asker.h): the sink's half.
 *
 * How it is plugged in: the caller of transfer_receive() gives an answerer with its target when there is something to
 * look in; begin() is called when the transfer stands. The conversation's thread hands in each DataNames; the answerer
 * looks on threads of its own and says what it lacks with talk_post(). A block of which nothing is lacking it hands on
 * as if it had come; of another one it writes what it has found, before it says what it lacks. When a block with
 * `answered` comes, the stream's thread asks for the rest: recover() tells which pieces are written, with their hashes,
 * and fills the parcel's buffer at the others except for the grains that came, which are there already. If that cannot
 * be done any more (the image it was found in has changed), it returns 0 and has asked again, for everything that is
 * not written; the parcel is dropped and the block comes once more.
 */
#include "agent/transfer/flow.h"

struct answerer;
struct talk;
struct receiving;
struct answerer_ops {
        int (*begin)(struct answerer *answerer, struct receiving *receiving, struct talk *talk, struct error *err);
        int (*ask)(struct answerer *answerer, const Drover__DataNames *names, struct error *err); // the conversation
        // 1: the buffer holds the block but for the pieces in *ret; 0: it will come again; -1. A stream.
        int (*recover)(struct answerer *answerer, struct parcel *parcel, struct digest_known *ret, struct error *err);
        // What was recovered is in the digest: it is settled, and not before, so that nobody names it again meanwhile.
        int (*added)(struct answerer *answerer, uint64_t offset, struct error *err);
        bool (*is_out)(struct answerer *answerer, uint64_t offset); // the block was named and is not settled. A stream
        // At the image's end: nothing is out. Zeros, or blocks that are kept, may have been said to be where something
        // was named and, as far as it was found, written.
        int (*check_settled)(struct answerer *answerer, struct error *err);
        void (*end)(struct answerer *answerer); // its thread ends; the flow has stopped or all has come
};
struct answerer { // the beginning of the answerer's own struct
        const struct answerer_ops *ops;
};
