// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The controller as a whole: store, authority, fleet, runner and session, made, wired and taken down again around one
 * loop that owns all state.
 */
#include "controller/session/session.h"
#include "controller/settings.h"

#define STATE_DIRECTORY     "/var/lib/drover/controller"
#define LISTEN_DEFAULT      "[::]:7443"
#define LISTEN_WITHOUT_IPV6 "0.0.0.0:7443"

struct controller;
// Everything but the signals and systemd; for tests as well. `listen` NULL: the settings', else what `init` was told.
int controller_open(uv_loop_t *loop, const struct settings *settings, const struct session_limits *limits,
                    const char *state_directory, const char *listen, struct controller **ret, struct error *err);
void controller_close(struct controller *controller, void (*closed)(void *data), void *data);
void controller_free(struct controller *controller); // after `closed`
unsigned controller_port(const struct controller *controller);
// Borrowed, for tests.
struct store *controller_store(const struct controller *controller);
struct authority *controller_authority(const struct controller *controller);
struct fleet *controller_fleet(const struct controller *controller);
struct runner *controller_runner(const struct controller *controller);

// Runs until SIGTERM or SIGINT. ERROR_NOT_FOUND when there is no authority.
int controller_run(const struct settings *settings, const char *state_directory, struct error *err);
