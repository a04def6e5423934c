// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What sending and receiving have in common: the order opened, the path had, the streams run, the peer told why if it
 * ends badly, the result made. Owned by the call of transfer_send() or transfer_receive().
 */
#include "agent/transfer/path.h"

#define COPY_LEAF 16384u // what travels of a block, or does not because it is zeros

struct copy {
        struct transfers *transfers;
        struct order order;
        struct flow flow;
        struct channel *channels[FLOW_STREAMS_MAX];
        bool entered;
};
// Until both ends have accepted every stream. copy_close() in every case.
int copy_open(struct copy *copy, struct transfers *transfers, const Drover__TransferOrder *message, const char *disk,
              bool source, const struct transfer_observer *observer, struct error *err);
void copy_close(struct copy *copy);
// A stream failed: keep the reason, and have the peer told.
void copy_fail_stream(struct copy *copy, unsigned stream, const struct error *why);
// All streams: the peer is told why.
void copy_say_why(struct copy *copy, const struct error *why);
Drover__TransferResult *copy_result(struct copy *copy, const uint8_t hash[DIGEST_BYTES]);
size_t copy_leaves(size_t length);                 // of a block of this length
uint64_t copy_pieces(const struct grains *grains); // which leaves hold something
struct grains copy_grains(uint64_t pieces);        // the grains of these leaves
