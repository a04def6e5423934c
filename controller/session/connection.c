// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The life of a connection, and the bounds on how many there may be.
 *
 *      handshake ---> open (the protocol's) ---> gone | detached
 *          `------------------------------------> gone
 */
#include "controller/session/connection.h"
#include "common/cleanup.h"
#include "common/dial.h"
#include "common/log.h"
#include "common/memory.h"
#include "controller/session/context.h"
#include <stdio.h>
#include <string.h>

static const struct protocol *const protocols[] = {&agent_protocol, &operator_protocol, &join_protocol,
                                                   &relay_protocol};

static void add(struct connections *connections, struct connection *connection) {
        connection->previous = NULL;
        connection->next = connections->first;
        if (connections->first)
                connections->first->previous = connection;
        connections->first = connection;
        connections->n++;
}

static void remove_from(struct connections *connections, struct connection *connection) {
        if (connection->previous)
                connection->previous->next = connection->next;
        else
                connections->first = connection->next;
        if (connection->next)
                connection->next->previous = connection->previous;
        connections->n--;
}

static struct connections *list_of(struct connection *connection) {
        return connection->protocol ? &connection->session->open : &connection->session->handshakes;
}

static void connection_free(struct connection *connection) {
        struct session *session = connection->session;
        remove_from(list_of(connection), connection);
        timer_free(connection->deadline);
        free(connection);
        session_check_stopped(session);
}

// ---- what the peer is told

int connection_send(struct connection *connection, const ProtobufCMessage *envelope, struct error *err) {
        struct buffer bytes;
        buffer_init(&bytes, FRAME_MAX);
        int r = proto_pack(envelope, &bytes, err);
        if (r == 0)
                r = link_send(connection->link, bytes.data, bytes.length, err);
        buffer_fini(&bytes);
        return r;
}

static void tell(struct connection *connection, const struct error *why) {
        Drover__Failure *failure = proto_failure(why);
        connection->protocol->refuse(connection, failure);
        proto_free(&failure->base);
}

void connection_refuse(struct connection *connection, const struct error *why) {
        tell(connection, why);
        link_close(connection->link);
}

// ---- time

static void on_deadline(void *data) {
        struct connection *connection = data;
        struct error why = ERROR_INIT;
        error_set(&why, ERROR_TIMEOUT, "%s: %s", connection->address, connection->late);
        connection_refuse(connection, &why);
}

void connection_deadline(struct connection *connection, uint32_t after_ms, const char *text) {
        connection->late = text;
        timer_once(connection->deadline, after_ms);
}

void connection_in_time(struct connection *connection) {
        timer_stop(connection->deadline);
}

// ---- the link's callbacks

static const struct protocol *protocol_named(const char *alpn) {
        for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
                if (strcmp(protocols[i]->alpn, alpn) == 0)
                        return protocols[i];
        return NULL;
}

// A joiner may hold a certificate of an earlier membership; there it says nothing.
static int check_peer(struct connection *connection, struct error *err) {
        const struct protocol *protocol = connection->protocol;
        const struct identity *peer = &connection->peer;
        if (protocol->peer == IDENTITY_NONE)
                return 0;
        if (peer->kind != protocol->peer)
                return error_set(err, ERROR_DENIED, "%s is for a %s; this certificate speaks for %s %s", protocol->alpn,
                                 identity_kind_word(protocol->peer), identity_kind_word(peer->kind), peer->name);
        return authority_check_peer(connection->session->authority, peer, err);
}

static int check_room(const struct connection *connection, struct error *err) {
        const struct session *session = connection->session;
        if (session->stopping)
                return error_set(err, ERROR_UNREACHABLE, "the controller is being stopped");
        if (session->open.n > session->limits.connections)
                return error_set(err, ERROR_BUSY, "the controller has %u connections and takes no more",
                                 session->limits.connections);
        return 0;
}

static int on_open(struct link *link, void *data, struct error *err) {
        struct connection *connection = data;
        const struct protocol *protocol = protocol_named(link_alpn(link));
        if (!protocol) // the policy lets no other through
                return error_set(err, ERROR_PROTOCOL, "no protocol was agreed on");
        remove_from(&connection->session->handshakes, connection);
        connection->protocol = protocol;
        add(&connection->session->open, connection);
        connection->peer = *link_peer(link);
        link_set_frame_max(link, protocol->frame_max);
        connection_deadline(connection, connection->session->limits.hello_ms, "nothing was said in time");
        int r = check_room(connection, err);
        if (r == 0)
                r = check_peer(connection, err);
        if (r == 0)
                r = protocol->open(connection, err);
        if (r < 0)
                tell(connection, err);
        return r;
}

static int on_frame(struct link *link, const uint8_t *frame, size_t length, void *data, struct error *err) {
        struct connection *connection = data;
        (void) link;
        int r = connection->protocol->frame(connection, frame, length, err);
        if (r < 0)
                tell(connection, err);
        return r;
}

static void on_drained(struct link *link, void *data) {
        struct connection *connection = data;
        (void) link;
        if (connection->protocol && connection->protocol->drained && connection->state)
                connection->protocol->drained(connection);
}

static void on_close(struct link *link, const struct error *why, void *data) {
        struct connection *connection = data;
        (void) link;
        if (connection->state)
                connection->protocol->gone(connection, why);
        else if (connection->protocol)
                log_failure(LOG_LEVEL_WARNING, "a connection was refused", why, "protocol", connection->protocol->alpn,
                            "address", connection->address, NULL);
        else
                log_failure(LOG_LEVEL_DEBUG, "a handshake failed", why, "address", connection->address, NULL);
        connection_free(connection);
}

static void on_detach(struct link *link, int fd, const uint8_t *leftover, size_t length, void *data) {
        struct connection *connection = data;
        (void) link;
        connection->protocol->detached(connection, fd, leftover, length);
        connection_free(connection);
}

static const struct link_callbacks callbacks = {.on_open = on_open,
                                                .on_frame = on_frame,
                                                .on_close = on_close,
                                                .on_detach = on_detach,
                                                .on_drained = on_drained};

// ---- the beginning

// "10.1.2.3:4567" and "[fd00::1]:4567" without the port.
static void keep_address(struct connection *connection, const char *address) {
        bool bracketed = address[0] == '[';
        const char *end = bracketed ? strchr(address, ']') : strrchr(address, ':');
        int length = end ? (int) (end - address) - bracketed : (int) strlen(address);
        snprintf(connection->address, sizeof(connection->address), "%.*s", length, address + bracketed);
}

static unsigned handshakes_from(const struct session *session, const char *address) {
        unsigned n = 0;
        for (const struct connection *other = session->handshakes.first; other; other = other->next)
                n += strcmp(other->address, address) == 0;
        return n;
}

static void turn_away(uv_stream_t *listener) {
        uv_tcp_t *tcp = new (uv_tcp_t);
        uv_tcp_init(listener->loop, tcp);
        uv_accept(listener, (uv_stream_t *) tcp);
        dial_close_tcp(tcp);
}

void connection_accept(struct session *session, uv_stream_t *listener) {
        static const char *const alpns[] = {TLS_ALPN_AGENT, TLS_ALPN_OPERATOR, TLS_ALPN_JOIN, TLS_ALPN_DATA, NULL};
        static const struct tls_policy policy = {.alpns = alpns, .peer = IDENTITY_NONE, .anonymous_join = true};
        struct error err = ERROR_INIT;
        if (session->stopping || session->handshakes.n >= session->limits.handshakes) {
                turn_away(listener);
                return;
        }
        struct connection *connection = new (struct connection);
        connection->session = session;
        if (link_accept(listener, authority_credentials(session->authority), &policy, &callbacks, connection,
                        &connection->link, &err) < 0) {
                log_failure(LOG_LEVEL_WARNING, "a connection could not be taken", &err, NULL);
                free(connection);
                return;
        }
        connection->deadline = timer_new(session->loop, on_deadline, connection);
        keep_address(connection, link_address(connection->link));
        add(&session->handshakes, connection);
        if (handshakes_from(session, connection->address) > session->limits.handshakes_per_address)
                link_abort(connection->link, ERROR_BUSY, "too many handshakes from this address at once");
}

// ---- from outside

void connection_cut(struct session *session, enum identity_kind kind, const char *name, const struct error *why) {
        for (struct connection *connection = session->open.first, *next; connection; connection = next) {
                next = connection->next;
                if (connection->peer.kind == kind && strcmp(connection->peer.name, name) == 0)
                        connection_refuse(connection, why);
        }
}

unsigned connection_count(const struct session *session, const struct protocol *protocol, const char *name) {
        unsigned n = 0;
        for (const struct connection *connection = session->open.first; connection; connection = connection->next)
                n += connection->protocol == protocol && strcmp(connection->peer.name, name) == 0;
        return n;
}
