// SPDX-License-Identifier: LGPL-2.1-or-later
/* Mail without a server: the settings' checks, what cannot be reached, and cancelling. The rest:
 * integration/test_mail.py. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "controller/report/mail.h"
#include "controller/settings.h"
#include "scratch.h"

static char *to[] = {(char[]){"one@example.org"}, (char[]){"Two <two@example.org>"}};
static const struct mail_server nowhere = {.url = "smtp://127.0.0.1:1", .starttls = true};

static void assert_server_refused(struct mail_server server, const char *text) {
        struct error err = ERROR_INIT;
        assert_int_equal(mail_server_check(&server, &err), -1);
        assert_string_equal(err.message, text);
        assert_int_equal(err.code, ERROR_INVALID);
}

static void odd_servers_are_refused_by_their_keys(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        assert_server_refused((struct mail_server){.url = "mail.example.org"},
                              "mail_server: not a URL of the kinds smtp,smtps");
        assert_server_refused((struct mail_server){.url = "http://mail.example.org"},
                              "mail_server: not a URL of the kinds smtp,smtps");
        assert_server_refused((struct mail_server){.url = "smtp://mail.example.org/me"},
                              "mail_server: nothing may stand behind the host and port");
        assert_server_refused((struct mail_server){.url = "smtp://u:p@mail.example.org"},
                              "mail_server: a user and a password have no place in a URL");
        assert_server_refused((struct mail_server){.url = "smtp://mail.example.org", .user = "u", .starttls = true},
                              "mail_user and mail_password_file go together");
        assert_server_refused(
                (struct mail_server){.url = "smtp://mail.example.org", .user = "u", .password_file = "/p"},
                "mail_user wants TLS: the password would pass in clear");
        assert_int_equal(
                mail_server_check(&(struct mail_server){.url = "smtps://[::1]:465", .user = "u", .password_file = "/p"},
                                  &err),
                0);
        assert_int_equal(
                mail_server_check(&(struct mail_server){.url = "SMTPS://[::1]:465", .user = "u", .password_file = "/p"},
                                  &err),
                0);
}

static void who_cannot_be_reached_is_kept_for_later(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct mail *mail;
        assert_int_equal(mail_new(&nowhere, "drover@example.org", to, 2, "x", 1, &mail, &err), 0);
        assert_int_equal(mail_send(mail, &err), -1);
        assert_string_equal(err.message, "mail: 0 of 2 sent: one@example.org: smtp://127.0.0.1:1: no connection");
        assert_int_equal(err.code, ERROR_UNREACHABLE);
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(mail->recipients[i].outcome, OUTCOME_LATER);
                assert_string_equal(mail->recipients[i].error.message, "smtp://127.0.0.1:1: no connection");
                assert_string_equal(
                        mail->recipients[i].error.hints[0],
                        "is it running, is the port right, and does a firewall let the controller through?");
        }
        assert_string_equal(mail->recipients[1].address, "two@example.org");
        mail_free(mail);
}

static void without_its_files_nothing_is_sent(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct mail_server server = nowhere;
        struct mail *mail;
        char text[600];
        server.ca_file = scratch_path("none.pem");
        assert_int_equal(mail_new(&server, "drover@example.org", to, 1, "x", 1, &mail, &err), 0);
        assert_int_equal(mail_send(mail, &err), -1);
        snprintf(text, sizeof(text),
                 "mail: 0 of 1 sent: one@example.org: %s: the authorities' certificates cannot be read",
                 scratch_path("none.pem"));
        assert_string_equal(err.message, text);
        mail_free(mail);
        server = nowhere;
        server.user = "u";
        server.password_file = scratch_path("none");
        assert_int_equal(mail_new(&server, "drover@example.org", to, 1, "x", 1, &mail, &err), 0);
        assert_int_equal(mail_send(mail, &err), -1);
        snprintf(text, sizeof(text),
                 "mail: 0 of 1 sent: one@example.org: mail_password_file: %s: No such file or directory",
                 scratch_path("none"));
        assert_string_equal(err.message, text);
        mail_free(mail);
}

static void addresses_are_looked_at_before_anything_is_sent(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        char *odd[] = {(char[]){"a@example.org> SIZE=1"}};
        struct mail *mail;
        assert_int_equal(mail_new(&nowhere, "drover@example.org", odd, 1, "x", 1, &mail, &err), -1);
        assert_string_equal(err.message, "\"a@example.org> SIZE=1\" is not a mail address");
        assert_int_equal(mail_new(&nowhere, "drover", to, 1, "x", 1, &mail, &err), -1);
        assert_string_equal(err.message, "\"drover\" is not a mail address");
        assert_int_equal(mail_new(&nowhere, "drover@example.org", to, 0, "x", 1, &mail, &err), -1);
        assert_string_equal(err.message, "a mail goes to 1 to 100 recipients");
}

// ---- the controller's settings

static void assert_settings_refused(const char *yaml, const char *text) {
        struct error err = ERROR_INIT;
        struct settings settings;
        char whole[600];
        scratch_write("controller.yaml", yaml);
        assert_int_equal(settings_load(scratch_path("controller.yaml"), &settings, &err), -1);
        snprintf(whole, sizeof(whole), "%s: %s", scratch_path("controller.yaml"), text);
        assert_string_equal(err.message, whole);
        assert_int_equal(err.code, ERROR_INVALID);
}

static void settings_of_reports_that_do_not_go_together_are_refused(void **state) {
        (void) state;
        assert_settings_refused("mail_from: a@example.org\n",
                                "mail_server is missing, which the other keys of mail need");
        assert_settings_refused("mail_server: smtp://m\nmail_from: a@example.org\n",
                                "mail_server wants mail_from and mail_to, too");
        assert_settings_refused("mail_server: smtp://m\nmail_from: a\nmail_to: [b@example.org]\n",
                                "mail_from: \"a\" is not a mail address");
        assert_settings_refused("mail_server: smtp://m\nmail_from: a@example.org\nmail_to: [b]\n",
                                "mail_to: \"b\" is not a mail address");
        assert_settings_refused("mail_ca_file: ca.pem\n", "mail_ca_file is not a whole path, from / on");
        assert_settings_refused("mail_server: smtp://m\nmail_user: u\n",
                                "mail_user and mail_password_file go together");
        assert_settings_refused(
                "webhooks: [\"https://a.example/b\"]\n",
                "webhooks: a webhook has a URL, a space, and the whole path of the file with its secret");
}

static void settings_of_reports_are_read(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct settings settings;
        scratch_write("controller.yaml",
                      "mail_server: smtp://m:587\nmail_from: a@example.org\nmail_to: [b@example.org]\n"
                      "mail_user: u\nmail_password_file: /p\n"
                      "webhooks: [\"https://a.example/b /s\"]\n");
        if (settings_load(scratch_path("controller.yaml"), &settings, &err) < 0)
                fail_msg("%s", err.message);
        struct mail_server server = settings_mail_server(&settings);
        assert_string_equal(server.url, "smtp://m:587");
        assert_string_equal(server.user, "u");
        assert_string_equal(server.password_file, "/p");
        assert_null(server.ca_file);
        assert_true(server.starttls);
        settings_fini(&settings);
}

// ---- on the loop

static void on_done(struct mail *mail, void *data) {
        (void) mail;
        ++*(int *) data;
}

static void a_mail_that_was_cancelled_ends_all_the_same(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct mail *mail;
        uv_loop_t loop;
        int done = 0;
        uv_loop_init(&loop);
        assert_int_equal(mail_new(&nowhere, "drover@example.org", to, 2, "x", 1, &mail, &err), 0);
        mail_cancel(mail);
        mail_start(mail, &loop, on_done, &done);
        assert_int_equal(done, 0);
        uv_run(&loop, UV_RUN_DEFAULT);
        assert_int_equal(done, 1);
        for (unsigned i = 0; i < 2; i++) {
                assert_string_equal(mail->recipients[i].error.message, "smtp://127.0.0.1:1: cancelled");
                assert_int_equal(mail->recipients[i].error.code, ERROR_CANCELLED);
                assert_int_equal(mail->recipients[i].outcome, OUTCOME_LATER);
        }
        mail_free(mail);
        assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(odd_servers_are_refused_by_their_keys),
                cmocka_unit_test(who_cannot_be_reached_is_kept_for_later),
                cmocka_unit_test_setup_teardown(without_its_files_nothing_is_sent, scratch_make, scratch_remove),
                cmocka_unit_test(addresses_are_looked_at_before_anything_is_sent),
                cmocka_unit_test_setup_teardown(settings_of_reports_that_do_not_go_together_are_refused, scratch_make,
                                                scratch_remove),
                cmocka_unit_test_setup_teardown(settings_of_reports_are_read, scratch_make, scratch_remove),
                cmocka_unit_test(a_mail_that_was_cancelled_ends_all_the_same),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
