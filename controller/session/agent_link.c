// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The machine of a host's connection. Requests go out under ids that are remembered until their result has come, so
 * that a result nobody asked this host for is neither believed nor passed on (fault 43). Heartbeats both ways; a link
 * that is silent for dead_seconds is dead, which makes its host `offline`.
 */
#include "controller/session/agent_link.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/pki.h"
#include "common/random.h"
#include "controller/session/certificate_ends.h"
#include "controller/session/context.h"
#include "controller/session/hub.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ASKED_MAX   4096u // requests without a result, on one link
#define STRIKES_MAX 100u  // messages that make no sense before the link is closed
#define RENEW_MS    1000u // between two renewals of one host
#define ADDRESS_MAX 127u

struct agent_link {
        struct connection *connection;
        char uuid[NAME_UUID_LENGTH + 1]; // the hub's key
        bool online;                     // Welcome was sent, and it is this host's link
        int64_t valid_until;             // of its certificate, or of the newer one that it was given over this link
        uint64_t renewed_ms;             // monotonic; 0: never
        uint64_t *asked;                 // ids of the runner's requests
        unsigned n_asked;
        unsigned strikes;
        struct question *questions;
        struct timer *ping, *watch;
};

struct question {
        struct question *next;
        struct agent_link *link;
        uint64_t id;
        question_fn answer;
        void *data;
        struct timer *timeout;
};

static void host_name(const struct agent_link *link, char name[NAME_SITE_MAX + NAME_HOST_MAX + 2]) {
        const struct fleet_host *host = fleet_host_by_uuid(link->connection->session->fleet, link->uuid);
        snprintf(name, NAME_SITE_MAX + NAME_HOST_MAX + 2, "%s%s%s", host ? host->site : "", host ? "/" : "",
                 host ? host->name : link->uuid);
}

// ---- requests and their answers

static void question_unlink(struct question *question) {
        struct question **place = &question->link->questions;
        while (*place != question)
                place = &(*place)->next;
        *place = question->next;
}

void question_forget(struct question *question) {
        question_unlink(question);
        timer_free(question->timeout);
        free(question);
}

static void question_end(struct question *question, const Drover__AgentResult *result, const struct error *why) {
        question_fn answer = question->answer;
        void *data = question->data;
        question_forget(question);
        answer(result, why, data);
}

static void on_timeout(void *data) {
        struct question *question = data;
        char name[NAME_SITE_MAX + NAME_HOST_MAX + 2];
        struct error why = ERROR_INIT;
        host_name(question->link, name);
        error_set(&why, ERROR_UNREACHABLE, "%s has not answered in time", name);
        question_end(question, NULL, &why);
}

static int send_request(struct agent_link *link, Drover__AgentRequest *request, struct error *err) {
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        if (!link->online)
                return error_set(err, ERROR_UNREACHABLE, "the host is not connected");
        request->id = hub_next_id(link->connection->session->hub);
        envelope.body_case = DROVER__ENVELOPE__BODY_REQUEST;
        envelope.request = request;
        return connection_send(link->connection, &envelope.base, err);
}

int agent_link_send(struct agent_link *link, Drover__AgentRequest *request, uint64_t *ret_id, struct error *err) {
        if (link->n_asked >= ASKED_MAX)
                return error_set(err, ERROR_BUSY, "%u requests to this host are without an answer", ASKED_MAX);
        if (send_request(link, request, err) < 0)
                return -1;
        link->asked = memory_grow(link->asked, link->n_asked + 1, sizeof(*link->asked));
        link->asked[link->n_asked++] = request->id;
        *ret_id = request->id;
        return 0;
}

int agent_link_ask(struct agent_link *link, Drover__AgentRequest *request, question_fn answer, void *data,
                   struct question **ret, struct error *err) {
        if (send_request(link, request, err) < 0)
                return -1;
        struct question *question = new (struct question);
        question->link = link;
        question->id = request->id;
        question->answer = answer;
        question->data = data;
        question->next = link->questions;
        link->questions = question;
        question->timeout = timer_new(link->connection->session->loop, on_timeout, question);
        timer_once(question->timeout, link->connection->session->limits.question_ms);
        *ret = question;
        return 0;
}

static struct question *question_of(const struct agent_link *link, uint64_t id) {
        for (struct question *question = link->questions; question; question = question->next)
                if (question->id == id)
                        return question;
        return NULL;
}

static unsigned place_of(const struct agent_link *link, uint64_t id) {
        unsigned place = 0;
        while (place < link->n_asked && link->asked[place] != id)
                place++;
        return place;
}

// ---- the end

// Everything that believes in this link learns that it is no more. Idempotent.
static void leave(struct agent_link *link, bool replaced) {
        struct session *session = link->connection->session;
        struct error why = ERROR_INIT;
        timer_stop(link->ping);
        timer_stop(link->watch);
        if (!link->online)
                return;
        link->online = false;
        hub_drop(session->hub, link->uuid, link);
        error_set(&why, ERROR_UNREACHABLE, "the connection to the host was lost");
        while (link->questions)
                question_end(link->questions, NULL, &why);
        struct fleet_host *host = fleet_host_by_uuid(session->fleet, link->uuid);
        if (host && !replaced)
                fleet_host_offline(session->fleet, host);
        runner_on_host(session->runner, link->uuid, false);
}

void agent_link_cut(struct agent_link *link, const struct error *why) {
        leave(link, false);
        connection_refuse(link->connection, why);
}

static void on_gone(struct connection *connection, const struct error *why) {
        struct agent_link *link = connection->state;
        char name[NAME_SITE_MAX + NAME_HOST_MAX + 2];
        host_name(link, name);
        if (link->online && why->code != ERROR_NONE)
                log_failure(LOG_LEVEL_WARNING, "host offline", why, "host", name, "address", connection->address, NULL);
        else
                log_failure(LOG_LEVEL_INFO, "connection closed", why, "host", name, "address", connection->address,
                            NULL);
        leave(link, false);
        timer_free(link->ping);
        timer_free(link->watch);
        free(link->asked);
        free(link);
}

// ---- heartbeats

static void send_ping(struct agent_link *link) {
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        Drover__Ping ping = DROVER__PING__INIT;
        ping.token = random_u64();
        envelope.body_case = DROVER__ENVELOPE__BODY_PING;
        envelope.ping = &ping;
        connection_send(link->connection, &envelope.base, NULL); // a link that cannot send ends by itself
}

// A certificate can end while its connection is open. A host that has been given a newer one over this connection need
// not dial again for that.
static void on_ping(void *data) {
        struct agent_link *link = data;
        struct error why = ERROR_INIT;
        if (link->valid_until > clock_wall(link->connection->session->clock)) {
                send_ping(link);
                return;
        }
        char when[CLOCK_RFC3339_MAX];
        error_set(&why, ERROR_DENIED, "the host's certificate expired at %s", clock_rfc3339(link->valid_until, when));
        agent_link_cut(link, &why);
}

// Sleeps until the moment at which the link would be dead if nothing came, and looks again then.
static void on_watch(void *data) {
        struct agent_link *link = data;
        uint64_t dead_ms = (uint64_t) link->connection->session->limits.dead_seconds * 1000;
        uint64_t silent = clock_ms(&system_clock) - link_last_received_ms(link->connection->link);
        char why[96];
        if (silent < dead_ms) {
                timer_once(link->watch, dead_ms - silent);
                return;
        }
        snprintf(why, sizeof(why), "%" PRIu64 " s without a word from the agent", dead_ms / 1000);
        link_abort(link->connection->link, ERROR_TIMEOUT, why);
}

// ---- Hello

static int send_welcome(struct agent_link *link, const struct fleet_host *host, uint32_t version, struct error *err) {
        const struct session *session = link->connection->session;
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        Drover__Welcome welcome = DROVER__WELCOME__INIT;
        welcome.version = version;
        welcome.software = (char *) "drover-controller " DROVER_VERSION;
        welcome.site = (char *) host->site;
        welcome.host = (char *) host->name;
        welcome.ping_seconds = session->limits.ping_seconds;
        welcome.dead_seconds = session->limits.dead_seconds;
        welcome.clock_at = clock_wall(session->clock);
        envelope.body_case = DROVER__ENVELOPE__BODY_WELCOME;
        envelope.welcome = &welcome;
        return connection_send(link->connection, &envelope.base, err);
}

// Others dial it: an address or a name, and nothing that could be taken for something else.
static int check_data_address(const char *address, struct error *err) {
        size_t length = strspn(address, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-");
        if (address[length] == '\0' && length <= ADDRESS_MAX && address[0] != '-')
                return 0;
        return error_set(err, ERROR_INVALID, "\"%.100s\" is not an address that other hosts could dial", address);
}

// The same host on a newer connection: the older one is half open, or its agent is another process (fault 8).
static void fence(struct session *session, const char *uuid) {
        struct agent_link *old = hub_link(session->hub, uuid);
        struct error why = ERROR_INIT;
        if (!old)
                return;
        error_set(&why, ERROR_CONFLICT, "a newer connection of this host has taken over");
        leave(old, true);
        connection_refuse(old->connection, &why);
}

static void go_online(struct agent_link *link, struct fleet_host *host, const Drover__Hello *hello) {
        struct session *session = link->connection->session;
        char name[NAME_SITE_MAX + NAME_HOST_MAX + 2];
        link->online = true;
        hub_put(session->hub, link->uuid, link);
        fleet_host_online(session->fleet, host, link_address(link->connection->link));
        host->data_port = hello->data_port;
        snprintf(host->data_address, sizeof(host->data_address), "%s", hello->data_address);
        timer_every(link->ping, (uint64_t) session->limits.ping_seconds * 1000);
        timer_once(link->watch, (uint64_t) session->limits.dead_seconds * 1000);
        host_name(link, name);
        log_info("host online", "host", name, "address", host->address, "software", hello->software, NULL);
        runner_on_host(session->runner, link->uuid, true);
}

static int on_hello(struct agent_link *link, const Drover__Hello *hello, struct error *err) {
        struct session *session = link->connection->session;
        uint32_t version;
        if (proto_negotiate(hello->version_min, hello->version_max, &version, err) < 0)
                return error_prefix(err, "%.60s", hello->software);
        if (hello->data_port > UINT16_MAX)
                return error_set(err, ERROR_INVALID, "%u is not a port", hello->data_port);
        if (check_data_address(hello->data_address, err) < 0)
                return -1;
        struct fleet_host *host = fleet_host_by_uuid(session->fleet, link->uuid);
        if (!host)
                return error_set(err, ERROR_DENIED, "host %s is not a member", link->uuid);
        fence(session, link->uuid);
        if (send_welcome(link, host, version, err) < 0)
                return -1;
        connection_in_time(link->connection);
        go_online(link, host, hello);
        return 0;
}

// ---- what an agent says

static int strike(struct agent_link *link, const char *what, struct error *err) {
        char name[NAME_SITE_MAX + NAME_HOST_MAX + 2];
        if (++link->strikes > STRIKES_MAX)
                return error_set(err, ERROR_PROTOCOL, "more than %u messages made no sense, the last: %s", STRIKES_MAX,
                                 what);
        host_name(link, name);
        if (link->strikes == 1)
                log_warning("a message of an agent was ignored", "host", name, "what", what, NULL);
        return 0;
}

static int on_progress(struct agent_link *link, const Drover__AgentProgress *progress, struct error *err) {
        if (question_of(link, progress->id))
                return 0;
        if (place_of(link, progress->id) == link->n_asked)
                return strike(link, "progress of something that it was not asked for", err);
        runner_on_progress(link->connection->session->runner, link->uuid, progress);
        return 0;
}

static int on_result(struct agent_link *link, const Drover__AgentResult *result, struct error *err) {
        struct question *question = question_of(link, result->id);
        unsigned place = place_of(link, result->id);
        if (question) {
                question_end(question, result, NULL);
                return 0;
        }
        if (place == link->n_asked)
                return strike(link, "the result of something that it was not asked for", err);
        link->asked[place] = link->asked[--link->n_asked];
        runner_on_result(link->connection->session->runner, link->uuid, result);
        return 0;
}

static int on_inventory(struct agent_link *link, const Drover__InventoryPart *part, struct error *err) {
        struct session *session = link->connection->session;
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        Drover__ResyncRequest resync = DROVER__RESYNC_REQUEST__INIT;
        struct fleet_host *host = fleet_host_by_uuid(session->fleet, link->uuid);
        int r = host ? fleet_apply(session->fleet, host, part, err) : 0;
        if (r <= 0)
                return r;
        envelope.body_case = DROVER__ENVELOPE__BODY_RESYNC;
        envelope.resync = &resync;
        return connection_send(link->connection, &envelope.base, err);
}

// From here on the link stands for the new certificate: the one it was opened with may end long before the link does,
// and would then not be good for the next renewal.
static int stand_for(struct agent_link *link, const struct buffer *pem, struct error *err) {
        X509 *certificate = NULL;
        struct identity identity;
        int r = pki_parse_certificate(pem->data, pem->length, &certificate, err);
        if (r == 0)
                r = pki_identity(certificate, &identity, err);
        if (r == 0)
                link->connection->peer = identity;
        X509_free(certificate);
        return r;
}

static int renew(struct agent_link *link, const Drover__RenewRequest *request, struct buffer *certificate,
                 struct buffer *authority, struct error *err) {
        struct session *session = link->connection->session;
        uint64_t now = clock_ms(session->clock);
        if (link->renewed_ms && now - link->renewed_ms < RENEW_MS)
                return error_set(err, ERROR_BUSY, "a certificate was issued to this host a moment ago");
        link->renewed_ms = now;
        if (authority_renew(session->authority, &link->connection->peer, request->csr_der.data, request->csr_der.len,
                            certificate, authority, err) < 0 ||
            stand_for(link, certificate, err) < 0)
                return -1;
        link->valid_until = certificate_ends_renewed(session, link->uuid, link->valid_until);
        return 0;
}

static int on_renew(struct agent_link *link, const Drover__RenewRequest *request, struct error *err) {
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        Drover__RenewReply reply = DROVER__RENEW_REPLY__INIT;
        struct buffer certificate, authority;
        struct error why = ERROR_INIT;
        char name[NAME_SITE_MAX + NAME_HOST_MAX + 2];
        buffer_init(&certificate, 0);
        buffer_init(&authority, 0);
        host_name(link, name);
        if (renew(link, request, &certificate, &authority, &why) == 0) {
                reply.certificate_pem = (ProtobufCBinaryData){.data = certificate.data, .len = certificate.length};
                reply.authority_pem = (ProtobufCBinaryData){.data = authority.data, .len = authority.length};
                log_info("certificate renewed", "host", name, NULL);
        } else {
                reply.failure = proto_failure(&why);
                log_failure(LOG_LEVEL_WARNING, "certificate not renewed", &why, "host", name, NULL);
        }
        envelope.body_case = DROVER__ENVELOPE__BODY_RENEWED;
        envelope.renewed = &reply;
        int r = connection_send(link->connection, &envelope.base, err);
        if (reply.failure)
                proto_free(&reply.failure->base);
        buffer_fini(&certificate);
        buffer_fini(&authority);
        return r;
}

static int send_pong(struct agent_link *link, uint64_t token, struct error *err) {
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        Drover__Pong pong = DROVER__PONG__INIT;
        pong.token = token;
        envelope.body_case = DROVER__ENVELOPE__BODY_PONG;
        envelope.pong = &pong;
        return connection_send(link->connection, &envelope.base, err);
}

static int on_envelope(struct agent_link *link, const Drover__Envelope *envelope, struct error *err) {
        if (envelope->body_case == DROVER__ENVELOPE__BODY_FAILURE) {
                proto_error(envelope->failure, err);
                return error_prefix(err, "the agent says");
        }
        if (!link->online)
                return envelope->body_case == DROVER__ENVELOPE__BODY_HELLO
                               ? on_hello(link, envelope->hello, err)
                               : error_set(err, ERROR_PROTOCOL, "the agent sent \"%s\" before its hello",
                                           proto_oneof_name(&envelope->base, "body"));
        switch (envelope->body_case) {
        case DROVER__ENVELOPE__BODY_PING:
                return send_pong(link, envelope->ping->token, err);
        case DROVER__ENVELOPE__BODY_PONG:
                return 0; // that it came is what counts
        case DROVER__ENVELOPE__BODY_PROGRESS:
                return on_progress(link, envelope->progress, err);
        case DROVER__ENVELOPE__BODY_RESULT:
                return on_result(link, envelope->result, err);
        case DROVER__ENVELOPE__BODY_INVENTORY:
                return on_inventory(link, envelope->inventory, err);
        case DROVER__ENVELOPE__BODY_RENEW:
                return on_renew(link, envelope->renew, err);
        case DROVER__ENVELOPE__BODY__NOT_SET:
                return strike(link, "a message without a body", err);
        default:
                return error_set(err, ERROR_PROTOCOL, "the agent sent \"%s\", which only a controller says",
                                 proto_oneof_name(&envelope->base, "body"));
        }
}

static int on_frame(struct connection *connection, const uint8_t *bytes, size_t length, struct error *err) {
        struct agent_link *link = connection->state;
        Drover__Envelope *envelope;
        if (PROTO_UNPACK(envelope, bytes, length, &envelope, err) < 0)
                return -1;
        struct fleet_host *host = link->online ? fleet_host_by_uuid(connection->session->fleet, link->uuid) : NULL;
        if (host)
                fleet_host_seen(connection->session->fleet, host);
        int r = on_envelope(link, envelope, err);
        proto_free(&envelope->base);
        return r;
}

static int on_open(struct connection *connection, struct error *err) {
        (void) err;
        struct agent_link *link = new (struct agent_link);
        link->connection = connection;
        snprintf(link->uuid, sizeof(link->uuid), "%.36s", connection->peer.name);
        link->valid_until = connection->peer.not_after;
        link->ping = timer_new(connection->session->loop, on_ping, link);
        link->watch = timer_new(connection->session->loop, on_watch, link);
        connection->state = link;
        return 0;
}

static void refuse(struct connection *connection, Drover__Failure *failure) {
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        envelope.body_case = DROVER__ENVELOPE__BODY_FAILURE;
        envelope.failure = failure;
        connection_send(connection, &envelope.base, NULL);
}

const struct protocol agent_protocol = {.alpn = TLS_ALPN_AGENT,
                                        .peer = IDENTITY_HOST,
                                        .frame_max = FRAME_MAX,
                                        .open = on_open,
                                        .frame = on_frame,
                                        .gone = on_gone,
                                        .refuse = refuse};
