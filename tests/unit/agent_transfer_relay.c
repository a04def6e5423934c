// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * agent/transfer through a relay. The relay here is the test's own: plain blocking TLS for the outer session, and then
 * bytes from one connection to the other as they are.
 */
#include "transfer_rig.h"
#include "common/frame.h"
#include <netinet/tcp.h>

#define RELAY DROVER__TRANSFER_PATH__PATH_RELAY

enum { STREAMS = 2 }; // the conversation and one that carries blocks

struct relay {
        enum { HONEST, DRIPS, REFUSES, TALKS_ON, CUTS, FLIPS, REPEATS, SWAPS, IS_NO_CONTROLLER } nature;
        int listener;
        uint16_t port;
        int sides[2][STREAMS];
        bool saw_plain_text, saw_wrong_hello;
        uint64_t dripped;
        uint64_t relayed;
        atomic_bool ended;
        pthread_t thread;
};

#define DRIPPED (256u << 10)

static const char mark[] = "this stands in the image and must not be seen by anyone on the way";

static void read_exactly(SSL *ssl, uint8_t *bytes, size_t length) {
        for (size_t have = 0; have < length;) {
                int n = SSL_read(ssl, bytes + have, (int) (length - have));
                if (n <= 0)
                        return;
                have += (size_t) n;
        }
}

static Drover__DataEnvelope *read_frame(SSL *ssl) {
        uint8_t bytes[CHANNEL_FRAME_MAX] = {0};
        Drover__DataEnvelope *envelope = NULL;
        read_exactly(ssl, bytes, 4);
        size_t length = (size_t) bytes[2] << 8 | bytes[3];
        read_exactly(ssl, bytes, length);
        return PROTO_UNPACK(data_envelope, bytes, length, &envelope, NULL) == 0 ? envelope : NULL;
}

static void write_frame(SSL *ssl, const Drover__DataEnvelope *envelope) {
        struct buffer frame;
        uint8_t header[4] = {0};
        buffer_init(&frame, 0);
        buffer_append(&frame, header, 4, NULL);
        PROTO_PACK(envelope, &frame, NULL);
        frame_encode_header(frame.data, (uint32_t) frame.length - 4);
        SSL_write(ssl, frame.data, (int) frame.length);
        buffer_fini(&frame);
}

static void answer(SSL *ssl, const struct relay *relay) {
        Drover__DataEnvelope envelope = DROVER__DATA_ENVELOPE__INIT;
        Drover__RelayReady ready = DROVER__RELAY_READY__INIT;
        Drover__Failure failure = DROVER__FAILURE__INIT;
        envelope.body_case = DROVER__DATA_ENVELOPE__BODY_RELAY_READY;
        envelope.relay_ready = &ready;
        if (relay->nature == REFUSES) {
                failure.code = ERROR_UNREACHABLE;
                failure.message = (char *) "the other end did not come within 10 seconds";
                envelope.body_case = DROVER__DATA_ENVELOPE__BODY_FAILURE;
                envelope.failure = &failure;
        }
        write_frame(ssl, &envelope);
        if (relay->nature == TALKS_ON)
                write_frame(ssl, &envelope);
}

// One connection: the outer session up to its end, in both directions. Only one stream of one side at a time answers at
// once; the peer's bytes may come as soon as both have.
static SSL *greet(struct relay *relay, int fd, unsigned *ret_side, unsigned *ret_stream) {
        static const char *const alpns[] = {TLS_ALPN_DATA, NULL};
        struct tls_policy policy = {.alpns = alpns, .peer = IDENTITY_HOST};
        SSL *ssl = NULL;
        struct tls_credentials *shown = relay->nature == IS_NO_CONTROLLER ? rig.hosts[RIG_OTHER] : rig.controller;
        if (tls_new_ssl(shown, &policy, true, &ssl, NULL) < 0)
                return NULL;
        SSL_set_fd(ssl, fd);
        if (SSL_accept(ssl) == 1) {
                Drover__DataEnvelope *envelope = read_frame(ssl);
                if (envelope && envelope->body_case == DROVER__DATA_ENVELOPE__BODY_RELAY_HELLO &&
                    envelope->relay_hello->stream < STREAMS) {
                        *ret_side = envelope->relay_hello->source ? RIG_SOURCE : RIG_SINK;
                        *ret_stream = envelope->relay_hello->stream;
                        proto_free(&envelope->base);
                        return ssl;
                }
                if (envelope)
                        proto_free(&envelope->base);
        }
        SSL_free(ssl);
        return NULL;
}

static void hand_over(SSL *ssl, const struct relay *relay) {
        uint8_t byte;
        answer(ssl, relay);
        SSL_shutdown(ssl);
        while (relay->nature != REFUSES && relay->nature != TALKS_ON && SSL_read(ssl, &byte, 1) > 0)
                ;
        SSL_free(ssl); // the socket stays
}

// The first bytes of each connection one by one; after them as many at once as its buffer takes: what was written in
// several pieces arrives in one.
static bool drip(struct relay *relay, int to, const uint8_t *bytes, ssize_t n) {
        static const int one = 1;
        setsockopt(to, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        for (ssize_t i = 0; i < n; i++)
                if (send(to, bytes + i, 1, MSG_NOSIGNAL) != 1)
                        return false;
        relay->dripped += (uint64_t) n;
        return true;
}

// What a relay that is not honest makes of bytes for the sink; false: nothing more comes.
static bool spoil(const struct relay *relay, int to, uint8_t *bytes, size_t n) {
        switch (relay->nature) {
        case CUTS:
                return false;
        case FLIPS:
                bytes[n / 2] ^= 1;
                return true;
        case REPEATS:
                return send(to, bytes, n, MSG_NOSIGNAL) == (ssize_t) n;
        case SWAPS: {
                uint8_t half[8192];
                memcpy(half, bytes, n / 2);
                memmove(bytes, bytes + n / 2, n / 2);
                memcpy(bytes + n / 2, half, n / 2);
                return true;
        }
        default:
                return true;
        }
}

// What connection `i` has goes to its other half; even ones come from the source, odd ones from the sink.
static bool splice_once(struct relay *relay, unsigned i) {
        uint8_t bytes[16384];
        int from = relay->sides[i % 2][i / 2], to = relay->sides[!(i % 2)][i / 2];
        ssize_t n = recv(from, bytes, sizeof bytes, 0);
        if (n <= 0)
                return false;
        relay->saw_plain_text |= memmem(bytes, (size_t) n, mark, sizeof mark - 1) != NULL;
        relay->relayed += (uint64_t) n;
        if (i % 2 == RIG_SOURCE && relay->relayed > MIB && !spoil(relay, to, bytes, (size_t) n))
                return false;
        if (relay->nature == DRIPS && relay->dripped < DRIPPED)
                return drip(relay, to, bytes, n);
        return send(to, bytes, (size_t) n, MSG_NOSIGNAL) == n;
}

static void splice_all(struct relay *relay) {
        bool more = true;
        while (more && !atomic_load(&relay->ended)) {
                struct pollfd fds[2 * STREAMS];
                for (unsigned i = 0; i < 2 * STREAMS; i++)
                        fds[i] = (struct pollfd){.fd = relay->sides[i % 2][i / 2], .events = POLLIN};
                if (poll(fds, 2 * STREAMS, 20) <= 0)
                        continue;
                for (unsigned i = 0; i < 2 * STREAMS && more; i++)
                        if (fds[i].revents)
                                more = splice_once(relay, i);
                // A stream that is not yet paired has nobody to give to; it is taken when it is.
                for (unsigned i = 0; i < STREAMS; i++)
                        if (relay->sides[0][i] < 0 || relay->sides[1][i] < 0)
                                return;
        }
}

static void *relay_main(void *data) {
        struct relay *relay = data;
        SSL *waiting[2][STREAMS] = {{NULL}};
        unsigned paired = 0;
        while (!atomic_load(&relay->ended) && paired < STREAMS) {
                struct pollfd fds[1 + 2 * STREAMS] = {{.fd = relay->listener, .events = POLLIN}};
                for (unsigned i = 0; i < 2 * STREAMS; i++) // what is paired already flows meanwhile
                        fds[1 + i] = (struct pollfd){.fd = i / 2 < paired ? relay->sides[i % 2][i / 2] : -1,
                                                     .events = POLLIN};
                if (poll(fds, 1 + 2 * STREAMS, 20) <= 0)
                        continue;
                for (unsigned i = 0; i < 2 * STREAMS; i++)
                        if (fds[1 + i].fd >= 0 && fds[1 + i].revents)
                                splice_once(relay, i);
                if (!fds[0].revents)
                        continue;
                unsigned side, stream;
                int fd = accept(relay->listener, NULL, NULL);
                SSL *ssl = greet(relay, fd, &side, &stream);
                if (!ssl) {
                        relay->saw_wrong_hello = true;
                        close(fd);
                        continue;
                }
                waiting[side][stream] = ssl;
                relay->sides[side][stream] = fd;
                if (waiting[0][stream] && waiting[1][stream]) {
                        hand_over(waiting[0][stream], relay);
                        hand_over(waiting[1][stream], relay);
                        waiting[0][stream] = waiting[1][stream] = NULL;
                        paired++;
                }
        }
        if (paired == STREAMS)
                splice_all(relay);
        for (unsigned i = 0; i < STREAMS; i++)
                for (unsigned side = 0; side < 2; side++) {
                        SSL_free(waiting[side][i]);
                        if (relay->sides[side][i] >= 0)
                                close(relay->sides[side][i]);
                }
        return NULL;
}

static void relay_start(struct relay *relay, int nature) {
        char address[32];
        *relay = (struct relay){.nature = nature, .sides = {{-1, -1}, {-1, -1}}};
        relay->listener = rig_listen(&relay->port);
        snprintf(address, sizeof address, "127.0.0.1:%u", relay->port);
        for (unsigned i = 0; i < RIG_HOSTS; i++)
                transfers_set_controller(rig.agents[i], rig.controller_key, address);
        assert_int_equal(pthread_create(&relay->thread, NULL, relay_main, relay), 0);
}

static void relay_end(struct relay *relay) {
        atomic_store(&relay->ended, true);
        pthread_join(relay->thread, NULL);
        close(relay->listener);
}

static void pair_of(struct rig_pair *pair, uint64_t bytes) {
        int fd = rig_file();
        rig_fill(fd, 0, bytes, 1);
        for (uint64_t at = 100; at < bytes; at += 65536)
                assert_int_equal(pwrite(fd, mark, sizeof mark, (off_t) at), sizeof mark);
        rig_pair(pair, RELAY, fd, rig_file(), STREAMS - 1);
}

static void end(struct rig_pair *pair) {
        close(pair->source.fd);
        close(pair->sink.fd);
        rig_pair_end(pair);
}

// An image of so many bytes goes through a relay of this nature, from beginning to end.
static void carry(struct relay *relay, int nature, struct rig_pair *pair, uint64_t bytes) {
        relay_start(relay, nature);
        pair_of(pair, bytes);
        rig_pair_run(pair);
        relay_end(relay);
}

static void assert_arrived(const struct rig_pair *pair) {
        rig_assert_ok(&pair->source);
        rig_assert_ok(&pair->sink);
        rig_assert_same(pair->source.fd, pair->sink.fd);
        assert_string_equal(pair->source.digest, pair->sink.digest);
}

static void fault_06_a_relayed_image_arrives_and_the_relay_sees_no_plain_text(void **state) {
        (void) state;
        struct relay relay;
        struct rig_pair pair;
        carry(&relay, HONEST, &pair, 9 * MIB + 333);
        assert_arrived(&pair);
        assert_int_equal((int) pair.sink.state.path, RELAY);
        assert_true(relay.relayed > 9 * MIB);
        assert_false(relay.saw_plain_text);
        end(&pair);
}

// Through the handshakes, hellos and the first frames of both streams.
static void fault_05_bytes_that_come_one_by_one_make_the_same_image(void **state) {
        (void) state;
        struct relay relay;
        struct rig_pair pair;
        carry(&relay, DRIPS, &pair, 3 * MIB + 333);
        assert_arrived(&pair);
        assert_true(relay.dripped >= DRIPPED);
        end(&pair);
}

// Wherever in a record the change is: how the bytes come to the relay in pieces is a matter of the moment.
static void assert_found(int nature) {
        struct relay relay;
        struct rig_pair pair;
        carry(&relay, nature, &pair, 9 * MIB);
        assert_int_equal(pair.source.result, -1);
        if (pair.sink.err.code != ERROR_TLS ||
            !strstr(pair.sink.err.message, ": a record was damaged or forged on its way"))
                fail_msg("%s: %s", error_word(pair.sink.err.code), pair.sink.err.message);
        end(&pair);
}

static void fault_06_a_relay_that_changes_a_byte_is_found(void **state) {
        (void) state;
        assert_found(FLIPS);
}

static void fault_06_a_relay_that_repeats_or_swaps_is_found(void **state) {
        (void) state;
        assert_found(REPEATS);
        assert_found(SWAPS);
}

static void fault_06_a_relay_that_truncates_is_found(void **state) {
        (void) state;
        struct relay relay;
        struct rig_pair pair;
        carry(&relay, CUTS, &pair, 9 * MIB);
        assert_int_equal(pair.source.err.code, ERROR_UNREACHABLE);
        assert_int_equal(pair.sink.err.code, ERROR_UNREACHABLE);
        end(&pair);
}

static void what_the_relay_refuses_is_said(void **state) {
        (void) state;
        struct relay relay;
        struct rig_pair pair;
        carry(&relay, REFUSES, &pair, MIB);
        assert_int_equal(pair.source.err.code, ERROR_UNREACHABLE);
        char expected[160];
        snprintf(expected, sizeof expected,
                 "vda: the relay at 127.0.0.1:%u: the relay failed: the other end did not come within 10 seconds",
                 relay.port);
        assert_string_equal(pair.source.err.message, expected);
        assert_string_equal(pair.sink.err.message, expected);
        end(&pair);
}

static void a_relay_that_talks_on_is_left(void **state) {
        (void) state;
        struct relay relay;
        struct rig_pair pair;
        carry(&relay, TALKS_ON, &pair, MIB);
        assert_int_equal(pair.source.err.code, ERROR_PROTOCOL);
        assert_non_null(strstr(pair.source.err.message, ": the relay went on talking instead of handing over"));
        end(&pair);
}

static void a_relay_that_is_no_controller_is_not_shown_the_ticket(void **state) {
        (void) state;
        struct relay relay;
        struct rig_pair pair;
        carry(&relay, IS_NO_CONTROLLER, &pair, MIB);
        assert_int_equal(pair.source.err.code, ERROR_DENIED);
        assert_non_null(strstr(pair.source.err.message, "expected a controller"));
        assert_true(relay.saw_wrong_hello);
        end(&pair);
}

static void without_a_controllers_address_there_is_no_relay(void **state) {
        (void) state;
        struct rig_pair pair;
        pair_of(&pair, MIB);
        transfers_set_controller(rig.agents[RIG_SOURCE], rig.controller_key, NULL);
        rig_side_start(&pair.source);
        pthread_join(pair.source.thread, NULL);
        rig_assert_failed(&pair.source, ERROR_UNREACHABLE, "vda: the controller's address is not known");
        end(&pair);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(fault_06_a_relayed_image_arrives_and_the_relay_sees_no_plain_text),
                cmocka_unit_test(fault_05_bytes_that_come_one_by_one_make_the_same_image),
                cmocka_unit_test(fault_06_a_relay_that_changes_a_byte_is_found),
                cmocka_unit_test(fault_06_a_relay_that_repeats_or_swaps_is_found),
                cmocka_unit_test(fault_06_a_relay_that_truncates_is_found),
                cmocka_unit_test(what_the_relay_refuses_is_said),
                cmocka_unit_test(a_relay_that_talks_on_is_left),
                cmocka_unit_test(a_relay_that_is_no_controller_is_not_shown_the_ticket),
                cmocka_unit_test(without_a_controllers_address_there_is_no_relay),
        };
        return cmocka_run_group_tests(tests, rig_up, rig_down);
}
