// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* The options that moves and clones share, taken from the command line into the request. */
#include "cli/command.h"
#include "proto/codec.h"

// What the request's bridges point to. Zero it; move_options_fini() it after the request has been sent.
struct move_options {
        Drover__NameMap maps[COMMAND_OBJECTS_MAX], *pointers[COMMAND_OBJECTS_MAX];
        size_t n;
};
int move_options_take(const struct invocation *call, struct move_options *options, Drover__VmMove *verb,
                      struct error *err);
// Only how a running VM may be stopped.
int move_options_stop(const struct invocation *call, Drover__StopMode *ret_mode, uint32_t *ret_timeout_seconds,
                      struct error *err);
void move_options_fini(struct move_options *options);
