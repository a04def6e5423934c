// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Names are resolved on libuv's pool, where they cannot be stopped for certain: a cancelled dial lives on, deaf, until
 * everything that it has under way has called back.
 */
#include "common/dial.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#define KEEPALIVE_S       30
#define UNACKNOWLEDGED_MS 60000  // the kernel gives up on a peer that acknowledges nothing for so long
#define AGAIN_MS          2000   // at least so often what is not acknowledged is sent again: it is little
#define AGAIN_BULK_MS     120000 // the kernel's own: it is much, and may be under way for longer
// What is said goes before what is carried (fault 4): RFC 2474 and 8622, and TC_PRIO_* of the kernel.
#define CLASS_CONTROL    (18 << 2) // AF21
#define CLASS_BULK       (1 << 2)  // LE
#define PRIORITY_CONTROL 6
#define PRIORITY_BULK    2

struct dial {
        uv_loop_t *loop;
        uv_timer_t timer;
        uv_getaddrinfo_t resolve;
        uv_connect_t connect;
        uv_tcp_t *tcp; // the attempt under way
        struct addrinfo *addresses, *next;
        char *address;
        uint64_t deadline; // on uv_now()
        int status;        // of the last attempt
        unsigned busy;     // requests and handles that will call back
        bool over, timed_out;
        dial_fn done;
        void *data;
};

int dial_error(struct error *err, int status, const char *format, ...) {
        enum error_code code = status == UV_ENOMEM      ? ERROR_NO_MEMORY
                               : status == UV_ETIMEDOUT ? ERROR_TIMEOUT
                                                        : ERROR_UNREACHABLE;
        char what[512];
        va_list args;
        va_start(args, format);
        vsnprintf(what, sizeof(what), format, args);
        va_end(args);
        return error_set(err, code, "%s: %s", what, uv_strerror(status));
}

int dial_parse(const char *address, char ret_host[DIAL_HOST_MAX + 1], char ret_port[DIAL_PORT_MAX + 1],
               struct error *err) {
        const char *colon = strrchr(address, ':');
        const char *host = address;
        size_t length = colon ? (size_t) (colon - address) : 0;
        bool v6 = address[0] == '[';
        if (v6 && length >= 2 && address[length - 1] == ']') {
                host++;
                length -= 2;
        } else if (v6 || memchr(address, ':', length)) {
                length = 0;
        }
        const char *port = colon ? colon + 1 : "";
        size_t digits = strspn(port, "0123456789");
        unsigned long number = digits >= 1 && digits <= DIAL_PORT_MAX && !port[digits] ? strtoul(port, NULL, 10) : 0;
        if (length == 0 || length > DIAL_HOST_MAX || number < 1 || number > 65535) {
                error_set(err, ERROR_INVALID, "\"%.100s\" is not host:port", address);
                error_hint(err, "write host:7443, 10.0.0.1:7443 or [2001:db8::1]:7443");
                return -1;
        }
        memcpy(ret_host, host, length);
        ret_host[length] = 0;
        memcpy(ret_port, port, digits + 1);
        return 0;
}

static void on_tcp_closed(uv_handle_t *handle) {
        free(handle);
}

void dial_close_tcp(uv_tcp_t *tcp) {
        uv_close((uv_handle_t *) tcp, on_tcp_closed);
}

// In <linux/tcp.h> since Linux 6.15, which no file can have together with the C library's <netinet/tcp.h>.
#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44
#endif

// So a line that comes back is noticed soon.
static void set_liveliness(int fd, unsigned milliseconds) {
        setsockopt(fd, IPPROTO_TCP, TCP_RTO_MAX_MS, &milliseconds, sizeof(milliseconds));
}

static void set_impatience(int fd, unsigned milliseconds) {
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof(milliseconds));
}

// Wishes: where one is not granted, nothing but politeness is lost. The priority is for this machine's own queues.
static void set_class(int fd, int class, int priority) {
        setsockopt(fd, IPPROTO_IP, IP_TOS, &class, sizeof(class));
        setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &class, sizeof(class));
        setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority));
}

void dial_tune_tcp(uv_tcp_t *tcp) {
        uv_os_fd_t fd;
        uv_tcp_nodelay(tcp, 1);
        uv_tcp_keepalive(tcp, 1, KEEPALIVE_S);
        if (uv_fileno((uv_handle_t *) tcp, &fd) < 0)
                return;
        set_impatience(fd, UNACKNOWLEDGED_MS);
        set_liveliness(fd, AGAIN_MS);
        set_class(fd, CLASS_CONTROL, PRIORITY_CONTROL);
}

int dial_detach_tcp(const uv_tcp_t *tcp, int *ret_fd, struct error *err) {
        uv_os_fd_t fd;
        int r = uv_fileno((const uv_handle_t *) tcp, &fd);
        if (r < 0)
                return dial_error(err, r, "take the connection over");
        int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (own < 0)
                return error_errno(err, errno, "take the connection over");
        set_impatience(own, 0); // a transfer may pause for longer
        set_liveliness(own, AGAIN_BULK_MS);
        set_class(own, CLASS_BULK, PRIORITY_BULK);
        *ret_fd = own;
        return 0;
}

char *dial_peer_address(const uv_tcp_t *tcp) {
        struct sockaddr_storage address;
        int length = sizeof(address);
        char host[INET6_ADDRSTRLEN] = "?";
        bool v6 = false;
        uint16_t port = 0;
        if (uv_tcp_getpeername(tcp, (struct sockaddr *) &address, &length) == 0) {
                v6 = address.ss_family == AF_INET6;
                port = v6 ? ((struct sockaddr_in6 *) &address)->sin6_port : ((struct sockaddr_in *) &address)->sin_port;
                uv_ip_name((struct sockaddr *) &address, host, sizeof(host));
        }
        return memory_format(v6 ? "[%s]:%u" : "%s:%u", host, ntohs(port));
}

static void release(struct dial *dial) {
        assert(dial->busy > 0);
        if (--dial->busy > 0)
                return;
        uv_freeaddrinfo(dial->addresses);
        free(dial->address);
        free(dial);
}

static void on_timer_closed(uv_handle_t *handle) {
        release(handle->data);
}

static void end(struct dial *dial) {
        assert(!dial->over);
        dial->over = true;
        uv_close((uv_handle_t *) &dial->timer, on_timer_closed);
        if (dial->tcp)
                dial_close_tcp(steal(&dial->tcp));
}

static void fail(struct dial *dial, const char *what, int status) {
        struct error why = ERROR_INIT;
        dial_error(&why, status, "%s %s", what, dial->address);
        if (why.code == ERROR_TIMEOUT)
                why.code = ERROR_UNREACHABLE;
        dial_fn done = dial->done;
        void *data = dial->data;
        end(dial);
        done(NULL, &why, data);
}

static void try_next(struct dial *dial);

static void on_connected(uv_connect_t *request, int status) {
        struct dial *dial = request->data;
        if (dial->over) {
                release(dial);
                return;
        }
        if (status == 0) {
                uv_tcp_t *tcp = steal(&dial->tcp);
                dial_fn done = dial->done;
                void *data = dial->data;
                end(dial);
                release(dial);
                done(tcp, NULL, data);
                return;
        }
        dial->status = dial->timed_out ? UV_ETIMEDOUT : status;
        if (dial->tcp)
                dial_close_tcp(steal(&dial->tcp));
        try_next(dial);
        release(dial);
}

static unsigned count(const struct addrinfo *address) {
        unsigned n = 0;
        for (; address; address = address->ai_next)
                n++;
        return n;
}

// Start one attempt that will call back; a negative status if it failed at once.
static int attempt(struct dial *dial, const struct addrinfo *address) {
        dial->tcp = new (uv_tcp_t);
        int r = uv_tcp_init(dial->loop, dial->tcp);
        if (r < 0) {
                free(steal(&dial->tcp));
                return r;
        }
        dial->connect.data = dial;
        r = uv_tcp_connect(&dial->connect, dial->tcp, address->ai_addr, on_connected);
        if (r < 0) {
                dial_close_tcp(steal(&dial->tcp));
                return r;
        }
        dial->busy++;
        return 0;
}

static void on_timer(uv_timer_t *timer);

static void try_next(struct dial *dial) {
        while (dial->next) {
                uint64_t now = uv_now(dial->loop);
                if (now >= dial->deadline) {
                        dial->status = UV_ETIMEDOUT;
                        break;
                }
                uint64_t share = (dial->deadline - now) / count(dial->next);
                struct addrinfo *address = dial->next;
                dial->next = address->ai_next;
                dial->timed_out = false;
                dial->status = attempt(dial, address);
                if (dial->status == 0) {
                        uv_timer_start(&dial->timer, on_timer, share, 0);
                        return;
                }
        }
        fail(dial, "cannot reach", dial->status);
}

static void on_timer(uv_timer_t *timer) {
        struct dial *dial = timer->data;
        if (dial->tcp) { // on_connected() gets UV_ECANCELED and goes on
                dial->timed_out = true;
                dial_close_tcp(steal(&dial->tcp));
        } else if (dial->next) {
                try_next(dial);
        } else {
                uv_cancel((uv_req_t *) &dial->resolve);
                fail(dial, "cannot resolve", UV_ETIMEDOUT);
        }
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *addresses) {
        struct dial *dial = request->data;
        dial->addresses = dial->next = addresses;
        if (!dial->over) {
                if (status < 0)
                        fail(dial, "cannot resolve", status);
                else
                        try_next(dial);
        }
        release(dial);
}

int dial_start(uv_loop_t *loop, const char *address, uint64_t deadline_ms, dial_fn done, void *data, struct dial **ret,
               struct error *err) {
        char host[DIAL_HOST_MAX + 1], port[DIAL_PORT_MAX + 1];
        if (dial_parse(address, host, port, err) < 0)
                return -1;
        struct dial *dial = new (struct dial);
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
        uint64_t first = 0;
        // A numeric address needs no other thread.
        if (getaddrinfo(host, port, &hints, &dial->addresses) == 0) {
                dial->next = dial->addresses;
        } else {
                dial->addresses = NULL;
                hints.ai_flags = AI_NUMERICSERV;
                dial->resolve.data = dial;
                int r = uv_getaddrinfo(loop, &dial->resolve, on_resolved, host, port, &hints);
                if (r < 0) {
                        free(dial);
                        return dial_error(err, r, "cannot resolve %s", address);
                }
                dial->busy++;
                first = deadline_ms;
        }
        uv_update_time(loop); // the loop may not have run for a while
        dial->loop = loop;
        dial->address = memory_string(address);
        dial->deadline = uv_now(loop) + deadline_ms;
        dial->done = done;
        dial->data = data;
        uv_timer_init(loop, &dial->timer);
        dial->timer.data = dial;
        dial->busy++;
        uv_timer_start(&dial->timer, on_timer, first, 0);
        *ret = dial;
        return 0;
}

void dial_cancel(struct dial *dial) {
        if (!dial)
                return;
        uv_cancel((uv_req_t *) &dial->resolve);
        end(dial);
}
