// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What sending and receiving have in common: the order opened, the path had, the result made. Owned by the call of
 * transfer_send() or transfer_receive().
 */
#include "agent/transfer/path.h"

struct copy {
        struct transfers *transfers;
        struct order order;
        struct flow flow;
        struct channel *channels[FLOW_STREAMS_MAX];
        bool entered;
        struct running *running; // the source's
};
// Until both ends have accepted every stream. copy_close() in every case. running: the source's, NULL for a sink; its
// rate can be changed from the first moment on.
int copy_open(struct copy *copy, struct transfers *transfers, const Drover__TransferOrder *message, const char *disk,
              struct running *running, const struct transfer_observer *observer, struct error *err);
void copy_close(struct copy *copy);
Drover__TransferResult *copy_result(struct flow *flow, const uint8_t digest[DIGEST_BYTES]);
