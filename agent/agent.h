// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The agent as a whole: the parts of a host's agent made, wired and taken down again, around one loop that owns all
 * state. Blocking work is on eight workers and on a thread for each transfer or wait; libvirt's events come over one
 * bridge.
 */
#include "agent/settings.h"

// Runs until SIGTERM or SIGINT. ERROR_USAGE when this host has not joined. Within five seconds of a signal it returns,
// or, when a step cannot be interrupted, ends the process: the journal has its intent.
int agent_run(const struct settings *settings, const char *state_directory, struct error *err);
