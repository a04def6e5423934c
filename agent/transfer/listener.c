// SPDX-License-Identifier: LGPL-2.1-or-later
/* The data port (see listener.h). Belongs to the loop's thread. */
#include "agent/transfer/listener.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define BACKLOG 64
// Connections taken in one turn of the loop, which has other things to do.
#define TURN 16

struct listener {
        uv_poll_t poll;
        int fd;
        listener_fn fn;
        void *data;
};

static int parse(const char *address, uint16_t port, struct sockaddr_storage *ret, socklen_t *ret_size,
                 struct error *err) {
        struct sockaddr_in *v4 = (struct sockaddr_in *) ret;
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *) ret;
        memset(ret, 0, sizeof *ret);
        if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
                v4->sin_family = AF_INET;
                v4->sin_port = htons(port);
                *ret_size = sizeof *v4;
                return 0;
        }
        if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
                v6->sin6_family = AF_INET6;
                v6->sin6_port = htons(port);
                *ret_size = sizeof *v6;
                return 0;
        }
        return error_set(err, ERROR_INVALID, "\"%s\" is not an address to listen on", address);
}

static int open_socket(const struct sockaddr_storage *address, socklen_t size, int *ret_fd) {
        int on = 1, off = 0;
        _cleanup_(close_p) int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (address->ss_family == AF_INET6) // "::" takes IPv4 as well
                setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        if (bind(fd, (const struct sockaddr *) address, size) < 0 || listen(fd, BACKLOG) < 0)
                return -1;
        *ret_fd = steal_fd(&fd);
        return 0;
}

static void on_readable(uv_poll_t *poll, int status, int events) {
        struct listener *listener = poll->data;
        (void) events;
        for (unsigned i = 0; status == 0 && i < TURN; i++) {
                struct sockaddr_storage peer = {0};
                socklen_t size = sizeof peer;
                int fd = accept4(listener->fd, (struct sockaddr *) &peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (fd < 0)
                        return;
                listener->fn(fd, &peer, listener->data);
        }
}

int listener_start(uv_loop_t *loop, const char *address, uint16_t port, listener_fn fn, void *data,
                   struct listener **ret, struct error *err) {
        struct sockaddr_storage storage;
        socklen_t size = 0;
        _cleanup_(close_p) int fd = -1;
        if (parse(address, port, &storage, &size, err) < 0)
                return -1;
        int result = open_socket(&storage, size, &fd);
        if (result < 0 && errno == EAFNOSUPPORT && strcmp(address, "::") == 0) // a kernel without IPv6
                return listener_start(loop, "0.0.0.0", port, fn, data, ret, err);
        if (result < 0) {
                error_errno(err, errno, "listen for data connections on %s port %u", address, port);
                error_hint(err, "set data_port in the agent's configuration to a free port, or to 0 for none");
                return -1;
        }
        struct listener *listener = new (struct listener);
        listener->fn = fn;
        listener->data = data;
        listener->fd = steal_fd(&fd);
        uv_poll_init(loop, &listener->poll, listener->fd);
        listener->poll.data = listener;
        uv_poll_start(&listener->poll, UV_READABLE, on_readable);
        *ret = listener;
        return 0;
}

static void on_closed(uv_handle_t *handle) {
        struct listener *listener = handle->data;
        close(listener->fd);
        free(listener);
}

void listener_stop(struct listener *listener) {
        if (listener)
                uv_close((uv_handle_t *) &listener->poll, on_closed);
}
