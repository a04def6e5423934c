// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Guest-visible blocks of an image, through a qemu-nbd of our own, or of a running VM's disk, through the server that
 * its QEMU has: several connections, each used by one thread at a time, and on each of them a block travels as several
 * requests at once. Any thread; owned by a source or a sink.
 */
#include "agent/blocks/nbd_image.h"
#include "agent/blocks/source.h"

struct nbd_client;
// ERROR_CONFLICT when the image says another length than image->bytes (0: any). Descriptors: not needed after this.
int nbd_client_new(const struct nbd_image *image, bool writable, struct nbd_client **ret, struct error *err);
// What somebody else's server shows, to read only.
struct nbd_export {
        const char *socket; // path of a unix socket
        const char *name;
        const char *bitmap; // exported beside it: what it does not hold as dirty is SOURCE_SAME; NULL: none
};
// ERROR_CONFLICT when the server does not offer the bitmap.
int nbd_client_open(const struct nbd_export *export, struct nbd_client **ret, struct error *err);
// Closes the connections. A writable image is whole on the disk only if this gives 0.
int nbd_client_close(struct nbd_client *client, struct error *err);
void nbd_client_free(struct nbd_client *client);            // NULL is fine
uint64_t nbd_client_bytes(const struct nbd_client *client); // whole sectors

int nbd_client_read(struct nbd_client *client, uint64_t offset, uint8_t *buffer, size_t length, struct error *err);
int nbd_client_write(struct nbd_client *client, uint64_t offset, const uint8_t *buffer, size_t length,
                     struct error *err);
int nbd_client_zero(struct nbd_client *client, uint64_t offset, uint64_t length, struct error *err);
int nbd_client_flush(struct nbd_client *client, struct error *err);

// What the server said about a stretch of the image: runs one after another, each of another kind
// than the one before.
#define NBD_RUNS_MAX 1024u
struct nbd_run {
        uint64_t end;
        enum source_kind kind;
};
struct nbd_runs {
        uint64_t begin;
        unsigned n;
        struct nbd_run runs[NBD_RUNS_MAX];
};
// At least one run that begins at `offset`; the rest is to be asked for again.
int nbd_client_runs(struct nbd_client *client, uint64_t offset, struct nbd_runs *ret, struct error *err);
// The run that `offset` lies in: of those in *runs where it is among them, else asked for. *next: where the last one
// was found, 0 at first. NULL on failure.
const struct nbd_run *nbd_runs_at(struct nbd_client *client, uint64_t offset, struct nbd_runs *runs, unsigned *next,
                                  struct error *err);
