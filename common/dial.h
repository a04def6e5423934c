// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * From "host:port" to a connected TCP handle: resolves, then tries each address in turn, sharing what is left of the
 * time among those left. Belongs to the loop's thread. libuv's errors are translated here and nowhere else.
 */
#include "common/error.h"
#include <stdint.h>
#include <uv.h>

#define DIAL_HOST_MAX 255
#define DIAL_PORT_MAX 5
struct dial;
// `tcp` is the callee's (heap; uv_close with a callback that frees it), or NULL with `why`. The dial is gone
// afterwards.
typedef void (*dial_fn)(uv_tcp_t *tcp, const struct error *why, void *data);
// "host:port" or "[v6]:port", port 1 to 65535.
int dial_parse(const char *address, char ret_host[DIAL_HOST_MAX + 1], char ret_port[DIAL_PORT_MAX + 1],
               struct error *err);
// `done` is called once, never from within dial_start(), and not after dial_cancel().
int dial_start(uv_loop_t *loop, const char *address, uint64_t deadline_ms, dial_fn done, void *data, struct dial **ret,
               struct error *err);
void dial_cancel(struct dial *dial);
// For every handle that was allocated by itself.
void dial_close_tcp(uv_tcp_t *tcp);
// No delay for small frames, an end for peers that have silently gone, and a class above bulk data's.
void dial_tune_tcp(uv_tcp_t *tcp);
char *dial_peer_address(const uv_tcp_t *tcp); // "10.1.2.3:4567", "[2001:db8::1]:4567"; the caller frees
// A descriptor of its own for the same connection, for when the handle has been closed. Gives up its
// impatience and its class: what is carried over it from then on is bulk data.
int dial_detach_tcp(const uv_tcp_t *tcp, int *ret_fd, struct error *err);
// Fill err from a negative libuv status: "what: connection refused". Returns -1.
int dial_error(struct error *err, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
