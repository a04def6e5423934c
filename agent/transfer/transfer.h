// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The data plane: one transfer copies one image from a source to a sink over a path. transfer_send() and
 * transfer_receive() block on a worker of their own thread until the image is verified and synced at the sink, or fail.
 * docs/data-plane.md says how. Inside:
 *
 * - exchange, path, hello, order: how the two ends meet; channel, wire: TLS over a socket; talk: the conversation
 * - flow, pipeline: what the threads of a transfer share, its end and its parcels
 * - sender, sending, readers: the source's end; recall: what it has hashed before; have: what the sink has
 * - receiver, receiving, writers: the sink's end
 * - coder, coded, coding, choice: compression, and how hard; rate: the limit
 * - asker, asking, answerer, answering, worth: asking first what the sink's host has
 * - local: both ends on one host, without a network
 *
 * Fault points: agent.send.block and agent.receive.block for each block; agent.receive.before-sync and .after-sync at
 * the image's end.
 */
#include "agent/blocks/digest.h"
#include "agent/blocks/sink.h"
#include "agent/blocks/source.h"
#include "common/error.h"
#include "common/tls.h"
#include "proto/codec.h"
#include "proto/ticket.h"
#include <uv.h>

struct transfers; // the registry of one agent: its credentials, its listener, what waits for a peer, what is under way
struct transfers_config {
        uint16_t port;              // 0: no listener; default 7444
        const char *listen_address; // "::" or "0.0.0.0"
        unsigned concurrent_max;    // connections in handshake or at work, each side; more are closed at once
        const struct clock *clock;
};
int transfers_new(uv_loop_t *loop, const struct transfers_config *config, struct transfers **ret, struct error *err);
void transfers_free(struct transfers *transfers);
void transfers_set_credentials(struct transfers *transfers,
                               struct tls_credentials *credentials); // on start and renewal; takes a reference
void transfers_set_controller(struct transfers *transfers, EVP_PKEY *controller_key,
                              const char *relay_address); // who signs tickets, where the relay is ("host:port")
uint16_t transfers_port(const struct transfers *transfers);
// The rate of a transfer under way from this host; 0: no limit. false: there is none of this disk of this job. Any
// thread, at once.
bool transfers_set_rate(struct transfers *transfers, const char *job, const char *disk, uint64_t bytes_per_second);

struct transfer_observer {
        void (*progress)(const Drover__TransferState *state,
                         void *data);  // from the transfer's thread, at most 4 a second
        bool (*cancelled)(void *data); // polled often, also while waiting for a peer
        void *data;
};

// What is written, and what is remembered of it from one attempt to the next.
struct transfer_target {
        struct sink *sink;
        uint64_t least, most;      // bytes that an image from another host may have (fault 55)
        int verified_fd;           // the file of verified blocks (verified.h); -1: nothing is remembered
        const char *image;         // what tells this partial image from any other
        struct answerer *answerer; // NULL: nothing else to look in (answerer.h)
};

// Sends what the source gives. guest: that is what the guest sees, not the file as it is. Fails with ERROR_UNREACHABLE
// when the path cannot be had, within 4 s if nobody answers there and within 10 s if somebody else does, ERROR_DENIED
// for a bad ticket, ERROR_IO with "read at OFFSET" for a bad disk (never filled with zeros), ERROR_STALE when the image
// was changed meanwhile, ERROR_CANCELLED, ERROR_TIMEOUT when nothing arrives for CHANNEL_IDLE_MS. The source is the
// caller's.
int transfer_send(struct transfers *transfers, const Drover__TransferOrder *order, const char *disk,
                  struct source *source, bool guest, const struct transfer_observer *observer,
                  Drover__TransferResult **ret, struct error *err);
// Receives into the target, which is the caller's. What was verified in an earlier attempt is kept; what has come when
// it fails is on the disk and recorded.
int transfer_receive(struct transfers *transfers, const Drover__TransferOrder *order, const char *disk,
                     const struct transfer_target *target, const struct transfer_observer *observer,
                     Drover__TransferResult **ret, struct error *err);
// Both on this host: the same readers, writers and record, and no network. Blocks.
int transfer_local(struct source *source, const struct transfer_target *target, const char *disk,
                   const struct transfer_observer *observer, Drover__TransferResult **ret, struct error *err);
// The digest of what a source gives, by reading it (read-back; tests). Holes are not read.
int transfer_digest(struct source *source, bool (*cancelled)(void *), void *data, char ret_digest[DIGEST_TEXT],
                    struct error *err);
