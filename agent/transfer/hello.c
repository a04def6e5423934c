// SPDX-License-Identifier: LGPL-2.1-or-later
/* The beginning of a stream (see hello.h). */
#include "agent/transfer/hello.h"
#include "common/cleanup.h"

DEFINE_CLEANUP(proto_free, ProtobufCMessage *)

static int check_version(uint32_t version, struct error *err) {
        if (version == PROTO_DATA_VERSION)
                return 0;
        error_set(err, ERROR_VERSION, "the peer copies images by version %u of the protocol, this agent by version %u",
                  version, PROTO_DATA_VERSION);
        error_hint(err, "install the same release of drover-agent on both hosts");
        return -1;
}

int hello_show(struct channel *channel, const struct order *order, unsigned stream, struct error *err) {
        _cleanup_(proto_free_p) ProtobufCMessage *answer = NULL;
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataHello hello = DROVER__DATA_HELLO__INIT;
        hello.version = PROTO_DATA_VERSION;
        hello.ticket = order->ticket_bytes;
        hello.stream = stream;
        hello.streams = order->streams;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_HELLO;
        envelope.hello = &hello;
        if (channel_send(channel, &envelope, err) < 0 ||
            channel_receive(channel, (Drover__DataEnvelope **) &answer, err) < 0)
                return -1;
        const Drover__DataEnvelope *said = (const Drover__DataEnvelope *) answer;
        if (said->body_case == DROVER__DATA_ENVELOPE__BODY_FAILURE) {
                proto_error(said->failure, err);
                return error_prefix(err, "refused");
        }
        if (said->body_case != DROVER__DATA_ENVELOPE__BODY_ACCEPT)
                return error_set(err, ERROR_PROTOCOL, "%s sent \"%s\" out of turn", order_peer_word(order),
                                 proto_oneof_name(answer, "body"));
        return check_version(said->accept->version, err);
}

int hello_hear(struct channel *channel, Drover__DataEnvelope **ret, struct error *err) {
        _cleanup_(proto_free_p) ProtobufCMessage *message = NULL;
        if (channel_expect(channel, DROVER__DATA_ENVELOPE__BODY_HELLO, "the peer", (Drover__DataEnvelope **) &message,
                           err) < 0)
                return -1;
        const Drover__DataHello *hello = ((Drover__DataEnvelope *) message)->hello;
        if (check_version(hello->version, err) < 0)
                return -1;
        if (hello->streams < FLOW_STREAMS_LEAST || hello->streams > FLOW_STREAMS_MAX || hello->stream >= hello->streams)
                return error_set(err, ERROR_PROTOCOL, "there is no stream %u of %u", hello->stream, hello->streams);
        *ret = (Drover__DataEnvelope *) steal(&message);
        return 0;
}

int hello_accept(struct channel *channel, struct error *err) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataAccept accept = DROVER__DATA_ACCEPT__INIT;
        accept.version = PROTO_DATA_VERSION;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_ACCEPT;
        envelope.accept = &accept;
        return channel_send(channel, &envelope, err);
}
