// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * agent/transfer at the door: who may call an agent, with which ticket, how long and how often (faults 3 and 45). The
 * caller here is the test itself, on a channel of its own.
 */
#include "transfer_rig.h"
#include "agent/transfer/hello.h"

#define DIRECT  DROVER__TRANSFER_PATH__PATH_DIRECT
#define REVERSE DROVER__TRANSFER_PATH__PATH_REVERSE
#define RELAY   DROVER__TRANSFER_PATH__PATH_RELAY

// A sink that waits under a right ticket, and the ticket that a caller shows to it.
struct door {
        struct rig_pair pair;
        struct rig_ticket shown;
};

static int nothing_later(void **state) {
        (void) state;
        atomic_store(&rig_later_ms, 0);
        exchange_set_patience(rig.agents[RIG_SINK], 5000, 20000);
        return 0;
}

static void door_open(struct door *door) {
        rig_pair(&door->pair, DIRECT, rig_file(), rig_file(), 1);
        rig_ticket(&door->shown, DIRECT);
        memcpy(door->shown.nonce, door->pair.ticket.nonce, TICKET_NONCE);
        rig_side_start(&door->pair.sink);
}

static void door_close(struct door *door) {
        atomic_store(&door->pair.sink.cancel, true);
        pthread_join(door->pair.sink.thread, NULL);
        close(door->pair.source.fd);
        close(door->pair.sink.fd);
        buffer_fini(&door->shown.bytes);
        rig_pair_end(&door->pair);
}

// Calls `callee` as `caller` and shows the ticket. What the callee answers.
static int call_as(unsigned caller, unsigned callee, const struct rig_ticket *shown, unsigned stream, unsigned streams,
                   struct error *err) {
        struct channel *channel = channel_new(rig_dial(rig.ports[callee]), &system_clock);
        struct order order = {
                .ticket_bytes = {shown->bytes.length, shown->bytes.data}, .streams = streams, .source = true};
        int result = channel_secure(channel, rig.hosts[caller], IDENTITY_HOST, false, err);
        if (result == 0)
                result = hello_show(channel, &order, stream, err);
        channel_free(channel);
        return result;
}

static void assert_refused(struct door *door, unsigned caller, enum error_code code, const char *message) {
        struct error err = ERROR_INIT;
        assert_int_equal(call_as(caller, RIG_SINK, &door->shown, 0, 2, &err), -1);
        assert_string_equal(err.message, message);
        assert_int_equal(err.code, code);
        door_close(door);
}

static void fault_45_a_forged_ticket_is_refused(void **state) {
        (void) state;
        struct door door;
        door_open(&door);
        rig_sign_with(&door.shown, rig.authority_key);
        assert_refused(&door, RIG_SOURCE, ERROR_DENIED, "refused: the ticket is not signed by this fleet's controller");
}

static void fault_45_no_ticket_is_refused(void **state) {
        (void) state;
        struct door door;
        door_open(&door);
        assert_refused(&door, RIG_SOURCE, ERROR_DENIED, "refused: there is no ticket");
}

static void fault_45_an_expired_ticket_is_refused(void **state) {
        (void) state;
        struct door door;
        door_open(&door);
        door.shown.ticket.expires_at = time(NULL) - TICKET_GRACE - 60;
        rig_sign(&door.shown);
        struct error err = ERROR_INIT;
        assert_int_equal(call_as(RIG_SOURCE, RIG_SINK, &door.shown, 0, 2, &err), -1);
        assert_int_equal(err.code, ERROR_DENIED);
        assert_non_null(strstr(err.message, "refused: the ticket for job k3f7, disk vda expired 36"));
        door_close(&door);
}

static void fault_45_a_ticket_in_another_hosts_hands_is_refused(void **state) {
        (void) state;
        struct door door;
        door_open(&door);
        rig_sign(&door.shown);
        assert_refused(&door, RIG_OTHER, ERROR_DENIED,
                       "refused: the ticket is for source host 11111111-1111-4111-8111-111111111111, not for "
                       "33333333-3333-4333-8333-333333333333");
}

static void fault_45_a_ticket_to_another_host_is_refused(void **state) {
        (void) state;
        struct door door;
        door_open(&door);
        door.shown.ticket.sink_host = (char *) rig_uuids[RIG_OTHER];
        rig_sign(&door.shown);
        assert_refused(&door, RIG_SOURCE, ERROR_DENIED,
                       "refused: the ticket is for sink host 33333333-3333-4333-8333-333333333333, not for "
                       "22222222-2222-4222-8222-222222222222");
}

static void fault_45_a_ticket_for_a_certificate_that_was_replaced_is_refused(void **state) {
        (void) state;
        struct door door;
        uint8_t other[32] = {1, 2, 3};
        door_open(&door);
        door.shown.ticket.source_certificate_sha256 = (ProtobufCBinaryData){32, other};
        rig_sign(&door.shown);
        assert_refused(&door, RIG_SOURCE, ERROR_DENIED,
                       "refused: the ticket is for another certificate of the source host");
}

static void fault_45_a_ticket_for_another_disk_is_refused(void **state) {
        (void) state;
        struct door door;
        door_open(&door);
        door.shown.ticket.disk = (char *) "vdb";
        rig_sign(&door.shown);
        assert_refused(&door, RIG_SOURCE, ERROR_DENIED, "refused: the ticket is for disk vdb, not for vda");
}

static void fault_45_a_ticket_for_another_job_is_refused(void **state) {
        (void) state;
        struct door door;
        exchange_set_patience(rig.agents[RIG_SINK], 1500, 20000);
        door_open(&door);
        memset(door.shown.nonce, 7, TICKET_NONCE); // another ticket altogether
        door.shown.ticket.job = (char *) "m4d2";
        rig_sign(&door.shown);
        assert_refused(&door, RIG_SOURCE, ERROR_DENIED, "refused: the ticket is for job m4d2, not for k3f7");
}

static void fault_45_a_ticket_for_an_earlier_attempt_is_refused(void **state) {
        (void) state;
        struct door door;
        door_open(&door);
        door.shown.ticket.attempt = 9;
        rig_sign(&door.shown);
        assert_refused(&door, RIG_SOURCE, ERROR_DENIED, "refused: the ticket is for attempt 9, not for 1");
}

static void fault_45_a_ticket_for_the_other_direction_is_refused(void **state) {
        (void) state;
        struct door door;
        door_open(&door);
        door.shown.ticket.source_host = (char *) rig_uuids[RIG_SINK];
        door.shown.ticket.sink_host = (char *) rig_uuids[RIG_SOURCE];
        rig_sign(&door.shown);
        assert_refused(&door, RIG_SOURCE, ERROR_DENIED,
                       "refused: the ticket is for another certificate of the source host");
}

static void fault_45_a_ticket_for_another_path_is_refused(void **state) {
        (void) state;
        struct door door;
        door_open(&door);
        door.shown.ticket.path = RELAY;
        rig_sign(&door.shown);
        assert_refused(&door, RIG_SOURCE, ERROR_DENIED, "refused: the ticket is for the path relay, not for direct");
}

static void fault_45_a_ticket_that_nobody_waits_for_is_refused(void **state) {
        (void) state;
        struct rig_ticket shown;
        struct error err = ERROR_INIT;
        exchange_set_patience(rig.agents[RIG_SINK], 10, 20000);
        rig_ticket(&shown, DIRECT);
        rig_sign(&shown);
        assert_int_equal(call_as(RIG_SOURCE, RIG_SINK, &shown, 0, 2, &err), -1);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
        assert_string_equal(err.message, "refused: no transfer waits for job k3f7, disk vda, attempt 1");
        buffer_fini(&shown.bytes);
}

static void fault_45_a_replayed_ticket_is_refused(void **state) {
        (void) state;
        struct rig_pair pair;
        struct error err = ERROR_INIT;
        int fd = rig_file();
        rig_fill(fd, 0, MIB, 1);
        rig_pair(&pair, DIRECT, fd, rig_file(), 2);
        rig_pair_run(&pair);
        rig_assert_ok(&pair.sink);
        // The source itself does not use it again, ...
        assert_int_equal(rig_send_as(rig.agents[RIG_SOURCE], &pair.source.order, "vda", fd, &err), -1);
        assert_int_equal(err.code, ERROR_DENIED);
        assert_non_null(strstr(err.message, ": the ticket for job k3f7, disk vda has been used before"));
        // ... and who takes it off the source is not let in, even if the sink were ordered again.
        memset(&pair.sink.err, 0, sizeof pair.sink.err);
        rig_side_start(&pair.sink);
        for (unsigned stream = 0; stream < 3; stream++) {
                assert_int_equal(call_as(RIG_SOURCE, RIG_SINK, &pair.ticket, stream, 3, &err), -1);
                assert_string_equal(err.message, "refused: the ticket for job k3f7, disk vda has been used before");
        }
        atomic_store(&pair.sink.cancel, true);
        pthread_join(pair.sink.thread, NULL);
        close(fd);
        close(pair.sink.fd);
        rig_pair_end(&pair);
}

static void another_number_of_streams_is_refused(void **state) {
        (void) state;
        static const struct {
                unsigned stream, streams;
                const char *message;
        } wrong[] = {{0, 3, "refused: the peer means 3 streams, the order says 2"},
                     {2, 2, "refused: there is no stream 2 of 2"},
                     {0, 1, "refused: there is no stream 0 of 1"},
                     {0, 0, "refused: there is no stream 0 of 0"},
                     {0, 10, "refused: there is no stream 0 of 10"}};
        for (size_t i = 0; i < 4; i++) {
                struct door door;
                struct error err = ERROR_INIT;
                door_open(&door);
                rig_sign(&door.shown);
                assert_int_equal(call_as(RIG_SOURCE, RIG_SINK, &door.shown, wrong[i].stream, wrong[i].streams, &err),
                                 -1);
                assert_string_equal(err.message, wrong[i].message);
                door_close(&door);
        }
}

static void only_hosts_are_let_in(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct tls_credentials *user = rig_credentials(IDENTITY_USER, "anna");
        struct channel *channel = channel_new(rig_dial(rig.ports[RIG_SINK]), &system_clock);
        struct rig_ticket shown;
        rig_ticket(&shown, DIRECT);
        rig_sign(&shown);
        struct order order = {.ticket_bytes = {shown.bytes.length, shown.bytes.data}, .streams = 2};
        int result = channel_secure(channel, user, IDENTITY_HOST, false, &err);
        if (result == 0) // TLS 1.3: the client learns at its first read that it was refused
                result = hello_show(channel, &order, 0, &err);
        assert_int_equal(result, -1);
        channel_free(channel);
        tls_credentials_unref(user);
        buffer_fini(&shown.bytes);
}

static void a_connection_may_come_before_its_order(void **state) {
        (void) state;
        struct rig_pair pair;
        int fd = rig_file();
        rig_fill(fd, 0, MIB, 1);
        rig_pair(&pair, DIRECT, fd, rig_file(), 2);
        rig_side_start(&pair.source);
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL); // either order is right; this makes one likely
        rig_side_start(&pair.sink);
        pthread_join(pair.source.thread, NULL);
        pthread_join(pair.sink.thread, NULL);
        rig_assert_ok(&pair.source);
        rig_assert_ok(&pair.sink);
        close(fd);
        close(pair.sink.fd);
        rig_pair_end(&pair);
}

static void a_peer_that_does_not_call_is_named(void **state) {
        (void) state;
        struct rig_pair pair;
        exchange_set_patience(rig.agents[RIG_SINK], 10, 300);
        rig_pair(&pair, DIRECT, rig_file(), rig_file(), 2);
        rig_side_start(&pair.sink);
        pthread_join(pair.sink.thread, NULL);
        rig_assert_failed(&pair.sink, ERROR_UNREACHABLE, "vda: the source did not call within 1 seconds");
        close(pair.source.fd);
        close(pair.sink.fd);
        rig_pair_end(&pair);
}

static void a_peer_that_cannot_be_reached_is_named(void **state) {
        (void) state;
        struct rig_pair pair;
        char expected[128];
        rig_pair(&pair, DIRECT, rig_file(), rig_file(), 2);
        pair.source.order.peer_port = rig_free_port();
        snprintf(expected, sizeof expected, "vda: the sink at 127.0.0.1 port %u: Connection refused",
                 pair.source.order.peer_port);
        rig_side_start(&pair.source);
        pthread_join(pair.source.thread, NULL);
        rig_assert_failed(&pair.source, ERROR_UNREACHABLE, expected);
        close(pair.source.fd);
        close(pair.sink.fd);
        rig_pair_end(&pair);
}

static void assert_not_reached(uint16_t port, const char *message) {
        struct rig_pair pair;
        char expected[160];
        rig_pair(&pair, DIRECT, rig_file(), rig_file(), 1);
        pair.source.order.peer_port = port;
        rig_side_start(&pair.source);
        pthread_join(pair.source.thread, NULL);
        snprintf(expected, sizeof expected, "vda: the sink at 127.0.0.1:%u: %s", port, message);
        rig_assert_failed(&pair.source, ERROR_UNREACHABLE, expected);
        close(pair.source.fd);
        close(pair.sink.fd);
        rig_pair_end(&pair);
}

static void another_host_at_the_address_is_not_shown_the_ticket(void **state) {
        (void) state;
        assert_not_reached(rig.ports[RIG_OTHER], "another host, 33333333-3333-4333-8333-333333333333, answers there");
}

static void *answer_with_http(void *data) {
        static const char text[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
        int fd = accept(*(int *) data, NULL, NULL);
        assert_int_equal(send(fd, text, sizeof text - 1, MSG_NOSIGNAL), sizeof text - 1);
        shutdown(fd, SHUT_WR);
        while (recv(fd, (char[512]){0}, 512, 0) > 0)
                ;
        close(fd);
        return NULL;
}

static void something_else_at_the_address_is_as_good_as_nothing(void **state) {
        (void) state;
        uint16_t port;
        pthread_t thread;
        int listener = rig_listen(&port);
        assert_int_equal(pthread_create(&thread, NULL, answer_with_http, &listener), 0);
        assert_not_reached(port, "the peer does not speak TLS 1.3");
        pthread_join(thread, NULL);
        close(listener);
}

static void an_order_that_is_not_for_this_end_is_refused(void **state) {
        (void) state;
        struct rig_pair pair;
        struct error err = ERROR_INIT;
        rig_pair(&pair, DIRECT, rig_file(), rig_file(), 1);
        struct transfers *source = rig.agents[RIG_SOURCE];
        assert_int_equal(rig_receive_as(source, &pair.sink.order, "vda", pair.sink.fd, &err), -1);
        assert_string_equal(err.message,
                            "vda: the ticket is for sink host 22222222-2222-4222-8222-222222222222, not for "
                            "11111111-1111-4111-8111-111111111111");
        assert_int_equal(rig_send_as(source, &pair.source.order, "vdb", pair.source.fd, &err), -1);
        assert_string_equal(err.message, "vdb: the ticket is for disk vda, not for vdb");
        pair.source.order.streams = 9;
        assert_int_equal(rig_send_as(source, &pair.source.order, "vda", pair.source.fd, &err), -1);
        assert_string_equal(err.message, "vda: 9 streams are over the bound of 8");
        pair.source.order.streams = 1;
        pair.source.order.peer_address = (char *) "";
        assert_int_equal(rig_send_as(source, &pair.source.order, "vda", pair.source.fd, &err), -1);
        assert_string_equal(err.message, "vda: the order says to dial the sink but not where");
        close(pair.source.fd);
        close(pair.sink.fd);
        rig_pair_end(&pair);
}

static void an_agent_that_has_not_joined_moves_nothing(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct transfers *agent = NULL;
        struct transfers_config config = {.concurrent_max = 4, .clock = &rig_clock};
        struct rig_pair pair;
        rig_pair(&pair, DIRECT, rig_file(), rig_file(), 1);
        assert_int_equal(transfers_new(&rig.loop, &config, &agent, NULL), 0); // no listener, so the loop is not touched
        assert_int_equal(transfers_port(agent), 0);
        assert_int_equal(rig_receive_as(agent, &pair.sink.order, "vda", pair.sink.fd, &err), -1);
        assert_string_equal(err.message, "vda: this agent is not joined to a controller");
        transfers_set_credentials(agent, rig.hosts[RIG_SINK]);
        transfers_set_controller(agent, rig.controller_key, "127.0.0.1:1");
        assert_int_equal(rig_receive_as(agent, &pair.sink.order, "vda", pair.sink.fd, &err), -1);
        assert_string_equal(err.message, "vda: this agent accepts no data connections (data_port is 0)");
        transfers_free(agent);
        close(pair.source.fd);
        close(pair.sink.fd);
        rig_pair_end(&pair);
}

static int dial_from(const char *address, uint16_t port) {
        struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons(port)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        inet_pton(AF_INET, address, &from.sin_addr);
        inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
        assert_int_equal(bind(fd, (struct sockaddr *) &from, sizeof from), 0);
        assert_int_equal(connect(fd, (struct sockaddr *) &to, sizeof to), 0);
        return fd;
}

static bool closed(int fd) {
        char byte;
        ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
        return n == 0 || (n < 0 && errno != EAGAIN);
}

static void fault_03_peers_that_say_nothing_are_closed_and_others_do_not_notice(void **state) {
        (void) state;
        enum { SLOW = EXCHANGE_CALLS_LEAST + 1 }; // one more than an address may have at a time
        int slow[SLOW];
        struct rig_pair pair;
        int fd = rig_file();
        for (unsigned i = 0; i < SLOW; i++)
                slow[i] = dial_from("127.0.0.2", rig.ports[RIG_SINK]);
        RIG_UNTIL(closed(slow[SLOW - 1]));
        rig_fill(fd, 0, MIB, 1);
        rig_pair(&pair, DIRECT, fd, rig_file(), 2);
        rig_pair_run(&pair);
        rig_assert_ok(&pair.source);
        rig_assert_ok(&pair.sink);
        for (unsigned i = 0; i < SLOW - 1; i++) {
                assert_int_equal(send(slow[i], "\x16", 1, MSG_NOSIGNAL), 1); // a byte of a handshake now and then
                assert_false(closed(slow[i]));
        }
        atomic_store(&rig_later_ms, CHANNEL_HELLO_MS + 1000);
        for (unsigned i = 0; i < SLOW - 1; i++) {
                send(slow[i], "\x03", 1, MSG_NOSIGNAL);
                RIG_UNTIL(closed(slow[i]));
        }
        for (unsigned i = 0; i < SLOW; i++)
                close(slow[i]);
        close(fd);
        close(pair.sink.fd);
        rig_pair_end(&pair);
}

static void fault_03_a_peer_that_is_known_but_says_no_hello_is_closed(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        Drover__DataEnvelope *envelope = NULL;
        struct channel *channel = channel_new(rig_dial(rig.ports[RIG_SINK]), &system_clock);
        assert_int_equal(channel_secure(channel, rig.hosts[RIG_SOURCE], IDENTITY_HOST, false, NULL), 0);
        while (!channel_readable(channel)) {
                atomic_fetch_add(&rig_later_ms, CHANNEL_HELLO_MS);
                nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        }
        assert_int_equal(channel_expect(channel, DROVER__DATA_ENVELOPE__BODY_ACCEPT, "the sink", &envelope, &err), -1);
        // Closed without a word if it had not yet seen the end of the handshake.
        assert_true(err.code == ERROR_TIMEOUT || err.code == ERROR_UNREACHABLE);
        channel_free(channel);
}

static void fault_39_frames_of_impossible_length_end_the_connection(void **state) {
        (void) state;
        static const uint8_t lengths[][4] = {{0, 0, 0, 0}, {0x80, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}, {0, 0, 0x40, 1}};
        static const char *const messages[] = {"0", "2147483648", "4294967295", "16385"};
        for (size_t i = 0; i < 4; i++) {
                struct error err = ERROR_INIT;
                char expected[96];
                Drover__DataEnvelope *envelope = NULL;
                struct channel *channel = channel_new(rig_dial(rig.ports[RIG_SINK]), &system_clock);
                assert_int_equal(channel_secure(channel, rig.hosts[RIG_SOURCE], IDENTITY_HOST, false, NULL), 0);
                assert_int_equal(channel_write(channel, lengths[i], 4, NULL), 0);
                assert_int_equal(channel_flush(channel, NULL), 0);
                assert_int_equal(
                        channel_expect(channel, DROVER__DATA_ENVELOPE__BODY_ACCEPT, "the sink", &envelope, &err), -1);
                snprintf(expected, sizeof expected, "the sink failed: a frame of %s bytes is outside 1 to 16384",
                         messages[i]);
                assert_string_equal(err.message, expected);
                channel_free(channel);
        }
}

static void fault_41_a_hello_of_another_version_is_refused_by_name(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        Drover__DataEnvelope hello_envelope = DROVER__DATA_ENVELOPE__INIT, *answer = NULL;
        Drover__DataHello hello = DROVER__DATA_HELLO__INIT;
        struct channel *channel = channel_new(rig_dial(rig.ports[RIG_SINK]), &system_clock);
        hello.version = 7;
        hello_envelope.body_case = DROVER__DATA_ENVELOPE__BODY_HELLO;
        hello_envelope.hello = &hello;
        assert_int_equal(channel_secure(channel, rig.hosts[RIG_SOURCE], IDENTITY_HOST, false, NULL), 0);
        assert_int_equal(channel_send(channel, &hello_envelope, NULL), 0);
        assert_int_equal(channel_expect(channel, DROVER__DATA_ENVELOPE__BODY_ACCEPT, "the sink", &answer, &err), -1);
        assert_int_equal(err.code, ERROR_VERSION);
        assert_string_equal(err.message,
                            "the sink failed: the peer copies images by version 7 of the protocol, this agent "
                            "by version 3");
        channel_free(channel);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(fault_45_a_forged_ticket_is_refused, nothing_later),
                cmocka_unit_test_setup(fault_45_no_ticket_is_refused, nothing_later),
                cmocka_unit_test_setup(fault_45_an_expired_ticket_is_refused, nothing_later),
                cmocka_unit_test_setup(fault_45_a_ticket_in_another_hosts_hands_is_refused, nothing_later),
                cmocka_unit_test_setup(fault_45_a_ticket_to_another_host_is_refused, nothing_later),
                cmocka_unit_test_setup(fault_45_a_ticket_for_a_certificate_that_was_replaced_is_refused, nothing_later),
                cmocka_unit_test_setup(fault_45_a_ticket_for_another_disk_is_refused, nothing_later),
                cmocka_unit_test_setup(fault_45_a_ticket_for_another_job_is_refused, nothing_later),
                cmocka_unit_test_setup(fault_45_a_ticket_for_an_earlier_attempt_is_refused, nothing_later),
                cmocka_unit_test_setup(fault_45_a_ticket_for_the_other_direction_is_refused, nothing_later),
                cmocka_unit_test_setup(fault_45_a_ticket_for_another_path_is_refused, nothing_later),
                cmocka_unit_test_setup(fault_45_a_ticket_that_nobody_waits_for_is_refused, nothing_later),
                cmocka_unit_test_setup(fault_45_a_replayed_ticket_is_refused, nothing_later),
                cmocka_unit_test_setup(another_number_of_streams_is_refused, nothing_later),
                cmocka_unit_test_setup(only_hosts_are_let_in, nothing_later),
                cmocka_unit_test_setup(a_connection_may_come_before_its_order, nothing_later),
                cmocka_unit_test_setup(a_peer_that_does_not_call_is_named, nothing_later),
                cmocka_unit_test_setup(a_peer_that_cannot_be_reached_is_named, nothing_later),
                cmocka_unit_test_setup(another_host_at_the_address_is_not_shown_the_ticket, nothing_later),
                cmocka_unit_test_setup(something_else_at_the_address_is_as_good_as_nothing, nothing_later),
                cmocka_unit_test_setup(an_order_that_is_not_for_this_end_is_refused, nothing_later),
                cmocka_unit_test_setup(an_agent_that_has_not_joined_moves_nothing, nothing_later),
                cmocka_unit_test_setup(fault_03_peers_that_say_nothing_are_closed_and_others_do_not_notice,
                                       nothing_later),
                cmocka_unit_test_setup(fault_03_a_peer_that_is_known_but_says_no_hello_is_closed, nothing_later),
                cmocka_unit_test_setup(fault_39_frames_of_impossible_length_end_the_connection, nothing_later),
                cmocka_unit_test_setup(fault_41_a_hello_of_another_version_is_refused_by_name, nothing_later),
        };
        return cmocka_run_group_tests(tests, rig_up, rig_down);
}
