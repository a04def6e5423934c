// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A qemu-nbd of our own for one image, confined, and connections to it. The socket has a name only for the moment in
 * which these connections are made, in a directory that nobody else may enter; the server ends when the last of them
 * is closed, or with this process. Any thread.
 */
#include "agent/blocks/nbd_image.h"
#include "agent/confine/confined.h"

#define NBD_CONNECTIONS 8 // two writers, four that look and write, one that flushes, one to spare; readers are fewer

struct nbd_server {
        struct confined *program;
        int sockets[NBD_CONNECTIONS]; // the caller takes them (and leaves -1)
};
// What qemu-nbd is told: a JSON description of the chain, made of fixed words and descriptors' numbers. Caller frees.
char *nbd_server_describe(const struct nbd_image *image);
int nbd_server_start(const struct nbd_image *image, bool writable, struct nbd_server *ret, struct error *err);
// Gives a writable one time to write out what it holds, once all connections are closed. -1: it did not end well.
int nbd_server_finish(struct nbd_server *server, struct error *err);
void nbd_server_fini(struct nbd_server *server);
