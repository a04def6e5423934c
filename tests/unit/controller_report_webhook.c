// SPDX-License-Identifier: LGPL-2.1-or-later
/* Webhooks without a receiver: the signature, the settings' items, whose secrets are kept, and what nobody answers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "controller/report/secret.h"
#include "controller/report/webhook.h"
#include "scratch.h"
#include <sys/stat.h>

#define SECRET "0123456789abcdef"

static void a_body_is_signed_with_its_time(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        char text[WEBHOOK_SIGNATURE_MAX];
        assert_int_equal(webhook_sign(SECRET, strlen(SECRET), 1795339070, "{\"a\":1}", 7, text, &err), 0);
        assert_string_equal(text, "t=1795339070,v1=1986a150e3c996d45caf70fe49087a8e8ec137cd4d7ead86b863543fc2c683de");
}

static void an_item_of_the_settings_is_an_url_and_a_file(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct webhook_target target;
        assert_int_equal(webhook_target_parse("https://a.example/b?c=d /etc/drover/secret", &target, &err), 0);
        assert_string_equal(target.url, "https://a.example/b?c=d");
        assert_string_equal(target.secret_file, "/etc/drover/secret");
        webhook_target_fini(&target);
}

static void odd_items_are_refused_and_their_urls_not_shown(void **state) {
        (void) state;
        static const struct {
                const char *item, *text;
        } bad[] = {
                {"", "a webhook has a URL, a space, and the whole path of the file with its secret"},
                {"https://a.example/b", "a webhook has a URL, a space, and the whole path of the file with its secret"},
                {"https://a.example/b secret",
                 "a webhook has a URL, a space, and the whole path of the file with its secret"},
                {"ftp://a.example/ /s", "a webhook's URL: not a URL of the kinds http,https"},
                {"file:///etc/passwd /s", "a webhook's URL: not a URL of the kinds http,https"},
                {"smtp://a.example /s", "a webhook's URL: not a URL of the kinds http,https"},
                {"http:// /s", "a webhook's URL: not a URL of the kinds http,https"},
                {"a.example /s", "a webhook's URL: not a URL of the kinds http,https"},
                {"https://a.example/\r\nX:1 /s", "a webhook's URL: not a URL of the kinds http,https"},
                {"https://u:p@a.example/ /s", "a webhook's URL: a user and a password have no place in a URL"},
        };
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                struct error err = ERROR_INIT;
                struct webhook_target target;
                if (webhook_target_parse(bad[i].item, &target, &err) == 0)
                        fail_msg("%s passes", bad[i].item);
                assert_error(err, ERROR_INVALID, bad[i].text);
        }
}

static void a_secret_is_the_first_line_of_a_file(void **state) {
        (void) state;
        static const char *const contents[] = {SECRET, SECRET "\n", SECRET "\r\nmore\n"};
        for (size_t i = 0; i < 3; i++) {
                struct error err = ERROR_INIT;
                struct buffer secret;
                buffer_init(&secret, SECRET_MAX);
                scratch_write("secret", contents[i]);
                assert_int_equal(secret_read(scratch_path("secret"), 16, &secret, &err), 0);
                assert_string_equal((const char *) secret.data, SECRET);
                assert_int_equal(secret.length, 16);
                secret_fini(&secret);
        }
}

static void assert_secret_refused(const char *content, mode_t mode, enum error_code code, const char *text) {
        struct error err = ERROR_INIT;
        struct buffer secret;
        char whole[600];
        buffer_init(&secret, SECRET_MAX);
        scratch_write("secret", content);
        assert_int_equal(chmod(scratch_path("secret"), mode), 0);
        assert_int_equal(secret_read(scratch_path("secret"), 16, &secret, &err), -1);
        snprintf(whole, sizeof(whole), "%s%s", scratch_path("secret"), text);
        assert_error(err, code, whole);
        assert_null(secret.data);
}

static void a_secret_that_all_may_read_or_that_is_none_is_refused(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct buffer secret;
        buffer_init(&secret, SECRET_MAX);
        assert_secret_refused(SECRET "\n", 0644, ERROR_REFUSED, " may be read by everybody on this machine");
        assert_secret_refused("short\n" SECRET, 0600, ERROR_INVALID, ": the first line has 5 bytes, and must have 16");
        assert_secret_refused("", 0600, ERROR_INVALID, ": the first line has 0 bytes, and must have 16");
        assert_secret_refused(SECRET "\x01", 0600, ERROR_INVALID, ": the first line holds a control character");
        assert_int_equal(secret_read(scratch_path("none"), 16, &secret, &err), -1);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
        assert_int_equal(err.n_hints, 1);
}

static void a_secret_behind_a_symbolic_link_is_told_so(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct buffer secret;
        char text[600];
        buffer_init(&secret, SECRET_MAX);
        scratch_write("secret", SECRET);
        assert_int_equal(symlink("secret", scratch_path("link")), 0);
        assert_int_equal(secret_read(scratch_path("link"), 16, &secret, &err), -1);
        snprintf(text, sizeof(text), "%s: is a symbolic link", scratch_path("link"));
        assert_error(err, ERROR_INVALID, text);
        assert_string_equal(err.hints[0], "name the file to which it leads in controller.yaml");
        assert_int_equal(err.n_hints, 1);
}

static void a_webhook_that_cannot_be_signed_is_not_sent_and_kept_for_later(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct webhook *webhook;
        char text[600];
        const struct webhook_target target = {(char[]){"http://127.0.0.1:1/token"}, (char *) scratch_path("none")};
        assert_int_equal(webhook_new(&target, NULL, 0, "{}", 2, &webhook, &err), 0);
        assert_int_equal(webhook_post(webhook), -1);
        snprintf(text, sizeof(text), "webhook http://127.0.0.1:1: %s: No such file or directory", scratch_path("none"));
        assert_error(webhook->error, ERROR_NOT_FOUND, text);
        assert_int_equal(webhook->outcome, OUTCOME_LATER);
        webhook_free(webhook);
}

static void on_done(struct webhook *webhook, void *data) {
        (void) webhook;
        ++*(int *) data;
}

static void what_nobody_listens_to_is_kept_for_later_and_told_on_the_loop(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct webhook *webhook;
        uv_loop_t loop;
        int done = 0;
        scratch_write("secret", SECRET);
        const struct webhook_target target = {(char[]){"http://127.0.0.1:1/token"}, (char *) scratch_path("secret")};
        assert_int_equal(webhook_new(&target, NULL, 0, "{}", 2, &webhook, &err), 0);
        uv_loop_init(&loop);
        webhook_start(webhook, &loop, on_done, &done);
        assert_int_equal(done, 0);
        uv_run(&loop, UV_RUN_DEFAULT);
        assert_int_equal(done, 1);
        assert_error(webhook->error, ERROR_UNREACHABLE, "webhook: http://127.0.0.1:1: no connection");
        assert_int_equal(webhook->outcome, OUTCOME_LATER);
        webhook_free(webhook);
        assert_int_equal(uv_loop_close(&loop), 0);
}

static void a_body_over_the_bound_is_refused(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct webhook *webhook;
        const struct webhook_target target = {(char[]){"http://127.0.0.1:1/"}, (char[]){"/s"}};
        assert_int_equal(webhook_new(&target, NULL, 0, "", WEBHOOK_BODY_MAX + 1, &webhook, &err), -1);
        assert_error(err, ERROR_TOO_LARGE, "a webhook's body has 8388609 bytes, and may have 8388608");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_body_is_signed_with_its_time),
                cmocka_unit_test(an_item_of_the_settings_is_an_url_and_a_file),
                cmocka_unit_test(odd_items_are_refused_and_their_urls_not_shown),
                cmocka_unit_test_setup_teardown(a_secret_is_the_first_line_of_a_file, scratch_make, scratch_remove),
                cmocka_unit_test_setup_teardown(a_secret_that_all_may_read_or_that_is_none_is_refused, scratch_make,
                                                scratch_remove),
                cmocka_unit_test_setup_teardown(a_secret_behind_a_symbolic_link_is_told_so, scratch_make,
                                                scratch_remove),
                cmocka_unit_test_setup_teardown(a_webhook_that_cannot_be_signed_is_not_sent_and_kept_for_later,
                                                scratch_make, scratch_remove),
                cmocka_unit_test_setup_teardown(what_nobody_listens_to_is_kept_for_later_and_told_on_the_loop,
                                                scratch_make, scratch_remove),
                cmocka_unit_test(a_body_over_the_bound_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
