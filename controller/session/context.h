// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* What the files of this folder share, and nobody else sees: the session itself. Loop thread. */
#include "controller/session/connection.h"
#include "controller/session/session.h"

struct listener;
struct relay;
struct join_rates;
struct certificate_ends;

// Doubly linked, newest first.
struct connections {
        struct connection *first;
        unsigned n;
};

struct session {
        uv_loop_t *loop;
        struct store *store;
        struct fleet *fleet;
        struct authority *authority;
        struct runner *runner;
        struct hub *hub;
        const struct clock *clock;
        struct session_limits limits;
        struct listener *listener;
        struct relay *relay;
        struct join_rates *join_rates;
        struct certificate_ends *certificate_ends;
        struct connections handshakes, open;
        bool stopping, listening;
        void (*stopped)(void *data);
        void *stopped_data;
};

void session_check_stopped(struct session *session); // called when something that an end waits for has gone
