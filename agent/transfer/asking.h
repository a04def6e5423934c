// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The asker of a transfer over the network (asker.h says how it is plugged in): names blocks, in batches, and sends
 * what the sink lacks of them. What is out (named and not settled) lies within ASKING_SPAN blocks, and none of it is
 * kept: what the sink lacks is read a second time. Every block that was named is settled in the end: the sink says so.
 */
#include "agent/blocks/source.h"
#include "agent/transfer/asker.h"
#include "agent/transfer/coding.h"
#include "agent/transfer/rate.h"
#include "agent/transfer/recall.h"
#include "agent/transfer/talk.h"

#define ASKING_SPAN  192u // blocks; less than DIGEST_EARLY_MAX, or the sink's digest would wait for what it waits for
#define ASKING_BATCH 8u   // blocks in a message

// The source is asked from the readers' threads. free it by its ops.
// `recalled` keeps what the link takes for the next attempt. What is asked counts as sent, at the rate.
struct asker *asking_new(struct flow *flow, struct talk *talk, struct source *source, const struct coding *coding,
                         struct recalled *recalled, struct rate *rate);
