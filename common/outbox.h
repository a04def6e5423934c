// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Bytes that wait to be sent, in pieces of one TLS record: appending fills the last piece, so that small frames share a
 * record, and taking from the front moves nothing. An empty outbox holds no memory. Not thread-safe; no bound of its
 * own.
 */
#include <stddef.h>
#include <stdint.h>

#define OUTBOX_PIECE (16u << 10) // RFC 8446 5.1: the most that a record holds
struct outbox_piece;
struct outbox {
        struct outbox_piece *first, *last;
        size_t length;
};
void outbox_append(struct outbox *outbox, const uint8_t *bytes, size_t length);
// The piece at the front, of at most OUTBOX_PIECE bytes; NULL: nothing waits. Valid until the next call.
const uint8_t *outbox_front(const struct outbox *outbox, size_t *ret_length);
void outbox_drop_front(struct outbox *outbox);
void outbox_clear(struct outbox *outbox);
