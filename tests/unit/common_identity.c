// SPDX-License-Identifier: LGPL-2.1-or-later
/* Identities: the three forms there are, and everything near them that is none. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/identity.h"
#include "scratch.h"

#define UUID "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"

static void each_kind_survives_the_way_there_and_back(void **state) {
        (void) state;
        static const struct {
                const char *uri;
                enum identity_kind kind;
                const char *name, *word;
        } cases[] = {
                {"drover://host/" UUID, IDENTITY_HOST, UUID, "host"},
                {"drover://controller/" UUID, IDENTITY_CONTROLLER, UUID, "controller"},
                {"drover://user/alice@acme.example", IDENTITY_USER, "alice@acme.example", "user"},
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct error err = ERROR_INIT;
                struct identity identity;
                char text[128];
                assert_int_equal(identity_parse(cases[i].uri, &identity, &err), 0);
                assert_int_equal(identity.kind, cases[i].kind);
                assert_string_equal(identity.name, cases[i].name);
                assert_int_equal(identity.not_after, 0);
                assert_string_equal(identity_kind_word(identity.kind), cases[i].word);
                assert_int_equal(identity_format(&identity, text, sizeof(text)), 0);
                assert_string_equal(text, cases[i].uri);
                assert_int_equal(identity_format(&identity, text, strlen(cases[i].uri)), -1);
        }
}

static void fault_48_what_is_no_identity_is_refused_and_the_output_untouched(void **state) {
        (void) state;
        static const char *const bad[] = {
                "",
                "drover:",
                "drover://",
                "drover://host",
                "drover://host/",
                "drover:///" UUID,
                "DROVER://host/" UUID,
                "drover://Host/" UUID,
                "drover://hosts/" UUID,
                "drover://hos/" UUID,
                " drover://host/" UUID,
                "https://host/" UUID,
                "drover://host/" UUID "/",
                "drover://host/" UUID "?x",
                "drover://host/" UUID "\n",
                "drover://host/" UUID UUID,
                "drover://host/0A1B2C3D-4E5F-4A6B-8C7D-9E0F1A2B3C4D",
                "drover://host/alice",
                "drover://controller/alice",
                "drover://user/../root",
                "drover://user/a/b",
                "drover://user/a b",
                "drover://user/-rf",
                "drover://user/.a",
                "drover://user/al%69ce",
                "drover://none/" UUID,
                "drover://user/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        };
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                struct error err = ERROR_INIT;
                struct identity identity = {.kind = IDENTITY_NONE, .not_after = 7};
                if (identity_parse(bad[i], &identity, &err) != -1)
                        fail_msg("accepted: %s", bad[i]);
                assert_int_equal(err.code, ERROR_INVALID);
                assert_int_equal(identity.not_after, 7);
        }
}

static void the_refusal_says_what_is_wrong(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct identity identity;
        identity_parse("http://x", &identity, &err);
        assert_error(err, ERROR_INVALID, "\"http://x\" is not an identity: it does not begin with drover://");
        identity_parse("drover://root/x", &identity, &err);
        assert_error(err, ERROR_INVALID,
                     "\"drover://root/x\" is not an identity: it names no host, user or controller");
}

static void nobody_has_no_uri(void **state) {
        (void) state;
        struct identity nobody = {.kind = IDENTITY_NONE};
        char text[64];
        assert_int_equal(identity_format(&nobody, text, sizeof(text)), -1);
        assert_string_equal(identity_kind_word(IDENTITY_NONE), "none");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_kind_survives_the_way_there_and_back),
                cmocka_unit_test(fault_48_what_is_no_identity_is_refused_and_the_output_untouched),
                cmocka_unit_test(the_refusal_says_what_is_wrong),
                cmocka_unit_test(nobody_has_no_uri),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
