// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Pairing. A connection is first a link that says hello, then waits for its partner, then is detached, then belongs to
 * a pump; the pair is what the last two have in common.
 *
 *      hello --> waiting --> paired: detaching, both --> pumping --> ended
 *                   `-> late      `-> one is gone: so is the other
 */
#include "controller/session/relay.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/memory.h"
#include "controller/session/context.h"
#include "controller/session/relay_pump.h"
#include "proto/ticket.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define STREAMS_MAX 64u

struct relay_link {
        struct relay_link *next; // of those that wait
        struct connection *connection;
        Drover__Ticket *ticket; // NULL: no hello yet
        uint32_t stream;
        bool source;
        struct pair *pair;
};

struct half {
        struct relay_link *link; // NULL: detached, or gone
        char host[NAME_UUID_LENGTH + 1];
        int fd; // -1: not there
        struct buffer early;
};

struct pair {
        struct pair *next;
        struct relay *relay;
        struct half halves[2]; // sink, source
        char job[33], disk[17];
        struct relay_pump *pump;
        atomic_bool ended;
};

struct relay {
        struct session *session;
        struct ticket_ledger *ledger;
        struct relay_link *waiting;
        unsigned n_waiting;
        struct pair *pairs;
        unsigned n_pairs;
        uv_async_t async; // a pump has ended
};

// ---- pairs

static void pair_free(struct pair *pair) {
        struct relay *relay = pair->relay;
        struct pair **place = &relay->pairs;
        while (*place != pair)
                place = &(*place)->next;
        *place = pair->next;
        relay->n_pairs--;
        for (unsigned i = 0; i < 2; i++) {
                close_p(&pair->halves[i].fd);
                buffer_fini(&pair->halves[i].early);
        }
        free(pair);
        session_check_stopped(relay->session);
}

static void on_pump_ended(void *data) { // on the pump's thread
        struct pair *pair = data;
        uv_async_t *async = &pair->relay->async;
        atomic_store(&pair->ended, true);
        uv_async_send(async);
}

static void finish(struct pair *pair) {
        char bytes[24];
        snprintf(bytes, sizeof(bytes), "%" PRIu64, relay_pump_finish(pair->pump));
        log_info("relayed", "job", pair->job, "disk", pair->disk, "bytes", bytes, NULL);
        pair_free(pair);
}

static void on_async(uv_async_t *async) {
        struct relay *relay = async->data;
        for (struct pair *pair = relay->pairs, *next; pair; pair = next) {
                next = pair->next;
                if (pair->pump && atomic_load(&pair->ended))
                        finish(pair);
        }
}

static void start_pump(struct pair *pair) {
        struct half *sink = &pair->halves[0], *source = &pair->halves[1];
        struct error err = ERROR_INIT;
        int one = steal_fd(&sink->fd), other = steal_fd(&source->fd);
        if (relay_pump_start(one, other, sink->early.data, sink->early.length, source->early.data, source->early.length,
                             pair->relay->session->limits.relay_idle_ms, on_pump_ended, pair, &pair->pump, &err) == 0)
                return;
        log_failure(LOG_LEVEL_ERROR, "cannot relay", &err, "job", pair->job, NULL);
        pair_free(pair);
}

// One half is gone: the other one has nobody to talk to.
static void break_pair(struct pair *pair) {
        for (unsigned i = 0; i < 2; i++)
                if (pair->halves[i].link) {
                        link_abort(pair->halves[i].link->connection->link, ERROR_UNREACHABLE,
                                   "the other side of the relay is gone");
                        return; // its end ends the pair
                }
        pair_free(pair);
}

static void send_ready(struct relay_link *link) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__RelayReady ready = DROVER__RELAY_READY__INIT;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_RELAY_READY;
        envelope.relay_ready = &ready;
        connection_in_time(link->connection);
        connection_send(link->connection, &envelope.base, NULL); // one that fails ends the link, and so the pair
        link_detach(link->connection->link);
}

static void make_pair(struct relay *relay, struct relay_link *one, struct relay_link *other) {
        struct pair *pair = new (struct pair);
        struct relay_link *links[2] = {one->source ? other : one, one->source ? one : other};
        pair->relay = relay;
        pair->next = relay->pairs;
        relay->pairs = pair;
        relay->n_pairs++;
        snprintf(pair->job, sizeof(pair->job), "%s", one->ticket->job);
        snprintf(pair->disk, sizeof(pair->disk), "%s", one->ticket->disk);
        for (unsigned i = 0; i < 2; i++) {
                pair->halves[i].link = links[i];
                pair->halves[i].fd = -1;
                snprintf(pair->halves[i].host, sizeof(pair->halves[i].host), "%.36s", links[i]->connection->peer.name);
                buffer_init(&pair->halves[i].early, 0);
                links[i]->pair = pair;
        }
        send_ready(one);
        send_ready(other);
}

// ---- those that wait

static void stop_waiting(struct relay *relay, struct relay_link *link) {
        for (struct relay_link **place = &relay->waiting; *place; place = &(*place)->next)
                if (*place == link) {
                        *place = link->next;
                        relay->n_waiting--;
                        return;
                }
}

static bool are_partners(const struct relay_link *one, const struct relay_link *other) {
        return one->source != other->source && one->stream == other->stream &&
               memcmp(one->ticket->nonce.data, other->ticket->nonce.data, TICKET_NONCE) == 0;
}

static struct relay_link *partner_of(const struct relay *relay, const struct relay_link *link) {
        struct relay_link *other = relay->waiting;
        while (other && !are_partners(link, other))
                other = other->next;
        return other;
}

static void wait_or_pair(struct relay *relay, struct relay_link *link) {
        struct relay_link *partner = partner_of(relay, link);
        if (partner) {
                stop_waiting(relay, partner);
                make_pair(relay, link, partner);
                return;
        }
        link->next = relay->waiting;
        relay->waiting = link;
        relay->n_waiting++;
        connection_deadline(link->connection, relay->session->limits.relay_wait_ms,
                            "the other host did not come to the relay in time");
}

// Before the ticket is used up. Who waits for a partner counts as half a pair.
static int check_room(const struct relay *relay, struct error *err) {
        unsigned most = relay->session->limits.relay_pairs;
        if (relay->n_pairs < most && relay->n_pairs * 2 + relay->n_waiting < most * 2)
                return 0;
        return error_set(err, ERROR_BUSY, "the relay carries %u connections already", relay->n_pairs);
}

// ---- hello

static int check_ticket(struct relay_link *link, const Drover__RelayHello *hello, Drover__Ticket *ticket,
                        struct error *err) {
        const struct connection *connection = link->connection;
        const struct identity *peer = &connection->peer;
        struct ticket_expectation expected = {.path = DROVER__TRANSFER_PATH__PATH_RELAY};
        if (hello->source) {
                expected.source_host = peer->name;
                expected.source_certificate_sha256 = peer->certificate_sha256;
        } else {
                expected.sink_host = peer->name;
                expected.sink_certificate_sha256 = peer->certificate_sha256;
        }
        if (ticket_match(ticket, &expected, err) < 0)
                return -1;
        return ticket_ledger_use_part(connection->session->relay->ledger, ticket,
                                      hello->stream * 2 + (hello->source ? 1 : 0),
                                      clock_wall(connection->session->clock), err);
}

static int on_hello(struct relay_link *link, const Drover__RelayHello *hello, struct error *err) {
        struct session *session = link->connection->session;
        Drover__Ticket *ticket;
        uint32_t version;
        if (link->ticket)
                return error_set(err, ERROR_PROTOCOL, "a second hello");
        if (proto_negotiate(hello->version, hello->version, &version, err) < 0)
                return -1;
        if (hello->stream >= STREAMS_MAX)
                return error_set(err, ERROR_PROTOCOL, "stream %u is over the bound of %u", hello->stream, STREAMS_MAX);
        if (check_room(session->relay, err) < 0 ||
            ticket_open(hello->ticket.data, hello->ticket.len, authority_ticket_key(session->authority),
                        clock_wall(session->clock), &ticket, err) < 0)
                return -1;
        if (check_ticket(link, hello, ticket, err) < 0) {
                proto_free(&ticket->base);
                return -1;
        }
        link->ticket = ticket;
        link->stream = hello->stream;
        link->source = hello->source;
        wait_or_pair(session->relay, link);
        return 0;
}

// ---- the connection's callbacks

static int on_frame(struct connection *connection, const uint8_t *bytes, size_t length, struct error *err) {
        Drover__DataEnvelope *envelope;
        if (PROTO_UNPACK(data_envelope, bytes, length, &envelope, err) < 0)
                return -1;
        int r = envelope->body_case == DROVER__DATA_ENVELOPE__BODY_RELAY_HELLO
                        ? on_hello(connection->state, envelope->relay_hello, err)
                        : error_set(err, ERROR_PROTOCOL, "an agent sent \"%s\" to the relay",
                                    proto_oneof_name(&envelope->base, "body"));
        proto_free(&envelope->base);
        return r;
}

static int on_open(struct connection *connection, struct error *err) {
        (void) err;
        struct relay_link *link = new (struct relay_link);
        link->connection = connection;
        connection->state = link;
        return 0;
}

static void link_free(struct relay_link *link) {
        if (link->ticket)
                proto_free(&link->ticket->base);
        free(link);
}

static void on_gone(struct connection *connection, const struct error *why) {
        struct relay_link *link = connection->state;
        struct pair *pair = link->pair;
        log_failure(why->code == ERROR_NONE ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING, "a relayed connection ended early",
                    why, "host", connection->peer.name, "address", connection->address, NULL);
        stop_waiting(connection->session->relay, link);
        if (pair)
                pair->halves[link->source].link = NULL;
        link_free(link);
        if (pair)
                break_pair(pair);
}

static bool both_detached(const struct pair *pair) {
        return pair->halves[0].fd >= 0 && pair->halves[1].fd >= 0;
}

static void on_detached(struct connection *connection, int fd, const uint8_t *leftover, size_t length) {
        struct relay_link *link = connection->state;
        struct pair *pair = link->pair;
        struct half *half = &pair->halves[link->source], *other = &pair->halves[!link->source];
        half->link = NULL;
        half->fd = fd;
        buffer_append(&half->early, leftover, length, NULL);
        link_free(link);
        if (both_detached(pair))
                start_pump(pair);
        else if (!other->link)
                pair_free(pair); // the other one is gone already
}

static void refuse(struct connection *connection, Drover__Failure *failure) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_FAILURE;
        envelope.failure = failure;
        connection_send(connection, &envelope.base, NULL);
}

const struct protocol relay_protocol = {.alpn = TLS_ALPN_DATA,
                                        .peer = IDENTITY_HOST,
                                        .frame_max = FRAME_MAX_JOIN,
                                        .open = on_open,
                                        .frame = on_frame,
                                        .gone = on_gone,
                                        .detached = on_detached,
                                        .refuse = refuse};

// ---- the relay as a whole

int relay_new(struct session *session, struct relay **ret, struct error *err) {
        struct relay *relay = new (struct relay);
        int r = uv_async_init(session->loop, &relay->async, on_async);
        if (r < 0) {
                free(relay);
                return error_errno(err, -r, "make the relay");
        }
        uv_unref((uv_handle_t *) &relay->async); // a relay at rest keeps no loop alive
        relay->async.data = relay;
        relay->session = session;
        relay->ledger = ticket_ledger_new();
        *ret = relay;
        return 0;
}

static void on_async_closed(uv_handle_t *handle) {
        free(handle->data);
}

void relay_free(struct relay *relay) {
        if (!relay)
                return;
        ticket_ledger_free(relay->ledger);
        uv_close((uv_handle_t *) &relay->async, on_async_closed);
}

bool relay_busy(const struct relay *relay) {
        return relay->n_pairs > 0;
}

static void break_off(struct pair *pair) {
        if (pair->pump)
                relay_pump_break(pair->pump);
        else
                break_pair(pair);
}

void relay_stop(struct relay *relay) {
        for (struct pair *pair = relay->pairs, *next; pair; pair = next) {
                next = pair->next;
                break_off(pair);
        }
}

void relay_cut(struct relay *relay, const char *host_uuid) {
        for (struct pair *pair = relay->pairs, *next; pair; pair = next) {
                next = pair->next;
                if (strcmp(pair->halves[0].host, host_uuid) == 0 || strcmp(pair->halves[1].host, host_uuid) == 0)
                        break_off(pair);
        }
}
