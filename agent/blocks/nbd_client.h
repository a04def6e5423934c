// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Guest-visible blocks of an image, through a qemu-nbd of our own: several connections, each used by one thread at a
 * time, and on each of them a block travels as several requests at once. Any thread; owned by a source or a sink.
 */
#include "agent/blocks/nbd_image.h"

struct nbd_client;
// ERROR_CONFLICT when the image says another length than image->bytes (0: any). Descriptors: not needed after this.
int nbd_client_new(const struct nbd_image *image, bool writable, struct nbd_client **ret, struct error *err);
// Closes the connections. A writable image is whole on the disk only if this gives 0.
int nbd_client_close(struct nbd_client *client, struct error *err);
void nbd_client_free(struct nbd_client *client);            // NULL is fine
uint64_t nbd_client_bytes(const struct nbd_client *client); // whole sectors

int nbd_client_read(struct nbd_client *client, uint64_t offset, uint8_t *buffer, size_t length, struct error *err);
int nbd_client_write(struct nbd_client *client, uint64_t offset, const uint8_t *buffer, size_t length,
                     struct error *err);
int nbd_client_zero(struct nbd_client *client, uint64_t offset, uint64_t length, struct error *err);
int nbd_client_flush(struct nbd_client *client, struct error *err);

// What the server said about a stretch of the image: runs one after another, alternating.
#define NBD_RUNS_MAX 1024u
struct nbd_run {
        uint64_t end;
        bool zero;
};
struct nbd_runs {
        uint64_t begin;
        unsigned n;
        struct nbd_run runs[NBD_RUNS_MAX];
};
// At least one run that begins at `offset`; the rest is to be asked for again.
int nbd_client_runs(struct nbd_client *client, uint64_t offset, struct nbd_runs *ret, struct error *err);
