// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What else this host has that may hold the content of an image that is received, made ready to answer the source's
 * questions with. Blocking, on the verb's thread.
 */
#include "agent/host/custody.h"
#include "agent/reuse/reuse.h"
#include "agent/transfer/answerer.h"

struct other_content {
        struct reuse *reuse;
        struct answerer *answerer; // NULL: there is nothing
};
// Never fails: without it all of the image comes over the network.
void other_content_find(const struct custody *custody, struct shelf *shelf, const Drover__TransferReceive *receive,
                        const char *item, struct other_content *ret);
void other_content_fini(struct other_content *other);
