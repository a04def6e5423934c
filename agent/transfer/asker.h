// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Asking first: on a slow link the source names the pieces of a block and sends what the sink lacks of it. This is the
 * source's half; the sink's is answerer.h.
 *
 * How it is plugged in: sender.c makes an asker when the sink has said that it has other images (have_has_other()),
 * and gives it to the readers. A reader offers each block that is to be sent, nearly in order, hashed and counted in
 * the digest. The asker refuses it (it travels whole) or takes it, names it to the sink with talk_post(), and gives its
 * parcel back; the conversation's thread hands in each answer. What the sink lacks the asker reads again and puts into
 * the flow's pipeline, with `answered` set and `grains` reduced to what is to travel. Before the image's end settle()
 * waits until nothing is out (flow_tick(), so that a flow that stops is noticed).
 */
#include "agent/transfer/flow.h"

struct asker;
struct asker_ops {
        // A reader; true: the parcel is the asker's. Every parcel passes here, ranges of zeros and what is kept as
        // well, so that none goes too far ahead of what is out.
        bool (*offer)(struct asker *asker, struct parcel *parcel);
        int (*answer)(struct asker *asker, const Drover__DataWants *wants, struct error *err); // the conversation
        int (*settle)(struct asker *asker, struct error *err);                                 // the last reader
        void (*free)(struct asker *asker); // gives back what it still has
};
struct asker { // the beginning of the asker's own struct
        const struct asker_ops *ops;
};
