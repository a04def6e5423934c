// SPDX-License-Identifier: LGPL-2.1-or-later
/* The relay: which connections are joined, on which ticket, and that what one host sends arrives at the other. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "controller_scene.h"
#include "common/random.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

// A host's end: TLS to the controller, then the bare socket.
struct end {
        struct peer peer; // first: the harness's callbacks are handed this
        int fd;           // -1: not detached
        struct buffer early;
};

static int on_end_frame(struct link *link, const uint8_t *frame, size_t length, void *data, struct error *err) {
        struct end *end = data;
        int r = on_peer_frame(link, frame, length, data, err);
        if (r == 0 && ((Drover__DataEnvelope *) end->peer.inbox[end->peer.n - 1])->body_case ==
                              DROVER__DATA_ENVELOPE__BODY_RELAY_READY)
                link_detach(link);
        return r;
}

static void on_end_detach(struct link *link, int fd, const uint8_t *leftover, size_t length, void *data) {
        struct end *end = data;
        (void) link;
        end->fd = fd;
        buffer_append(&end->early, leftover, length, NULL);
        end->peer.link = NULL;
        end->peer.closed = true;
}

static const struct link_callbacks end_callbacks = {
        .on_open = on_peer_open, .on_frame = on_end_frame, .on_close = on_peer_close, .on_detach = on_end_detach};

static void end_dial(struct end *end, const struct member *host) {
        memset(end, 0, sizeof(*end));
        end->fd = -1;
        buffer_init(&end->early, 0);
        dial(&end->peer, TLS_ALPN_DATA, host->credentials);
        link_set_data(end->peer.link, &end_callbacks, end);
}

static void end_fini(struct end *end) {
        hang_up(&end->peer);
        close_p(&end->fd);
        buffer_fini(&end->early);
}

static void say_relay_hello(struct end *end, const struct buffer *ticket, bool source, uint32_t stream) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__RelayHello hello = DROVER__RELAY_HELLO__INIT;
        hello.version = PROTO_VERSION_MAX;
        hello.ticket = (ProtobufCBinaryData){.data = ticket->data, .len = ticket->length};
        hello.source = source;
        hello.stream = stream;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_RELAY_HELLO;
        envelope.relay_hello = &hello;
        say(&end->peer, &envelope.base);
}

static void make_ticket(const struct member *source, const struct member *sink, Drover__TransferPath path,
                        struct buffer *ret) {
        struct error err = ERROR_INIT;
        Drover__Ticket *ticket = new (Drover__Ticket);
        drover__ticket__init(ticket);
        ticket->job = memory_string("job1");
        ticket->disk = memory_string("vda");
        ticket->attempt = 1;
        ticket->source_host = memory_string(source->uuid);
        ticket->sink_host = memory_string(sink->uuid);
        ticket->path = path;
        buffer_init(ret, 0);
        must(authority_ticket(scene_authority(), ticket, ret, &err), &err);
        proto_free(&ticket->base);
}

struct two {
        struct member source, sink;
        struct buffer ticket;
        struct end one, other;
};

static void make_two(struct two *two) {
        scene_start();
        two->source = new_host("lyon", "kvm1");
        two->sink = new_host("nantes", "kvm1");
        make_ticket(&two->source, &two->sink, DROVER__TRANSFER_PATH__PATH_RELAY, &two->ticket);
}

static void connect_two(struct two *two) {
        make_two(two);
        end_dial(&two->one, &two->source);
        end_dial(&two->other, &two->sink);
        say_relay_hello(&two->one, &two->ticket, true, 0);
        say_relay_hello(&two->other, &two->ticket, false, 0);
        RUN_UNTIL(two->one.fd >= 0 && two->other.fd >= 0);
}

static void free_two(struct two *two) {
        end_fini(&two->one);
        end_fini(&two->other);
        buffer_fini(&two->ticket);
        member_fini(&two->source);
        member_fini(&two->sink);
}

// ---- bytes

struct lane {
        int from, to;
        const struct buffer *early; // what had come to the receiving end with the end of its TLS session
        size_t total, sent, received;
        bool shut, ended, wrong;
};

static uint8_t byte_at(const struct lane *lane, size_t offset) {
        return (uint8_t) (offset * 31 + (offset >> 11) + (size_t) lane->from);
}

static void lane_send(struct lane *lane) {
        uint8_t bytes[64 << 10];
        size_t n = lane->total - lane->sent < sizeof(bytes) ? lane->total - lane->sent : sizeof(bytes);
        for (size_t i = 0; i < n; i++)
                bytes[i] = byte_at(lane, lane->sent + i);
        ssize_t done = n ? send(lane->from, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
        if (done > 0)
                lane->sent += (size_t) done;
        if (lane->sent == lane->total && !lane->shut) {
                lane->shut = true;
                shutdown(lane->from, SHUT_WR);
        }
}

static void lane_check(struct lane *lane, const uint8_t *bytes, size_t n) {
        for (size_t i = 0; i < n; i++)
                lane->wrong |= bytes[i] != byte_at(lane, lane->received + i);
        lane->received += n;
}

static void lane_receive(struct lane *lane) {
        uint8_t bytes[64 << 10];
        ssize_t n = recv(lane->to, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (n == 0)
                lane->ended = true;
        if (n > 0)
                lane_check(lane, bytes, (size_t) n);
}

static bool run_lanes(struct lane *lanes) {
        for (unsigned i = 0; i < 2; i++) {
                lane_send(&lanes[i]);
                if (!lanes[i].ended)
                        lane_receive(&lanes[i]);
        }
        return lanes[0].ended && lanes[1].ended;
}

static void what_is_relayed_arrives_intact_both_ways(void **state) {
        (void) state;
        struct two two;
        connect_two(&two);
        struct lane lanes[2] = {{.from = two.one.fd, .to = two.other.fd, .early = &two.other.early, .total = 24 << 20},
                                {.from = two.other.fd, .to = two.one.fd, .early = &two.one.early, .total = 3000001}};
        for (unsigned i = 0; i < 2; i++)
                lane_check(&lanes[i], lanes[i].early->data, lanes[i].early->length);
        uint64_t until = clock_ms(&system_clock) + WAIT_MS;
        while (!run_lanes(lanes)) {
                uv_run(&scene.loop, UV_RUN_NOWAIT);
                if (clock_ms(&system_clock) > until)
                        fail_msg("%zu of %zu bytes came", lanes[0].received, lanes[0].total);
        }
        for (unsigned i = 0; i < 2; i++) {
                assert_false(lanes[i].wrong);
                assert_int_equal(lanes[i].received, lanes[i].total);
        }
        free_two(&two);
}

static void what_is_sent_at_once_with_the_hello_is_not_lost(void **state) {
        (void) state;
        struct two two;
        char byte = 0;
        connect_two(&two);
        assert_int_equal(send(two.one.fd, "x", 1, MSG_NOSIGNAL), 1);
        if (two.other.early.length > 0)
                byte = (char) two.other.early.data[0];
        while (!byte && recv(two.other.fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN)
                uv_run(&scene.loop, UV_RUN_NOWAIT);
        assert_int_equal(byte, 'x');
        free_two(&two);
}

static bool is_over(int fd) {
        char byte;
        ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
        return n == 0 || (n < 0 && errno != EAGAIN);
}

static void a_relay_at_rest_is_closed(void **state) {
        (void) state;
        struct two two;
        scene.limits.relay_idle_ms = 200;
        connect_two(&two);
        RUN_UNTIL(is_over(two.one.fd) && is_over(two.other.fd));
        free_two(&two);
}

static void fault_44_a_removed_host_is_relayed_no_more(void **state) {
        (void) state;
        struct two two;
        struct peer ann_peer;
        connect_two(&two);
        struct member ann = new_user("ann", ROLE_ADMIN, "");
        log_in(&ann_peer, &ann);
        REQUEST(host_remove, HOST_REMOVE, host_remove, HostRemove)
        verb.host = (char *) "nantes/kvm1";
        assert_null(ask(&ann_peer, &request)->failure);
        RUN_UNTIL(is_over(two.one.fd) && is_over(two.other.fd));
        hang_up(&ann_peer);
        member_fini(&ann);
        free_two(&two);
}

static void the_end_of_the_controller_ends_what_is_relayed(void **state) {
        (void) state;
        struct two two;
        connect_two(&two);
        scene_stop();
        assert_true(is_over(two.one.fd));
        assert_true(is_over(two.other.fd));
        free_two(&two);
}

// ---- pairs

static void each_stream_finds_its_own_partner(void **state) {
        (void) state;
        struct two two;
        struct end ends[4];
        make_two(&two);
        for (unsigned i = 0; i < 4; i++) // two sources, then two sinks in the other order
                end_dial(&ends[i], i < 2 ? &two.source : &two.sink);
        say_relay_hello(&ends[0], &two.ticket, true, 0);
        say_relay_hello(&ends[1], &two.ticket, true, 1);
        say_relay_hello(&ends[2], &two.ticket, false, 1);
        say_relay_hello(&ends[3], &two.ticket, false, 0);
        RUN_UNTIL(ends[0].fd >= 0 && ends[1].fd >= 0 && ends[2].fd >= 0 && ends[3].fd >= 0);
        assert_int_equal(send(ends[1].fd, "1", 1, MSG_NOSIGNAL), 1);
        char byte = ends[2].early.length ? (char) ends[2].early.data[0] : 0;
        while (!byte && recv(ends[2].fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN)
                uv_run(&scene.loop, UV_RUN_NOWAIT);
        assert_int_equal(byte, '1');
        for (unsigned i = 0; i < 4; i++)
                end_fini(&ends[i]);
        end_dial(&two.one, &two.source);
        end_dial(&two.other, &two.sink);
        free_two(&two);
}

static void who_waits_for_a_partner_that_does_not_come_is_told(void **state) {
        (void) state;
        struct two two;
        scene.limits.relay_wait_ms = 100;
        make_two(&two);
        end_dial(&two.one, &two.source);
        end_dial(&two.other, &two.sink);
        say_relay_hello(&two.one, &two.ticket, true, 0);
        assert_last_words(&two.one.peer, ERROR_TIMEOUT, "127.0.0.1: the other host did not come to the relay in time");
        free_two(&two);
}

static void a_partner_that_breaks_off_takes_the_other_with_it(void **state) {
        (void) state;
        struct two two;
        make_two(&two);
        end_dial(&two.one, &two.source);
        dial(&two.other.peer, TLS_ALPN_DATA, two.sink.credentials); // does not answer the end of the TLS session
        two.other.fd = -1;
        buffer_init(&two.other.early, 0);
        say_relay_hello(&two.one, &two.ticket, true, 0);
        say_relay_hello(&two.other, &two.ticket, false, 0);
        hear(&two.other.peer);
        link_abort(two.other.peer.link, ERROR_CANCELLED, "the test wants it so");
        RUN_UNTIL(two.one.peer.closed);
        if (two.one.fd >= 0)
                RUN_UNTIL(is_over(two.one.fd));
        free_two(&two);
}

static void the_relay_is_bounded(void **state) {
        (void) state;
        struct two two;
        struct end late;
        scene.limits.relay_pairs = 1;
        connect_two(&two);
        end_dial(&late, &two.source);
        say_relay_hello(&late, &two.ticket, true, 1);
        assert_last_words(&late.peer, ERROR_BUSY, "the relay carries 1 connections already");
        end_fini(&late);
        free_two(&two);
}

// ---- tickets

static void assert_ticket_refused(const struct member *host, const struct buffer *ticket, bool source,
                                  const char *text) {
        struct end end;
        end_dial(&end, host);
        say_relay_hello(&end, ticket, source, 0);
        const Drover__Failure *failure = last_words(&end.peer);
        if (strncmp(failure->message, text, strlen(text)) != 0)
                fail_msg("said \"%s\" instead of \"%s\"", failure->message, text);
        assert_int_equal(failure->code, ERROR_DENIED);
        end_fini(&end);
}

static void fault_45_a_ticket_for_others_or_for_another_path_is_refused(void **state) {
        (void) state;
        struct two two;
        struct buffer direct, none;
        make_two(&two);
        struct member third = new_host("paris", "kvm1");
        make_ticket(&two.source, &two.sink, DROVER__TRANSFER_PATH__PATH_DIRECT, &direct);
        buffer_init(&none, 0);
        assert_ticket_refused(&two.sink, &two.ticket, true, "the ticket is for source host "); // roles swapped
        assert_ticket_refused(&two.source, &two.ticket, false, "the ticket is for sink host ");
        assert_ticket_refused(&third, &two.ticket, true, "the ticket is for source host ");
        assert_ticket_refused(&third, &two.ticket, false, "the ticket is for sink host ");
        assert_ticket_refused(&two.source, &direct, true, "the ticket is for the path direct, not for relay");
        assert_ticket_refused(&two.source, &none, true, "there is no ticket");
        buffer_fini(&direct);
        member_fini(&third);
        end_dial(&two.one, &two.source);
        end_dial(&two.other, &two.sink);
        free_two(&two);
}

static void fault_45_a_forged_ticket_is_refused(void **state) {
        (void) state;
        struct two two;
        make_two(&two);
        two.ticket.data[two.ticket.length / 3] ^= 1;
        assert_ticket_refused(&two.source, &two.ticket, true, "the ticket is ");
        end_dial(&two.one, &two.source);
        end_dial(&two.other, &two.sink);
        free_two(&two);
}

static void fault_45_a_ticket_serves_each_end_of_a_stream_once(void **state) {
        (void) state;
        struct two two;
        connect_two(&two);
        assert_ticket_refused(&two.source, &two.ticket, true, "the ticket for job job1, disk vda ");
        assert_ticket_refused(&two.sink, &two.ticket, false, "the ticket for job job1, disk vda ");
        free_two(&two);
}

static void fault_45_a_ticket_for_a_certificate_before_the_last_one_is_refused(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct two two;
        struct buffer pem, authority;
        EVP_PKEY *key;
        uint8_t *csr;
        size_t length;
        make_two(&two);
        buffer_init(&pem, 0);
        buffer_init(&authority, 0);
        must(pki_new_key(&key, &err), &err);
        must(pki_new_csr(key, &csr, &length, &err), &err);
        must(authority_renew(scene_authority(), tls_credentials_identity(two.source.credentials), csr, length, &pem,
                             &authority, &err),
             &err);
        buffer_fini(&two.ticket);
        make_ticket(&two.source, &two.sink, DROVER__TRANSFER_PATH__PATH_RELAY, &two.ticket);
        assert_ticket_refused(&two.source, &two.ticket, true,
                              "the ticket is for another certificate of the source host");
        EVP_PKEY_free(key);
        free(csr);
        buffer_fini(&pem);
        buffer_fini(&authority);
        end_dial(&two.one, &two.source);
        end_dial(&two.other, &two.sink);
        free_two(&two);
}

static void only_a_relay_hello_is_understood(void **state) {
        (void) state;
        struct two two;
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__DataBegin begin = DROVER__DATA_BEGIN__INIT;
        make_two(&two);
        end_dial(&two.one, &two.source);
        end_dial(&two.other, &two.sink);
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_BEGIN;
        envelope.begin = &begin;
        say(&two.one.peer, &envelope.base);
        assert_last_words(&two.one.peer, ERROR_PROTOCOL, "an agent sent \"begin\" to the relay");
        say_relay_hello(&two.other, &two.ticket, false, 64);
        assert_last_words(&two.other.peer, ERROR_PROTOCOL, "stream 64 is over the bound of 64");
        free_two(&two);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                SCENE_TEST(what_is_relayed_arrives_intact_both_ways),
                SCENE_TEST(what_is_sent_at_once_with_the_hello_is_not_lost),
                SCENE_TEST(a_relay_at_rest_is_closed),
                SCENE_TEST(fault_44_a_removed_host_is_relayed_no_more),
                SCENE_TEST(the_end_of_the_controller_ends_what_is_relayed),
                SCENE_TEST(each_stream_finds_its_own_partner),
                SCENE_TEST(who_waits_for_a_partner_that_does_not_come_is_told),
                SCENE_TEST(a_partner_that_breaks_off_takes_the_other_with_it),
                SCENE_TEST(the_relay_is_bounded),
                SCENE_TEST(fault_45_a_ticket_for_others_or_for_another_path_is_refused),
                SCENE_TEST(fault_45_a_forged_ticket_is_refused),
                SCENE_TEST(fault_45_a_ticket_serves_each_end_of_a_stream_once),
                SCENE_TEST(fault_45_a_ticket_for_a_certificate_before_the_last_one_is_refused),
                SCENE_TEST(only_a_relay_hello_is_understood),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
