// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The worked examples of proto/PROTOCOL.md cannot rot: each is packed here and must stand in that file byte for byte.
 * An example that is missing or has changed is printed as it should be.
 */
#include "common/cleanup.h"
#include "common/file.h"
#include "common/frame.h"
#include "common/memory.h"
#include "common/pki.h"
#include "proto/codec.h"
#include "proto/token.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <xxhash.h>

#define SOURCE_HOST "4f1c0b52-7a52-4a0e-9d5e-0d2c1a8f3b10"
#define SINK_HOST   "9b7d11e8-3c55-4b6f-8a7e-6f0e2d4c5a21"
#define VM_UUID     "6c3a2d0e-55aa-4c1b-9f3e-1a2b3c4d5e6f"
#define ZONED_AT    1795289400 // 2026-11-21T19:30:00Z

static char *document(void) {
        struct buffer content;
        buffer_init(&content, 0);
        assert_int_equal(file_read(SOURCE_DIR "/proto/PROTOCOL.md", 1 << 20, &content, NULL), 0);
        return buffer_steal_text(&content);
}

static void expect_text(const char *what, const char *text) {
        _cleanup_(free_p) char *md = document();
        if (!strstr(md, text))
                fail_msg("PROTOCOL.md does not hold this example, %s:\n%s", what, text);
}

// "0000  00 00 00 1a 0a ..." with sixteen bytes a line.
static void expect_bytes(const char *what, const uint8_t *bytes, size_t length) {
        struct buffer text;
        buffer_init(&text, 0);
        for (size_t i = 0; i < length; i++) {
                if (i % 16 == 0)
                        buffer_appendf(&text, NULL, "%04zx ", i);
                buffer_appendf(&text, NULL, " %02x%s", bytes[i], i % 16 == 15 || i + 1 == length ? "\n" : "");
        }
        _cleanup_(free_p) char *hex = buffer_steal_text(&text);
        expect_text(what, hex);
}

static void expect_frame(const char *what, const ProtobufCMessage *envelope) {
        _cleanup_(buffer_fini) struct buffer bytes, body;
        uint8_t header[FRAME_HEADER];
        buffer_init(&bytes, 0);
        buffer_init(&body, 0);
        assert_int_equal(proto_pack(envelope, &body, NULL), 0);
        frame_encode_header(header, (uint32_t) body.length);
        buffer_append(&bytes, header, sizeof header, NULL);
        buffer_append(&bytes, body.data, body.length, NULL);
        expect_bytes(what, bytes.data, bytes.length);
}

#define ENVELOPE(Type, TYPE, MEMBER, member, value)                                                                    \
        Drover__##Type envelope = DROVER__##TYPE##__INIT;                                                              \
        envelope.body_case = DROVER__##TYPE##__BODY_##MEMBER;                                                          \
        envelope.member = &(value);

static void hello(void **state) {
        (void) state;
        Drover__Hello hello = DROVER__HELLO__INIT;
        hello.version_min = hello.version_max = 1;
        hello.software = (char *) "drover-agent 0.1.0";
        hello.data_port = 7444;
        hello.boot_id = (char *) "b0071d00";
        hello.instance = 7;
        ENVELOPE(Envelope, ENVELOPE, HELLO, hello, hello)
        expect_frame("hello", &envelope.base);
}

static void welcome(void **state) {
        (void) state;
        Drover__Welcome welcome = DROVER__WELCOME__INIT;
        welcome.version = 1;
        welcome.software = (char *) "drover-controller 0.1.0";
        welcome.site = (char *) "lyon";
        welcome.host = (char *) "kvm1";
        welcome.ping_seconds = 5;
        welcome.dead_seconds = 12;
        welcome.clock_at = ZONED_AT;
        ENVELOPE(Envelope, ENVELOPE, WELCOME, welcome, welcome)
        expect_frame("welcome", &envelope.base);
}

static void ping(void **state) {
        (void) state;
        Drover__Ping ping = DROVER__PING__INIT;
        ping.token = 42;
        ENVELOPE(Envelope, ENVELOPE, PING, ping, ping)
        expect_frame("ping", &envelope.base);
}

static void a_step(void **state) {
        (void) state;
        Drover__AgentRequest request = DROVER__AGENT_REQUEST__INIT;
        Drover__MoveStop stop = DROVER__MOVE_STOP__INIT;
        request.id = 9;
        request.job = (char *) "k7wq2mfx4p";
        request.step = (char *) "stop";
        request.attempt = 1;
        request.vm_uuid = (char *) VM_UUID;
        request.epoch = 3;
        request.verb_case = DROVER__AGENT_REQUEST__VERB_MOVE_STOP;
        request.move_stop = &stop;
        stop.mode = DROVER__STOP_MODE__STOP_SHUTDOWN;
        stop.timeout_seconds = 300;
        ENVELOPE(Envelope, ENVELOPE, REQUEST, request, request)
        expect_frame("request", &envelope.base);
}

static void its_failure(void **state) {
        (void) state;
        Drover__AgentResult result = DROVER__AGENT_RESULT__INIT;
        Drover__Failure failure = DROVER__FAILURE__INIT;
        char *hints[] = {(char *) "--stop"};
        result.id = 9;
        result.failure = &failure;
        failure.code = ERROR_TIMEOUT;
        failure.message = (char *) "erp is still up";
        failure.hints = hints;
        failure.n_hints = 1;
        ENVELOPE(Envelope, ENVELOPE, RESULT, result, result)
        expect_frame("result", &envelope.base);
}

static void a_delta(void **state) {
        (void) state;
        Drover__InventoryPart part = DROVER__INVENTORY_PART__INIT;
        char *removed[] = {(char *) VM_UUID};
        part.generation = 2;
        part.serial = 5;
        part.removed_domains = removed;
        part.n_removed_domains = 1;
        ENVELOPE(Envelope, ENVELOPE, INVENTORY, inventory, part)
        expect_frame("delta", &envelope.base);
}

static void an_operators_question(void **state) {
        (void) state;
        Drover__OperatorRequest request = DROVER__OPERATOR_REQUEST__INIT;
        Drover__VmList list = DROVER__VM_LIST__INIT;
        request.id = 1;
        request.verb_case = DROVER__OPERATOR_REQUEST__VERB_VM_LIST;
        request.vm_list = &list;
        list.site = (char *) "lyon";
        ENVELOPE(OperatorEnvelope, OPERATOR_ENVELOPE, REQUEST, request, request)
        expect_frame("operator request", &envelope.base);
}

static void a_token(void **state) {
        (void) state;
        Drover__JoinToken token = DROVER__JOIN_TOKEN__INIT;
        uint8_t hash[32], secret[32];
        char *addresses[] = {(char *) "hq.example.org:7443"};
        struct buffer text;
        buffer_init(&text, 0);
        for (uint8_t i = 0; i < 32; i++) {
                hash[i] = i;
                secret[i] = (uint8_t) (0xe0 + i);
        }
        token.addresses = addresses;
        token.n_addresses = 1;
        token.authority_sha256 = (ProtobufCBinaryData){sizeof hash, hash};
        token.token_id = (char *) "t0k3n";
        token.secret = (ProtobufCBinaryData){sizeof secret, secret};
        assert_int_equal(token_encode(&token, &text, NULL), 0);
        _cleanup_(free_p) char *token_text = buffer_steal_text(&text);
        expect_text("token", token_text);
}

static void a_ticket(void **state) {
        (void) state;
        Drover__Ticket ticket = DROVER__TICKET__INIT;
        uint8_t source[32], sink[32], nonce[16];
        memset(source, 0xaa, sizeof source);
        memset(sink, 0xbb, sizeof sink);
        memset(nonce, 0x0c, sizeof nonce);
        ticket.job = (char *) "k7wq2mfx4p";
        ticket.disk = (char *) "vda";
        ticket.attempt = 1;
        ticket.source_host = (char *) SOURCE_HOST;
        ticket.sink_host = (char *) SINK_HOST;
        ticket.source_certificate_sha256 = (ProtobufCBinaryData){sizeof source, source};
        ticket.sink_certificate_sha256 = (ProtobufCBinaryData){sizeof sink, sink};
        ticket.path = DROVER__TRANSFER_PATH__PATH_DIRECT;
        ticket.expires_at = ZONED_AT + 600;
        ticket.nonce = (ProtobufCBinaryData){sizeof nonce, nonce};
        struct buffer bytes;
        buffer_init(&bytes, 0);
        assert_int_equal(PROTO_PACK(&ticket, &bytes, NULL), 0);
        expect_bytes("ticket", bytes.data, bytes.length);
        buffer_fini(&bytes);
}

// ---- the data protocol: an image of 20,000 bytes, all of them "a"

#define IMAGE 20000u

static void hash_bytes(const void *bytes, size_t length, uint8_t hash[16]) {
        XXH128_canonical_t canonical;
        XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, length));
        memcpy(hash, canonical.digest, 16);
}

static void image_block(uint8_t hash[16]) {
        uint8_t piece[16];
        _cleanup_(free_p) uint8_t *image = malloc(IMAGE);
        assert_non_null(image);
        memset(image, 'a', IMAGE);
        hash_bytes(image, IMAGE, piece);
        hash_bytes(piece, sizeof piece, hash);
}

static void image_digest(uint8_t digest[32]) {
        uint8_t text[8 + 16] = {0x20, 0x4e}; // 20,000, little-endian
        image_block(text + 8);
        pki_sha256(text, sizeof text, digest);
}

static void a_block(void **state) {
        (void) state;
        uint8_t hash[16], grains = 0x1f;
        Drover__DataBlock block = DROVER__DATA_BLOCK__INIT;
        image_block(hash);
        block.length = IMAGE;
        block.hash = (ProtobufCBinaryData){sizeof hash, hash};
        block.grains = (ProtobufCBinaryData){1, &grains};
        block.coded_bytes = IMAGE;
        ENVELOPE(DataEnvelope, DATA_ENVELOPE, BLOCK, block, block)
        expect_frame("block", &envelope.base);
}

static void zeros(void **state) {
        (void) state;
        Drover__DataZero zero = DROVER__DATA_ZERO__INIT;
        zero.offset = 1 << 20;
        zero.length = 3 << 20;
        ENVELOPE(DataEnvelope, DATA_ENVELOPE, ZERO, zero, zero)
        expect_frame("zeros", &envelope.base);
}

static void the_end(void **state) {
        (void) state;
        uint8_t digest[32];
        Drover__DataEnd end = DROVER__DATA_END__INIT;
        image_digest(digest);
        end.bytes = IMAGE;
        end.digest = (ProtobufCBinaryData){sizeof digest, digest};
        ENVELOPE(DataEnvelope, DATA_ENVELOPE, END, end, end)
        expect_frame("end", &envelope.base);
}

static void its_digest_as_text(void **state) {
        (void) state;
        uint8_t digest[32];
        char text[3 + 64 + 1] = "d2:";
        image_digest(digest);
        for (unsigned i = 0; i < 32; i++)
                snprintf(text + 3 + i * 2, 3, "%02x", digest[i]);
        expect_text("digest", text);
}

// ---- the tables

static void every_failure_code(void **state) {
        (void) state;
        char row[128];
#define X(symbol, number, word, exit_code)                                                                             \
        snprintf(row, sizeof row, "| %d | `%s` | %d |", number, word, exit_code);                                      \
        expect_text("a row of the table of failure codes", row);
        ERROR_CODES(X)
#undef X
}

static void every_member_of_a_request(void **state) {
        (void) state;
        const ProtobufCMessageDescriptor *both[] = {&drover__agent_request__descriptor,
                                                    &drover__operator_request__descriptor};
        for (unsigned k = 0; k < 2; k++)
                for (unsigned i = 0; i < both[k]->n_fields; i++) {
                        char word[64];
                        snprintf(word, sizeof word, "`%s`", both[k]->fields[i].name);
                        expect_text("the name of a verb or of a member of a request", word);
                }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(hello),
                cmocka_unit_test(welcome),
                cmocka_unit_test(ping),
                cmocka_unit_test(a_step),
                cmocka_unit_test(its_failure),
                cmocka_unit_test(a_delta),
                cmocka_unit_test(an_operators_question),
                cmocka_unit_test(a_token),
                cmocka_unit_test(a_ticket),
                cmocka_unit_test(a_block),
                cmocka_unit_test(zeros),
                cmocka_unit_test(the_end),
                cmocka_unit_test(its_digest_as_text),
                cmocka_unit_test(every_failure_code),
                cmocka_unit_test(every_member_of_a_request),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
