// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A stream of a sender: takes parcels out of the pipeline, codes them, and sends them at the rate that is allowed.
 * sending_work() is the stream's thread.
 */
#include "agent/transfer/coding.h"
#include "agent/transfer/rate.h"
#include "agent/transfer/recall.h"

struct sending {
        struct flow *flow;
        struct coding *coding;
        struct rate *rate;
        struct recalled *recalled; // NULL: nothing is remembered
        struct channel *channel;
        unsigned stream; // from 0
};
void sending_work(const struct sending *sending); // fails the flow
