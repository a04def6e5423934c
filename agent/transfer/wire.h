// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The socket under a channel: blocking reads and writes with deadlines through two buffers, offered to OpenSSL as a
 * BIO. OpenSSL reads and writes a record of 16 KiB at a time; the buffers make few system calls of that. They outlive a
 * TLS session, so a session may be taken off and another begun on the same connection. One thread at a time.
 */
#include "agent/transfer/flow.h"
#include <openssl/bio.h>

#define WIRE_BUFFER (256u << 10)

struct wire {
        int fd;
        const struct clock *clock;
        struct flow *flow;                  // may be NULL
        const atomic_bool *stop;            // instead of a flow; may be NULL
        uint64_t deadline;                  // monotonic ms; 0: none
        uint64_t unit_began;                // a frame or block is under way since then; 0: none
        bool patient;                       // the conversation: what is under way is ended first when the flow stops
        atomic_uint_least64_t waited_us;    // for the network to take more, in all
        atomic_uint_least64_t own_moved_at; // without a flow
        uint8_t *in, *out;
        size_t in_at, in_length, out_length;
        bool ended;         // the peer has closed its side
        bool failed;        // the socket is of no use any more
        struct error error; // what ended the last wait, or the socket; OpenSSL only knows that something did
};
void wire_init(struct wire *wire, int fd, const struct clock *clock); // takes the socket
void wire_fini(struct wire *wire);
BIO *wire_bio(struct wire *wire); // a new one; the wire must outlive it
int wire_flush(struct wire *wire);
bool wire_readable(const struct wire *wire);
// Until something arrives, or `wake_fd` (may be -1) is readable, or the time is over; true: something arrived.
bool wire_await(const struct wire *wire, int wake_fd, uint32_t milliseconds);
// The same, until nothing more will arrive than what is there unread; true: that is so.
bool wire_await_end(const struct wire *wire, int wake_fd, uint32_t milliseconds);
void wire_set_bulk(const struct wire *wire);               // what matters more goes first (RFC 8622)
void wire_drain(struct wire *wire, uint32_t milliseconds); // throw away what comes until the peer closes
int wire_connect(const char *host, uint16_t port, struct flow *flow, const struct clock *clock, uint32_t milliseconds,
                 int *ret_fd, struct error *err);
