// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Links over real loopback TCP on one loop. An `end` is one of our links with what happened to it; a `raw` is a peer of
 * the test's own that may stop reading, send half a frame or vanish. Deadlines are shortened with link_limits.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
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

static int on_open(struct link *link, void *data, struct error *err) {
        struct end *end = data;
        assert_ptr_equal(link, end->link);
        end->opened++;
        snprintf(end->peer, sizeof(end->peer), "%s", link_peer(link)->name);
        link_set_frame_max(link, FRAME_MAX);
        return end->at_open ? end->at_open(end, err) : 0;
}

static int on_frame(struct link *link, const uint8_t *frame, size_t length, void *data, struct error *err) {
        struct end *end = data;
        assert_ptr_equal(link, end->link);
        assert_int_equal(end->closed + end->detached, 0);
        end->frames++;
        end->bytes += length;
        end->last_length = length < sizeof(end->last) ? length : sizeof(end->last);
        memcpy(end->last, frame, end->last_length);
        return end->at_frame ? end->at_frame(end, frame, length, err) : 0;
}

static void on_close(struct link *link, const struct error *why, void *data) {
        struct end *end = data;
        assert_ptr_equal(link, end->link);
        end->closed++;
        end->why = *why;
        end->link = NULL;
}

static void on_detach(struct link *link, int fd, const uint8_t *leftover, size_t length, void *data) {
        struct end *end = data;
        assert_ptr_equal(link, end->link);
        end->detached++;
        end->fd = fd;
        must(buffer_append(&end->leftover, leftover, length, NULL), NULL);
        end->link = NULL;
}

static const struct link_callbacks callbacks = {on_open, on_frame, on_close, on_detach};

static void end_init(struct end *end) {
        *end = (struct end){.fd = -1};
        buffer_init(&end->leftover, 0);
}

static bool both_open(void) {
        return client.opened && server.opened;
}

static bool both_closed(void) {
        return client.closed && server.closed;
}

static bool server_closed(void) {
        return server.closed;
}

static bool client_closed(void) {
        return client.closed;
}

// ---- the loop

static void on_connection(uv_stream_t *stream, int status) {
        struct error err = ERROR_INIT;
        assert_int_equal(status, 0);
        must(link_accept(stream, controller, &to_host, &callbacks, &server, &server.link, &err), &err);
}

// Turns the loop so that conditions on the raw peer are looked at as well.
static void on_turn(uv_timer_t *timer) {
        (void) timer;
}

static void on_turn_closed(uv_handle_t *handle) {
        free(handle);
}

static void run_until(bool (*condition)(void), const char *what) {
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

static int make_loop(void **state) {
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
static int close_loop(void **state) {
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

static int make_all(void **state) {
        (void) state;
        authority = authority_new();
        controller = credentials_new(&authority, IDENTITY_CONTROLLER);
        host = credentials_new(&authority, IDENTITY_HOST);
        user = credentials_new(&authority, IDENTITY_USER);
        return 0;
}

static int free_all(void **state) {
        (void) state;
        tls_credentials_unref(controller);
        tls_credentials_unref(host);
        tls_credentials_unref(user);
        authority_free(&authority);
        return 0;
}

static void dial_as(struct tls_credentials *credentials) {
        struct error err = ERROR_INIT;
        must(link_connect(&loop, listener_address, credentials, &to_controller, &callbacks, &client, &client.link,
                          &err),
             &err);
}

static void connect_both(void) {
        dial_as(host);
        RUN_UNTIL(both_open);
}

static void send_text(struct end *end, const char *text) {
        struct error err = ERROR_INIT;
        must(link_send(end->link, (const uint8_t *) text, strlen(text), &err), &err);
}

// "ADDRESS<rest>" where ADDRESS is the server's view of its client.
static void assert_why(const struct end *end, enum error_code code, const char *rest) {
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

static void count_record(int writing, int version, int type, const void *bytes, size_t length, SSL *ssl, void *data) {
        (void) version, (void) bytes, (void) length, (void) ssl;
        if (!writing && type == SSL3_RT_HEADER)
                ((struct raw *) data)->records++;
}

static int tcp_connect(uint16_t port) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *) &address, sizeof(address)), 0);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        return fd;
}

static bool raw_handshake(void) {
        ERR_clear_error();
        int r = SSL_do_handshake(raw.ssl);
        if (r != 1)
                assert_int_equal(SSL_get_error(raw.ssl, r), SSL_ERROR_WANT_READ);
        return r == 1 && server.opened;
}

static void raw_connect(void) {
        struct error err = ERROR_INIT;
        raw = (struct raw){.fd = tcp_connect(listener_port)};
        must(tls_new_ssl(host, &to_controller, false, &raw.ssl, &err), &err);
        SSL_set_fd(raw.ssl, raw.fd);
        SSL_set_msg_callback(raw.ssl, count_record);
        SSL_set_msg_callback_arg(raw.ssl, &raw);
        RUN_UNTIL(raw_handshake);
        raw.records = 0;
}

static void raw_close(void) {
        SSL_free(raw.ssl);
        close(raw.fd);
        raw = (struct raw){.fd = -1};
}

static void raw_frame(uint32_t announced, const char *bytes, size_t length) {
        uint8_t frame[128];
        frame_encode_header(frame, announced);
        memcpy(frame + FRAME_HEADER, bytes, length);
        assert_int_equal(SSL_write(raw.ssl, frame, (int) (FRAME_HEADER + length)), FRAME_HEADER + length);
}

// ---- what must work

static void both_ends_open_and_know_each_other(void **state) {
        (void) state;
        connect_both();
        assert_string_equal(client.peer, UUID_CONTROLLER);
        assert_string_equal(server.peer, UUID_HOST);
        assert_string_equal(link_alpn(client.link), TLS_ALPN_AGENT);
        assert_string_equal(link_alpn(server.link), TLS_ALPN_AGENT);
        assert_string_equal(link_address(client.link), listener_address);
        assert_true(strncmp(link_address(server.link), "127.0.0.1:", 10) == 0);
        assert_int_equal(EVP_PKEY_eq(link_peer_key(server.link), tls_credentials_key(host)), 1);
        assert_null(link_peer_authority(client.link));
        link_close(client.link);
        RUN_UNTIL(both_closed);
        assert_int_equal(client.why.code, ERROR_NONE);
        assert_why(&server, ERROR_UNREACHABLE, " closed the connection");
}

static bool resolved_and_open(void) {
        return both_open() || client.closed;
}

static void a_name_is_resolved(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        char address[64];
        snprintf(address, sizeof(address), "localhost:%u", listener_port);
        must(link_connect(&loop, address, host, &to_controller, &callbacks, &client, &client.link, &err), &err);
        RUN_UNTIL(resolved_and_open);
        assert_int_equal(client.closed, 0);
        assert_string_equal(link_address(client.link), address);
}

// A frame of a length and a content that follow from its number.
static size_t frame_length(unsigned number) {
        uint32_t r = number * 2654435761u;
        return 1 + (r >> 8) % (number % 50 == 49 ? 1000000 : number % 7 == 6 ? 40000 : 200);
}

static void fill(uint8_t *frame, unsigned number, size_t length) {
        for (size_t i = 0; i < length; i++)
                frame[i] = (uint8_t) (number * 31 + i * 7 + (i >> 8));
}

static int check_frame(struct end *end, const uint8_t *frame, size_t length, struct error *err) {
        (void) err;
        unsigned number = end->frames - 1;
        uint8_t *expected = memory_new(length);
        fill(expected, number, length);
        end->wrong |= length != frame_length(number) || memcmp(frame, expected, length) != 0;
        free(expected);
        return 0;
}

#define MANY 1000
static bool all_arrived(void) {
        return (client.frames == MANY && server.frames == MANY) || client.closed || server.closed;
}

static void many_frames_of_all_sizes_arrive_whole_and_in_order(void **state) {
        (void) state;
        uint8_t *frame = memory_new(1000001);
        connect_both();
        client.at_frame = server.at_frame = check_frame;
        for (unsigned i = 0; i < MANY; i++) {
                struct error err = ERROR_INIT;
                fill(frame, i, frame_length(i));
                must(link_send(client.link, frame, frame_length(i), &err), &err);
                must(link_send(server.link, frame, frame_length(i), &err), &err);
                if (i % 10 == 0)
                        uv_run(&loop, UV_RUN_NOWAIT);
        }
        RUN_UNTIL(all_arrived);
        assert_int_equal(client.frames, MANY);
        assert_int_equal(server.frames, MANY);
        assert_false(client.wrong || server.wrong);
        free(frame);
}

static bool raw_has_read(void) {
        uint8_t bytes[4096];
        int r = SSL_read(raw.ssl, bytes, sizeof(bytes));
        return r > 0;
}

static void what_is_sent_in_one_turn_travels_together(void **state) {
        (void) state;
        raw_connect();
        for (int i = 0; i < 100; i++)
                send_text(&server, "small");
        RUN_UNTIL(raw_has_read);
        assert_int_equal(raw.records, 1);
        raw_close();
        RUN_UNTIL(server_closed);
}

static int echo(struct end *end, const uint8_t *frame, size_t length, struct error *err) {
        return link_send(end->link, frame, length, err);
}

static bool echoed(void) {
        return client.frames == 100;
}

static void a_callback_may_answer(void **state) {
        (void) state;
        connect_both();
        server.at_frame = echo;
        for (int i = 0; i < 100; i++)
                send_text(&client, i == 99 ? "last" : "hello");
        RUN_UNTIL(echoed);
        assert_memory_equal(client.last, "last", 4);
}

static struct end other_owner;

static int hand_over(struct end *end, struct error *err) {
        (void) err;
        other_owner.link = end->link;
        link_set_data(end->link, &callbacks, &other_owner);
        return 0;
}

static bool other_has_frame(void) {
        return other_owner.frames == 1;
}

static bool other_closed(void) {
        return other_owner.closed;
}

static void a_link_may_change_hands(void **state) {
        (void) state;
        end_init(&other_owner);
        server.at_open = hand_over;
        connect_both();
        send_text(&client, "x");
        RUN_UNTIL(other_has_frame);
        assert_int_equal(server.frames, 0);
        server.link = NULL;
        link_close(client.link);
        RUN_UNTIL(other_closed);
        assert_int_equal(server.closed, 0);
}

static bool server_has_frame(void) {
        return server.frames > 0;
}

static void the_time_of_the_last_bytes_is_kept(void **state) {
        (void) state;
        connect_both();
        uint64_t now = clock_ms(&system_clock);
        assert_in_range(link_last_received_ms(server.link), now - DEADLINE_MS, now);
        now = link_last_received_ms(server.link);
        send_text(&client, "x");
        RUN_UNTIL(server_has_frame);
        assert_true(link_last_received_ms(server.link) >= now);
}

// ---- bounds

static void fault_39_a_frame_length_outside_the_bound_ends_the_link(void **state) {
        static const struct {
                uint32_t length;
                const char *text;
        } cases[] = {
                {0, ": frame length 0 is outside 1..4194304"},
                {1u << 31, ": frame length 2147483648 is outside 1..4194304"},
                {UINT32_MAX, ": frame length 4294967295 is outside 1..4194304"},
                {FRAME_MAX + 1, ": frame length 4194305 is outside 1..4194304"},
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                link_limits.flush_ms = 100; // this peer does not close its side
                raw_connect();
                raw_frame(cases[i].length, "", 0);
                RUN_UNTIL(server_closed);
                assert_why(&server, ERROR_PROTOCOL, cases[i].text);
                assert_int_equal(server.frames, 0);
                raw_close();
                assert_int_equal(close_loop(state), 0);
                assert_int_equal(make_loop(state), 0);
        }
}

static int keep_the_bound(struct end *end, struct error *err) {
        (void) err;
        link_set_frame_max(end->link, FRAME_MAX_JOIN);
        return 0;
}

static void an_unknown_peer_may_send_little(void **state) {
        (void) state;
        uint8_t frame[FRAME_MAX_JOIN + 1] = {0};
        struct error err = ERROR_INIT;
        server.at_open = keep_the_bound;
        connect_both();
        must(link_send(client.link, frame, FRAME_MAX_JOIN, &err), &err);
        must(link_send(client.link, frame, FRAME_MAX_JOIN + 1, &err), &err);
        RUN_UNTIL(both_closed);
        assert_int_equal(server.frames, 1);
        assert_why(&server, ERROR_PROTOCOL, ": frame length 16385 is outside 1..16384");
        assert_why(&client, ERROR_UNREACHABLE, " closed the connection");
}

static void a_frame_that_nobody_may_send_is_refused_at_once(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        connect_both();
        assert_int_equal(link_send(client.link, (const uint8_t *) "", 0, &err), -1);
        assert_error(err, ERROR_TOO_LARGE, "a frame of 0 bytes; 1 to 4194304 are allowed");
        assert_int_equal(link_send(client.link, (const uint8_t *) "", FRAME_MAX + 1, &err), -1);
        assert_error(err, ERROR_TOO_LARGE, "a frame of 4194305 bytes; 1 to 4194304 are allowed");
        assert_int_equal(client.closed, 0);
}

static void a_peer_that_stops_reading_is_given_up_at_the_bound(void **state) {
        (void) state;
        static uint8_t frame[65536];
        struct error err = ERROR_INIT;
        int r = 0;
        link_limits.queue = 1 << 20;
        raw_connect();
        for (int i = 0; i < 10000 && r == 0; i++) {
                r = link_send(server.link, frame, sizeof(frame), &err);
                uv_run(&loop, UV_RUN_NOWAIT);
        }
        assert_int_equal(r, -1);
        assert_int_equal(err.code, ERROR_TOO_LARGE);
        RUN_UNTIL(server_closed);
        assert_string_equal(server.why.message, err.message);
        assert_non_null(strstr(err.message, " does not read: "));
        assert_int_equal(server.closed, 1);
        raw_close();
}

static void the_queue_is_bounded_before_the_loop_turns_as_well(void **state) {
        (void) state;
        static uint8_t frame[65536];
        struct error err = ERROR_INIT;
        link_limits.queue = 1 << 20;
        connect_both();
        for (int i = 0; i < 15; i++)
                must(link_send(client.link, frame, sizeof(frame), &err), &err);
        assert_int_equal(link_send(client.link, frame, sizeof(frame), &err), -1);
        assert_int_equal(link_send(client.link, frame, sizeof(frame), &err), -1);
        assert_int_equal(err.code, ERROR_UNREACHABLE); // it is closed
        RUN_UNTIL(both_closed);
        assert_why(&client, ERROR_TOO_LARGE, " does not read: 983100 bytes wait for it");
}

// ---- slow and silent peers

static void fault_03_a_peer_that_does_not_finish_the_handshake_is_closed(void **state) {
        (void) state;
        link_limits.handshake_ms = 100;
        int fd = tcp_connect(listener_port);
        assert_int_equal(write(fd, "\x16\x03", 2), 2);
        RUN_UNTIL(server_closed);
        assert_int_equal(server.opened, 0);
        assert_why(&server, ERROR_TIMEOUT, ": the handshake took longer than 1 s");
        close(fd);
}

static int slow_fd;

static bool server_closed_or_one_more_byte(void) {
        if (server.closed)
                return true;
        // One byte of a ClientHello that announces 64 KiB at each turn of the loop.
        static const uint8_t header[] = {0x16, 0x03, 0x01, 0x40, 0x00, 0x01, 0x00, 0x40, 0x00};
        static size_t at;
        uint8_t byte = at < sizeof(header) ? header[at] : 0;
        at++;
        send(slow_fd, &byte, 1, MSG_NOSIGNAL);
        return false;
}

static void fault_03_a_byte_now_and_then_does_not_prolong_the_handshake(void **state) {
        (void) state;
        link_limits.handshake_ms = 100;
        slow_fd = tcp_connect(listener_port);
        RUN_UNTIL(server_closed_or_one_more_byte);
        assert_why(&server, ERROR_TIMEOUT, ": the handshake took longer than 1 s");
        close(slow_fd);
}

static void fault_03_half_a_frame_is_closed_after_its_time(void **state) {
        (void) state;
        link_limits.frame_ms = 100;
        raw_connect();
        raw_frame(5, "he", 2);
        RUN_UNTIL(server_closed);
        assert_why(&server, ERROR_TIMEOUT, ": a frame took longer than 1 s");
        assert_int_equal(server.frames, 0);
        raw_close();
}

static void fault_03_half_a_record_is_closed_after_its_time(void **state) {
        (void) state;
        link_limits.frame_ms = 100;
        raw_connect();
        assert_int_equal(write(raw.fd, "\x17\x03\x03\x10", 4), 4);
        RUN_UNTIL(server_closed);
        assert_why(&server, ERROR_TIMEOUT, ": a frame took longer than 1 s");
        raw_close();
}

static uint64_t trickle_from;
static bool trickled(void) {
        // Whole frames, each with the beginning of the next behind it, for three times the time of one.
        uv_update_time(&loop);
        if (server.closed || uv_now(&loop) - trickle_from > 600)
                return true;
        SSL_write(raw.ssl, "x\0\0\0\1", 5);
        return false;
}

static void the_time_of_a_frame_begins_anew_with_each(void **state) {
        (void) state;
        link_limits.frame_ms = 200;
        raw_connect();
        SSL_write(raw.ssl, "\0\0\0\1", 4);
        trickle_from = uv_now(&loop);
        RUN_UNTIL(trickled);
        assert_int_equal(server.closed, 0);
        assert_true(server.frames > 3);
        raw_close();
        RUN_UNTIL(server_closed);
}

static uint64_t idle_from;
static bool idled(void) {
        uv_update_time(&loop);
        return server.closed || uv_now(&loop) - idle_from > 300;
}

static void a_silent_link_stays_open(void **state) {
        (void) state;
        link_limits.frame_ms = link_limits.handshake_ms = link_limits.connect_ms = 100;
        connect_both();
        send_text(&client, "x");
        RUN_UNTIL(server_has_frame);
        idle_from = uv_now(&loop);
        RUN_UNTIL(idled);
        assert_int_equal(server.closed + client.closed, 0);
        assert_int_equal(server.frames, 1);
}

static void fault_02_a_peer_that_breaks_off_is_noticed(void **state) {
        (void) state;
        raw_connect();
        raw_frame(5, "he", 2);
        raw_close(); // a FIN without close_notify
        RUN_UNTIL(server_closed);
        assert_why(&server, ERROR_UNREACHABLE, " broke off the connection");
}

static void a_reset_is_noticed(void **state) {
        (void) state;
        struct linger linger = {.l_onoff = 1};
        raw_connect();
        setsockopt(raw.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        raw_close();
        RUN_UNTIL(server_closed);
        assert_why(&server, ERROR_UNREACHABLE, ": connection reset by peer");
}

static void a_peer_that_leaves_in_the_handshake_is_noticed(void **state) {
        (void) state;
        close(tcp_connect(listener_port));
        RUN_UNTIL(server_closed);
        assert_why(&server, ERROR_UNREACHABLE, " closed the connection during the handshake");
}

static void what_is_no_tls_is_closed(void **state) {
        (void) state;
        link_limits.flush_ms = 100; // this peer does not close its side
        int fd = tcp_connect(listener_port);
        assert_int_equal(write(fd, "GET / HTTP/1.1\r\n\r\n", 18), 18);
        RUN_UNTIL(server_closed);
        assert_why(&server, ERROR_PROTOCOL, ": the peer speaks HTTP");
        close(fd);
}

static void fault_44_a_refused_client_is_told_why(void **state) {
        (void) state;
        dial_as(user);
        RUN_UNTIL(both_closed);
        assert_int_equal(server.opened, 0);
        assert_why(&server, ERROR_DENIED, ": the peer is a user (alice), expected a host");
        assert_why(&client, ERROR_DENIED, ": the peer refuses our certificate");
}

// ---- dialling

static void what_is_no_address_is_refused_at_once(void **state) {
        (void) state;
        static const char *const bad[] = {"",        "kvm1",   ":7443",     "kvm1:",   "kvm1:0",  "kvm1:65536",
                                          "kvm1:x",  "::1:1",  "[::1]7443", "[::1]",   "[]:1",    "kvm1:1x",
                                          "kvm1: 1", "[::1:1", "a:1:2",     "kvm1:+1", "kvm1:-1", "kvm1:000001"};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                struct error err = ERROR_INIT;
                char text[100];
                assert_int_equal(
                        link_connect(&loop, bad[i], host, &to_controller, &callbacks, &client, &client.link, &err), -1);
                snprintf(text, sizeof(text), "\"%s\" is not host:port", bad[i]);
                assert_error(err, ERROR_INVALID, text);
                assert_null(client.link);
        }
}

static void addresses_are_taken_apart(void **state) {
        (void) state;
        char name[DIAL_HOST_MAX + 1], port[DIAL_PORT_MAX + 1], longest[300] = "";
        struct error err = ERROR_INIT;
        must(dial_parse("[2001:db8::1]:7443", name, port, &err), &err);
        assert_string_equal(name, "2001:db8::1");
        assert_string_equal(port, "7443");
        must(dial_parse("kvm1.lyon.example:65535", name, port, &err), &err);
        assert_string_equal(name, "kvm1.lyon.example");
        memset(longest, 'a', DIAL_HOST_MAX);
        strcat(longest, ":1");
        must(dial_parse(longest, name, port, &err), &err);
        assert_int_equal(strlen(name), DIAL_HOST_MAX);
        memmove(longest + 1, longest, strlen(longest) + 1);
        assert_int_equal(dial_parse(longest, name, port, &err), -1);
}

static void a_refused_connection_names_the_address(void **state) {
        (void) state;
        char address[64], text[100];
        struct error err = ERROR_INIT;
        struct sockaddr_in name = {.sin_family = AF_INET};
        socklen_t length = sizeof(name);
        int fd = socket(AF_INET, SOCK_STREAM, 0); // bound, but it does not listen
        name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        assert_int_equal(bind(fd, (struct sockaddr *) &name, sizeof(name)), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *) &name, &length), 0);
        snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(name.sin_port));
        must(link_connect(&loop, address, host, &to_controller, &callbacks, &client, &client.link, &err), &err);
        assert_int_equal(client.closed, 0); // never from within
        RUN_UNTIL(client_closed);
        snprintf(text, sizeof(text), "cannot reach %s: connection refused", address);
        assert_error(client.why, ERROR_UNREACHABLE, text);
        close(fd);
}

static void a_name_that_does_not_resolve_is_unreachable(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        link_limits.connect_ms = 1000;
        must(link_connect(&loop, "no.such.host.invalid:7443", host, &to_controller, &callbacks, &client, &client.link,
                          &err),
             &err);
        RUN_UNTIL(client_closed);
        assert_int_equal(client.why.code, ERROR_UNREACHABLE);
        assert_non_null(strstr(client.why.message, "cannot resolve no.such.host.invalid:7443: "));
}

// A listening socket whose queue is full: the kernel drops what else comes.
static void fault_02_a_connection_that_hangs_is_given_up(void **state) {
        (void) state;
        char address[64], text[100];
        struct error err = ERROR_INIT;
        struct sockaddr_in name = {.sin_family = AF_INET};
        socklen_t length = sizeof(name);
        int fd = socket(AF_INET, SOCK_STREAM, 0), fillers[4];
        name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        assert_int_equal(bind(fd, (struct sockaddr *) &name, sizeof(name)), 0);
        assert_int_equal(listen(fd, 0), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *) &name, &length), 0);
        for (int i = 0; i < 4; i++) {
                fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
                (void) !connect(fillers[i], (struct sockaddr *) &name, sizeof(name));
        }
        link_limits.connect_ms = 200;
        snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(name.sin_port));
        must(link_connect(&loop, address, host, &to_controller, &callbacks, &client, &client.link, &err), &err);
        RUN_UNTIL(client_closed);
        snprintf(text, sizeof(text), "cannot reach %s: connection timed out", address);
        assert_error(client.why, ERROR_UNREACHABLE, text);
        for (int i = 0; i < 4; i++)
                close(fillers[i]);
        close(fd);
}

// ---- closing at every moment

static void close_while_connecting_resolving_and_in_the_handshake(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        dial_as(host);
        link_close(client.link);
        assert_int_equal(client.closed, 0);
        RUN_UNTIL(client_closed);
        assert_int_equal(client.why.code, ERROR_NONE);
        end_init(&client);
        must(link_connect(&loop, "no.such.host.invalid:7443", host, &to_controller, &callbacks, &client, &client.link,
                          &err),
             &err);
        link_close(client.link);
        RUN_UNTIL(client_closed);
        assert_int_equal(client.why.code, ERROR_NONE);
        end_init(&client);
        dial_as(host);
        assert_int_equal(link_send(client.link, (const uint8_t *) "x", 1, &err), -1);
        assert_int_equal(err.code, ERROR_UNREACHABLE);
        while (!server.link)
                uv_run(&loop, UV_RUN_ONCE);
        link_close(server.link); // in its handshake
        link_close(client.link); // between connecting and the end of its handshake
        RUN_UNTIL(both_closed);
        assert_int_equal(client.opened + server.opened, 0);
        assert_int_equal(client.why.code, ERROR_NONE);
        assert_int_equal(server.why.code, ERROR_NONE);
}

static void what_was_sent_before_closing_arrives(void **state) {
        (void) state;
        static uint8_t frame[1000000];
        struct error err = ERROR_INIT;
        connect_both();
        for (int i = 0; i < 20; i++)
                must(link_send(client.link, frame, sizeof(frame), &err), &err);
        link_close(client.link);
        link_close(client.link);
        assert_int_equal(link_send(client.link, frame, 1, &err), -1);
        assert_int_equal(client.closed, 0);
        RUN_UNTIL(both_closed);
        assert_int_equal(server.bytes, 20 * sizeof(frame));
        assert_int_equal(client.closed, 1);
        assert_int_equal(client.why.code, ERROR_NONE);
        assert_why(&server, ERROR_UNREACHABLE, " closed the connection");
}

static void both_may_close_at_once_with_frames_on_their_way(void **state) {
        (void) state;
        connect_both();
        for (int i = 0; i < 50; i++) {
                send_text(&client, "from the client");
                send_text(&server, "from the server");
        }
        link_close(client.link);
        link_close(server.link);
        RUN_UNTIL(both_closed);
        assert_int_equal(client.why.code, ERROR_NONE);
        assert_int_equal(server.why.code, ERROR_NONE);
        assert_int_equal(client.frames + server.frames, 0); // none after link_close()
}

static void closing_does_not_wait_long_for_a_peer_that_does_not_read(void **state) {
        (void) state;
        static uint8_t frame[1000000];
        struct error err = ERROR_INIT;
        link_limits.flush_ms = 100;
        raw_connect();
        for (int i = 0; i < 50; i++)
                must(link_send(server.link, frame, sizeof(frame), &err), &err);
        link_close(server.link);
        RUN_UNTIL(server_closed);
        assert_int_equal(server.why.code, ERROR_NONE);
        raw_close();
}

static void aborting_gives_its_reason_and_drops_the_queue(void **state) {
        (void) state;
        connect_both();
        send_text(&client, "never sent");
        link_abort(client.link, ERROR_TIMEOUT, "no heartbeat for 30 s");
        link_abort(client.link, ERROR_FAILED, "not this");
        link_close(client.link);
        assert_int_equal(client.closed, 0);
        RUN_UNTIL(both_closed);
        assert_error(client.why, ERROR_TIMEOUT, "no heartbeat for 30 s");
        assert_int_equal(client.closed, 1);
        assert_int_equal(server.frames, 0);
        assert_why(&server, ERROR_UNREACHABLE, " broke off the connection");
}

static void aborting_cuts_a_close_short_but_keeps_its_reason(void **state) {
        (void) state;
        static uint8_t frame[1000000];
        struct error err = ERROR_INIT;
        link_limits.flush_ms = 2 * DEADLINE_MS;
        raw_connect();
        for (int i = 0; i < 50; i++)
                must(link_send(server.link, frame, sizeof(frame), &err), &err);
        link_close(server.link);
        link_abort(server.link, ERROR_FAILED, "faster");
        RUN_UNTIL(server_closed);
        assert_int_equal(server.why.code, ERROR_NONE);
        raw_close();
}

static int refuse(struct end *end, const uint8_t *frame, size_t length, struct error *err) {
        (void) frame, (void) length;
        send_text(end, "a last word");
        return error_set(err, ERROR_VERSION, "version 9 is unknown here");
}

static void a_frame_that_is_refused_ends_the_link_after_a_last_word(void **state) {
        (void) state;
        connect_both();
        server.at_frame = refuse;
        send_text(&client, "hello");
        send_text(&client, "and more that nobody reads");
        RUN_UNTIL(both_closed);
        assert_int_equal(server.frames, 1);
        assert_error(server.why, ERROR_VERSION, "version 9 is unknown here");
        assert_int_equal(client.frames, 1);
        assert_memory_equal(client.last, "a last word", 11);
        assert_why(&client, ERROR_UNREACHABLE, " closed the connection");
}

static int refuse_to_open(struct end *end, struct error *err) {
        (void) end;
        return error_set(err, ERROR_DENIED, "host is removed");
}

static void an_owner_may_refuse_to_open(void **state) {
        (void) state;
        server.at_open = refuse_to_open;
        dial_as(host);
        RUN_UNTIL(both_closed);
        assert_error(server.why, ERROR_DENIED, "host is removed");
        assert_why(&client, ERROR_UNREACHABLE, " closed the connection");
}

static int close_it(struct end *end, const uint8_t *frame, size_t length, struct error *err) {
        (void) frame, (void) length, (void) err;
        link_close(end->link);
        return 0;
}

static int abort_it(struct end *end, const uint8_t *frame, size_t length, struct error *err) {
        (void) frame, (void) length;
        link_abort(end->link, ERROR_CANCELLED, "inside");
        return error_set(err, ERROR_FAILED, "not this");
}

static void a_callback_may_close_and_abort(void **state) {
        (void) state;
        connect_both();
        server.at_frame = close_it;
        for (int i = 0; i < 10; i++)
                send_text(&client, "x");
        RUN_UNTIL(both_closed);
        assert_int_equal(server.frames, 1);
        assert_int_equal(server.why.code, ERROR_NONE);
        end_init(&client);
        end_init(&server);
        connect_both();
        client.at_frame = abort_it;
        send_text(&server, "x");
        send_text(&server, "y");
        RUN_UNTIL(both_closed);
        assert_int_equal(client.frames, 1);
        assert_error(client.why, ERROR_CANCELLED, "inside");
}

// ---- detaching

static int detach_it(struct end *end, const uint8_t *frame, size_t length, struct error *err) {
        (void) frame, (void) length, (void) err;
        send_text(end, "ready");
        link_detach(end->link);
        return 0;
}

static bool raw_is_told(void) {
        uint8_t bytes[64];
        int r = SSL_read(raw.ssl, bytes, sizeof(bytes));
        if (r > 0) {
                assert_int_equal(r, 9);
                assert_memory_equal(bytes, "\0\0\0\5ready", 9);
        }
        return r <= 0 && SSL_get_error(raw.ssl, r) == SSL_ERROR_ZERO_RETURN;
}

static bool server_detached(void) {
        return server.detached;
}

static void a_detached_link_gives_its_connection_and_what_was_read_already(void **state) {
        (void) state;
        char bytes[64];
        raw_connect();
        server.at_frame = detach_it;
        raw_frame(5, "hello", 5);
        raw_frame(7, "dropped", 7);
        RUN_UNTIL(raw_is_told);
        assert_int_equal(SSL_shutdown(raw.ssl), 1);
        assert_int_equal(write(raw.fd, "leftover", 8), 8); // in the same read as the close_notify
        RUN_UNTIL(server_detached);
        assert_int_equal(server.frames, 1);
        assert_int_equal(server.closed, 0);
        assert_int_equal(server.leftover.length, 8);
        assert_memory_equal(server.leftover.data, "leftover", 8);
        assert_true(fcntl(server.fd, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(server.fd, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(write(raw.fd, "raw", 3), 3);
        assert_int_equal(read(server.fd, bytes, sizeof(bytes)), 3);
        assert_memory_equal(bytes, "raw", 3);
        assert_int_equal(write(server.fd, "back", 4), 4);
        assert_int_equal(read(raw.fd, bytes, sizeof(bytes)), 4);
        assert_memory_equal(bytes, "back", 4);
        raw_close();
}

static void detaching_flushes_first(void **state) {
        (void) state;
        static uint8_t frame[1000000];
        struct error err = ERROR_INIT;
        uint64_t total = 0;
        raw_connect();
        for (int i = 0; i < 20; i++)
                must(link_send(server.link, frame, sizeof(frame), &err), &err);
        link_detach(server.link);
        link_detach(server.link);
        assert_int_equal(link_send(server.link, frame, 1, &err), -1);
        SSL_shutdown(raw.ssl); // early: what comes towards us goes on
        for (uint64_t from = uv_hrtime(); uv_hrtime() - from < DEADLINE_MS * UINT64_C(1000000);) {
                int r = SSL_read(raw.ssl, frame, sizeof(frame));
                if (r > 0)
                        total += (uint64_t) r;
                else if (SSL_get_error(raw.ssl, r) == SSL_ERROR_ZERO_RETURN)
                        break;
                uv_run(&loop, UV_RUN_NOWAIT);
        }
        assert_int_equal(total, 20 * (sizeof(frame) + FRAME_HEADER));
        RUN_UNTIL(server_detached);
        assert_int_equal(server.leftover.length, 0);
        raw_close();
}

static void detaching_does_not_wait_for_ever(void **state) {
        (void) state;
        link_limits.detach_ms = 100;
        raw_connect();
        link_detach(server.link);
        RUN_UNTIL(server_closed);
        assert_why(&server, ERROR_TIMEOUT, ": the end of the session took longer than 1 s");
        assert_int_equal(server.detached, 0);
        raw_close();
}

static void a_peer_that_breaks_off_while_detaching_is_noticed(void **state) {
        (void) state;
        raw_connect();
        link_detach(server.link);
        shutdown(raw.fd, SHUT_WR);
        RUN_UNTIL(server_closed);
        assert_why(&server, ERROR_UNREACHABLE, " broke off the connection");
        assert_int_equal(server.detached, 0);
        raw_close();
}

static void a_detaching_link_may_be_closed_and_aborted(void **state) {
        (void) state;
        raw_connect();
        link_detach(server.link);
        link_abort(server.link, ERROR_CANCELLED, "the job was cancelled");
        RUN_UNTIL(server_closed);
        assert_error(server.why, ERROR_CANCELLED, "the job was cancelled");
        raw_close();
}

#define LINK_TEST(test) cmocka_unit_test_setup_teardown(test, make_loop, close_loop)

int main(void) {
        const struct CMUnitTest tests[] = {
                LINK_TEST(both_ends_open_and_know_each_other),
                LINK_TEST(a_name_is_resolved),
                LINK_TEST(many_frames_of_all_sizes_arrive_whole_and_in_order),
                LINK_TEST(what_is_sent_in_one_turn_travels_together),
                LINK_TEST(a_callback_may_answer),
                LINK_TEST(a_link_may_change_hands),
                LINK_TEST(the_time_of_the_last_bytes_is_kept),
                LINK_TEST(fault_39_a_frame_length_outside_the_bound_ends_the_link),
                LINK_TEST(an_unknown_peer_may_send_little),
                LINK_TEST(a_frame_that_nobody_may_send_is_refused_at_once),
                LINK_TEST(a_peer_that_stops_reading_is_given_up_at_the_bound),
                LINK_TEST(the_queue_is_bounded_before_the_loop_turns_as_well),
                LINK_TEST(fault_03_a_peer_that_does_not_finish_the_handshake_is_closed),
                LINK_TEST(fault_03_a_byte_now_and_then_does_not_prolong_the_handshake),
                LINK_TEST(fault_03_half_a_frame_is_closed_after_its_time),
                LINK_TEST(fault_03_half_a_record_is_closed_after_its_time),
                LINK_TEST(the_time_of_a_frame_begins_anew_with_each),
                LINK_TEST(a_silent_link_stays_open),
                LINK_TEST(fault_02_a_peer_that_breaks_off_is_noticed),
                LINK_TEST(a_reset_is_noticed),
                LINK_TEST(a_peer_that_leaves_in_the_handshake_is_noticed),
                LINK_TEST(what_is_no_tls_is_closed),
                LINK_TEST(fault_44_a_refused_client_is_told_why),
                LINK_TEST(what_is_no_address_is_refused_at_once),
                LINK_TEST(addresses_are_taken_apart),
                LINK_TEST(a_refused_connection_names_the_address),
                LINK_TEST(a_name_that_does_not_resolve_is_unreachable),
                LINK_TEST(fault_02_a_connection_that_hangs_is_given_up),
                LINK_TEST(close_while_connecting_resolving_and_in_the_handshake),
                LINK_TEST(what_was_sent_before_closing_arrives),
                LINK_TEST(both_may_close_at_once_with_frames_on_their_way),
                LINK_TEST(closing_does_not_wait_long_for_a_peer_that_does_not_read),
                LINK_TEST(aborting_gives_its_reason_and_drops_the_queue),
                LINK_TEST(aborting_cuts_a_close_short_but_keeps_its_reason),
                LINK_TEST(a_frame_that_is_refused_ends_the_link_after_a_last_word),
                LINK_TEST(an_owner_may_refuse_to_open),
                LINK_TEST(a_callback_may_close_and_abort),
                LINK_TEST(a_detached_link_gives_its_connection_and_what_was_read_already),
                LINK_TEST(detaching_flushes_first),
                LINK_TEST(detaching_does_not_wait_for_ever),
                LINK_TEST(a_peer_that_breaks_off_while_detaching_is_noticed),
                LINK_TEST(a_detaching_link_may_be_closed_and_aborted),
        };
        return cmocka_run_group_tests(tests, make_all, free_all);
}
