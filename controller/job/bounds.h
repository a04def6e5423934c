// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* How much work is in progress at once. Plans of batches are laid out by these, and the runner keeps to them. */

#define BOUNDS_MOVES_PER_HOST 4u // moves that run at once with this host at either end; more are queued
#define BOUNDS_MOVES_PER_LINK                                                                                          \
        2u // moves from one site to another, when one of a batch begins: a VM that moves stands still
#define BOUNDS_MOVES_PER_BATCH 256u
