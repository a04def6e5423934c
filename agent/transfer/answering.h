// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The answerer of a transfer from another host (answerer.h says how it is plugged in): four threads look for what the
 * source names (agent/reuse/finder). What is found of a block that lacks something is written before the source is told
 * what is lacking, so that no block waits in memory and nothing is read twice, but for pieces that are alike. Every
 * block that was named is settled in the end: the source is told. Owned by whoever calls transfer_receive(), as is the
 * reuse.
 */
#include "agent/reuse/reuse.h"
#include "agent/transfer/answerer.h"

struct answerer *answering_new(struct reuse *reuse);
void answering_free(struct answerer *answerer); // after the transfer; NULL is fine
