// SPDX-License-Identifier: LGPL-2.1-or-later
/* proto/ticket and its ledger: what a ticket must be to be taken, and the exact words of each refusal (fault 45). */
#include "proto/ticket.h"
#include "common/memory.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#define SOURCE "11111111-1111-4111-8111-111111111111"
#define SINK   "22222222-2222-4222-8222-222222222222"
#define OTHER  "33333333-3333-4333-8333-333333333333"
#define NOW    1800000000

static EVP_PKEY *controller, *impostor;
static uint8_t source_print[32], sink_print[32], nonce[TICKET_NONCE];

static Drover__Ticket sample(void) {
        Drover__Ticket ticket = DROVER__TICKET__INIT;
        ticket.job = (char *) "k3f7";
        ticket.disk = (char *) "vda";
        ticket.attempt = 2;
        ticket.source_host = (char *) SOURCE;
        ticket.sink_host = (char *) SINK;
        ticket.source_certificate_sha256 = (ProtobufCBinaryData){32, source_print};
        ticket.sink_certificate_sha256 = (ProtobufCBinaryData){32, sink_print};
        ticket.path = DROVER__TRANSFER_PATH__PATH_DIRECT;
        ticket.expires_at = NOW + 600;
        ticket.nonce = (ProtobufCBinaryData){sizeof nonce, nonce};
        return ticket;
}

static struct ticket_expectation expectation(void) {
        return (struct ticket_expectation){
                .job = "k3f7",
                .disk = "vda",
                .attempt = 2,
                .source_host = SOURCE,
                .sink_host = SINK,
                .source_certificate_sha256 = source_print,
                .sink_certificate_sha256 = sink_print,
                .path = DROVER__TRANSFER_PATH__PATH_DIRECT,
        };
}

static void sign(const Drover__Ticket *ticket, EVP_PKEY *key, struct buffer *bytes) {
        buffer_init(bytes, 0);
        assert_int_equal(ticket_sign(ticket, key, bytes, NULL), 0);
}

static int set_up(void **state) {
        (void) state;
        memset(source_print, 0xa1, sizeof source_print);
        memset(sink_print, 0xb2, sizeof sink_print);
        memset(nonce, 0x5c, sizeof nonce);
        return pki_new_key(&controller, NULL) | pki_new_key(&impostor, NULL);
}

static int tear_down(void **state) {
        (void) state;
        EVP_PKEY_free(controller);
        EVP_PKEY_free(impostor);
        return 0;
}

static void assert_open_refused(const uint8_t *bytes, size_t length, int64_t now, const char *message) {
        struct error err = ERROR_INIT;
        Drover__Ticket *opened = NULL;
        assert_int_equal(ticket_open(bytes, length, controller, now, &opened, &err), -1);
        assert_int_equal(err.code, ERROR_DENIED);
        assert_string_equal(err.message, message);
        assert_null(opened);
}

static void assert_match_refused(const struct ticket_expectation *expected, const char *message) {
        struct error err = ERROR_INIT;
        Drover__Ticket ticket = sample();
        assert_int_equal(ticket_match(&ticket, expected, &err), -1);
        assert_int_equal(err.code, ERROR_DENIED);
        assert_string_equal(err.message, message);
}

static void a_signed_ticket_opens_and_matches(void **state) {
        (void) state;
        struct buffer bytes;
        Drover__Ticket ticket = sample(), *opened = NULL;
        struct ticket_expectation expected = expectation();
        sign(&ticket, controller, &bytes);
        assert_in_range(bytes.length, 100, TICKET_MAX);
        assert_int_equal(ticket_open(bytes.data, bytes.length, controller, NOW, &opened, NULL), 0);
        assert_int_equal(ticket_match(opened, &expected, NULL), 0);
        assert_int_equal(ticket_match(opened, &(struct ticket_expectation){0}, NULL), 0);
        proto_free(&opened->base);
        buffer_fini(&bytes);
}

static void a_ticket_that_could_not_be_opened_is_not_signed(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct buffer bytes;
        buffer_init(&bytes, 0);
        Drover__Ticket ticket = sample();
        ticket.sink_host = ticket.source_host;
        assert_int_equal(ticket_sign(&ticket, controller, &bytes, &err), -1);
        assert_string_equal(err.message, "sign a ticket: source and sink are one host");
        ticket = sample();
        ticket.nonce.len = 8;
        assert_int_equal(ticket_sign(&ticket, controller, &bytes, &err), -1);
        assert_string_equal(err.message, "sign a ticket: the nonce is not 16 bytes long");
        ticket = sample();
        ticket.path = DROVER__TRANSFER_PATH__TRANSFER_PATH_UNSPECIFIED;
        assert_int_equal(ticket_sign(&ticket, controller, &bytes, &err), -1);
        assert_string_equal(err.message, "sign a ticket: path 0 is not known");
        ticket = sample();
        ticket.source_certificate_sha256.len = 31;
        assert_int_equal(ticket_sign(&ticket, controller, &bytes, &err), -1);
        assert_string_equal(err.message, "sign a ticket: a certificate's SHA-256 is not 32 bytes long");
        ticket = sample();
        ticket.disk = (char *) "../vda";
        assert_int_equal(ticket_sign(&ticket, controller, &bytes, &err), -1);
        assert_int_equal(bytes.length, 0);
        buffer_fini(&bytes);
}

static void fault_45_a_ticket_of_another_key_is_refused(void **state) {
        (void) state;
        struct buffer bytes;
        Drover__Ticket ticket = sample();
        sign(&ticket, impostor, &bytes);
        assert_open_refused(bytes.data, bytes.length, NOW, "the ticket is not signed by this fleet's controller");
        buffer_fini(&bytes);
}

static void fault_45_an_altered_ticket_is_refused(void **state) {
        (void) state;
        struct buffer bytes;
        Drover__Ticket ticket = sample();
        sign(&ticket, controller, &bytes);
        for (size_t at = 0; at < bytes.length; at++) {
                Drover__Ticket *opened = NULL;
                bytes.data[at] ^= 0x01;
                assert_int_equal(ticket_open(bytes.data, bytes.length, controller, NOW, &opened, NULL), -1);
                bytes.data[at] ^= 0x01;
        }
        buffer_fini(&bytes);
}

static void fault_45_a_ticket_without_a_signature_is_refused(void **state) {
        (void) state;
        assert_open_refused(NULL, 0, NOW, "there is no ticket");
        assert_open_refused((const uint8_t *) "\x0a\x01x", 3, NOW, "the ticket is not signed");
        assert_open_refused((const uint8_t *) "\x0a\x7f", 2, NOW, "the ticket is malformed");
        uint8_t *large = memory_new(TICKET_MAX + 1);
        assert_open_refused(large, TICKET_MAX + 1, NOW, "a ticket of 1025 bytes is over the bound of 1024");
        free(large);
}

static void fault_45_an_expired_ticket_is_refused(void **state) {
        (void) state;
        struct buffer bytes;
        Drover__Ticket ticket = sample(), *opened = NULL;
        sign(&ticket, controller, &bytes);
        assert_int_equal(ticket_open(bytes.data, bytes.length, controller, NOW + 600 + TICKET_GRACE, &opened, NULL), 0);
        proto_free(&opened->base);
        assert_open_refused(bytes.data, bytes.length, NOW + 600 + TICKET_GRACE + 1,
                            "the ticket for job k3f7, disk vda expired 301 seconds ago");
        buffer_fini(&bytes);
}

static void fault_45_a_signed_ticket_with_bad_names_is_refused(void **state) {
        (void) state;
        struct buffer plain, bytes;
        Drover__Ticket ticket = sample();
        ticket.disk = (char *) "../../etc/passwd";
        buffer_init(&plain, 0);
        buffer_init(&bytes, 0);
        assert_int_equal(PROTO_PACK(&ticket, &plain, NULL), 0);
        uint8_t signature[80];
        size_t length = sizeof signature;
        assert_int_equal(pki_sign(controller, plain.data, plain.length, signature, &length, NULL), 0);
        Drover__SignedTicket outer = DROVER__SIGNED_TICKET__INIT;
        outer.ticket = (ProtobufCBinaryData){plain.length, plain.data};
        outer.signature = (ProtobufCBinaryData){length, signature};
        assert_int_equal(PROTO_PACK(&outer, &bytes, NULL), 0);
        struct error err = ERROR_INIT;
        Drover__Ticket *opened = NULL;
        assert_int_equal(ticket_open(bytes.data, bytes.length, controller, NOW, &opened, &err), -1);
        assert_int_equal(err.code, ERROR_DENIED);
        assert_non_null(strstr(err.message, "the ticket is malformed: "));
        buffer_fini(&plain);
        buffer_fini(&bytes);
}

static void fault_45_a_ticket_for_another_job_is_refused(void **state) {
        (void) state;
        struct ticket_expectation expected = expectation();
        expected.job = "m4d2";
        assert_match_refused(&expected, "the ticket is for job k3f7, not for m4d2");
}

static void fault_45_a_ticket_for_another_disk_is_refused(void **state) {
        (void) state;
        struct ticket_expectation expected = expectation();
        expected.disk = "vdb";
        assert_match_refused(&expected, "the ticket is for disk vda, not for vdb");
}

static void fault_45_a_ticket_for_another_attempt_is_refused(void **state) {
        (void) state;
        struct ticket_expectation expected = expectation();
        expected.attempt = 3;
        assert_match_refused(&expected, "the ticket is for attempt 2, not for 3");
}

static void fault_45_a_ticket_for_another_peer_is_refused(void **state) {
        (void) state;
        struct ticket_expectation expected = expectation();
        expected.source_host = OTHER;
        assert_match_refused(&expected, "the ticket is for source host " SOURCE ", not for " OTHER);
        expected = expectation();
        expected.sink_host = OTHER;
        assert_match_refused(&expected, "the ticket is for sink host " SINK ", not for " OTHER);
        expected = expectation();
        expected.source_certificate_sha256 = sink_print;
        assert_match_refused(&expected, "the ticket is for another certificate of the source host");
        expected = expectation();
        expected.sink_certificate_sha256 = source_print;
        assert_match_refused(&expected, "the ticket is for another certificate of the sink host");
}

static void fault_45_a_ticket_for_the_other_direction_is_refused(void **state) {
        (void) state;
        struct ticket_expectation expected = expectation();
        expected.source_host = SINK;
        expected.sink_host = SOURCE;
        assert_match_refused(&expected, "the ticket is for source host " SOURCE ", not for " SINK);
}

static void fault_45_a_ticket_for_another_path_is_refused(void **state) {
        (void) state;
        struct ticket_expectation expected = expectation();
        expected.path = DROVER__TRANSFER_PATH__PATH_RELAY;
        assert_match_refused(&expected, "the ticket is for the path direct, not for relay");
        assert_string_equal(ticket_path_word(DROVER__TRANSFER_PATH__PATH_REVERSE), "reverse");
        assert_string_equal(ticket_path_word(77), "unknown");
}

static void fault_45_a_replayed_ticket_is_refused(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct ticket_ledger *ledger = ticket_ledger_new();
        Drover__Ticket ticket = sample();
        assert_int_equal(ticket_ledger_use(ledger, &ticket, NOW, NULL), 0);
        assert_int_equal(ticket_ledger_use(ledger, &ticket, NOW, &err), -1);
        assert_int_equal(err.code, ERROR_DENIED);
        assert_string_equal(err.message, "the ticket for job k3f7, disk vda has been used before");
        ticket_ledger_free(ledger);
}

static void each_part_of_a_transfer_uses_the_ticket_once(void **state) {
        (void) state;
        struct ticket_ledger *ledger = ticket_ledger_new();
        Drover__Ticket ticket = sample();
        for (uint32_t part = 0; part < 8; part++) {
                assert_int_equal(ticket_ledger_use_part(ledger, &ticket, part, NOW, NULL), 0);
                assert_int_equal(ticket_ledger_use_part(ledger, &ticket, part, NOW, NULL), -1);
        }
        ticket_ledger_free(ledger);
}

static void a_use_is_remembered_for_as_long_as_the_ticket_would_be_taken(void **state) {
        (void) state;
        struct ticket_ledger *ledger = ticket_ledger_new();
        Drover__Ticket ticket = sample();
        assert_int_equal(ticket_ledger_use(ledger, &ticket, NOW, NULL), 0);
        assert_int_equal(ticket_ledger_use(ledger, &ticket, ticket.expires_at + TICKET_GRACE, NULL), -1);
        assert_int_equal(ticket_ledger_use(ledger, &ticket, ticket.expires_at + TICKET_GRACE + 1, NULL), 0);
        ticket.expires_at = INT64_MAX;
        assert_int_equal(ticket_ledger_use_part(ledger, &ticket, 1, NOW, NULL), 0);
        assert_int_equal(ticket_ledger_use_part(ledger, &ticket, 1, INT64_MAX, NULL), -1);
        ticket_ledger_free(ledger);
}

static void a_full_ledger_refuses_rather_than_forgets(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct ticket_ledger *ledger = ticket_ledger_new();
        Drover__Ticket ticket = sample();
        for (uint32_t part = 0; part < TICKET_LEDGER_MAX; part++)
                assert_int_equal(ticket_ledger_use_part(ledger, &ticket, part, NOW, NULL), 0);
        assert_int_equal(ticket_ledger_use_part(ledger, &ticket, TICKET_LEDGER_MAX, NOW, &err), -1);
        assert_int_equal(err.code, ERROR_BUSY);
        assert_string_equal(err.message, "8192 tickets are in use; no further one is accepted now");
        ticket_ledger_free(ledger);
        ticket_ledger_free(NULL);
}

struct racer {
        struct ticket_ledger *ledger;
        unsigned won;
};

static void *race(void *data) {
        struct racer *racer = data;
        Drover__Ticket ticket = sample();
        for (uint32_t part = 0; part < 200; part++)
                racer->won += ticket_ledger_use_part(racer->ledger, &ticket, part, NOW, NULL) == 0;
        return NULL;
}

static void of_two_that_use_a_ticket_at_once_one_wins(void **state) {
        (void) state;
        struct ticket_ledger *ledger = ticket_ledger_new();
        struct racer racers[2] = {{ledger, 0}, {ledger, 0}};
        pthread_t threads[2];
        for (unsigned i = 0; i < 2; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
        for (unsigned i = 0; i < 2; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(racers[0].won + racers[1].won, 200);
        ticket_ledger_free(ledger);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_signed_ticket_opens_and_matches),
                cmocka_unit_test(a_ticket_that_could_not_be_opened_is_not_signed),
                cmocka_unit_test(fault_45_a_ticket_of_another_key_is_refused),
                cmocka_unit_test(fault_45_an_altered_ticket_is_refused),
                cmocka_unit_test(fault_45_a_ticket_without_a_signature_is_refused),
                cmocka_unit_test(fault_45_an_expired_ticket_is_refused),
                cmocka_unit_test(fault_45_a_signed_ticket_with_bad_names_is_refused),
                cmocka_unit_test(fault_45_a_ticket_for_another_job_is_refused),
                cmocka_unit_test(fault_45_a_ticket_for_another_disk_is_refused),
                cmocka_unit_test(fault_45_a_ticket_for_another_attempt_is_refused),
                cmocka_unit_test(fault_45_a_ticket_for_another_peer_is_refused),
                cmocka_unit_test(fault_45_a_ticket_for_the_other_direction_is_refused),
                cmocka_unit_test(fault_45_a_ticket_for_another_path_is_refused),
                cmocka_unit_test(fault_45_a_replayed_ticket_is_refused),
                cmocka_unit_test(each_part_of_a_transfer_uses_the_ticket_once),
                cmocka_unit_test(a_use_is_remembered_for_as_long_as_the_ticket_would_be_taken),
                cmocka_unit_test(a_full_ledger_refuses_rather_than_forgets),
                cmocka_unit_test(of_two_that_use_a_ticket_at_once_one_wins),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
