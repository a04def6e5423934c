// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Links over real loopback TCP on one loop, for tests. An `end` is one of our links with what happened to it; a `raw`
 * is a peer of the test's own that may stop reading, send half a frame or vanish. Deadlines are shortened with
 * link_limits. Include after cmocka.h.
 */
#include "certificates.h"
#include "scratch.h"
#include "common/dial.h"
#include "common/link.h"
#include "common/memory.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>

#define DEADLINE_MS 20000

static struct authority authority;
static struct tls_credentials *controller, *host, *user;
static const char *const agent_only[] = {TLS_ALPN_AGENT, NULL};
static const struct tls_policy to_controller = {.alpns = agent_only, .peer = IDENTITY_CONTROLLER};
static const struct tls_policy to_host = {.alpns = agent_only, .peer = IDENTITY_HOST};

static uv_loop_t loop;
static uv_tcp_t listener;
static char listener_address[64];
static uint16_t listener_port;
static const struct link_limits usual = {.connect_ms = 10000,
                                         .handshake_ms = 10000,
                                         .frame_ms = 30000,
                                         .flush_ms = 2000,
                                         .detach_ms = 10000,
                                         .queue = LINK_QUEUE_MAX};

// ---- one end

struct end {
        struct link *link;
        unsigned opened, frames, closed, detached;
        uint64_t bytes;
        bool wrong; // a frame was not what the other end sent
        struct error why;
        uint8_t last[64];
        size_t last_length;
        int fd;
        struct buffer leftover;
        char peer[NAME_USER_MAX + 1];
        int (*at_open)(struct end *end, struct error *err);
        int (*at_frame)(struct end *end, const uint8_t *frame, size_t length, struct error *err);
};

static struct end client, server;

static inline int on_open(struct link *link, void *data, struct error *err) {
        struct end *end = data;
        assert_ptr_equal(link, end->link);
        end->opened++;
        snprintf(end->peer, sizeof(end->peer), "%s", link_peer(link)->name);
        link_set_frame_max(link, FRAME_MAX);
        return end->at_open ? end->at_open(end, err) : 0;
}

static inline int on_frame(struct link *link, const uint8_t *frame, size_t length, void *data, struct error *err) {
        struct end *end = data;
        assert_ptr_equal(link, end->link);
        assert_int_equal(end->closed + end->detached, 0);
        end->frames++;
        end->bytes += length;
        end->last_length = length < sizeof(end->last) ? length : sizeof(end->last);
        memcpy(end->last, frame, end->last_length);
        return end->at_frame ? end->at_frame(end, frame, length, err) : 0;
}

static inline void on_close(struct link *link, const struct error *why, void *data) {
        struct end *end = data;
        assert_ptr_equal(link, end->link);
        end->closed++;
        end->why = *why;
        end->link = NULL;
}

static inline void on_detach(struct link *link, int fd, const uint8_t *leftover, size_t length, void *data) {
        struct end *end = data;
        assert_ptr_equal(link, end->link);
        end->detached++;
        end->fd = fd;
        must(buffer_append(&end->leftover, leftover, length, NULL), NULL);
        end->link = NULL;
}

static const struct link_callbacks callbacks = {
        .on_open = on_open, .on_frame = on_frame, .on_close = on_close, .on_detach = on_detach};

static inline void end_init(struct end *end) {
        *end = (struct end){.fd = -1};
        buffer_init(&end->leftover, 0);
}

static inline bool both_open(void) {
        return client.opened && server.opened;
}

static inline bool both_closed(void) {
        return client.closed && server.closed;
}

static inline bool server_closed(void) {
        return server.closed;
}

static inline bool client_closed(void) {
        return client.closed;
}

// ---- the loop

static inline void on_connection(uv_stream_t *stream, int status) {
        struct error err = ERROR_INIT;
        assert_int_equal(status, 0);
        must(link_accept(stream, controller, &to_host, &callbacks, &server, &server.link, &err), &err);
}

// Turns the loop so that conditions on the raw peer are looked at as well.
static inline void on_turn(uv_timer_t *timer) {
        (void) timer;
}

static inline void on_turn_closed(uv_handle_t *handle) {
        free(handle);
}

static inline void run_until(bool (*condition)(void), const char *what) {
        uv_timer_t *timer = new (uv_timer_t);
        uint64_t from = uv_hrtime();
        bool met;
        uv_timer_init(&loop, timer);
        uv_timer_start(timer, on_turn, 1, 1);
        while (!(met = condition()) && uv_hrtime() - from < DEADLINE_MS * UINT64_C(1000000))
                uv_run(&loop, UV_RUN_ONCE);
        uv_close((uv_handle_t *) timer, on_turn_closed);
        if (!met)
                fail_msg("not within %d ms: %s", DEADLINE_MS, what);
}
#define RUN_UNTIL(condition) run_until(condition, #condition)

static inline int make_loop(void **state) {
        (void) state;
        struct sockaddr_in address;
        int length = sizeof(address);
        link_limits = usual;
        end_init(&client);
        end_init(&server);
        uv_loop_init(&loop);
        uv_tcp_init(&loop, &listener);
        uv_ip4_addr("127.0.0.1", 0, &address);
        uv_tcp_bind(&listener, (struct sockaddr *) &address, 0);
        if (uv_listen((uv_stream_t *) &listener, 128, on_connection) < 0)
                return -1;
        uv_tcp_getsockname(&listener, (struct sockaddr *) &address, &length);
        listener_port = ntohs(address.sin_port);
        snprintf(listener_address, sizeof(listener_address), "127.0.0.1:%u", listener_port);
        return 0;
}

// Every link must have closed by itself: what is left makes uv_loop_close() fail.
static inline int close_loop(void **state) {
        (void) state;
        struct end *ends[] = {&client, &server};
        for (int i = 0; i < 2; i++) {
                if (ends[i]->link)
                        link_abort(ends[i]->link, ERROR_CANCELLED, "the test is over");
                if (ends[i]->fd >= 0)
                        close(ends[i]->fd);
                buffer_fini(&ends[i]->leftover);
        }
        uv_close((uv_handle_t *) &listener, NULL);
        uv_run(&loop, UV_RUN_DEFAULT);
        return uv_loop_close(&loop);
}

static inline int make_all(void **state) {
        (void) state;
        authority = authority_new();
        controller = credentials_new(&authority, IDENTITY_CONTROLLER);
        host = credentials_new(&authority, IDENTITY_HOST);
        user = credentials_new(&authority, IDENTITY_USER);
        return 0;
}

static inline int free_all(void **state) {
        (void) state;
        tls_credentials_unref(controller);
        tls_credentials_unref(host);
        tls_credentials_unref(user);
        authority_free(&authority);
        return 0;
}

static inline void dial_as(struct tls_credentials *credentials) {
        struct error err = ERROR_INIT;
        must(link_connect(&loop, listener_address, credentials, &to_controller, &callbacks, &client, &client.link,
                          &err),
             &err);
}

static inline void connect_both(void) {
        dial_as(host);
        RUN_UNTIL(both_open);
}

static inline void send_text(struct end *end, const char *text) {
        struct error err = ERROR_INIT;
        must(link_send(end->link, (const uint8_t *) text, strlen(text), &err), &err);
}

// "ADDRESS<rest>" where ADDRESS is the server's view of its client.
static inline void assert_why(const struct end *end, enum error_code code, const char *rest) {
        const char *at = strstr(end->why.message, rest);
        if (end->why.code != code || !at || strcmp(at, rest) != 0 || strncmp(end->why.message, "127.0.0.1:", 10) != 0)
                fail_msg("%s: \"%s\" instead of \"127.0.0.1:...%s\"", error_word(end->why.code), end->why.message,
                         rest);
}

// ---- a peer of our own

struct raw {
        int fd;
        SSL *ssl;
        unsigned records;
};

static struct raw raw;

static inline void count_record(int writing, int version, int type, const void *bytes, size_t length, SSL *ssl,
                                void *data) {
        (void) version, (void) bytes, (void) length, (void) ssl;
        if (!writing && type == SSL3_RT_HEADER)
                ((struct raw *) data)->records++;
}

static inline int tcp_connect(uint16_t port) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *) &address, sizeof(address)), 0);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        return fd;
}

static inline bool raw_handshake(void) {
        ERR_clear_error();
        int r = SSL_do_handshake(raw.ssl);
        if (r != 1)
                assert_int_equal(SSL_get_error(raw.ssl, r), SSL_ERROR_WANT_READ);
        return r == 1 && server.opened;
}

static inline void raw_connect(void) {
        struct error err = ERROR_INIT;
        raw = (struct raw){.fd = tcp_connect(listener_port)};
        must(tls_new_ssl(host, &to_controller, false, &raw.ssl, &err), &err);
        SSL_set_fd(raw.ssl, raw.fd);
        SSL_set_msg_callback(raw.ssl, count_record);
        SSL_set_msg_callback_arg(raw.ssl, &raw);
        RUN_UNTIL(raw_handshake);
        raw.records = 0;
}

static inline void raw_close(void) {
        SSL_free(raw.ssl);
        close(raw.fd);
        raw = (struct raw){.fd = -1};
}

static inline void raw_frame(uint32_t announced, const char *bytes, size_t length) {
        uint8_t frame[128];
        frame_encode_header(frame, announced);
        memcpy(frame + FRAME_HEADER, bytes, length);
        assert_int_equal(SSL_write(raw.ssl, frame, (int) (FRAME_HEADER + length)), FRAME_HEADER + length);
}

#define LINK_TEST(test) cmocka_unit_test_setup_teardown(test, make_loop, close_loop)
