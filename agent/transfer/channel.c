// SPDX-License-Identifier: LGPL-2.1-or-later
/* TLS and frames over a wire (see channel.h). */
#include "agent/transfer/channel.h"
#include "agent/transfer/wire.h"
#include "common/cleanup.h"
#include "common/frame.h"
#include "common/memory.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define LINGER_MS    2000
#define ADDRESS_TEXT 80
// One key of AES-GCM is good for 2^24 records and more (RFC 8446, 5.5); a new one comes long before.
#define KEY_BYTES (64ull << 30)

struct channel {
        struct wire wire;
        SSL *ssl;
        struct identity peer;
        uint64_t key_bytes; // written under the present key
        char address[ADDRESS_TEXT];
};

DEFINE_CLEANUP(proto_free, ProtobufCMessage *)

static void write_address(struct channel *channel) {
        struct sockaddr_storage storage = {0};
        socklen_t size = sizeof storage;
        char text[INET6_ADDRSTRLEN] = "";
        if (getpeername(channel->wire.fd, (struct sockaddr *) &storage, &size) < 0)
                return;
        if (storage.ss_family == AF_INET) {
                const struct sockaddr_in *v4 = (const struct sockaddr_in *) &storage;
                inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
                snprintf(channel->address, sizeof channel->address, "%s:%u", text, ntohs(v4->sin_port));
        } else if (storage.ss_family == AF_INET6) {
                const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *) &storage;
                bool mapped = IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);
                if (mapped)
                        inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], text, sizeof text);
                else
                        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
                snprintf(channel->address, sizeof channel->address, mapped ? "%s:%u" : "[%s]:%u", text,
                         ntohs(v6->sin6_port));
        }
}

struct channel *channel_new(int fd, const struct clock *clock) {
        struct channel *channel = new (struct channel);
        wire_init(&channel->wire, fd, clock);
        wire_set_bulk(&channel->wire);
        write_address(channel);
        return channel;
}

void channel_free(struct channel *channel) {
        if (!channel)
                return;
        SSL_free(channel->ssl);
        wire_fini(&channel->wire);
        free(channel);
}

int channel_dial(const char *host, uint16_t port, struct flow *flow, const struct clock *clock, struct channel **ret,
                 struct error *err) {
        int fd;
        if (wire_connect(host, port, flow, clock, CHANNEL_CONNECT_MS, &fd, err) < 0)
                return -1;
        *ret = channel_new(fd, clock);
        channel_set_flow(*ret, flow);
        return 0;
}

void channel_set_flow(struct channel *channel, struct flow *flow) {
        channel->wire.flow = flow;
        channel->wire.stop = NULL;
}

void channel_set_stop(struct channel *channel, const atomic_bool *stop) {
        channel->wire.stop = stop;
}

void channel_set_deadline(struct channel *channel, uint32_t milliseconds) {
        channel->wire.deadline = milliseconds ? clock_ms(channel->wire.clock) + milliseconds : 0;
}

void channel_set_patient(struct channel *channel) {
        channel->wire.patient = true;
}

const char *channel_address(const struct channel *channel) {
        return channel->address;
}

const struct identity *channel_peer(const struct channel *channel) {
        return &channel->peer;
}

// The socket's own error says more than OpenSSL, which only knows that there was one.
static int failure(struct channel *channel, int result, struct error *err) {
        if (channel->wire.error.code == ERROR_NONE)
                return tls_failure(channel->ssl, result, err);
        tls_failure(channel->ssl, result, NULL); // empties OpenSSL's queue
        if (err)
                *err = channel->wire.error;
        return -1;
}

int channel_secure(struct channel *channel, struct tls_credentials *credentials, enum identity_kind peer, bool server,
                   struct error *err) {
        static const char *const alpns[] = {TLS_ALPN_DATA, NULL};
        struct tls_policy policy = {.alpns = alpns, .peer = peer};
        if (tls_new_ssl(credentials, &policy, server, &channel->ssl, err) < 0)
                return -1;
        BIO *bio = wire_bio(&channel->wire);
        SSL_set_bio(channel->ssl, bio, bio);
        SSL_set_mode(channel->ssl, SSL_MODE_AUTO_RETRY);
        int result = SSL_do_handshake(channel->ssl);
        if (result != 1)
                return failure(channel, result, err);
        return tls_peer_of(channel->ssl, &channel->peer, err);
}

int channel_strip(struct channel *channel, struct error *err) {
        uint8_t byte;
        int result = SSL_read(channel->ssl, &byte, 1);
        if (result > 0)
                return error_set(err, ERROR_PROTOCOL, "the relay went on talking instead of handing over");
        if (SSL_get_error(channel->ssl, result) != SSL_ERROR_ZERO_RETURN)
                return failure(channel, result, err);
        result = SSL_shutdown(channel->ssl);
        if (result < 0 || wire_flush(&channel->wire) < 0)
                return failure(channel, result, err);
        SSL_free(channel->ssl);
        channel->ssl = NULL;
        channel->peer = (struct identity){0};
        return 0;
}

// ---- bytes
static void begin_unit(struct channel *channel) {
        channel->wire.unit_began = clock_ms(channel->wire.clock);
}

static void end_unit(struct channel *channel) {
        channel->wire.unit_began = 0;
}

static int read_all(struct channel *channel, uint8_t *bytes, size_t length, struct error *err) {
        while (length > 0) {
                size_t n = 0;
                int result = SSL_read_ex(channel->ssl, bytes, length, &n);
                if (result != 1)
                        return failure(channel, result, err);
                bytes += n;
                length -= n;
        }
        return 0;
}

int channel_read(struct channel *channel, void *bytes, size_t length, struct error *err) {
        begin_unit(channel);
        int result = read_all(channel, bytes, length, err);
        end_unit(channel);
        return result;
}

int channel_write(struct channel *channel, const void *bytes, size_t length, struct error *err) {
        size_t n = 0;
        if (length == 0)
                return 0;
        if (channel->key_bytes > KEY_BYTES && SSL_key_update(channel->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1)
                channel->key_bytes = 0;
        begin_unit(channel);
        int result = SSL_write_ex(channel->ssl, bytes, length, &n);
        end_unit(channel);
        channel->key_bytes += n;
        return result == 1 ? 0 : failure(channel, result, err);
}

int channel_flush(struct channel *channel, struct error *err) {
        if (wire_flush(&channel->wire) == 0)
                return 0;
        if (err)
                *err = channel->wire.error;
        return -1;
}

bool channel_readable(struct channel *channel) {
        return SSL_pending(channel->ssl) > 0 || wire_readable(&channel->wire);
}

bool channel_await(struct channel *channel, int wake_fd, uint32_t milliseconds) {
        return SSL_pending(channel->ssl) > 0 || wire_await(&channel->wire, wake_fd, milliseconds);
}

bool channel_await_end(const struct channel *channel, int wake_fd, uint32_t milliseconds) {
        return wire_await_end(&channel->wire, wake_fd, milliseconds);
}

uint64_t channel_heard(const struct channel *channel) {
        return delivered_heard(channel->wire.fd);
}

void channel_look(const struct channel *channel, struct delivered *ret) {
        delivered_look(channel->wire.fd, ret);
}

uint64_t channel_waited_us(const struct channel *channel) {
        return atomic_load_explicit(&channel->wire.waited_us, memory_order_relaxed);
}

// ---- frames
int channel_pack(const Drover__DataEnvelope *envelope, struct buffer *frame, struct error *err) {
        uint8_t header[FRAME_HEADER] = {0};
        buffer_init(frame, FRAME_HEADER + CHANNEL_FRAME_MAX);
        if (buffer_append(frame, header, sizeof header, err) < 0 || proto_pack(&envelope->base, frame, err) < 0)
                return -1;
        frame_encode_header(frame->data, (uint32_t) (frame->length - FRAME_HEADER));
        return 0;
}

int channel_put(struct channel *channel, const Drover__DataEnvelope *envelope, struct error *err) {
        _cleanup_(buffer_fini) struct buffer frame;
        return channel_pack(envelope, &frame, err) < 0 ? -1 : channel_write(channel, frame.data, frame.length, err);
}

int channel_send(struct channel *channel, const Drover__DataEnvelope *envelope, struct error *err) {
        return channel_put(channel, envelope, err) < 0 ? -1 : channel_flush(channel, err);
}

void channel_say_why(struct channel *channel, const struct error *why) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        _cleanup_(proto_free_p) ProtobufCMessage *message = (ProtobufCMessage *) proto_failure(why);
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_FAILURE;
        envelope.failure = (Drover__Failure *) message;
        channel_set_flow(channel, NULL);
        channel_set_deadline(channel, LINGER_MS);
        error_clear(&channel->wire.error);
        if (channel_send(channel, &envelope, NULL) == 0)
                wire_drain(&channel->wire, LINGER_MS);
}

// The wait for the first byte is no part of the frame.
static int read_header(struct channel *channel, uint32_t *ret_length, struct error *err) {
        uint8_t header[FRAME_HEADER];
        if (read_all(channel, header, 1, err) < 0 || channel_read(channel, header + 1, sizeof header - 1, err) < 0)
                return -1;
        uint32_t length =
                (uint32_t) header[0] << 24 | (uint32_t) header[1] << 16 | (uint32_t) header[2] << 8 | header[3];
        if (length == 0 || length > CHANNEL_FRAME_MAX)
                return error_set(err, ERROR_PROTOCOL, "a frame of %u bytes is outside 1 to %u", length,
                                 CHANNEL_FRAME_MAX);
        *ret_length = length;
        return 0;
}

int channel_receive(struct channel *channel, Drover__DataEnvelope **ret, struct error *err) {
        uint8_t bytes[CHANNEL_FRAME_MAX];
        uint32_t length = 0;
        if (read_header(channel, &length, err) < 0 || channel_read(channel, bytes, length, err) < 0)
                return -1;
        return PROTO_UNPACK(data_envelope, bytes, length, ret, err);
}

int channel_expect(struct channel *channel, Drover__DataEnvelope__BodyCase body, const char *who,
                   Drover__DataEnvelope **ret, struct error *err) {
        _cleanup_(proto_free_p) ProtobufCMessage *message = NULL;
        if (channel_receive(channel, (Drover__DataEnvelope **) &message, err) < 0)
                return -1;
        Drover__DataEnvelope *envelope = (Drover__DataEnvelope *) message;
        if (envelope->body_case == DROVER__DATA_ENVELOPE__BODY_FAILURE) {
                proto_error(envelope->failure, err);
                return error_prefix(err, "%s failed", who);
        }
        if (envelope->body_case != body)
                return error_set(err, ERROR_PROTOCOL, "%s sent \"%s\" out of turn", who,
                                 proto_oneof_name(message, "body"));
        *ret = (Drover__DataEnvelope *) steal(&message);
        return 0;
}
