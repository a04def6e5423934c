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
 * Frames wait as plain text; about WRITE_SIZE of them is encrypted and under way at a time. A link at rest holds no
 * buffer.
 */
#include "common/link.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/dial.h"
#include "common/memory.h"
#include "common/outbox.h"
#include "common/sm.h"
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#define CHUNK_SIZE (16u << 10)
#define WRITE_SIZE (256u << 10)
#define READ_SIZE  (64u << 10)

struct link_limits link_limits = {
        .connect_ms = 10000,
        .handshake_ms = 10000,
        .frame_ms = 30000,
        .flush_ms = 2000,
        .detach_ms = 10000,
        .queue = LINK_QUEUE_MAX,
};

enum link_state { CONNECTING, HANDSHAKE, OPEN, DETACHING, CLOSING, CLOSED };

static const struct sm_state states[] = {
        [CONNECTING] = {.name = "connecting", .next = SM_TO(HANDSHAKE) | SM_TO(CLOSED), .initial = true},
        [HANDSHAKE] = {.name = "handshake", .next = SM_TO(OPEN) | SM_TO(CLOSING) | SM_TO(CLOSED), .initial = true},
        [OPEN] = {.name = "open", .next = SM_TO(DETACHING) | SM_TO(CLOSING) | SM_TO(CLOSED)},
        [DETACHING] = {.name = "detaching", .next = SM_TO(CLOSING) | SM_TO(CLOSED)},
        [CLOSING] = {.name = "closing", .next = SM_TO(CLOSED)},
        [CLOSED] = {.name = "closed", .final = true},
};

struct link {
        struct sm sm;
        struct link_limits limits;
        uv_loop_t *loop;
        struct dial *dial; // while connecting
        uv_tcp_t *tcp;     // from then on; a heap object of its own
        uv_timer_t timer;  // the deadline of the state, or of the frame that is arriving
        uv_idle_t soon;    // running: link_send() has left something for the next turn of the loop
        uv_write_t write;
        uv_shutdown_t shutdown;
        struct tls_engine *engine;
        struct frame_decoder decoder;
        struct outbox outbox;  // frames that wait, as plain text
        struct buffer wire;    // encrypted, to be written next
        struct buffer sending; // under way
        struct buffer leftover;
        char *address;
        struct error *why;
        struct link_callbacks callbacks;
        void *data;
        uint64_t received_ms;
        unsigned handles; // still to close
        int detached_fd;
        bool writing, receiving;
        bool broken;      // the TLS session has failed: nothing more can be encrypted
        bool notified;    // our close_notify is on its way
        bool peer_closed; // theirs has come
        bool ended;       // the peer's FIN has come
        bool finishing;   // ours follows the last byte
        bool finished;    // and has been sent
};

static enum link_state state_of(const struct link *link) {
        return (enum link_state) link->sm.current;
}

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
        if (state_of(link) >= CLOSING || !why || why->code == ERROR_NONE)
                return;
        link->why = new (struct error);
        *link->why = *why;
}

static void end_now(struct link *link, const struct error *why) {
        if (state_of(link) == CLOSED)
                return;
        set_why(link, why);
        close_handles(link);
}

static void flush(struct link *link);
static void on_deadline(uv_timer_t *timer);

static void end_flushed(struct link *link, const struct error *why) {
        if (state_of(link) >= CLOSING)
                return;
        if (state_of(link) == CONNECTING) {
                end_now(link, why);
                return;
        }
        set_why(link, why);
        sm_move(&link->sm, CLOSING);
        uv_timer_start(&link->timer, on_deadline, link->limits.flush_ms, 0);
        if (!link->receiving)
                flush(link);
}

static void end_late(struct link *link, const char *what, uint64_t ms) {
        struct error why = ERROR_INIT;
        error_set(&why, ERROR_TIMEOUT, "%s: %s took longer than %" PRIu64 " s", link->address, what, (ms + 999) / 1000);
        end_now(link, &why);
}

static void on_deadline(uv_timer_t *timer) {
        struct link *link = timer->data;
        switch (state_of(link)) {
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
                end_now(link, NULL);
                break;
        case CONNECTING: // the dial has its own
        case CLOSED:
                break;
        }
}

// ---- sending

static int encrypt(struct link *link, struct error *err) {
        const uint8_t *bytes;
        size_t length;
        while (link->wire.length < WRITE_SIZE && (bytes = outbox_front(&link->outbox, &length))) {
                if (tls_engine_write(link->engine, bytes, length, &link->wire, err) < 0)
                        return -1;
                outbox_drop_front(&link->outbox);
        }
        if (link->outbox.length > 0 || link->notified || (state_of(link) != DETACHING && state_of(link) != CLOSING))
                return 0;
        link->notified = true;
        return tls_engine_shutdown(link->engine, &link->wire, err);
}

static void on_written(uv_write_t *request, int status) {
        struct link *link = request->data;
        link->writing = false;
        buffer_fini(&link->sending);
        buffer_init(&link->sending, 0);
        if (state_of(link) == CLOSED)
                return;
        if (status < 0) {
                struct error why = ERROR_INIT;
                dial_error(&why, status, "%s", link->address);
                end_now(link, &why);
                return;
        }
        flush(link);
        if (state_of(link) == OPEN && link_waiting(link) == 0 && link->callbacks.on_drained)
                link->callbacks.on_drained(link, link->data);
}

static void on_shut_down(uv_shutdown_t *request, int status) {
        struct link *link = request->data;
        link->finished = true;
        if (state_of(link) == CLOSING && (status < 0 || link->ended))
                end_now(link, NULL);
}

static void hand_over(struct link *link) {
        struct error why = ERROR_INIT;
        buffer_init(&link->leftover, 0);
        if (tls_engine_leftover(link->engine, &link->leftover, &why) == 0)
                dial_detach_tcp(link->tcp, &link->detached_fd, &why);
        if (why.code != ERROR_NONE)
                error_prefix(&why, "%s", link->address);
        end_now(link, &why);
}

static void start_write(struct link *link) {
        link->sending = link->wire;
        buffer_init(&link->wire, 0);
        link->writing = true;
        link->write.data = link;
        uv_buf_t buf = uv_buf_init((char *) link->sending.data, (unsigned) link->sending.length);
        int r = uv_write(&link->write, (uv_stream_t *) link->tcp, &buf, 1, on_written);
        if (r < 0) {
                struct error why = ERROR_INIT;
                link->writing = false;
                dial_error(&why, r, "%s", link->address);
                end_now(link, &why);
        }
}

// Does what can be done now: write, or the next step of an orderly end. Idempotent.
static void flush(struct link *link) {
        struct error why = ERROR_INIT;
        enum link_state state = state_of(link);
        uv_idle_stop(&link->soon);
        if (link->writing || state == CONNECTING || state == CLOSED)
                return;
        if (!link->broken && tls_engine_ready(link->engine) && encrypt(link, &why) < 0) {
                link->broken = true;
                error_prefix(&why, "%s", link->address);
                end_now(link, &why);
                return;
        }
        if (link->wire.length > 0) {
                start_write(link);
        } else if (state == DETACHING && link->peer_closed) {
                hand_over(link);
        } else if (state == CLOSING && !link->finishing) {
                link->finishing = true;
                link->shutdown.data = link;
                if (uv_shutdown(&link->shutdown, (uv_stream_t *) link->tcp, on_shut_down) < 0)
                        end_now(link, NULL);
        }
}

static void on_soon(uv_idle_t *soon) {
        flush(soon->data);
}

// ---- receiving

static void fail_with_address(struct link *link, struct error *why) {
        error_prefix(why, "%s", link->address);
        end_flushed(link, why);
}

static void deliver(struct link *link, const struct buffer *plain) {
        const uint8_t *bytes = plain->data;
        size_t length = plain->length;
        bool whole = false;
        while (state_of(link) == OPEN) {
                const uint8_t *frame;
                size_t frame_length;
                struct error err = ERROR_INIT;
                int r = frame_decode(&link->decoder, &bytes, &length, &frame, &frame_length, &err);
                if (r == 0)
                        break;
                whole = true;
                if (r < 0)
                        fail_with_address(link, &err);
                else if (link->callbacks.on_frame(link, frame, frame_length, link->data, &err) < 0)
                        end_flushed(link, &err);
        }
        if (state_of(link) != OPEN)
                return;
        if (!frame_decoder_midway(&link->decoder))
                buffer_fini(&link->decoder.body); // the last frame's
        // The time of a frame counts from its first byte, also while that is still inside a TLS record.
        if (!frame_decoder_midway(&link->decoder) && !tls_engine_midway(link->engine))
                uv_timer_stop(&link->timer);
        else if (whole || !uv_is_active((uv_handle_t *) &link->timer))
                uv_timer_start(&link->timer, on_deadline, link->limits.frame_ms, 0);
}

static void open_up(struct link *link) {
        struct error err = ERROR_INIT;
        sm_move(&link->sm, OPEN);
        uv_timer_stop(&link->timer);
        if (link->callbacks.on_open(link, link->data, &err) < 0)
                end_flushed(link, &err);
}

// The peer sends nothing more, and reads nothing more either.
static void on_peer_closed(struct link *link) {
        struct error why = ERROR_INIT;
        link->peer_closed = true;
        if (state_of(link) == DETACHING) {
                uv_read_stop((uv_stream_t *) link->tcp);
                return;
        }
        if (state_of(link) >= CLOSING)
                return;
        outbox_clear(&link->outbox);
        error_set(&why, ERROR_UNREACHABLE, "%s closed the connection", link->address);
        end_flushed(link, &why);
}

static void receive(struct link *link, const uint8_t *bytes, size_t length) {
        struct error err = ERROR_INIT;
        struct buffer plain;
        buffer_init(&plain, 0);
        link->receiving = true;
        int r = tls_engine_feed(link->engine, bytes, length, &plain, &link->wire, &err);
        if (state_of(link) == HANDSHAKE && tls_engine_ready(link->engine))
                open_up(link);
        if (state_of(link) == OPEN)
                deliver(link, &plain);
        if (r < 0) {
                link->broken = true;
                outbox_clear(&link->outbox);
                fail_with_address(link, &err);
        } else if (r == 1) {
                on_peer_closed(link);
        }
        link->receiving = false;
        buffer_fini(&plain);
        flush(link);
}

static void on_end(struct link *link, int status) {
        struct error why = ERROR_INIT;
        link->ended = true;
        if (state_of(link) == CLOSING) {
                // Our own flush may still be on its way to a peer that has only shut down its side.
                if (status != UV_EOF || link->finished)
                        end_now(link, NULL);
                return;
        }
        if (status != UV_EOF)
                dial_error(&why, status, "%s", link->address);
        else if (state_of(link) == HANDSHAKE)
                error_set(&why, ERROR_UNREACHABLE, "%s closed the connection during the handshake", link->address);
        else
                error_set(&why, ERROR_UNREACHABLE, "%s broke off the connection", link->address);
        end_now(link, &why);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
        (void) handle, (void) suggested;
        void *memory = NULL;
        *buf = memory_try(READ_SIZE, &memory, NULL) < 0 ? uv_buf_init(NULL, 0) : uv_buf_init(memory, READ_SIZE);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
        struct link *link = stream->data;
        _cleanup_(free_p) char *owned = buf->base; // only for the time of the call: a link at rest holds none
        if (n < 0) {
                on_end(link, (int) n);
                return;
        }
        if (n == 0)
                return;
        link->received_ms = clock_ms(&system_clock);
        if (state_of(link) != CLOSING)
                receive(link, (const uint8_t *) owned, (size_t) n);
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
        uv_timer_start(&link->timer, on_deadline, link->limits.handshake_ms, 0);
        dial_tune_tcp(link->tcp);
        int r = uv_read_start((uv_stream_t *) link->tcp, on_alloc, on_read);
        if (r < 0)
                return dial_error(err, r, "%s", link->address);
        if (!server && tls_engine_start(link->engine, &link->wire, err) < 0)
                return error_prefix(err, "%s", link->address);
        flush(link);
        return 0;
}

static void on_dialled(uv_tcp_t *tcp, const struct error *why, void *data) {
        struct link *link = data;
        struct error err = ERROR_INIT;
        link->dial = NULL;
        if (!tcp) {
                end_now(link, why);
                return;
        }
        link->tcp = tcp;
        sm_move(&link->sm, HANDSHAKE);
        if (start_handshake(link, false, &err) < 0)
                end_now(link, &err);
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
                end_now(link, NULL);
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
                end_now(link, NULL);
                return -1;
        }
        *ret = link;
        return 0;
}

// ---- what the owner may do

int link_send(struct link *link, const uint8_t *frame, size_t length, struct error *err) {
        uint8_t header[FRAME_HEADER];
        if (state_of(link) != OPEN)
                return error_set(err, ERROR_UNREACHABLE, "%s: the connection is not open", link->address);
        if (length == 0 || length > FRAME_MAX)
                return error_set(err, ERROR_TOO_LARGE, "a frame of %zu bytes; 1 to %u are allowed", length, FRAME_MAX);
        size_t waiting = link->outbox.length + link->sending.length;
        if (waiting + FRAME_HEADER + length > link->limits.queue) {
                struct error why = ERROR_INIT;
                error_set(&why, ERROR_TOO_LARGE, "%s does not read: %zu bytes wait for it", link->address, waiting);
                end_now(link, &why);
                if (err)
                        *err = why;
                return -1;
        }
        frame_encode_header(header, (uint32_t) length);
        outbox_append(&link->outbox, header, sizeof(header));
        outbox_append(&link->outbox, frame, length);
        if (!link->receiving && !link->writing) // else flush() comes anyway
                uv_idle_start(&link->soon, on_soon);
        return 0;
}

size_t link_waiting(const struct link *link) {
        return link->outbox.length + link->wire.length + link->sending.length;
}

void link_close(struct link *link) {
        if (state_of(link) == HANDSHAKE)
                end_now(link, NULL);
        else
                end_flushed(link, NULL);
}

void link_abort(struct link *link, enum error_code code, const char *why) {
        struct error error = ERROR_INIT;
        error_set(&error, code, "%s", why);
        end_now(link, &error);
}

void link_detach(struct link *link) {
        assert(link->callbacks.on_detach);
        if (state_of(link) != OPEN)
                return;
        sm_move(&link->sm, DETACHING);
        uv_timer_start(&link->timer, on_deadline, link->limits.detach_ms, 0);
        if (!link->receiving)
                flush(link);
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
