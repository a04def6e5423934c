// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What the sink has verified before this attempt, as the source's readers ask for it: block by block in ascending
 * order. Over the network it comes in messages, while the readers are at work already: they wait for the part that they
 * need, and what they have passed is dropped, so memory is bounded. On one host the record itself is asked. Owned by
 * one transfer; one thread adds, one at a time asks.
 */
#include "agent/blocks/verified.h"
#include "agent/transfer/flow.h"

#define HAVE_QUEUE_MAX 64u // messages that wait for the readers

struct have;
struct have *have_new(struct flow *flow, uint64_t bytes); // filled by have_add()
struct have *have_of(struct verified *verified);          // a sink on this host
struct have *have_none(void);                             // it has nothing
void have_free(struct have *have);                        // NULL is fine
// ERROR_PROTOCOL when it does not ascend, or is not of this image.
int have_add(struct have *have, const Drover__DataHave *message, struct error *err);
bool have_full(struct have *have);      // nothing is to be added now; the flow's conversation is woken afterwards
bool have_has_other(struct have *have); // the sink has other images to look in
// Whether the sink has block n; waits until that is known. Blocks in ascending order. -1 when the flow has stopped.
int have_ask(struct have *have, uint64_t n, uint8_t ret[VERIFIED_HASH], struct error *err);
void have_pass(struct have *have, uint64_t n); // no block before n will be asked for any more
