// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* The controller's one port. Every connection that comes is handed to connection_accept(). Loop thread. */
#include "controller/session/session.h"

struct listener;
int listener_new(struct session *session, const char *address, struct listener **ret, struct error *err);
unsigned listener_port(const struct listener *listener);
void listener_close(struct listener *listener, void (*closed)(void *data), void *data); // frees it
