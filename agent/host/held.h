// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The images that jobs have put out of reach (HOLD_FENCED, HOLD_RETIRED, HOLD_REVIVED), and what they are laid over:
 * what a VM that is given back or brought back will need, although no definition may tell of it now. Read afresh by
 * each that asks. Blocking, workers only; a server that is gone is not waited for.
 */
#include "agent/host/image_chain.h"
#include "agent/journal/journal.h"

struct held {
        struct hold hold;
        struct image_chain chain;
};
struct held_images {
        struct journal *journal; // borrowed
        struct held *items;      // those that are laid over something, or may be
        unsigned n;
};
int held_images_read(struct journal *journal, struct held_images *ret, struct error *err);
void held_images_fini(struct held_images *images);
// The one whose name was `path`, if a job has it: 1, 0, -1. The chain is the caller's.
int held_image_at(struct journal *journal, const char *path, struct held *ret, struct error *err);
