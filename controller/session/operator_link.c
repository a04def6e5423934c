// SPDX-License-Identifier: LGPL-2.1-or-later
/* The machine of an operator's connection: Hello, then requests, each through the table of verbs. Loop thread. */
#include "controller/session/operator_link.h"
#include "common/log.h"
#include "common/memory.h"
#include "controller/session/context.h"
#include "controller/session/verbs.h"
#include <stdio.h>
#include <string.h>

#define STREAMS_MAX  16u
#define DENIALS_MAX  50u                 // on one connection: each is a record that is synced to the disk
#define SEEN_SECONDS 60                  // how often the store hears that a user was seen
#define UNREAD_MOST  (4 * STREAM_WINDOW) // bytes of answers under which the next request is still heard
#define CHECK_MOST_S 3600                // wall clocks jump, so even a far end is looked at every hour

struct operator_link {
        struct connection *connection;
        bool welcomed;
        struct stream *streams;
        unsigned n_streams, denials;
        struct timer *ending; // of the certificate: also who only listens is sent away then
};

// ---- streams

static int send_envelope(struct operator_link *link, const Drover__OperatorEnvelope *envelope, struct error *err) {
        return connection_send(link->connection, &envelope->base, err);
}

int operator_link_reply(struct operator_link *link, const Drover__OperatorReply *reply, struct error *err) {
        Drover__OperatorEnvelope envelope = DROVER__OPERATOR_ENVELOPE__INIT;
        envelope.body_case = DROVER__OPERATOR_ENVELOPE__BODY_REPLY;
        envelope.reply = (Drover__OperatorReply *) reply;
        return send_envelope(link, &envelope, err);
}

static void send_failure(struct operator_link *link, uint64_t id, const struct error *why) {
        Drover__OperatorReply reply = DROVER__OPERATOR_REPLY__INIT;
        struct error err = ERROR_INIT;
        reply.id = id;
        reply.last = true;
        reply.failure = proto_failure(why);
        if (operator_link_reply(link, &reply, &err) < 0)
                log_failure(LOG_LEVEL_DEBUG, "send a reply", &err, NULL);
        proto_free(&reply.failure->base);
}

int stream_open(struct operator_link *link, uint64_t id, const struct stream_kind *kind, void *data,
                struct stream **ret, struct error *err) {
        if (link->n_streams >= STREAMS_MAX)
                return error_set(err, ERROR_BUSY, "%u answers are under way on this connection", STREAMS_MAX);
        struct stream *stream = new (struct stream);
        stream->link = link;
        stream->id = id;
        stream->kind = kind;
        stream->data = data;
        stream->next = link->streams;
        link->streams = stream;
        link->n_streams++;
        *ret = stream;
        return 0;
}

void stream_end(struct stream *stream) {
        struct stream **place = &stream->link->streams;
        while (*place != stream)
                place = &(*place)->next;
        *place = stream->next;
        stream->link->n_streams--;
        stream->kind->end(stream);
        free(stream);
}

int stream_reply(struct stream *stream, Drover__OperatorReply *reply, bool last, struct error *err) {
        reply->id = stream->id;
        reply->last = last;
        return operator_link_reply(stream->link, reply, err);
}

void stream_fail(struct stream *stream, const struct error *why) {
        send_failure(stream->link, stream->id, why);
        stream_end(stream);
}

bool stream_has_room(const struct stream *stream) {
        return link_waiting(stream->link->connection->link) < STREAM_WINDOW;
}

void stream_run(struct stream *stream) {
        struct error err = ERROR_INIT;
        enum stream_state state = STREAM_MORE;
        while (state == STREAM_MORE && stream_has_room(stream))
                if (stream->kind->more(stream, &state, &err) < 0) {
                        stream_fail(stream, &err);
                        return;
                }
        if (state == STREAM_LAST)
                stream_end(stream);
}

static void on_drained(struct connection *connection) {
        struct operator_link *link = connection->state;
        for (struct stream *stream = link->streams, *next; stream; stream = next) {
                next = stream->next;
                stream_run(stream);
        }
}

// ---- the certificate's end

static void watch_end(struct operator_link *link) {
        const struct connection *connection = link->connection;
        int64_t left = connection->peer.not_after - clock_wall(connection->session->clock);
        timer_once(link->ending, (uint64_t) (left < 1 ? 1 : left > CHECK_MOST_S ? CHECK_MOST_S : left) * 1000);
}

static void on_ending(void *data) {
        struct operator_link *link = data;
        struct connection *connection = link->connection;
        struct error why = ERROR_INIT;
        if (authority_check_peer(connection->session->authority, &connection->peer, &why) < 0)
                connection_refuse(connection, &why);
        else
                watch_end(link);
}

// ---- Hello

static int send_welcome(struct operator_link *link, uint32_t version, enum role role, struct error *err) {
        const struct session *session = link->connection->session;
        Drover__OperatorEnvelope envelope = DROVER__OPERATOR_ENVELOPE__INIT;
        Drover__OperatorWelcome welcome = DROVER__OPERATOR_WELCOME__INIT;
        welcome.version = version;
        welcome.software = (char *) "drover-controller " DROVER_VERSION;
        welcome.user = link->connection->peer.name;
        welcome.role = (char *) role_word(role);
        welcome.clock_at = clock_wall(session->clock);
        welcome.controller = (char *) authority_name(session->authority);
        envelope.body_case = DROVER__OPERATOR_ENVELOPE__BODY_WELCOME;
        envelope.welcome = &welcome;
        return send_envelope(link, &envelope, err);
}

// Not at every command: each write is synced to the disk.
static void note_seen(struct operator_link *link) {
        struct session *session = link->connection->session;
        const char *name = link->connection->peer.name;
        struct error err = ERROR_INIT;
        struct store_user user;
        int64_t now = clock_wall(session->clock);
        int found = store_user_get(session->store, name, &user, &err);
        if (found > 0 && now - user.last_seen_at >= SEEN_SECONDS)
                found = store_user_seen(session->store, name, now, &err);
        if (found < 0)
                log_failure(LOG_LEVEL_WARNING, "note when a user was seen", &err, "user", name, NULL);
}

static int on_hello(struct operator_link *link, const Drover__OperatorHello *hello, struct error *err) {
        char sites[VERB_SITES_MAX];
        uint32_t version;
        enum role role;
        if (link->welcomed)
                return error_set(err, ERROR_PROTOCOL, "a second hello");
        if (proto_negotiate(hello->version_min, hello->version_max, &version, err) < 0)
                return error_prefix(err, "%.60s", hello->software);
        if (authority_role_of(link->connection->session->authority, link->connection->peer.name, &role, sites, err) < 0)
                return -1;
        link->welcomed = true;
        connection_in_time(link->connection);
        watch_end(link);
        note_seen(link);
        return send_welcome(link, version, role, err);
}

// ---- requests

// A failure here is the connection's: the certificate is no longer good.
static int fill_call(struct operator_link *link, const Drover__OperatorRequest *request, struct verb_call *call,
                     struct error *err) {
        struct connection *connection = link->connection;
        struct session *session = connection->session;
        *call = (struct verb_call){.session = session,
                                   .request = request,
                                   .verb = verbs_find(request->verb_case),
                                   .peer = &connection->peer,
                                   .user = connection->peer.name,
                                   .address = connection->address,
                                   .link = link};
        if (authority_check_peer(session->authority, &connection->peer, err) < 0)
                return -1;
        return authority_role_of(session->authority, call->user, &call->role, call->sites, err);
}

static int check_patience(const struct operator_link *link, struct error *err) {
        if (link_waiting(link->connection->link) > UNREAD_MOST)
                return error_set(err, ERROR_BUSY, "the client asks on and does not read the answers");
        if (link->denials > DENIALS_MAX)
                return error_set(err, ERROR_DENIED, "more than %u requests of this connection were denied",
                                 DENIALS_MAX);
        return 0;
}

static int on_request(struct operator_link *link, const Drover__OperatorRequest *request, struct error *err) {
        struct verb_call call;
        struct error why = ERROR_INIT;
        if (check_patience(link, err) < 0 || fill_call(link, request, &call, err) < 0)
                return -1;
        if (!call.verb)
                error_set(&why, ERROR_VERSION, "this controller (%s) does not know the verb that was asked for",
                          DROVER_VERSION);
        if (call.verb && verbs_run(&call, &why) == 0)
                return 0;
        link->denials += why.code == ERROR_DENIED;
        send_failure(link, request->id, &why);
        return 0;
}

static int send_pong(struct operator_link *link, uint64_t token, struct error *err) {
        Drover__OperatorEnvelope envelope = DROVER__OPERATOR_ENVELOPE__INIT;
        Drover__Pong pong = DROVER__PONG__INIT;
        pong.token = token;
        envelope.body_case = DROVER__OPERATOR_ENVELOPE__BODY_PONG;
        envelope.pong = &pong;
        return send_envelope(link, &envelope, err);
}

static int on_envelope(struct operator_link *link, const Drover__OperatorEnvelope *envelope, struct error *err) {
        if (envelope->body_case == DROVER__OPERATOR_ENVELOPE__BODY_HELLO)
                return on_hello(link, envelope->hello, err);
        if (link->welcomed && envelope->body_case == DROVER__OPERATOR_ENVELOPE__BODY_REQUEST)
                return on_request(link, envelope->request, err);
        if (link->welcomed && envelope->body_case == DROVER__OPERATOR_ENVELOPE__BODY_PING)
                return send_pong(link, envelope->ping->token, err);
        if (link->welcomed && envelope->body_case == DROVER__OPERATOR_ENVELOPE__BODY_PONG)
                return 0;
        return error_set(err, ERROR_PROTOCOL, "the client sent \"%s\" out of turn",
                         proto_oneof_name(&envelope->base, "body"));
}

static int on_frame(struct connection *connection, const uint8_t *bytes, size_t length, struct error *err) {
        Drover__OperatorEnvelope *envelope;
        if (PROTO_UNPACK(operator_envelope, bytes, length, &envelope, err) < 0)
                return -1;
        int r = on_envelope(connection->state, envelope, err);
        proto_free(&envelope->base);
        return r;
}

static int on_open(struct connection *connection, struct error *err) {
        const struct session_limits *limits = &connection->session->limits;
        if (connection_count(connection->session, &operator_protocol, connection->peer.name) > limits->links_per_user)
                return error_set(err, ERROR_BUSY, "%s has %u connections already", connection->peer.name,
                                 limits->links_per_user);
        struct operator_link *link = new (struct operator_link);
        link->connection = connection;
        link->ending = timer_new(connection->session->loop, on_ending, link);
        connection->state = link;
        return 0;
}

static void on_gone(struct connection *connection, const struct error *why) {
        struct operator_link *link = connection->state;
        bool refused = why->code != ERROR_NONE && why->code != ERROR_UNREACHABLE;
        log_failure(refused ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, "an operator's connection ended", why, "user",
                    connection->peer.name, "address", connection->address, NULL);
        while (link->streams)
                stream_end(link->streams);
        timer_free(link->ending);
        free(link);
}

static void refuse(struct connection *connection, Drover__Failure *failure) {
        Drover__OperatorEnvelope envelope = DROVER__OPERATOR_ENVELOPE__INIT;
        envelope.body_case = DROVER__OPERATOR_ENVELOPE__BODY_FAILURE;
        envelope.failure = failure;
        connection_send(connection, &envelope.base, NULL);
}

const struct protocol operator_protocol = {.alpn = TLS_ALPN_OPERATOR,
                                           .peer = IDENTITY_USER,
                                           .frame_max = FRAME_MAX,
                                           .open = on_open,
                                           .frame = on_frame,
                                           .drained = on_drained,
                                           .gone = on_gone,
                                           .refuse = refuse};
