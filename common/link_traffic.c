// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What travels over a link: frames of ours into encrypted bytes, and theirs out of them. Part of the link, on the
 * loop's thread. Frames wait as plain text; about WRITE_SIZE of them is encrypted and under way at a time. A link at
 * rest holds no buffer.
 */
#include "common/link_private.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/memory.h"

#define WRITE_SIZE (256u << 10)
#define READ_SIZE  (64u << 10)

// ---- sending

static int encrypt(struct link *link, struct error *err) {
        const uint8_t *bytes;
        size_t length;
        while (link->wire.length < WRITE_SIZE && (bytes = outbox_front(&link->outbox, &length))) {
                if (tls_engine_write(link->engine, bytes, length, &link->wire, err) < 0)
                        return -1;
                outbox_drop_front(&link->outbox);
        }
        if (link->outbox.length > 0 || link->notified ||
            (link_state_of(link) != DETACHING && link_state_of(link) != CLOSING))
                return 0;
        link->notified = true;
        return tls_engine_shutdown(link->engine, &link->wire, err);
}

static void on_written(uv_write_t *request, int status) {
        struct link *link = request->data;
        link->writing = false;
        buffer_fini(&link->sending);
        buffer_init(&link->sending, 0);
        if (link_state_of(link) == CLOSED)
                return;
        if (status < 0) {
                struct error why = ERROR_INIT;
                dial_error(&why, status, "%s", link->address);
                link_end_now(link, &why);
                return;
        }
        link_traffic_flush(link);
        if (link_state_of(link) == OPEN && link_waiting(link) == 0 && link->callbacks.on_drained)
                link->callbacks.on_drained(link, link->data);
}

static void on_shut_down(uv_shutdown_t *request, int status) {
        struct link *link = request->data;
        link->finished = true;
        if (link_state_of(link) == CLOSING && (status < 0 || link->ended))
                link_end_now(link, NULL);
}

static void hand_over(struct link *link) {
        struct error why = ERROR_INIT;
        buffer_init(&link->leftover, 0);
        if (tls_engine_leftover(link->engine, &link->leftover, &why) == 0)
                dial_detach_tcp(link->tcp, &link->detached_fd, &why);
        if (why.code != ERROR_NONE)
                error_prefix(&why, "%s", link->address);
        link_end_now(link, &why);
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
                link_end_now(link, &why);
        }
}

// Does what can be done now: write, or the next step of an orderly end. Idempotent.
void link_traffic_flush(struct link *link) {
        struct error why = ERROR_INIT;
        enum link_state state = link_state_of(link);
        uv_idle_stop(&link->soon);
        if (link->writing || state == CONNECTING || state == CLOSED)
                return;
        if (!link->broken && tls_engine_ready(link->engine) && encrypt(link, &why) < 0) {
                link->broken = true;
                error_prefix(&why, "%s", link->address);
                link_end_now(link, &why);
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
                        link_end_now(link, NULL);
        }
}

// ---- receiving

static void fail_with_address(struct link *link, struct error *why) {
        error_prefix(why, "%s", link->address);
        link_end_flushed(link, why);
}

static void deliver(struct link *link, const struct buffer *plain) {
        const uint8_t *bytes = plain->data;
        size_t length = plain->length;
        bool whole = false;
        while (link_state_of(link) == OPEN) {
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
                        link_end_flushed(link, &err);
        }
        if (link_state_of(link) != OPEN)
                return;
        if (!frame_decoder_midway(&link->decoder))
                buffer_fini(&link->decoder.body); // the last frame's
        // The time of a frame counts from its first byte, also while that is still inside a TLS record.
        if (!frame_decoder_midway(&link->decoder) && !tls_engine_midway(link->engine))
                uv_timer_stop(&link->timer);
        else if (whole || !uv_is_active((uv_handle_t *) &link->timer))
                link_set_deadline(link, link->limits.frame_ms);
}

// The peer sends nothing more, and reads nothing more either.
static void on_peer_closed(struct link *link) {
        struct error why = ERROR_INIT;
        link->peer_closed = true;
        if (link_state_of(link) == DETACHING) {
                uv_read_stop((uv_stream_t *) link->tcp);
                return;
        }
        if (link_state_of(link) >= CLOSING)
                return;
        outbox_clear(&link->outbox);
        error_set(&why, ERROR_UNREACHABLE, "%s closed the connection", link->address);
        link_end_flushed(link, &why);
}

static void receive(struct link *link, const uint8_t *bytes, size_t length) {
        struct error err = ERROR_INIT;
        struct buffer plain;
        buffer_init(&plain, 0);
        link->receiving = true;
        int r = tls_engine_feed(link->engine, bytes, length, &plain, &link->wire, &err);
        if (link_state_of(link) == HANDSHAKE && tls_engine_ready(link->engine))
                link_open_up(link);
        if (link_state_of(link) == OPEN)
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
        link_traffic_flush(link);
}

static void on_end(struct link *link, int status) {
        struct error why = ERROR_INIT;
        link->ended = true;
        if (link_state_of(link) == CLOSING) {
                // Our own flush may still be on its way to a peer that has only shut down its side.
                if (status != UV_EOF || link->finished)
                        link_end_now(link, NULL);
                return;
        }
        if (status != UV_EOF)
                dial_error(&why, status, "%s", link->address);
        else if (link_state_of(link) == HANDSHAKE)
                error_set(&why, ERROR_UNREACHABLE, "%s closed the connection during the handshake", link->address);
        else
                error_set(&why, ERROR_UNREACHABLE, "%s broke off the connection", link->address);
        link_end_now(link, &why);
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
        if (link_state_of(link) != CLOSING)
                receive(link, (const uint8_t *) owned, (size_t) n);
}

int link_traffic_start(struct link *link, struct error *err) {
        int r = uv_read_start((uv_stream_t *) link->tcp, on_alloc, on_read);
        return r < 0 ? dial_error(err, r, "%s", link->address) : 0;
}
