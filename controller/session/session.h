// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The controller's side of every connection: one port, four protocols chosen by ALPN, and for each what its peer may
 * say. Who speaks is read from the certificate, never from a message. Loop thread; relayed bytes are on threads of
 * their own (relay_pump.h).
 */
#include "controller/job/runner.h"

struct hub;
struct session;

// Bounds on what peers can make grow, and the times that they are given. session_limits is what a controller uses.
struct session_limits {
        uint32_t ping_seconds, dead_seconds; // told to the agents in Welcome
        uint32_t hello_ms;                   // from the handshake's end to the first whole message
        uint32_t connections;                // open ones in all
        uint32_t handshakes;                 // in the handshake, in all
        uint32_t handshakes_per_address;
        uint32_t links_per_user;
        uint32_t failed_joins_per_minute; // from one address
        uint32_t relay_pairs;
        uint32_t relay_wait_ms; // for the partner
        uint32_t relay_idle_ms; // without a byte either way
        uint32_t question_ms;   // for an answer that an operator waits for
};
extern const struct session_limits session_limits;

// All of them borrowed; they outlive the session.
struct session_config {
        uv_loop_t *loop;
        struct store *store;
        struct fleet *fleet;
        struct authority *authority;
        struct runner *runner;
        struct hub *hub;
        const struct clock *clock;
        struct session_limits limits;
};
int session_new(const struct session_config *config, struct session **ret, struct error *err);
// "0.0.0.0:7443" or "[::]:7443"; a port of 0 takes a free one.
int session_listen(struct session *session, const char *address, struct error *err);
unsigned session_port(const struct session *session);
// Stops listening and ends every connection; `stopped` is called when the last one is gone.
void session_stop(struct session *session, void (*stopped)(void *data), void *data);
void session_free(struct session *session); // after `stopped`, or before session_listen()
