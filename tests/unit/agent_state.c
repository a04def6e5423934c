// SPDX-License-Identifier: LGPL-2.1-or-later
/* The state directory after a renewal that was cut anywhere, the settings, and the command line's answers. */
#include "agent/commands.h"
#include "agent/session/renew.h"
#include "agent/session/state.h"
#include "agent/settings.h"
#include "common/fault.h"
#include "common/log.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include "certificates.h"
#include "scratch.h"

static struct authority authority;

static X509 *new_pair(EVP_PKEY **ret_key) {
        struct error err = ERROR_INIT;
        must(pki_new_key(ret_key, &err), &err);
        return certificate_now(&authority, *ret_key, IDENTITY_HOST);
}

static int set_up(void **state) {
        struct error err = ERROR_INIT;
        char *addresses[] = {(char *) "hq.example.org:7443", (char *) "[2001:db8::1]:7443"};
        struct state joined = {.addresses = {.items = addresses, .n = 2},
                               .site = (char *) "lyon",
                               .host = (char *) "kvm1",
                               .uuid = (char *) UUID_HOST};
        EVP_PKEY *key;
        scratch_make(state);
        setenv("DROVER_FAULT_DIR", scratch, 1);
        fault_init();
        authority = authority_new();
        X509 *certificate = new_pair(&key);
        must(state_store_join(scratch, &joined, key, certificate, authority.certificate, &err), &err);
        X509_free(certificate);
        EVP_PKEY_free(key);
        return 0;
}

static int tear_down(void **state) {
        authority_free(&authority);
        unsetenv("DROVER_FAULT_DIR");
        fault_init();
        return scratch_remove(state);
}

static void load(uint8_t sha256[32]) {
        struct error err = ERROR_INIT;
        struct state joined = {0};
        struct tls_credentials *credentials = NULL;
        must(state_load(scratch, &joined, &err), &err);
        must(tls_credentials_load(scratch, STATE_NAME, &credentials, &err), &err);
        memcpy(sha256, tls_credentials_identity(credentials)->certificate_sha256, 32);
        tls_credentials_unref(credentials);
        state_fini(&joined);
}

static void what_a_join_stored_is_what_is_loaded(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct state joined = {0};
        must(state_load(scratch, &joined, &err), &err);
        assert_int_equal(joined.addresses.n, 2);
        assert_string_equal(joined.addresses.items[1], "[2001:db8::1]:7443");
        assert_string_equal(joined.site, "lyon");
        assert_string_equal(joined.host, "kvm1");
        assert_string_equal(joined.uuid, UUID_HOST);
        state_fini(&joined);
}

static void a_renewal_replaces_both_files(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        uint8_t before[32], after[32], wanted[32];
        EVP_PKEY *key;
        X509 *certificate = new_pair(&key);
        load(before);
        must(state_store_renewal(scratch, key, certificate, &err), &err);
        load(after);
        must(pki_fingerprint(certificate, wanted, &err), &err);
        assert_memory_equal(after, wanted, 32);
        assert_memory_not_equal(after, before, 32);
        assert_false(scratch_has("host.crt.next"));
        assert_false(scratch_has("host.key.next"));
        X509_free(certificate);
        EVP_PKEY_free(key);
}

static void fault_15_a_renewal_that_was_cut_between_its_renames_is_finished(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        uint8_t after[32], wanted[32];
        EVP_PKEY *key;
        X509 *certificate = new_pair(&key);
        scratch_write("agent.renew.half", "fail");
        assert_int_equal(state_store_renewal(scratch, key, certificate, &err), -1);
        must(pki_fingerprint(certificate, wanted, &err), &err);
        load(after);
        assert_memory_equal(after, wanted, 32);
        X509_free(certificate);
        EVP_PKEY_free(key);
}

static void fault_15_a_renewal_that_was_cut_before_its_renames_never_was(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        uint8_t before[32], after[32];
        struct buffer pem;
        EVP_PKEY *key;
        X509 *certificate = new_pair(&key);
        load(before);
        buffer_init(&pem, 0);
        must(pki_certificate_pem(certificate, &pem, &err), &err);
        must(file_write(scratch_path("host.crt.next"), pem.data, pem.length, 0644, &err), &err);
        load(after);
        assert_memory_equal(after, before, 32);
        buffer_fini(&pem);
        X509_free(certificate);
        EVP_PKEY_free(key);
}

static void a_certificate_is_due_after_two_thirds_of_its_life(void **state) {
        (void) state;
        assert_int_equal(renewal_due(1000, 4000), 3000);
        assert_int_equal(renewal_due(0, 90 * 24 * HOUR), 60 * 24 * HOUR);
}

// ---- settings

static void settings_have_defaults(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct settings settings = {0};
        scratch_write("empty.yaml", "");
        must(settings_load(scratch_path("empty.yaml"), &settings, &err), &err);
        assert_string_equal(settings.libvirt_uri, "qemu:///system");
        assert_int_equal(settings.data_port, 7444);
        assert_null(settings.data_listen);
        assert_int_equal(settings.retry_first_ms, 500);
        assert_int_equal(settings.retry_most, 30);
        assert_int_equal(settings_log_level(&settings), LOG_LEVEL_INFO);
        settings_fini(&settings);
}

static void refuse_settings(const char *text, const char *why) {
        struct error err = ERROR_INIT;
        struct settings settings = {0};
        char message[256];
        scratch_write("agent.yaml", text);
        assert_int_equal(settings_load(scratch_path("agent.yaml"), &settings, &err), -1);
        snprintf(message, sizeof message, "%s: %s", scratch_path("agent.yaml"), why);
        assert_error(err, ERROR_INVALID, message);
}

static void settings_out_of_range_are_refused(void **state) {
        (void) state;
        refuse_settings("data_port: 65536\n", "data_port is not a port: 0 to 65535");
        refuse_settings("retry_first_ms: 0\n", "retry_first_ms is out of range: 1 to 60000");
        refuse_settings("retry_most: 2h\n", "retry_most is out of range: 1s to 1h");
        refuse_settings("log_level: loud\n", "log_level is none of error, warning, info, debug");
}

static void settings_that_were_named_must_be_there(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct settings settings = {0};
        char message[160];
        assert_int_equal(settings_load(scratch_path("none.yaml"), &settings, &err), -1);
        snprintf(message, sizeof message, "%s: No such file or directory", scratch_path("none.yaml"));
        assert_error(err, ERROR_NOT_FOUND, message);
}

// ---- the command line

static int command(const char *one, const char *two) {
        char *argv[] = {(char *) "drover-agent", (char *) one, (char *) two, NULL};
        return commands_main(two ? 3 : one ? 2 : 1, argv);
}

static void wrong_usage_exits_with_2(void **state) {
        (void) state;
        assert_int_equal(command(NULL, NULL), 2);
        assert_int_equal(command("frob", NULL), 2);
        assert_int_equal(command("join", NULL), 2);
        assert_int_equal(command("run", "now"), 2);
        assert_int_equal(command("--frob", NULL), 2);
        assert_int_equal(command("run", "--config"), 2);
        assert_int_equal(command("join", "DRV1.abc"), 2);
}

static void help_and_version_exit_with_0(void **state) {
        (void) state;
        assert_int_equal(command("--help", NULL), 0);
        assert_int_equal(command("--version", NULL), 0);
}

static void running_without_having_joined_exits_with_2(void **state) {
        (void) state;
        char *argv[] = {(char *) "drover-agent", (char *) "run", (char *) "--state-dir",
                        (char *) scratch_path("nowhere"), NULL};
        assert_int_equal(commands_main(4, argv), 2);
        assert_false(scratch_has("nowhere"));
}

int main(void) {
        log_init("agent_state", LOG_LEVEL_ERROR);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(what_a_join_stored_is_what_is_loaded),
                TEST(a_renewal_replaces_both_files),
                TEST(fault_15_a_renewal_that_was_cut_between_its_renames_is_finished),
                TEST(fault_15_a_renewal_that_was_cut_before_its_renames_never_was),
                TEST(a_certificate_is_due_after_two_thirds_of_its_life),
                TEST(settings_have_defaults),
                TEST(settings_out_of_range_are_refused),
                TEST(settings_that_were_named_must_be_there),
                TEST(wrong_usage_exits_with_2),
                TEST(help_and_version_exit_with_0),
                TEST(running_without_having_joined_exits_with_2),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
