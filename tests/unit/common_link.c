// SPDX-License-Identifier: LGPL-2.1-or-later
/* Links that are open: what travels, the bounds on what a peer may do, and peers that are slow, silent or gone. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "links.h"

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
        return server.closed || uv_now(&loop) - idle_from > 1100;
}

static void a_silent_link_stays_open(void **state) {
        (void) state;
        link_limits.frame_ms = 100;
        link_limits.handshake_ms = link_limits.connect_ms = 1000;
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
        };
        return cmocka_run_group_tests(tests, make_all, free_all);
}
