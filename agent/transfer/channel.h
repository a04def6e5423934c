// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A channel: one TCP connection with TLS inside, frames inside that, and image bytes between the frames; blocking, with
 * deadlines, for the one thread that holds it at a time. OpenSSL reads and writes through the channel's own buffers, so
 * that the bulk takes few system calls and that nothing is lost when an outer TLS session is taken off and an inner one
 * begins on the same connection (relay).
 *
 * Deadlines: channel_set_deadline() bounds a phase (handshake, hello) as a whole. Without one, CHANNEL_IDLE_MS
 * in which nothing arrives on any stream of the flow end it (both ends say on the conversation that they are alive),
 * and so does a frame, or 64 KiB of a block, that takes CHANNEL_FRAME_MS (a peer that sends a byte a second, fault 3).
 */
#include "agent/transfer/delivered.h"
#include "agent/transfer/flow.h"
#include "common/buffer.h"
#include "common/tls.h"
#include "proto/codec.h"
#include <netinet/in.h>

#define CHANNEL_IDLE_MS    5000u
#define CHANNEL_ALIVE_MS   1000u // between two signs of life
#define CHANNEL_FRAME_MS   300000u
#define CHANNEL_CONNECT_MS 3000u
#define CHANNEL_HELLO_MS   10000u
#define CHANNEL_FRAME_MAX  (16u << 10)

struct channel;
// Takes the connected socket. Never fails: what is wrong with it shows at the first use.
struct channel *channel_new(int fd, const struct clock *clock);
void channel_free(struct channel *channel); // closes the socket; NULL is fine
// Connects to a host (address or name) within CHANNEL_CONNECT_MS. ERROR_UNREACHABLE: "10.0.0.7:7444: Connection
// refused".
int channel_dial(const char *host, uint16_t port, struct flow *flow, const struct clock *clock, struct channel **ret,
                 struct error *err);
// Whose transfer it serves: its stop, its idle time, its count of bytes. NULL: nobody's yet.
void channel_set_flow(struct channel *channel, struct flow *flow);
// For a channel without a flow: looked at while waiting; true ends it.
void channel_set_stop(struct channel *channel, const atomic_bool *stop);
void channel_set_deadline(struct channel *channel, uint32_t milliseconds); // from now; 0: none
// It is the conversation of its flow: what is under way is ended before a stop is obeyed, for there is more to say.
void channel_set_patient(struct channel *channel);
const char *channel_address(const struct channel *channel); // "10.0.0.7:51234"

// The TLS handshake under drover-data/1; the peer must be of this kind.
int channel_secure(struct channel *channel, struct tls_credentials *credentials, enum identity_kind peer, bool server,
                   struct error *err);
const struct identity *channel_peer(const struct channel *channel);
// Take the session off: wait for the peer's close_notify, answer it. What follows on the connection is no longer TLS of
// ours.
int channel_strip(struct channel *channel, struct error *err);

// One frame, sent at once; channel_put() may keep it until channel_flush().
int channel_send(struct channel *channel, const Drover__DataEnvelope *envelope, struct error *err);
int channel_put(struct channel *channel, const Drover__DataEnvelope *envelope, struct error *err);
// A frame's bytes, for channel_write() by another thread later.
int channel_pack(const Drover__DataEnvelope *envelope, struct buffer *frame, struct error *err);
// One frame. A Failure is given as such; proto_free() the envelope.
int channel_receive(struct channel *channel, Drover__DataEnvelope **ret, struct error *err);
// A frame that must be `body`; a Failure becomes the error: "the sink failed: ...", `who` being "the sink".
int channel_expect(struct channel *channel, Drover__DataEnvelope__BodyCase body, const char *who,
                   Drover__DataEnvelope **ret, struct error *err);
// Plain bytes between frames. channel_write() may keep them until channel_flush().
int channel_write(struct channel *channel, const void *bytes, size_t length, struct error *err);
int channel_flush(struct channel *channel, struct error *err);
int channel_read(struct channel *channel, void *bytes, size_t length, struct error *err);
// Whether something has arrived, without waiting.
bool channel_readable(struct channel *channel);
// Waits until something has arrived, `wake_fd` is readable, or the time is over; true: something has arrived.
bool channel_await(struct channel *channel, int wake_fd, uint32_t milliseconds);
// The same for whoever hears nothing at present: true: the connection has broken, or the peer has closed its side. What
// it said before that is still there to be heard.
bool channel_await_end(const struct channel *channel, int wake_fd, uint32_t milliseconds);
uint64_t channel_heard(const struct channel *channel); // see delivered_heard()
void channel_look(const struct channel *channel, struct delivered *ret);
uint64_t channel_waited_us(const struct channel *channel); // for the network to take more, in all
// Our last words: tells the peer why, if the channel still works, then throws away for a moment what still arrives, so
// that the words are not overtaken by a reset. Serves no flow any more.
void channel_say_why(struct channel *channel, const struct error *why);
