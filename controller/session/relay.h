// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The relay: drover-data/1 connections of two agents that cannot reach each other, joined into one. Each shows the
 * ticket that names it as source or sink; the two that show the same ticket for the same stream are handed to a pump
 * (relay_pump.h), after the TLS session with each has ended. What they say to each other then is TLS of their own. Loop
 * thread.
 */
#include "controller/session/connection.h"

struct relay;
int relay_new(struct session *session, struct relay **ret, struct error *err);
void relay_free(struct relay *relay); // when it is not busy; NULL is fine
bool relay_busy(const struct relay *relay);
void relay_stop(struct relay *relay);                       // breaks off everything that is relayed
void relay_cut(struct relay *relay, const char *host_uuid); // what this host is one end of
