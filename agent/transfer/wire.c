// SPDX-License-Identifier: LGPL-2.1-or-later
/* The socket under a channel (see wire.h). */
#include "agent/transfer/wire.h"
#include "agent/transfer/channel.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

// Bulk gives way to what people wait for: class LE, the queueing disciplines' band for bulk (TC_PRIO_BULK), and little
// of it in the kernel that has not been sent.
#define CLASS_BULK    (1 << 2)
#define PRIORITY_BULK 2
#define UNSENT_BULK   (256 << 10)
// A connection that is not answered is tried again so often: the network may just have come back.
#define CONNECT_AGAIN_MS 1000u

void wire_init(struct wire *wire, int fd, const struct clock *clock) {
        int on = 1;
        memset(wire, 0, sizeof *wire);
        wire->fd = fd;
        wire->clock = clock;
        wire->in = memory_new(WIRE_BUFFER);
        wire->out = memory_new(WIRE_BUFFER);
        atomic_init(&wire->own_moved_at, clock_ms(clock));
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void wire_fini(struct wire *wire) {
        free(wire->in);
        free(wire->out);
        close_p(&wire->fd);
}

// Ends a wait, not the wire: last words may still be said.
__attribute__((format(printf, 3, 4))) static int end_wait(struct wire *wire, enum error_code code, const char *format,
                                                          ...) {
        va_list args;
        va_start(args, format);
        error_setv(&wire->error, code, format, args);
        va_end(args);
        return -1;
}

// The conversation counts for itself what it says (talk.c): signs of life are no progress.
static void count(struct wire *wire, size_t bytes) {
        if (wire->flow && !wire->patient)
                atomic_fetch_add_explicit(&wire->flow->bytes_wire, bytes, memory_order_relaxed);
}

// Only what arrives shows that the other end is there: what is sent into a black hole fills a buffer first.
static void arrived(struct wire *wire, size_t bytes) {
        uint64_t now = clock_ms(wire->clock);
        atomic_store_explicit(wire->flow ? &wire->flow->moved_at : &wire->own_moved_at, now, memory_order_relaxed);
        count(wire, bytes);
}

static bool gives_up(const struct wire *wire) {
        // A phase with a deadline is not worth finishing, a frame of the conversation is.
        return wire->flow ? flow_gives_up(wire->flow, wire->patient && wire->unit_began && !wire->deadline)
                          : wire->stop && atomic_load_explicit(wire->stop, memory_order_relaxed);
}

// Whether the wait may go on; ends the wire if not. What a peer may take in all counts also when there is something to
// do: one that sends a byte a second is always about to be served.
static int check_time(struct wire *wire, uint64_t since, bool ready) {
        uint64_t now = clock_ms(wire->clock);
        uint64_t moved_at =
                atomic_load_explicit(wire->flow ? &wire->flow->moved_at : &wire->own_moved_at, memory_order_relaxed);
        if (moved_at > since)
                since = moved_at;
        if (gives_up(wire))
                return end_wait(wire, ERROR_CANCELLED, "stopped");
        if (wire->deadline && now >= wire->deadline)
                return end_wait(wire, ERROR_TIMEOUT, "the peer did not answer in time");
        if (!wire->deadline && !ready && now > since && now - since >= CHANNEL_IDLE_MS)
                return end_wait(wire, ERROR_TIMEOUT, "nothing has arrived for %u seconds", CHANNEL_IDLE_MS / 1000);
        if (wire->unit_began && now - wire->unit_began >= CHANNEL_FRAME_MS)
                return end_wait(wire, ERROR_TIMEOUT, "the peer is too slow: 64 KiB took more than 5 minutes");
        return 0;
}

static int wait_for(struct wire *wire, short events) {
        uint64_t since = clock_ms(wire->clock);
        for (;;) {
                struct pollfd poll_fd = {.fd = wire->fd, .events = events};
                int n = poll(&poll_fd, 1, FLOW_TICK_MS);
                if (n < 0 && errno != EINTR) {
                        wire->failed = true;
                        return error_errno(&wire->error, errno, "poll");
                }
                if (check_time(wire, since, n > 0) < 0)
                        return -1;
                if (n > 0)
                        return 0;
        }
}

static int broken(struct wire *wire) {
        int number = errno;
        wire->failed = true;
        if (number == EPIPE || number == ECONNRESET)
                return error_set(&wire->error, ERROR_UNREACHABLE, "the peer broke off the connection");
        return error_set(&wire->error, ERROR_UNREACHABLE, "%s", strerrordesc_np(number));
}

static uint64_t now_us(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

static int wait_to_send(struct wire *wire) {
        uint64_t began = now_us();
        int result = wait_for(wire, POLLOUT);
        atomic_fetch_add_explicit(&wire->waited_us, now_us() - began, memory_order_relaxed);
        return result;
}

static ssize_t send_some(struct wire *wire, const uint8_t *bytes, size_t length) {
        for (;;) {
                ssize_t n = send(wire->fd, bytes, length, MSG_NOSIGNAL);
                if (n > 0) {
                        count(wire, (size_t) n);
                        return n;
                }
                if (n < 0 && errno != EAGAIN && errno != EINTR)
                        return broken(wire);
                if (wait_to_send(wire) < 0)
                        return -1;
        }
}

int wire_flush(struct wire *wire) {
        size_t sent = 0;
        ssize_t n = wire->failed ? -1 : 0;
        while (n >= 0 && sent < wire->out_length)
                if ((n = send_some(wire, wire->out + sent, wire->out_length - sent)) > 0)
                        sent += (size_t) n;
        memmove(wire->out, wire->out + sent, wire->out_length - sent);
        wire->out_length -= sent;
        return n < 0 ? -1 : 0;
}

// More into the empty buffer. 0: the peer has closed.
static int fill(struct wire *wire) {
        for (;;) {
                ssize_t n = recv(wire->fd, wire->in, WIRE_BUFFER, 0);
                if (n >= 0) {
                        wire->in_at = 0;
                        wire->in_length = (size_t) n;
                        wire->ended = n == 0;
                        arrived(wire, (size_t) n);
                        return n > 0;
                }
                if (errno != EAGAIN && errno != EINTR)
                        return broken(wire);
                if (wait_for(wire, POLLIN) < 0)
                        return -1;
        }
}

bool wire_readable(const struct wire *wire) {
        struct pollfd poll_fd = {.fd = wire->fd, .events = POLLIN};
        return wire->in_at < wire->in_length || poll(&poll_fd, 1, 0) > 0;
}

static bool await(const struct wire *wire, short events, int wake_fd, uint32_t milliseconds) {
        struct pollfd fds[] = {{.fd = wire->fd, .events = events}, {.fd = wake_fd, .events = POLLIN}};
        return poll(fds, 2, (int) milliseconds) > 0 && fds[0].revents;
}

bool wire_await(const struct wire *wire, int wake_fd, uint32_t milliseconds) {
        return wire->in_at < wire->in_length || await(wire, POLLIN, wake_fd, milliseconds);
}

bool wire_await_end(const struct wire *wire, int wake_fd, uint32_t milliseconds) {
        return await(wire, POLLRDHUP, wake_fd, milliseconds);
}

void wire_set_bulk(const struct wire *wire) {
        int class = CLASS_BULK, priority = PRIORITY_BULK, unsent = UNSENT_BULK;
        // Wishes: where one is not granted, nothing but politeness is lost.
        setsockopt(wire->fd, IPPROTO_IP, IP_TOS, &class, sizeof class);
        setsockopt(wire->fd, IPPROTO_IPV6, IPV6_TCLASS, &class, sizeof class);
        setsockopt(wire->fd, SOL_SOCKET, SO_PRIORITY, &priority, sizeof priority);
        setsockopt(wire->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
}

void wire_drain(struct wire *wire, uint32_t milliseconds) {
        uint64_t until = clock_ms(wire->clock) + milliseconds, now;
        shutdown(wire->fd, SHUT_WR);
        while ((now = clock_ms(wire->clock)) < until) {
                struct pollfd poll_fd = {.fd = wire->fd, .events = POLLIN};
                if (poll(&poll_fd, 1, (int) (until - now)) <= 0)
                        continue;
                ssize_t n = recv(wire->fd, wire->in, WIRE_BUFFER, 0);
                if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
                        return;
        }
}

// ---- what OpenSSL sees
static int bio_write(BIO *bio, const char *bytes, size_t length, size_t *ret_written) {
        struct wire *wire = BIO_get_data(bio);
        BIO_clear_retry_flags(bio);
        *ret_written = 0;
        if (wire->out_length == WIRE_BUFFER && wire_flush(wire) < 0)
                return 0;
        size_t room = WIRE_BUFFER - wire->out_length, n = length < room ? length : room;
        if (wire->failed)
                return 0;
        memcpy(wire->out + wire->out_length, bytes, n);
        wire->out_length += n;
        *ret_written = n;
        return 1;
}

static int bio_read(BIO *bio, char *bytes, size_t length, size_t *ret_read) {
        struct wire *wire = BIO_get_data(bio);
        BIO_clear_retry_flags(bio);
        *ret_read = 0;
        if (wire->failed || wire->ended)
                return 0;
        if (wire->in_at == wire->in_length && fill(wire) <= 0)
                return 0;
        size_t have = wire->in_length - wire->in_at, n = length < have ? length : have;
        memcpy(bytes, wire->in + wire->in_at, n);
        wire->in_at += n;
        *ret_read = n;
        return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer) {
        struct wire *wire = BIO_get_data(bio);
        (void) number, (void) pointer;
        switch (command) {
        case BIO_CTRL_FLUSH:
                return wire_flush(wire) == 0;
        case BIO_CTRL_EOF:
                return wire->ended;
        case BIO_CTRL_PENDING:
                return (long) (wire->in_length - wire->in_at);
        default:
                return 0;
        }
}

static BIO_METHOD *method;

static void make_method(void) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "drover wire");
        if (!method || !BIO_meth_set_write_ex(method, bio_write) || !BIO_meth_set_read_ex(method, bio_read) ||
            !BIO_meth_set_ctrl(method, bio_ctrl))
                abort(); // only without memory, which ends the program (common/memory.h)
}

BIO *wire_bio(struct wire *wire) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        pthread_once(&once, make_method);
        BIO *bio = BIO_new(method);
        if (!bio)
                abort();
        BIO_set_data(bio, wire);
        BIO_set_init(bio, 1);
        return bio;
}

// ---- connecting
static int await_connect(int fd, struct flow *flow, const struct clock *clock, uint64_t until, uint32_t milliseconds,
                         struct error *err) {
        for (;;) {
                struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
                int n = poll(&poll_fd, 1, FLOW_TICK_MS);
                if (flow && flow_gives_up(flow, false))
                        return error_set(err, ERROR_CANCELLED, "cancelled");
                if (n > 0) {
                        int number = 0;
                        socklen_t size = sizeof number;
                        getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &size);
                        return number ? error_set(err, ERROR_UNREACHABLE, "%s", strerrordesc_np(number)) : 0;
                }
                if (clock_ms(clock) >= until)
                        return error_set(err, ERROR_UNREACHABLE, "no answer within %u seconds", milliseconds / 1000);
        }
}

static int connect_one(const struct addrinfo *info, struct flow *flow, const struct clock *clock, uint64_t until,
                       uint32_t milliseconds, int *ret_fd, struct error *err) {
        uint64_t now = clock_ms(clock);
        _cleanup_(close_p) int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return error_errno(err, errno, "socket");
        if (until > now + CONNECT_AGAIN_MS)
                until = now + CONNECT_AGAIN_MS;
        if (connect(fd, info->ai_addr, info->ai_addrlen) < 0) {
                if (errno != EINPROGRESS)
                        return error_set(err, ERROR_UNREACHABLE, "%s", strerrordesc_np(errno));
                if (await_connect(fd, flow, clock, until, milliseconds, err) < 0)
                        return -1;
        }
        *ret_fd = steal_fd(&fd);
        return 0;
}

// Each address in turn, again while none answers at all.
static int connect_any(const struct addrinfo *list, struct flow *flow, const struct clock *clock, uint32_t milliseconds,
                       int *ret_fd, struct error *err) {
        uint64_t until = clock_ms(clock) + milliseconds, began;
        do {
                began = clock_ms(clock);
                for (const struct addrinfo *info = list; info; info = info->ai_next) {
                        if (connect_one(info, flow, clock, until, milliseconds, ret_fd, err) == 0)
                                return 0;
                        if (flow && flow_stopping(flow))
                                return -1;
                }
        } while (clock_ms(clock) < until && clock_ms(clock) - began >= CONNECT_AGAIN_MS);
        return -1;
}

int wire_connect(const char *host, uint16_t port, struct flow *flow, const struct clock *clock, uint32_t milliseconds,
                 int *ret_fd, struct error *err) {
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list = NULL;
        char service[8];
        snprintf(service, sizeof service, "%u", port);
        int failed = getaddrinfo(host, service, &hints, &list);
        if (failed)
                return error_set(err, ERROR_UNREACHABLE, "%s", gai_strerror(failed));
        int result = connect_any(list, flow, clock, milliseconds, ret_fd, err);
        freeaddrinfo(list);
        return result;
}
