// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The port on which an agent is called: accepts on the loop's thread and gives each connected socket away at once.
 */
#include "common/error.h"
#include <netinet/in.h>
#include <stdint.h>
#include <uv.h>

struct listener;
// fd is the callee's now. Must not block.
typedef void (*listener_fn)(int fd, const struct sockaddr_storage *peer, void *data);
int listener_start(uv_loop_t *loop, const char *address, uint16_t port, listener_fn fn, void *data,
                   struct listener **ret, struct error *err);
void listener_stop(struct listener *listener); // no call to fn afterwards; memory goes when the loop has run once more
