// SPDX-License-Identifier: LGPL-2.1-or-later
/* Making and ending what the port needs. The end waits for the last connection and the last relaying thread. */
#include "common/memory.h"
#include "controller/session/certificate_ends.h"
#include "controller/session/context.h"
#include "controller/session/join_link.h"
#include "controller/session/listener.h"
#include "controller/session/relay.h"

const struct session_limits session_limits = {
        .ping_seconds = 5,
        .dead_seconds = 12,
        .hello_ms = 10000,
        .connections = 16384,
        .handshakes = 512,
        .handshakes_per_address = 64,
        .links_per_user = 64,
        .failed_joins_per_minute = 20,
        .relay_pairs = 64,
        .relay_wait_ms = 10000,
        .relay_idle_ms = 60000,
        .question_ms = 10000,
};

int session_new(const struct session_config *config, struct session **ret, struct error *err) {
        struct session *session = new (struct session);
        session->loop = config->loop;
        session->store = config->store;
        session->fleet = config->fleet;
        session->authority = config->authority;
        session->runner = config->runner;
        session->hub = config->hub;
        session->clock = config->clock;
        session->limits = config->limits;
        session->join_rates = join_rates_new();
        session->certificate_ends = certificate_ends_new();
        if (relay_new(session, &session->relay, err) < 0) {
                session_free(session);
                return -1;
        }
        *ret = session;
        return 0;
}

void session_free(struct session *session) {
        if (!session)
                return;
        relay_free(session->relay);
        certificate_ends_free(session->certificate_ends);
        join_rates_free(session->join_rates);
        free(session);
}

int session_listen(struct session *session, const char *address, struct error *err) {
        return listener_new(session, address, &session->listener, err);
}

unsigned session_port(const struct session *session) {
        return listener_port(session->listener);
}

void session_check_stopped(struct session *session) {
        if (!session->stopping || session->listener || session->handshakes.n || session->open.n ||
            relay_busy(session->relay))
                return;
        if (session->stopped) {
                void (*stopped)(void *data) = session->stopped;
                session->stopped = NULL;
                stopped(session->stopped_data);
        }
}

static void close_all(const struct connections *connections) {
        for (struct connection *connection = connections->first; connection; connection = connection->next)
                link_close(connection->link);
}

static void on_listener_closed(void *data) {
        struct session *session = data;
        session->listener = NULL;
        session_check_stopped(session);
}

void session_stop(struct session *session, void (*stopped)(void *data), void *data) {
        session->stopping = true;
        session->stopped = stopped;
        session->stopped_data = data;
        close_all(&session->handshakes);
        close_all(&session->open);
        relay_stop(session->relay);
        if (session->listener)
                listener_close(session->listener, on_listener_closed, session);
        else
                session_check_stopped(session);
}
