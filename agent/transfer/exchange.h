// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The exchange: where transfers that wait for their peer meet the connections that come in. An incoming connection gets
 * a short-lived thread that does the TLS handshake, hears the hello and finds whom it is for; a transfer waits on its
 * own thread. The two ends of a transfer are ordered at about the same time, so either may be first.
 */
#include "agent/transfer/channel.h"
#include "agent/transfer/order.h"
#include "agent/transfer/rate.h"
#include "agent/transfer/recall.h"

#define EXCHANGE_PATIENCE_MS 5000u // how long an incoming connection waits for the order that it belongs to
#define EXCHANGE_CALL_MS     4000u // how long a transfer waits for the first connection of its peer
#define EXCHANGE_CALLS_LEAST 12u   // connections that one address may begin at a time: all streams of four copies

// The agent as it is now; ERROR_CONFLICT before it has joined.
void exchange_standing(struct transfers *transfers, struct standing *ret);
const struct clock *exchange_clock(const struct transfers *transfers);
// A transfer begins and ends; ERROR_BUSY beyond the configured number.
int exchange_enter(struct transfers *transfers, struct error *err);
void exchange_leave(struct transfers *transfers);
// What is under way from this host, so that its rate can be changed. The caller's, from run to stop.
struct running {
        struct running *next;
        const struct order *order;
        struct flow *flow;
        struct rate rate;
};
void exchange_run(struct transfers *transfers, struct running *running, const struct order *order, struct flow *flow);
void exchange_stop(struct transfers *transfers, struct running *running);
struct recall *exchange_recall(struct transfers *transfers);
// Single use of the order's ticket for this stream.
int exchange_use_ticket(struct transfers *transfers, const Drover__Ticket *ticket, unsigned stream, struct error *err);
// Waits until the peer has called once for each stream; the channels are checked, and not yet accepted. On failure
// there are none. ERROR_UNREACHABLE "the source did not call within 4 seconds".
int exchange_await(struct transfers *transfers, const struct order *order, struct flow *flow, struct channel **channels,
                   struct error *err);
// For tests: other waiting times than the two above.
void exchange_set_patience(struct transfers *transfers, uint32_t patience_ms, uint32_t call_ms);
