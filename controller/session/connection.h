// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * One connection: in the handshake nobody's, then that of the protocol which ALPN has named. Checks that the
 * certificate is of the protocol's kind, known and not revoked, gives the peer a time to say hello, tells it in its
 * own words why it is refused, and can be cut from outside. Owned by its link: it goes with the link's last callback.
 * Loop thread.
 */
#include "common/link.h"
#include "common/timer.h"
#include "controller/session/session.h"

#define CONNECTION_ADDRESS_MAX 64

struct connection;
struct protocol {
        const char *alpn;
        enum identity_kind peer; // IDENTITY_NONE: whoever has no certificate yet
        uint32_t frame_max;
        int (*open)(struct connection *connection, struct error *err); // sets connection->state
        int (*frame)(struct connection *connection, const uint8_t *bytes, size_t length, struct error *err);
        void (*drained)(struct connection *connection); // optional
        // Last call, once, if open() was called; frees connection->state. `why->code` is ERROR_NONE after our own wish.
        void (*gone)(struct connection *connection, const struct error *why);
        // Optional, instead of gone(): after link_detach().
        void (*detached)(struct connection *connection, int fd, const uint8_t *leftover, size_t length);
        void (*refuse)(struct connection *connection, Drover__Failure *failure); // last words, in its own envelope
};
extern const struct protocol agent_protocol, operator_protocol, join_protocol, relay_protocol;

struct connection {
        struct session *session;
        struct link *link;
        const struct protocol *protocol; // NULL: in the handshake
        void *state;
        struct identity peer;                 // kind IDENTITY_NONE: no certificate
        char address[CONNECTION_ADDRESS_MAX]; // without port
        struct timer *deadline;
        const char *late; // what is said at the deadline
        struct connection *next, *previous;
};

// Takes the connection that waits at the listening handle.
void connection_accept(struct session *session, uv_stream_t *listener);
int connection_send(struct connection *connection, const ProtobufCMessage *envelope, struct error *err);
// Unless it is set again or stopped by then, the connection is refused with this text (a literal).
void connection_deadline(struct connection *connection, uint32_t after_ms, const char *text);
void connection_in_time(struct connection *connection);
// Says why, and closes.
void connection_refuse(struct connection *connection, const struct error *why);
// Every connection of this identity, at once.
void connection_cut(struct session *session, enum identity_kind kind, const char *name, const struct error *why);
unsigned connection_count(const struct session *session, const struct protocol *protocol, const char *name);
