// SPDX-License-Identifier: LGPL-2.1-or-later
/* Listening. What to do with connections when descriptors run out is libuv's own: it takes and closes them. */
#include "controller/session/listener.h"
#include "common/cleanup.h"
#include "common/dial.h"
#include "common/log.h"
#include "common/memory.h"
#include "controller/session/context.h"
#include <netdb.h>
#include <string.h>

#define BACKLOG 1024

struct listener {
        struct session *session;
        uv_tcp_t tcp;
        void (*closed)(void *data);
        void *closed_data;
};

static void on_connection(uv_stream_t *stream, int status) {
        struct listener *listener = stream->data;
        struct error err = ERROR_INIT;
        if (status == 0) {
                connection_accept(listener->session, stream);
                return;
        }
        dial_error(&err, status, "accept a connection");
        log_failure(LOG_LEVEL_WARNING, "no connection can be taken", &err, NULL);
}

// Numeric only: a name that resolves to several addresses would be ambiguous here.
static int parse(const char *text, struct sockaddr_storage *ret, struct error *err) {
        struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *found;
        const char *colon = strrchr(text, ':');
        bool bracketed = text[0] == '[' && colon && colon > text + 1 && colon[-1] == ']';
        _cleanup_(free_p) char *host =
                colon ? strndup(text + bracketed, (size_t) (colon - text) - 2 * (size_t) bracketed) : NULL;
        bool plain = host && *host && colon[1] && (bracketed || !strchr(host, ':'));
        if (!plain || getaddrinfo(host, colon + 1, &hints, &found) != 0) {
                error_set(err, ERROR_INVALID, "\"%.100s\" is not an address to listen on", text);
                error_hint(err, "write ADDRESS:PORT with a numeric address, such as 0.0.0.0:7443 or [::]:7443");
                return -1;
        }
        memcpy(ret, found->ai_addr, found->ai_addrlen);
        freeaddrinfo(found);
        return 0;
}

static void on_closed(uv_handle_t *handle) {
        struct listener *listener = handle->data;
        if (listener->closed)
                listener->closed(listener->closed_data);
        free(listener);
}

int listener_new(struct session *session, const char *address, struct listener **ret, struct error *err) {
        struct sockaddr_storage storage;
        if (parse(address, &storage, err) < 0)
                return -1;
        struct listener *listener = new (struct listener);
        listener->session = session;
        uv_tcp_init(session->loop, &listener->tcp);
        listener->tcp.data = listener;
        int r = uv_tcp_bind(&listener->tcp, (const struct sockaddr *) &storage, 0);
        if (r == 0)
                r = uv_listen((uv_stream_t *) &listener->tcp, BACKLOG, on_connection);
        if (r < 0) {
                uv_close((uv_handle_t *) &listener->tcp, on_closed);
                return dial_error(err, r, "listen on %s", address);
        }
        *ret = listener;
        return 0;
}

unsigned listener_port(const struct listener *listener) {
        struct sockaddr_storage storage;
        int size = sizeof(storage);
        if (uv_tcp_getsockname(&listener->tcp, (struct sockaddr *) &storage, &size) < 0)
                return 0;
        return ntohs(storage.ss_family == AF_INET6 ? ((struct sockaddr_in6 *) &storage)->sin6_port
                                                   : ((struct sockaddr_in *) &storage)->sin_port);
}

void listener_close(struct listener *listener, void (*closed)(void *data), void *data) {
        listener->closed = closed;
        listener->closed_data = data;
        uv_close((uv_handle_t *) &listener->tcp, on_closed);
}
