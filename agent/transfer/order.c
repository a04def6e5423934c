// SPDX-License-Identifier: LGPL-2.1-or-later
/* A transfer's order (see order.h). */
#include "agent/transfer/order.h"
#include "common/cleanup.h"
#include <stdlib.h>
#include <string.h>

DEFINE_CLEANUP(proto_free, ProtobufCMessage *)

void standing_fini(struct standing *standing) {
        tls_credentials_unref(standing->credentials);
        EVP_PKEY_free(standing->controller_key);
        free(standing->relay_address);
        *standing = (struct standing){0};
}

void order_fini(struct order *order) {
        standing_fini(&order->standing);
        if (order->ticket)
                proto_free(&order->ticket->base);
        order->ticket = NULL;
}

// What must be so of a ticket of this order as far as this end itself is concerned.
static struct ticket_expectation own_part(const struct order *order) {
        const struct identity *own = tls_credentials_identity(order->standing.credentials);
        struct ticket_expectation expected = {.disk = order->disk};
        if (order->source) {
                expected.source_host = own->name;
                expected.source_certificate_sha256 = own->certificate_sha256;
        } else {
                expected.sink_host = own->name;
                expected.sink_certificate_sha256 = own->certificate_sha256;
        }
        return expected;
}

static int check_streams(struct order *order, const Drover__TransferOrder *message, struct error *err) {
        unsigned carry = message->streams ? message->streams : FLOW_STREAMS_DEFAULT;
        if (carry > FLOW_STREAMS_MAX - 1)
                return error_set(err, ERROR_INVALID, "%u streams are over the bound of %u", carry,
                                 FLOW_STREAMS_MAX - 1);
        order->streams = carry + 1;
        return 0;
}

static int check_address(struct order *order, const Drover__TransferOrder *message, struct error *err) {
        order->peer_address = message->peer_address;
        order->peer_port = (uint16_t) message->peer_port;
        if (order->path == DROVER__TRANSFER_PATH__PATH_RELAY) {
                if (!order->standing.relay_address)
                        return error_set(err, ERROR_UNREACHABLE, "the controller's address is not known");
                return 0;
        }
        if (order_dials(order) && (!message->peer_address[0] || message->peer_port < 1 || message->peer_port > 65535))
                return error_set(err, ERROR_INVALID, "the order says to dial %s but not where", order_peer_word(order));
        return 0;
}

int order_open(struct order *order, struct standing *standing, const Drover__TransferOrder *message, const char *disk,
               bool source, int64_t now, struct error *err) {
        *order = (struct order){.standing = *standing, .disk = disk, .source = source};
        *standing = (struct standing){0};
        if (!order->standing.credentials || !order->standing.controller_key)
                return error_set(err, ERROR_CONFLICT, "this agent is not joined to a controller");
        order->ticket_bytes = message->ticket;
        order->rate = message->rate_bytes_per_second;
        if (ticket_open(message->ticket.data, message->ticket.len, order->standing.controller_key, now, &order->ticket,
                        err) < 0)
                return -1;
        order->path = (int) order->ticket->path;
        struct ticket_expectation expected = own_part(order);
        if (ticket_match(order->ticket, &expected, err) < 0 || check_streams(order, message, err) < 0)
                return -1;
        return check_address(order, message, err);
}

int order_check_peer(const struct order *order, const struct identity *peer, struct error *err) {
        struct ticket_expectation expected = {0};
        if (order->source) {
                expected.sink_host = peer->name;
                expected.sink_certificate_sha256 = peer->certificate_sha256;
        } else {
                expected.source_host = peer->name;
                expected.source_certificate_sha256 = peer->certificate_sha256;
        }
        return ticket_match(order->ticket, &expected, err);
}

int order_check_ticket(const struct order *order, ProtobufCBinaryData bytes, int64_t now, struct error *err) {
        _cleanup_(proto_free_p) ProtobufCMessage *message = NULL;
        const Drover__Ticket *own = order->ticket;
        struct ticket_expectation expected = {
                .job = own->job,
                .disk = own->disk,
                .attempt = own->attempt,
                .source_host = own->source_host,
                .sink_host = own->sink_host,
                .source_certificate_sha256 = own->source_certificate_sha256.data,
                .sink_certificate_sha256 = own->sink_certificate_sha256.data,
                .path = order->path,
        };
        if (ticket_open(bytes.data, bytes.len, order->standing.controller_key, now, (Drover__Ticket **) &message, err) <
            0)
                return -1;
        const Drover__Ticket *shown = (const Drover__Ticket *) message;
        if (ticket_match(shown, &expected, err) < 0)
                return -1;
        if (memcmp(shown->nonce.data, own->nonce.data, TICKET_NONCE) != 0)
                return error_set(err, ERROR_DENIED, "the ticket for job %s, disk %s is not the one of this order",
                                 own->job, own->disk);
        return 0;
}

bool order_dials(const struct order *order) {
        switch (order->path) {
        case DROVER__TRANSFER_PATH__PATH_DIRECT:
                return order->source;
        case DROVER__TRANSFER_PATH__PATH_REVERSE:
                return !order->source;
        default:
                return true;
        }
}

const char *order_peer_word(const struct order *order) {
        return order->source ? "the sink" : "the source";
}
