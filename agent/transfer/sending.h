// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A stream of a sender: takes parcels out of the pipeline, codes them, and sends them at the rate that is allowed.
 * sending_code() and sending_work() are the stream's two threads; between them is the queue.
 */
#include "agent/transfer/coded.h"
#include "agent/transfer/coding.h"
#include "agent/transfer/rate.h"
#include "agent/transfer/recall.h"

struct sending {
        struct flow *flow;
        struct coding *coding;
        struct rate *rate;
        struct recalled *recalled; // NULL: nothing is remembered
        struct channel *channel;
        struct coded_queue *queue;
        unsigned stream;   // from 0
        atomic_uint *sent; // streams that have sent all that there is; the conversation is woken
};
// Both fail the flow.
void sending_code(const struct sending *sending);
void sending_work(const struct sending *sending);
