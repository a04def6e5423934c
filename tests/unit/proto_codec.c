// SPDX-License-Identifier: LGPL-2.1-or-later
/* proto/codec and proto/scan: what passes, what is refused before it costs memory, and what an error says. */
#include "proto/codec.h"
#include "common/memory.h"
#include <stdlib.h>
#include <string.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

static int unpack_envelope(const void *bytes, size_t length, struct error *err) {
        Drover__Envelope *envelope = NULL;
        int result = PROTO_UNPACK(envelope, bytes, length, &envelope, err);
        if (result == 0)
                proto_free(&envelope->base);
        return result;
}

// An envelope that holds a Hello with this text in `software`.
static void hello_with(const char *text, size_t length, struct buffer *bytes) {
        uint8_t head[] = {0x0a, (uint8_t) (length + 2), 0x1a, (uint8_t) length};
        buffer_init(bytes, 0);
        assert_int_equal(buffer_append(bytes, head, sizeof head, NULL), 0);
        assert_int_equal(buffer_append(bytes, text, length, NULL), 0);
}

static void a_message_survives_the_way_there_and_back(void **state) {
        (void) state;
        struct buffer bytes;
        buffer_init(&bytes, 0);
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        Drover__Hello hello = DROVER__HELLO__INIT;
        hello.version_min = 1;
        hello.version_max = 3;
        hello.software = (char *) "drover-agent 0.1.0";
        hello.instance = UINT64_MAX;
        envelope.body_case = DROVER__ENVELOPE__BODY_HELLO;
        envelope.hello = &hello;
        assert_int_equal(PROTO_PACK(&envelope, &bytes, NULL), 0);
        Drover__Envelope *back = NULL;
        assert_int_equal(PROTO_UNPACK(envelope, bytes.data, bytes.length, &back, NULL), 0);
        assert_int_equal(back->body_case, DROVER__ENVELOPE__BODY_HELLO);
        assert_string_equal(back->hello->software, "drover-agent 0.1.0");
        assert_int_equal(back->hello->instance, UINT64_MAX);
        Drover__Envelope *copy = (Drover__Envelope *) proto_copy(&back->base);
        proto_free(&back->base);
        assert_int_equal(copy->hello->version_max, 3);
        proto_free(&copy->base);
        buffer_fini(&bytes);
        proto_free(NULL);
}

static void an_empty_message_is_no_bytes(void **state) {
        (void) state;
        struct buffer bytes;
        buffer_init(&bytes, 0);
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        assert_int_equal(PROTO_PACK(&envelope, &bytes, NULL), 0);
        assert_int_equal(bytes.length, 0);
        assert_int_equal(unpack_envelope(NULL, 0, NULL), 0);
        buffer_fini(&bytes);
}

static void packing_beyond_the_bound_of_the_buffer_is_refused(void **state) {
        (void) state;
        struct buffer bytes;
        struct error err = ERROR_INIT;
        buffer_init(&bytes, 4);
        Drover__Failure failure = DROVER__FAILURE__INIT;
        failure.message = (char *) "longer than four";
        assert_int_equal(PROTO_PACK(&failure, &bytes, &err), -1);
        assert_int_equal(err.code, ERROR_TOO_LARGE);
        assert_int_equal(bytes.length, 0);
        buffer_fini(&bytes);
}

static void unknown_members_are_ignored(void **state) {
        (void) state;
        const uint8_t bytes[] = {0xf8, 0x07, 0x01, 0xfa, 0x07, 0x02, 0x00, 0x01}; // members 127, varint and bytes
        assert_int_equal(unpack_envelope(bytes, sizeof bytes, NULL), 0);
}

static void fault_48_control_characters_in_text_are_refused(void **state) {
        (void) state;
        static const struct {
                const char *text;
                size_t length;
        } refused[] = {{"a\0b", 3}, {"a\rb", 3},     {"\x1b[2J", 4},  {"a\x7f", 2},        {"\xc2\x9b", 2},
                       {"\xff", 1}, {"\xc0\xaf", 2}, {"\xe2\x82", 2}, {"\xed\xa0\x80", 3}, {"\xf4\x90\x80\x80", 4}};
        for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
                struct buffer bytes;
                struct error err = ERROR_INIT;
                hello_with(refused[i].text, refused[i].length, &bytes);
                assert_int_equal(unpack_envelope(bytes.data, bytes.length, &err), -1);
                assert_int_equal(err.code, ERROR_PROTOCOL);
                assert_string_equal(err.message,
                                    "Envelope: text in Hello.software holds a control character or is not UTF-8");
                buffer_fini(&bytes);
        }
}

static void text_with_newlines_tabs_and_other_languages_passes(void **state) {
        (void) state;
        static const char *const fine[] = {"", "a\n\tb", "h\xc3\xb4te", "\xe4\xb8\xbb\xe6\x9c\xba", "\xf0\x9f\x90\x91"};
        for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
                struct buffer bytes;
                hello_with(fine[i], strlen(fine[i]), &bytes);
                assert_int_equal(unpack_envelope(bytes.data, bytes.length, NULL), 0);
                buffer_fini(&bytes);
        }
}

static void cleaned_text_passes(void **state) {
        (void) state;
        Drover__InventoryPart part = DROVER__INVENTORY_PART__INIT;
        Drover__Domain domain = DROVER__DOMAIN__INIT;
        Drover__Pool pool = DROVER__POOL__INIT;
        Drover__Domain *domains[] = {&domain};
        Drover__Pool *pools[] = {&pool};
        char title[] = "ERP\r\x1b[0m h\xc3\xb4te", volume[] = "disk-\xe9.img";
        char *volumes[] = {volume};
        domain.title = title;
        pool.volumes = volumes;
        pool.n_volumes = 1;
        part.domains = domains;
        part.pools = pools;
        part.n_domains = part.n_pools = 1;
        proto_clean(&part.base);
        assert_string_equal(title, "ERP??[0m h\xc3\xb4te");
        assert_string_equal(volume, "disk-?.img");
        struct buffer bytes;
        buffer_init(&bytes, 0);
        assert_int_equal(PROTO_PACK(&part, &bytes, NULL), 0);
        Drover__InventoryPart *back = NULL;
        assert_int_equal(PROTO_UNPACK(inventory_part, bytes.data, bytes.length, &back, NULL), 0);
        proto_free(&back->base);
        buffer_fini(&bytes);
}

static void only_the_chosen_member_of_a_oneof_is_cleaned(void **state) {
        (void) state;
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        Drover__Failure failure = DROVER__FAILURE__INIT;
        char message[] = "a\x01z";
        failure.message = message;
        envelope.body_case = DROVER__ENVELOPE__BODY_FAILURE;
        envelope.failure = &failure;
        proto_clean(&envelope.base);
        assert_string_equal(message, "a?z");
}

static void fault_40_a_flood_of_empty_messages_is_refused(void **state) {
        (void) state;
        size_t n = PROTO_FIELDS_MAX + 1;
        uint8_t *bytes = memory_new(2 * n);
        for (size_t i = 0; i < n; i++)
                bytes[2 * i] = 6 << 3 | 2; // InventoryPart.domains, empty
        Drover__InventoryPart *part = NULL;
        struct error err = ERROR_INIT;
        assert_int_equal(PROTO_UNPACK(inventory_part, bytes, 2 * n, &part, &err), -1);
        assert_int_equal(err.code, ERROR_PROTOCOL);
        assert_string_equal(err.message, "InventoryPart: more than 100000 members");
        free(bytes);
}

static void fault_40_members_of_inner_messages_count_too(void **state) {
        (void) state;
        enum { OUTER = 400, INNER = 400 };
        struct buffer bytes;
        buffer_init(&bytes, 0);
        for (unsigned i = 0; i < OUTER; i++) {
                const uint8_t head[] = {6 << 3 | 2, 0xa0, 0x06}; // domains, 800 bytes
                assert_int_equal(buffer_append(&bytes, head, sizeof head, NULL), 0);
                for (unsigned k = 0; k < INNER; k++) {
                        const uint8_t disk[] = {8 << 3 | 2, 0};
                        assert_int_equal(buffer_append(&bytes, disk, sizeof disk, NULL), 0);
                }
        }
        Drover__InventoryPart *part = NULL;
        struct error err = ERROR_INIT;
        assert_int_equal(PROTO_UNPACK(inventory_part, bytes.data, bytes.length, &part, &err), -1);
        assert_string_equal(err.message, "InventoryPart: more than 100000 members");
        buffer_fini(&bytes);
}

static void fault_40_malformed_bytes_are_refused(void **state) {
        (void) state;
        static const struct {
                uint8_t bytes[12];
                size_t length;
        } bad[] = {
                {{0x0a}, 1},             // a length that is not there
                {{0x0a, 0x05, 0x00}, 3}, // longer than what follows
                {{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, 10},
                {{0x0b}, 1},       // a group
                {{0x00, 0x00}, 2}, // member number 0
                {{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80}, 11},
                {{0x08, 0x01}, 2},             // hello as a number
                {{0x0a, 0x02, 0x1d, 0x00}, 4}, // text as 32 bits
        };
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                struct error err = ERROR_INIT;
                assert_int_equal(unpack_envelope(bad[i].bytes, bad[i].length, &err), -1);
                assert_int_equal(err.code, ERROR_PROTOCOL);
                assert_true(strncmp(err.message, "malformed Envelope", 18) == 0);
        }
}

static void fault_40_every_mutation_of_an_envelope_is_bounded(void **state) {
        (void) state;
        struct buffer bytes;
        buffer_init(&bytes, 0);
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        Drover__Failure failure = DROVER__FAILURE__INIT;
        char *hints[] = {(char *) "one", (char *) "two"};
        failure.code = 17;
        failure.message = (char *) "read at 12.0 MiB: Input/output error";
        failure.hints = hints;
        failure.n_hints = 2;
        envelope.body_case = DROVER__ENVELOPE__BODY_FAILURE;
        envelope.failure = &failure;
        assert_int_equal(PROTO_PACK(&envelope, &bytes, NULL), 0);
        for (size_t at = 0; at < bytes.length; at++) {
                uint8_t was = bytes.data[at];
                for (unsigned value = 0; value < 256; value++) {
                        bytes.data[at] = (uint8_t) value;
                        unpack_envelope(bytes.data, bytes.length, NULL); // either is right; the sanitizers watch
                }
                bytes.data[at] = was;
                assert_true(at == 0 || unpack_envelope(bytes.data, at, NULL) == -1);
        }
        buffer_fini(&bytes);
}

static void versions_in_common_are_found(void **state) {
        (void) state;
        uint32_t version = 0;
        assert_int_equal(proto_negotiate(1, 1, &version, NULL), 0);
        assert_int_equal(version, 1);
        assert_int_equal(proto_negotiate(1, 9, &version, NULL), 0);
        assert_int_equal(version, PROTO_VERSION_MAX);
}

static void fault_41_an_unknown_version_is_refused_by_name(void **state) {
        (void) state;
        uint32_t version = 77;
        struct error err = ERROR_INIT;
        assert_int_equal(proto_negotiate(3, 4, &version, &err), -1);
        assert_int_equal(err.code, ERROR_VERSION);
        assert_string_equal(err.message,
                            "no protocol version in common: the peer speaks 3 to 4, this program speaks 1 to 1");
        assert_string_equal(err.hints[0], "install the same release of drover on both machines");
        assert_int_equal(version, 77);
}

static void fault_41_an_impossible_range_of_versions_is_refused(void **state) {
        (void) state;
        uint32_t version;
        struct error err = ERROR_INIT;
        assert_int_equal(proto_negotiate(2, 1, &version, &err), -1);
        assert_int_equal(err.code, ERROR_PROTOCOL);
        assert_string_equal(err.message, "the peer names an impossible range of versions, 2 to 1");
        assert_int_equal(proto_negotiate(0, 0, &version, &err), -1);
}

static void an_error_travels_with_its_hints(void **state) {
        (void) state;
        struct error err = ERROR_INIT, back = ERROR_INIT;
        error_set(&err, ERROR_NO_SPACE, "vda: write at 3.2 GiB: No space left on device");
        error_hint(&err, "free 800 MiB in pool images");
        Drover__Failure *failure = proto_failure(&err);
        assert_int_equal(failure->code, ERROR_NO_SPACE);
        assert_int_equal(proto_error(failure, &back), -1);
        proto_free(&failure->base);
        assert_int_equal(back.code, ERROR_NO_SPACE);
        assert_string_equal(back.message, "vda: write at 3.2 GiB: No space left on device");
        assert_int_equal(back.n_hints, 1);
        assert_string_equal(back.hints[0], "free 800 MiB in pool images");
}

static void a_failure_from_the_wire_is_never_success(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        Drover__Failure failure = DROVER__FAILURE__INIT;
        char hint[] = "again";
        char *hints[20];
        for (size_t i = 0; i < 20; i++)
                hints[i] = hint;
        failure.hints = hints;
        failure.n_hints = 20;
        assert_int_equal(proto_error(&failure, &err), -1);
        assert_int_equal(err.code, ERROR_FAILED);
        assert_string_equal(err.message, "the peer gave no reason");
        assert_int_equal(err.n_hints, ERROR_HINTS_MAX);
        failure.code = 4242;
        assert_int_equal(proto_error(&failure, &err), -1);
        assert_int_equal(err.code, ERROR_FAILED);
        struct error none = ERROR_INIT;
        Drover__Failure *made = proto_failure(&none);
        assert_int_equal(made->code, ERROR_FAILED);
        proto_free(&made->base);
}

static void the_member_of_a_oneof_has_a_name(void **state) {
        (void) state;
        Drover__OperatorRequest request = DROVER__OPERATOR_REQUEST__INIT;
        assert_string_equal(proto_oneof_name(&request.base, "verb"), "none");
        request.verb_case = DROVER__OPERATOR_REQUEST__VERB_VM_MOVE;
        assert_string_equal(proto_oneof_name(&request.base, "verb"), "vm_move");
        Drover__Ticket ticket = DROVER__TICKET__INIT;
        assert_string_equal(proto_oneof_name(&ticket.base, "verb"), "none");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_message_survives_the_way_there_and_back),
                cmocka_unit_test(an_empty_message_is_no_bytes),
                cmocka_unit_test(packing_beyond_the_bound_of_the_buffer_is_refused),
                cmocka_unit_test(unknown_members_are_ignored),
                cmocka_unit_test(fault_48_control_characters_in_text_are_refused),
                cmocka_unit_test(text_with_newlines_tabs_and_other_languages_passes),
                cmocka_unit_test(cleaned_text_passes),
                cmocka_unit_test(only_the_chosen_member_of_a_oneof_is_cleaned),
                cmocka_unit_test(fault_40_a_flood_of_empty_messages_is_refused),
                cmocka_unit_test(fault_40_members_of_inner_messages_count_too),
                cmocka_unit_test(fault_40_malformed_bytes_are_refused),
                cmocka_unit_test(fault_40_every_mutation_of_an_envelope_is_bounded),
                cmocka_unit_test(versions_in_common_are_found),
                cmocka_unit_test(fault_41_an_unknown_version_is_refused_by_name),
                cmocka_unit_test(fault_41_an_impossible_range_of_versions_is_refused),
                cmocka_unit_test(an_error_travels_with_its_hints),
                cmocka_unit_test(a_failure_from_the_wire_is_never_success),
                cmocka_unit_test(the_member_of_a_oneof_has_a_name),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
