// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The link's machine. It belongs to the loop's thread; the link's memory goes when its last handle has closed.
 *
 *   connecting ---> handshake ---> open ---> detaching
 *       |             |   |       |   |        |   |
 *       |             |   v       v   |        |   |
 *       |             |   closing     |        |   |       closing: flush, close_notify, FIN, wait for the peer's FIN
 *       v             v      v        v        v   |       (a close at once would reset the connection, and the peer
 *   closed <----------------------------------------       could lose our last frame or alert)
 *
 * What travels while it lives is the matter of link_traffic.c.
 */
#include "common/link_private.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/memory.h"
#include <assert.h>
#include <inttypes.h>

struct link_limits link_limits = {
        .connect_ms = 10000,
        .handshake_ms = 10000,
        .frame_ms = 30000,
        .flush_ms = 2000,
        .detach_ms = 10000,
        .queue = LINK_QUEUE_MAX,
};

static const struct sm_state states[] = {
        [CONNECTING] = {.name = "connecting", .next = SM_TO(HANDSHAKE) | SM_TO(CLOSED), .initial = true},
        [HANDSHAKE] = {.name = "handshake", .next = SM_TO(OPEN) | SM_TO(CLOSING) | SM_TO(CLOSED), .initial = true},
        [OPEN] = {.name = "open", .next = SM_TO(DETACHING) | SM_TO(CLOSING) | SM_TO(CLOSED)},
        [DETACHING] = {.name = "detaching", .next = SM_TO(CLOSING) | SM_TO(CLOSED)},
        [CLOSING] = {.name = "closing", .next = SM_TO(CLOSED)},
        [CLOSED] = {.name = "closed", .final = true},
};

// ---- the end

static void finish(struct link *link) {
        static const struct error none = {.code = ERROR_NONE};
        if (link->detached_fd >= 0)
                link->callbacks.on_detach(link, steal_fd(&link->detached_fd), link->leftover.data,
                                          link->leftover.length, link->data);
        else if (link->callbacks.on_close)
                link->callbacks.on_close(link, link->why ? link->why : &none, link->data);
        outbox_clear(&link->outbox);
        tls_engine_free(link->engine);
        frame_decoder_fini(&link->decoder);
        buffer_fini(&link->wire);
        buffer_fini(&link->sending);
        buffer_fini(&link->leftover);
        free(link->address);
        free(link->why);
        free(link);
}

static void on_handle_closed(uv_handle_t *handle) {
        struct link *link = handle->data;
        if (handle == (uv_handle_t *) link->tcp)
                free(steal(&link->tcp));
        if (--link->handles == 0)
                finish(link);
}

static void close_handles(struct link *link) {
        sm_move(&link->sm, CLOSED);
        dial_cancel(steal(&link->dial));
        if (link->tcp) {
                link->handles++;
                uv_close((uv_handle_t *) link->tcp, on_handle_closed);
        }
        uv_close((uv_handle_t *) &link->timer, on_handle_closed);
        uv_close((uv_handle_t *) &link->soon, on_handle_closed);
}

// The first reason stays; NULL: our own wish.
static void set_why(struct link *link, const struct error *why) {
        if (link_state_of(link) >= CLOSING || !why || why->code == ERROR_NONE)
                return;
        link->why = new (struct error);
        *link->why = *why;
}

void link_end_now(struct link *link, const struct error *why) {
        if (link_state_of(link) == CLOSED)
                return;
        set_why(link, why);
        close_handles(link);
}

static void end_late(struct link *link, const char *what, uint64_t ms) {
        struct error why = ERROR_INIT;
        error_set(&why, ERROR_TIMEOUT, "%s: %s took longer than %" PRIu64 " s", link->address, what, (ms + 999) / 1000);
        link_end_now(link, &why);
}

static void on_deadline(uv_timer_t *timer) {
        struct link *link = timer->data;
        switch (link_state_of(link)) {
        case HANDSHAKE:
                end_late(link, "the handshake", link->limits.handshake_ms);
                break;
        case OPEN:
                end_late(link, "a frame", link->limits.frame_ms);
                break;
        case DETACHING:
                end_late(link, "the end of the session", link->limits.detach_ms);
                break;
        case CLOSING:
                link_end_now(link, NULL);
                break;
        case CONNECTING: // the dial has its own
        case CLOSED:
                break;
        }
}

void link_set_deadline(struct link *link, uint64_t ms) {
        uv_timer_start(&link->timer, on_deadline, ms, 0);
}

void link_end_flushed(struct link *link, const struct error *why) {
        if (link_state_of(link) >= CLOSING)
                return;
        if (link_state_of(link) == CONNECTING) {
                link_end_now(link, why);
                return;
        }
        set_why(link, why);
        sm_move(&link->sm, CLOSING);
        link_set_deadline(link, link->limits.flush_ms);
        if (!link->receiving)
                link_traffic_flush(link);
}

void link_open_up(struct link *link) {
        struct error err = ERROR_INIT;
        sm_move(&link->sm, OPEN);
        uv_timer_stop(&link->timer);
        if (link->callbacks.on_open(link, link->data, &err) < 0)
                link_end_flushed(link, &err);
}

static void on_soon(uv_idle_t *soon) {
        link_traffic_flush(soon->data);
}

// ---- the beginning

static struct link *new_link(uv_loop_t *loop, enum link_state state, struct tls_engine *engine,
                             const struct link_callbacks *callbacks, void *data) {
        struct link *link = new (struct link);
        uv_update_time(loop); // the loop may not have run for a while
        sm_init(&link->sm, states, ARRAY_SIZE(states), state);
        link->limits = link_limits;
        link->loop = loop;
        link->engine = engine;
        link->callbacks = *callbacks;
        link->data = data;
        link->detached_fd = -1;
        link->received_ms = clock_ms(&system_clock);
        frame_decoder_init(&link->decoder, FRAME_MAX_JOIN);
        buffer_init(&link->wire, 0);
        buffer_init(&link->sending, 0);
        buffer_init(&link->leftover, 0);
        uv_timer_init(loop, &link->timer);
        uv_idle_init(loop, &link->soon);
        link->timer.data = link->soon.data = link;
        link->handles = 2;
        return link;
}

static int start_handshake(struct link *link, bool server, struct error *err) {
        link->tcp->data = link;
        link_set_deadline(link, link->limits.handshake_ms);
        dial_tune_tcp(link->tcp);
        if (link_traffic_start(link, err) < 0)
                return -1;
        if (!server && tls_engine_start(link->engine, &link->wire, err) < 0)
                return error_prefix(err, "%s", link->address);
        link_traffic_flush(link);
        return 0;
}

static void on_dialled(uv_tcp_t *tcp, const struct error *why, void *data) {
        struct link *link = data;
        struct error err = ERROR_INIT;
        link->dial = NULL;
        if (!tcp) {
                link_end_now(link, why);
                return;
        }
        link->tcp = tcp;
        sm_move(&link->sm, HANDSHAKE);
        if (start_handshake(link, false, &err) < 0)
                link_end_now(link, &err);
}

int link_connect(uv_loop_t *loop, const char *address, struct tls_credentials *credentials,
                 const struct tls_policy *policy, const struct link_callbacks *callbacks, void *data, struct link **ret,
                 struct error *err) {
        struct tls_engine *engine;
        struct dial *dial;
        char host[DIAL_HOST_MAX + 1], port[DIAL_PORT_MAX + 1];
        if (dial_parse(address, host, port, err) < 0)
                return -1;
        if (tls_engine_new(credentials, policy, false, &engine, err) < 0)
                return -1;
        struct link *link = new_link(loop, CONNECTING, engine, callbacks, data);
        if (dial_start(loop, address, link->limits.connect_ms, on_dialled, link, &dial, err) < 0) {
                link->callbacks = (struct link_callbacks){0}; // the caller hears of it here and not again
                link_end_now(link, NULL);
                return -1;
        }
        link->dial = dial;
        link->address = memory_string(address);
        *ret = link;
        return 0;
}

int link_accept(uv_stream_t *listener, struct tls_credentials *credentials, const struct tls_policy *policy,
                const struct link_callbacks *callbacks, void *data, struct link **ret, struct error *err) {
        struct tls_engine *engine;
        uv_tcp_t *tcp = new (uv_tcp_t);
        int r = uv_tcp_init(listener->loop, tcp);
        if (r < 0) {
                free(tcp);
                return dial_error(err, r, "accept a connection");
        }
        // First of all, so that the listener goes on listening.
        r = uv_accept(listener, (uv_stream_t *) tcp);
        if (r < 0) {
                dial_close_tcp(tcp);
                return dial_error(err, r, "accept a connection");
        }
        if (tls_engine_new(credentials, policy, true, &engine, err) < 0) {
                dial_close_tcp(tcp);
                return -1;
        }
        struct link *link = new_link(listener->loop, HANDSHAKE, engine, callbacks, data);
        link->tcp = tcp;
        link->address = dial_peer_address(tcp);
        if (start_handshake(link, true, err) < 0) {
                link->callbacks = (struct link_callbacks){0};
                link_end_now(link, NULL);
                return -1;
        }
        *ret = link;
        return 0;
}

// ---- what the owner may do

int link_send(struct link *link, const uint8_t *frame, size_t length, struct error *err) {
        uint8_t header[FRAME_HEADER];
        if (link_state_of(link) != OPEN)
                return error_set(err, ERROR_UNREACHABLE, "%s: the connection is not open", link->address);
        if (length == 0 || length > FRAME_MAX)
                return error_set(err, ERROR_TOO_LARGE, "a frame of %zu bytes; 1 to %u are allowed", length, FRAME_MAX);
        size_t waiting = link->outbox.length + link->sending.length;
        if (waiting + FRAME_HEADER + length > link->limits.queue) {
                struct error why = ERROR_INIT;
                error_set(&why, ERROR_TOO_LARGE, "%s does not read: %zu bytes wait for it", link->address, waiting);
                link_end_now(link, &why);
                if (err)
                        *err = why;
                return -1;
        }
        frame_encode_header(header, (uint32_t) length);
        outbox_append(&link->outbox, header, sizeof(header));
        outbox_append(&link->outbox, frame, length);
        if (!link->receiving && !link->writing) // else link_traffic_flush() comes anyway
                uv_idle_start(&link->soon, on_soon);
        return 0;
}

size_t link_waiting(const struct link *link) {
        return link->outbox.length + link->wire.length + link->sending.length;
}

void link_close(struct link *link) {
        if (link_state_of(link) == HANDSHAKE)
                link_end_now(link, NULL);
        else
                link_end_flushed(link, NULL);
}

void link_abort(struct link *link, enum error_code code, const char *why) {
        struct error error = ERROR_INIT;
        error_set(&error, code, "%s", why);
        link_end_now(link, &error);
}

void link_detach(struct link *link) {
        assert(link->callbacks.on_detach);
        if (link_state_of(link) != OPEN)
                return;
        sm_move(&link->sm, DETACHING);
        link_set_deadline(link, link->limits.detach_ms);
        if (!link->receiving)
                link_traffic_flush(link);
}

const struct identity *link_peer(const struct link *link) {
        return tls_engine_peer(link->engine);
}

const char *link_alpn(const struct link *link) {
        return tls_engine_alpn(link->engine);
}

const char *link_address(const struct link *link) {
        return link->address;
}

X509 *link_peer_authority(const struct link *link) {
        return tls_engine_peer_authority(link->engine);
}

EVP_PKEY *link_peer_key(const struct link *link) {
        return tls_engine_peer_key(link->engine);
}

void link_set_data(struct link *link, const struct link_callbacks *callbacks, void *data) {
        link->callbacks = *callbacks;
        link->data = data;
}

void link_set_frame_max(struct link *link, uint32_t max) {
        link->decoder.max = max;
        link->decoder.body.limit = max;
}

uint64_t link_last_received_ms(const struct link *link) {
        return link->received_ms;
}
