// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A link: one TCP connection on a libuv loop, TLS 1.3 inside, frames inside that. Both daemons and the command line
 * use it. It belongs to the loop's thread. Bounds: a handshake takes at most 10 s, a frame at most 30 s from its first
 * byte to its last, at most LINK_QUEUE_MAX bytes wait to be sent (beyond that the link is closed: the peer does not
 * read).
 *
 *      connecting -> handshake -> open -> closing -> closed      (on_close is the last call; then the link frees
 * itself)
 *
 * No callback is called from within link_connect, link_accept, link_send, link_close, link_abort or link_detach, and
 * callbacks may call all of them; after link_close or link_abort only on_close follows. In TLS 1.3 the client is open
 * before the server has looked at its certificate, so a refusal may reach the client after on_open.
 */
#include "common/tls.h"
#include "common/frame.h"
#include <uv.h>

#define LINK_QUEUE_MAX (64u << 20)
// For links made from now on. Only tests change them.
struct link_limits {
        uint64_t connect_ms, handshake_ms, frame_ms, flush_ms, detach_ms;
        size_t queue;
};
extern struct link_limits link_limits;
struct link;
struct link_callbacks {
        // The handshake is over and the peer's certificate has passed the policy. Return -1 with err to close.
        int (*on_open)(struct link *link, void *data, struct error *err);
        // One whole frame. Return -1 with err to close.
        int (*on_frame)(struct link *link, const uint8_t *frame, size_t length, void *data, struct error *err);
        // Exactly once, also when connecting failed or link_close() was called; `why->code` is ERROR_NONE after our own
        // link_close(). The link is freed after this returns.
        void (*on_close)(struct link *link, const struct error *why, void *data);
        // Optional: the outer TLS session was ended with link_detach(); `fd` is the caller's now, non-blocking, with
        // bytes that had already been read and belong after the hand-over.
        void (*on_detach)(struct link *link, int fd, const uint8_t *leftover, size_t length, void *data);
        // Optional: everything that was queued has left for the network. For owners that send more than fits the queue.
        void (*on_drained)(struct link *link, void *data);
};
// Resolves and dials "host:port" / "[v6]:port"; on_close with ERROR_UNREACHABLE names the address. timeout for connect:
// 10 s.
int link_connect(uv_loop_t *loop, const char *address, struct tls_credentials *credentials,
                 const struct tls_policy *policy, const struct link_callbacks *callbacks, void *data, struct link **ret,
                 struct error *err);
// Takes an accepted connection from a listening handle.
int link_accept(uv_stream_t *listener, struct tls_credentials *credentials, const struct tls_policy *policy,
                const struct link_callbacks *callbacks, void *data, struct link **ret, struct error *err);
// Queues one frame; what is sent in one turn of the loop travels together. Fails when the link is not open or the queue
// is full; the latter also ends it.
int link_send(struct link *link, const uint8_t *frame, size_t length, struct error *err);
size_t link_waiting(const struct link *link); // bytes that are queued and have not left yet
// Ends it: queued frames are flushed for at most 2 s, then on_close. Idempotent. link_abort() does not flush.
void link_close(struct link *link);
void link_abort(struct link *link, enum error_code code, const char *why);
// Server, for the relay: flush, exchange close_notify both ways, then on_detach instead of on_close. Frames that the
// peer sends before its close_notify are dropped. on_detach must be set.
void link_detach(struct link *link);
const struct identity *link_peer(const struct link *link);
const char *link_alpn(const struct link *link);
const char *link_address(const struct link *link);  // the client's: as dialled; the server's: "10.1.2.3:4567"
X509 *link_peer_authority(const struct link *link); // joiner
EVP_PKEY *link_peer_key(const struct link *link);
void link_set_data(struct link *link, const struct link_callbacks *callbacks,
                   void *data);                           // hand over to another owner (roles by ALPN)
void link_set_frame_max(struct link *link, uint32_t max); // FRAME_MAX_JOIN until then
uint64_t link_last_received_ms(const struct link *link);  // monotonic, for heartbeats
