// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The paths of a transfer, and how its streams come to stand. Who dials is the TLS client and shows the ticket:
 *
 *      direct    the source dials the sink's data port
 *      reverse   the sink dials the source's data port
 *      relay     both dial the controller's port and end the TLS session with it; on what remains, the source is the
 * client
 *
 * A relayed stream: the agent opens TLS with the controller as itself (outer session) and says RelayHello. When both
 * ends of a stream are there, the controller says RelayReady to each and ends the outer session with close_notify; the
 * agent answers with its own. From then on the controller copies the bytes of one connection to the other as they are,
 * and on them stands the inner TLS session between the two agents: the relay never sees plain text, and nothing is
 * encrypted twice.
 *
 * In all three, each end knows the other by its certificate before the ticket is shown, and both check the ticket.
 */
#include "agent/transfer/exchange.h"

#define PATH_RELAY_MS 15000u // how long the other end of a relayed stream may take to come

// Opens order->streams channels, side by side, checked and accepted by both ends. On failure there are none, and the
// flow may have been stopped with the reason.
int path_open(struct transfers *transfers, const struct order *order, struct flow *flow, struct channel **channels,
              struct error *err);
void path_close(const struct order *order, struct channel **channels);
