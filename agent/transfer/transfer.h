// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The data plane: one transfer copies one image from a source to a sink over a path. transfer_send() and
 * transfer_receive() block on a worker of their own thread until the image is verified and synced at the sink, or fail.
 * Inside: channel (TLS over a socket), path (who dials whom), exchange (waiting transfers meet incoming connections),
 * and the sources, sinks and digests of agent/blocks.
 */
#include "common/error.h"
#include "common/tls.h"
#include "proto/codec.h"
#include "proto/ticket.h"
#include <uv.h>

#define TRANSFER_BLOCK (1u << 20)

struct transfers; // the registry of one agent: its credentials, its listener, what waits for a peer
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

struct transfer_observer {
        void (*progress)(const Drover__TransferState *state,
                         void *data);  // from the transfer's thread, at most 4 a second
        bool (*cancelled)(void *data); // polled often, also while waiting for a peer
        void *data;
};
// fd: the image, read-only; not closed here. bytes: its length. Fails with ERROR_UNREACHABLE when the path cannot be
// had, within 4 s if nobody answers there and within 10 s if somebody else does, ERROR_DENIED for a bad ticket,
// ERROR_IO with "read at OFFSET" for a bad disk (never filled with zeros), ERROR_CANCELLED, ERROR_TIMEOUT when no byte
// moves for 30 s.
int transfer_send(struct transfers *transfers, const Drover__TransferOrder *order, const char *disk, int fd,
                  uint64_t bytes, const struct transfer_observer *observer, Drover__TransferResult **ret,
                  struct error *err);
// fd: the partial image, writable, empty; written sparse, O_DIRECT where the file system allows, fsynced at the end.
int transfer_receive(struct transfers *transfers, const Drover__TransferOrder *order, const char *disk, int fd,
                     const struct transfer_observer *observer, Drover__TransferResult **ret, struct error *err);
// The digest of a whole file, by reading it (read-back; tests). Holes are not read.
int transfer_digest(int fd, uint64_t bytes, bool (*cancelled)(void *), void *data, char ret_digest[80],
                    struct error *err);
