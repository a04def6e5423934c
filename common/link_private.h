// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* What the files of the link share: the link itself, and the calls between them. Nobody else includes this. */
#include "common/link.h"
#include "common/dial.h"
#include "common/outbox.h"
#include "common/sm.h"

enum link_state { CONNECTING, HANDSHAKE, OPEN, DETACHING, CLOSING, CLOSED };

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

static inline enum link_state link_state_of(const struct link *link) {
        return (enum link_state) link->sm.current;
}
// Of its state, or of the frame that is arriving, from now on.
void link_set_deadline(struct link *link, uint64_t ms);
void link_open_up(struct link *link);                              // the handshake is over
void link_end_now(struct link *link, const struct error *why);     // the first reason stays; NULL: our own wish
void link_end_flushed(struct link *link, const struct error *why); // the same, when what waits has left
int link_traffic_start(struct link *link, struct error *err);      // begins to read
// Does what can be done now: write, or the next step of an orderly end. Idempotent.
void link_traffic_flush(struct link *link);
