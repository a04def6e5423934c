// SPDX-License-Identifier: LGPL-2.1-or-later
/* The two ends of a link's life: dialling, and closing, aborting and detaching at every moment. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "links.h"

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
        // Closed while the kernel still tries.
        end_init(&client);
        link_limits.connect_ms = DEADLINE_MS;
        must(link_connect(&loop, address, host, &to_controller, &callbacks, &client, &client.link, &err), &err);
        for (int i = 0; i < 3; i++)
                uv_run(&loop, UV_RUN_NOWAIT);
        link_close(client.link);
        RUN_UNTIL(client_closed);
        assert_int_equal(client.why.code, ERROR_NONE);
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
        link_limits.flush_ms = DEADLINE_MS;
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

int main(void) {
        const struct CMUnitTest tests[] = {
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
