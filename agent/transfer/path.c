// SPDX-License-Identifier: LGPL-2.1-or-later
/* How the streams of a transfer come to stand (see path.h). On the thread of transfer_send() or transfer_receive(). */
#include "agent/transfer/path.h"
#include "agent/transfer/hello.h"
#include "common/cleanup.h"
#include "common/dial.h"
#include <string.h>

DEFINE_CLEANUP(proto_free, ProtobufCMessage *)
DEFINE_CLEANUP(channel_free, struct channel *)

static bool relayed(const struct order *order) {
        return order->path == DROVER__TRANSFER_PATH__PATH_RELAY;
}

// ---- through the relay
static int ask_relay(struct channel *channel, const struct order *order, unsigned stream, struct error *err) {
        _cleanup_(proto_free_p) ProtobufCMessage *ready = NULL;
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__RelayHello hello = DROVER__RELAY_HELLO__INIT;
        hello.version = PROTO_VERSION_MAX;
        hello.ticket = order->ticket_bytes;
        hello.source = order->source;
        hello.stream = stream;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_RELAY_HELLO;
        envelope.relay_hello = &hello;
        if (channel_secure(channel, order->standing.credentials, IDENTITY_CONTROLLER, false, err) < 0 ||
            channel_send(channel, &envelope, err) < 0)
                return -1;
        channel_set_deadline(channel, PATH_RELAY_MS);
        if (channel_expect(channel, DROVER__DATA_ENVELOPE__BODY_RELAY_READY, "the relay",
                           (Drover__DataEnvelope **) &ready, err) < 0)
                return -1;
        channel_set_deadline(channel, CHANNEL_HELLO_MS);
        return channel_strip(channel, err);
}

// ---- one stream
static int check_hello(struct transfers *transfers, const struct order *order, const Drover__DataHello *hello,
                       unsigned stream, struct error *err) {
        if (order_check_ticket(order, hello->ticket, clock_wall(exchange_clock(transfers)), err) < 0)
                return -1;
        if (hello->stream != stream || hello->streams != order->streams)
                return error_set(err, ERROR_PROTOCOL, "the peer means stream %u of %u, this is stream %u of %u",
                                 hello->stream, hello->streams, stream, order->streams);
        return exchange_use_ticket(transfers, order->ticket, stream, err);
}

static int hear_and_accept(struct transfers *transfers, const struct order *order, struct channel *channel,
                           unsigned stream, struct error *err) {
        _cleanup_(proto_free_p) ProtobufCMessage *envelope = NULL;
        struct error why = ERROR_INIT;
        if (hello_hear(channel, (Drover__DataEnvelope **) &envelope, err) < 0)
                return -1;
        if (check_hello(transfers, order, ((Drover__DataEnvelope *) envelope)->hello, stream, &why) == 0)
                return hello_accept(channel, err);
        channel_say_why(channel, &why);
        if (err)
                *err = why;
        return -1;
}

// Sites often use the same private addresses: whoever else answers there, the path is not to be had, and another one
// may.
static int not_the_peer(struct error *err) {
        if (err && err->code != ERROR_CANCELLED)
                err->code = ERROR_UNREACHABLE;
        return -1;
}

static int meet_peer(const struct order *order, struct channel *channel, bool client, struct error *err) {
        const char *expected = order->source ? order->ticket->sink_host : order->ticket->source_host;
        if (channel_secure(channel, order->standing.credentials, IDENTITY_HOST, !client, err) < 0)
                return relayed(order) ? -1 : not_the_peer(err);
        const struct identity *peer = channel_peer(channel);
        if (!relayed(order) && strcmp(peer->name, expected) != 0) {
                error_set(err, ERROR_UNREACHABLE, "another host, %s, answers there", peer->name);
                return -1;
        }
        return order_check_peer(order, peer, err);
}

static int greet_peer(struct transfers *transfers, const struct order *order, struct channel *channel, unsigned stream,
                      struct error *err) {
        bool client = relayed(order) ? order->source : true;
        channel_set_deadline(channel, CHANNEL_HELLO_MS);
        if (meet_peer(order, channel, client, err) < 0)
                return -1;
        if (!client)
                return hear_and_accept(transfers, order, channel, stream, err);
        return exchange_use_ticket(transfers, order->ticket, stream, err) < 0 ? -1
                                                                              : hello_show(channel, order, stream, err);
}

static int where_to(const struct order *order, char host[DIAL_HOST_MAX + 1], uint16_t *ret_port, struct error *err) {
        char port[DIAL_PORT_MAX + 1];
        if (!relayed(order)) {
                size_t length = strlen(order->peer_address);
                if (length > DIAL_HOST_MAX)
                        return error_set(err, ERROR_INVALID, "the peer's address is too long");
                memcpy(host, order->peer_address, length + 1);
                *ret_port = order->peer_port;
                return 0;
        }
        if (dial_parse(order->standing.relay_address, host, port, err) < 0)
                return -1;
        *ret_port = (uint16_t) strtoul(port, NULL, 10);
        return 0;
}

static int dial(struct transfers *transfers, const struct order *order, struct flow *flow, unsigned stream,
                struct channel **ret, struct error *err) {
        _cleanup_(channel_free_p) struct channel *channel = NULL;
        const char *whom = relayed(order) ? "the relay" : order_peer_word(order);
        char host[DIAL_HOST_MAX + 1];
        uint16_t port = 0;
        if (where_to(order, host, &port, err) < 0)
                return -1;
        if (channel_dial(host, port, flow, exchange_clock(transfers), &channel, err) < 0)
                return error_prefix(err, "%s at %s port %u", whom, host, port);
        channel_set_deadline(channel, CHANNEL_HELLO_MS);
        if ((relayed(order) && ask_relay(channel, order, stream, err) < 0) ||
            greet_peer(transfers, order, channel, stream, err) < 0)
                return error_prefix(err, "%s at %s", whom, channel_address(channel));
        *ret = steal(&channel);
        return 0;
}

// ---- all streams
struct dialling {
        struct transfers *transfers;
        const struct order *order;
        struct flow *flow;
        struct channel **channels;
};

static void dial_one(void *data, unsigned stream) {
        struct dialling *dialling = data;
        struct error why = ERROR_INIT;
        if (dial(dialling->transfers, dialling->order, dialling->flow, stream, &dialling->channels[stream], &why) < 0)
                flow_fail(dialling->flow, &why);
}

// Side by side: each takes several round trips. The first that fails ends the others, and the flow.
static int dial_all(struct transfers *transfers, const struct order *order, struct flow *flow,
                    struct channel **channels, struct error *err) {
        struct dialling dialling = {transfers, order, flow, channels};
        return flow_run(flow, order->streams, dial_one, &dialling, err);
}

static int await_all(struct transfers *transfers, const struct order *order, struct flow *flow,
                     struct channel **channels, struct error *err) {
        if (exchange_await(transfers, order, flow, channels, err) < 0)
                return -1;
        for (unsigned i = 0; i < order->streams; i++)
                channel_set_flow(channels[i], flow);
        return 0;
}

int path_open(struct transfers *transfers, const struct order *order, struct flow *flow, struct channel **channels,
              struct error *err) {
        memset(channels, 0, sizeof(struct channel *) * order->streams);
        int result = order_dials(order) ? dial_all(transfers, order, flow, channels, err)
                                        : await_all(transfers, order, flow, channels, err);
        if (result < 0)
                path_close(order, channels);
        for (unsigned i = 0; result == 0 && i < order->streams; i++)
                channel_set_deadline(channels[i], 0);
        return result;
}

void path_close(const struct order *order, struct channel **channels) {
        for (unsigned i = 0; i < order->streams; i++) {
                channel_free(channels[i]);
                channels[i] = NULL;
        }
}
