// SPDX-License-Identifier: LGPL-2.1-or-later
/* proto/token: a join token as it is pasted, and what is said about one that is not right. */
#include "proto/token.h"
#include "common/memory.h"
#include <stdlib.h>
#include <string.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

static uint8_t hash[32], secret[32];
static char *addresses[9];

static Drover__JoinToken sample(void) {
        Drover__JoinToken token = DROVER__JOIN_TOKEN__INIT;
        addresses[0] = (char *) "controller.example.org:7443";
        addresses[1] = (char *) "[2001:db8::1]:7443";
        for (size_t i = 2; i < 9; i++)
                addresses[i] = (char *) "10.1.2.3:7443";
        token.addresses = addresses;
        token.n_addresses = 2;
        token.authority_sha256 = (ProtobufCBinaryData){sizeof hash, hash};
        token.secret = (ProtobufCBinaryData){sizeof secret, secret};
        token.token_id = (char *) "t4k2";
        return token;
}

static char *encode(const Drover__JoinToken *token) {
        struct buffer text;
        buffer_init(&text, 0);
        assert_int_equal(token_encode(token, &text, NULL), 0);
        return buffer_steal_text(&text);
}

static void assert_refused(const char *text, const char *message) {
        struct error err = ERROR_INIT;
        Drover__JoinToken *token = NULL;
        assert_int_equal(token_decode(text, &token, &err), -1);
        assert_int_equal(err.code, ERROR_INVALID);
        assert_string_equal(err.message, message);
        assert_string_equal(err.hints[0],
                            "paste the whole line that `drover host invite` or `drover user invite` printed");
        assert_null(token);
}

static void assert_not_made(const Drover__JoinToken *token, const char *message) {
        struct error err = ERROR_INIT;
        struct buffer text;
        buffer_init(&text, 0);
        assert_int_equal(token_encode(token, &text, &err), -1);
        assert_string_equal(err.message, message);
        buffer_fini(&text);
}

static int set_up(void **state) {
        (void) state;
        for (size_t i = 0; i < 32; i++) {
                hash[i] = (uint8_t) (i * 7);
                secret[i] = (uint8_t) (255 - i);
        }
        return 0;
}

static void a_token_survives_being_pasted(void **state) {
        (void) state;
        Drover__JoinToken token = sample(), *back = NULL;
        token.operator_ = 1;
        char *text = encode(&token);
        assert_true(strncmp(text, "DRV1.", 5) == 0);
        assert_true(strlen(text) <= TOKEN_MAX);
        assert_null(strpbrk(text, "+/= \n"));
        char *pasted = memory_format(" \t%s\r\n", text);
        assert_int_equal(token_decode(pasted, &back, NULL), 0);
        assert_int_equal(back->n_addresses, 2);
        assert_string_equal(back->addresses[1], "[2001:db8::1]:7443");
        assert_memory_equal(back->authority_sha256.data, hash, 32);
        assert_memory_equal(back->secret.data, secret, 32);
        assert_string_equal(back->token_id, "t4k2");
        assert_true(back->operator_);
        proto_free(&back->base);
        free(pasted);
        free(text);
}

static void tokens_of_every_length_survive(void **state) {
        (void) state;
        static const char *const ids[] = {"a", "ab", "abc", "abcd", "abcde"};
        for (size_t i = 0; i < 5; i++) {
                Drover__JoinToken token = sample(), *back = NULL;
                token.token_id = (char *) ids[i];
                char *text = encode(&token);
                assert_int_equal(token_decode(text, &back, NULL), 0);
                assert_string_equal(back->token_id, ids[i]);
                proto_free(&back->base);
                free(text);
        }
}

static void what_is_no_token_is_refused(void **state) {
        (void) state;
        assert_refused("", "this is not a join token: it does not begin with \"DRV1.\"");
        assert_refused("  \n", "this is not a join token: it does not begin with \"DRV1.\"");
        assert_refused("drover-agent join DRV1.abc", "this is not a join token: it does not begin with \"DRV1.\"");
        assert_refused("DRV2.AAAA", "this is not a join token: it does not begin with \"DRV1.\"");
        assert_refused("DRV1.", "this is not a join token: it names 0 addresses of the controller, not 1 to 8");
        assert_refused("DRV1.A", "this is not a join token: a part is missing or a character is wrong");
        assert_refused("DRV1.AA==", "this is not a join token: a part is missing or a character is wrong");
        assert_refused("DRV1.A+/A", "this is not a join token: a part is missing or a character is wrong");
        assert_refused("DRV1.AB", "this is not a join token: a part is missing or a character is wrong");
        assert_refused("DRV1.AA\nAA", "this is not a join token: a part is missing or a character is wrong");
}

static void a_token_that_is_cut_short_is_refused(void **state) {
        (void) state;
        Drover__JoinToken token = sample();
        char *text = encode(&token);
        for (size_t length = strlen(text) - 1; length > 0; length--) {
                Drover__JoinToken *back = NULL;
                text[length] = 0;
                assert_int_equal(token_decode(text, &back, NULL), -1);
        }
        free(text);
}

static void a_token_that_is_too_long_is_refused(void **state) {
        (void) state;
        char *text = memory_new(100000);
        memset(text, 'A', 99999);
        memcpy(text, "DRV1.", 5);
        assert_refused(text, "this is not a join token: it is too long");
        free(text);
}

static void a_refusal_never_repeats_the_token(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        Drover__JoinToken *back = NULL;
        assert_int_equal(token_decode("DRV1.c2VjcmV0!", &back, &err), -1);
        assert_null(strstr(err.message, "c2Vj"));
}

static void hashes_and_secrets_have_their_length(void **state) {
        (void) state;
        Drover__JoinToken token = sample();
        token.authority_sha256.len = 20;
        assert_not_made(&token, "make a join token: its hash of the authority is 20 bytes long, not 32");
        token = sample();
        token.secret.len = 31;
        assert_not_made(&token, "make a join token: its secret is 31 bytes long, not 32");
}

static void ids_are_letters_and_digits(void **state) {
        (void) state;
        static const char *const bad[] = {"", "a b", "a/b", "a\x01", "../x"};
        for (size_t i = 0; i < 5; i++) {
                Drover__JoinToken token = sample();
                token.token_id = (char *) bad[i];
                assert_not_made(&token, "make a join token: its id is not 1 to 64 letters and digits");
        }
}

static void addresses_are_host_and_port(void **state) {
        (void) state;
        static const char *const bad[] = {
                "controller",    "controller:",    ":7443",   "controller:0",   "controller:65536",
                "controller:07", "controller:+1",  "a b:1",   "a/b:1",          "-a:1",
                "[::1:7443",     "2001:db8::1:80", "[]:7443", "[evil.org]:7443"};
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                Drover__JoinToken token = sample();
                char *list[] = {(char *) bad[i]};
                token.addresses = list;
                token.n_addresses = 1;
                char *message = memory_format("make a join token: \"%s\" is not of the form host:port", bad[i]);
                assert_not_made(&token, message);
                free(message);
        }
        Drover__JoinToken token = sample();
        token.n_addresses = 9;
        assert_not_made(&token, "make a join token: it names 9 addresses of the controller, not 1 to 8");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_token_survives_being_pasted),
                cmocka_unit_test(tokens_of_every_length_survive),
                cmocka_unit_test(what_is_no_token_is_refused),
                cmocka_unit_test(a_token_that_is_cut_short_is_refused),
                cmocka_unit_test(a_token_that_is_too_long_is_refused),
                cmocka_unit_test(a_refusal_never_repeats_the_token),
                cmocka_unit_test(hashes_and_secrets_have_their_length),
                cmocka_unit_test(ids_are_letters_and_digits),
                cmocka_unit_test(addresses_are_host_and_port),
        };
        return cmocka_run_group_tests(tests, set_up, NULL);
}
