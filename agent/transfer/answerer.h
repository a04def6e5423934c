// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Answering what a source asks (asker.h): the sink's half.
 *
 * How it is plugged in: the caller of transfer_receive() gives an answerer with its target when there is something to
 * look in; begin() is called when the transfer stands. The conversation's thread hands in each DataNames; the answerer
 * looks on a thread of its own and says what it lacks with talk_post(). A block of which nothing is lacking it takes
 * through receiving_complete() as if it had come. When a block with `answered` comes, the stream's thread asks for what
 * was found: recover() fills the parcel's buffer except for the grains that came, which are there already, and those
 * that are zeros. If that cannot be done any more (the image it was found in has changed), it returns 0 and has asked
 * for the block again, whole; the parcel is dropped and the block comes once more.
 */
#include "agent/transfer/flow.h"

struct answerer;
struct talk;
struct receiving;
struct answerer_ops {
        int (*begin)(struct answerer *answerer, struct receiving *receiving, struct talk *talk, struct error *err);
        int (*ask)(struct answerer *answerer, const Drover__DataNames *names, struct error *err); // the conversation
        // 1: the buffer holds the whole block; 0: it will come again; -1. A stream.
        int (*recover)(struct answerer *answerer, struct parcel *parcel, struct error *err);
        void (*end)(struct answerer *answerer); // its thread ends; the flow has stopped or all has come
};
struct answerer { // the beginning of the answerer's own struct
        const struct answerer_ops *ops;
};
