// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * How a stream begins, once TLS stands: the side that is the TLS client shows the ticket, the other checks it and
 * accepts or says why not. Nothing of an image has been sent before that. For the thread that holds the channel.
 */
#include "agent/transfer/channel.h"
#include "agent/transfer/order.h"

// Shows the order's ticket and waits for the answer. "refused: the ticket is for disk vda, not for vdb".
int hello_show(struct channel *channel, const struct order *order, unsigned stream, struct error *err);
// The peer's hello: its version checked, its numbers within bounds. proto_free() the envelope.
int hello_hear(struct channel *channel, Drover__DataEnvelope **ret, struct error *err);
int hello_accept(struct channel *channel, struct error *err);
