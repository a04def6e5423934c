// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Fills the index while a transfer runs: a thread of its own, of low priority for processor and disk, that reads the
 * candidates one after another, likeliest first, no faster than it may. What it learns goes into the tags at once, and
 * into the image's book while the image has not changed. Owned by a reuse.
 */
#include "agent/reuse/candidate.h"
#include "agent/reuse/shelf.h"
#include "agent/reuse/tags.h"

struct builder;
struct builder_config {
        struct candidate *candidates; // outlive the builder, like the rest
        unsigned n;
        struct tags *tags;
        struct shelf *shelf; // NULL: nothing is kept
        uint64_t rate;       // bytes a second; 0: no bound
};
// NULL when no thread can be had: then there is no index.
struct builder *builder_start(const struct builder_config *config);
bool builder_finished(const struct builder *builder);  // all candidates read, or the tags are full
uint64_t builder_bytes(const struct builder *builder); // read so far
void builder_stop(struct builder *builder);            // within a block's time; NULL is fine
