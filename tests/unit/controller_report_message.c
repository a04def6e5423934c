// SPDX-License-Identifier: LGPL-2.1-or-later
/* A mail as bytes: what stands in its headers, how long its lines are, and what may not get in. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "controller/report/message.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *to[] = {(char[]){"admin@example.org"}};
static const struct message plain = {.from = "drover <drover@example.org>",
                                     .to = to,
                                     .n_to = 1,
                                     .subject = "Backups of lyon: 12 saved",
                                     .text = "All is well.\n",
                                     .html = "<p>All is well.</p>\n",
                                     .date = 1795339070,
                                     .id = "run-4711"};

static char *formatted(const struct message *message) {
        struct error err = ERROR_INIT;
        struct buffer bytes;
        buffer_init(&bytes, 0);
        if (message_format(message, &bytes, &err) < 0)
                fail_msg("%s", err.message);
        return buffer_steal_text(&bytes);
}

static void assert_refused(const struct message *message, enum error_code code, const char *text) {
        struct error err = ERROR_INIT;
        struct buffer bytes;
        buffer_init(&bytes, 0);
        assert_int_equal(message_format(message, &bytes, &err), -1);
        assert_int_equal(err.code, code);
        assert_string_equal(err.message, text);
        assert_int_equal(bytes.length, 0);
        buffer_fini(&bytes);
}

// No line of more than 78 characters, all of it ASCII, each line ended as it must be.
static void assert_well_formed(const char *mail) {
        size_t column = 0;
        for (const char *c = mail; *c; c++) {
                assert_in_range((unsigned char) *c, 1, 126);
                assert_true((*c == '\r') == (c[1] == '\n'));
                column = *c == '\n' ? 0 : column + (*c != '\r');
                assert_in_range(column, 0, 78);
        }
}

static void a_mail_has_a_text_and_an_html_part(void **state) {
        (void) state;
        char *mail = formatted(&plain);
        assert_string_equal(mail, "From: drover <drover@example.org>\r\n"
                                  "To: admin@example.org\r\n"
                                  "Subject: Backups of lyon: 12 saved\r\n"
                                  "Date: Sun, 22 Nov 2026 09:17:50 +0000\r\n"
                                  "Message-ID: <run-4711@example.org>\r\n"
                                  "Auto-Submitted: auto-generated\r\n"
                                  "MIME-Version: 1.0\r\n"
                                  "Content-Type: multipart/alternative; boundary=\"=_drover\"\r\n"
                                  "\r\n"
                                  "--=_drover\r\n"
                                  "Content-Type: text/plain; charset=utf-8\r\n"
                                  "Content-Transfer-Encoding: quoted-printable\r\n"
                                  "\r\n"
                                  "All is well.\r\n"
                                  "\r\n"
                                  "--=_drover\r\n"
                                  "Content-Type: text/html; charset=utf-8\r\n"
                                  "Content-Transfer-Encoding: quoted-printable\r\n"
                                  "\r\n"
                                  "<p>All is well.</p>\r\n"
                                  "\r\n"
                                  "--=_drover--\r\n");
        assert_well_formed(mail);
        free(mail);
}

static void nothing_in_a_value_begins_a_line_of_its_own(void **state) {
        (void) state;
        static const char *const bad[] = {"a\r\nBcc: x@example.org", "a\nb", "a\rb", "a\tb", "a\x7f", "a\xc2\x85z",
                                          "a\xe2\x80\xa8z"};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                char address[128], *list[] = {address};
                struct message message = plain;
                message.subject = bad[i];
                assert_refused(&message, ERROR_INVALID,
                               "mail: the subject holds a line's end or another control character");
                snprintf(address, sizeof(address), "%s <a@example.org>", bad[i]);
                message = plain;
                message.from = address;
                assert_refused(&message, ERROR_INVALID,
                               "mail: the sender: an address holds a line's end or another control character");
                message = plain;
                message.to = list;
                assert_refused(&message, ERROR_INVALID,
                               "mail: recipient 1: an address holds a line's end or another control character");
                message = plain;
                message.id = bad[i];
                assert_refused(&message, ERROR_INVALID, "mail: the id of a mail is not made of letters and digits");
        }
}

static void what_is_not_utf_8_is_refused(void **state) {
        (void) state;
        struct message message = plain;
        message.subject = "caf\xe9";
        assert_refused(&message, ERROR_INVALID, "mail: the subject is not UTF-8");
        message = plain;
        message.text = "caf\xe9";
        assert_refused(&message, ERROR_INVALID, "mail: the text is not UTF-8");
        message = plain;
        message.html = "\xed\xa0\x80";
        assert_refused(&message, ERROR_INVALID, "mail: the HTML is not UTF-8");
}

static void what_is_too_long_is_refused(void **state) {
        (void) state;
        struct message message = plain;
        char subject[MESSAGE_SUBJECT_MAX + 2] = {0}, *text = malloc(MESSAGE_PART_MAX + 2);
        memset(subject, 'a', sizeof(subject) - 1);
        memset(text, 'a', MESSAGE_PART_MAX + 1);
        text[MESSAGE_PART_MAX + 1] = '\0';
        message.subject = subject;
        assert_refused(&message, ERROR_TOO_LARGE, "mail: the subject has 401 bytes, and may have 400");
        message = plain;
        message.text = text;
        assert_refused(&message, ERROR_TOO_LARGE, "mail: the text has 8388609 bytes, and may have 8388608");
        message = plain;
        message.n_to = 0;
        assert_refused(&message, ERROR_INVALID, "mail: a mail goes to 1 to 100 recipients");
        message.n_to = 101;
        assert_refused(&message, ERROR_INVALID, "mail: a mail goes to 1 to 100 recipients");
        free(text);
}

static void the_largest_parts_fit(void **state) {
        (void) state;
        struct message message = plain;
        char *text = malloc(MESSAGE_PART_MAX + 1);
        memset(text, '=', MESSAGE_PART_MAX);
        text[MESSAGE_PART_MAX] = '\0';
        message.text = message.html = text;
        char *mail = formatted(&message);
        assert_in_range(strlen(mail), 6u * MESSAGE_PART_MAX, MESSAGE_MAX);
        free(mail);
        free(text);
}

static void a_subject_in_another_language_is_encoded_and_cut_between_its_characters(void **state) {
        (void) state;
        struct message message = plain;
        message.subject = "Sauvegardes à Genève";
        char *mail = formatted(&message);
        assert_non_null(strstr(mail, "Subject: =?UTF-8?B?U2F1dmVnYXJkZXMgw6AgR2Vuw6h2ZQ==?=\r\n"));
        free(mail);
        message.subject = "備份備份備份備份備份備份備份備份";
        mail = formatted(&message);
        assert_non_null(strstr(mail,
                               "Subject: =?UTF-8?B?5YKZ5Lu95YKZ5Lu95YKZ5Lu95YKZ5Lu95YKZ5Lu95YKZ5Lu95YKZ5Lu9?=\r\n "
                               "=?UTF-8?B?5YKZ5Lu9?=\r\n"));
        assert_well_formed(mail);
        free(mail);
}

static void what_looks_encoded_is_encoded(void **state) {
        (void) state;
        struct message message = plain;
        message.subject = "=?UTF-8?B?QQ==?=";
        char *mail = formatted(&message);
        assert_non_null(strstr(mail, "Subject: =?UTF-8?B?PT9VVEYtOD9CP1FRPT0/PQ==?=\r\n"));
        free(mail);
}

static void long_headers_are_folded(void **state) {
        (void) state;
        struct message message = plain;
        static char somebody[] = "Somebody of the Night Watch <night-watch@example.org>";
        char *people[MESSAGE_RECIPIENTS_MAX], subject[MESSAGE_SUBJECT_MAX + 1];
        for (size_t i = 0; i < MESSAGE_RECIPIENTS_MAX; i++)
                people[i] = somebody;
        memset(subject, 'a', MESSAGE_SUBJECT_MAX);
        subject[MESSAGE_SUBJECT_MAX] = '\0';
        message.to = people;
        message.n_to = MESSAGE_RECIPIENTS_MAX;
        message.subject = subject;
        char *mail = formatted(&message);
        assert_well_formed(mail);
        free(mail);
        for (size_t i = 9; i < MESSAGE_SUBJECT_MAX; i += 10)
                subject[i] = ' ';
        subject[MESSAGE_SUBJECT_MAX - 1] = 'a';
        mail = formatted(&message);
        assert_well_formed(mail);
        assert_null(strstr(mail, "Subject: =?"));
        free(mail);
}

static void a_name_that_is_more_than_words_is_encoded(void **state) {
        (void) state;
        struct message message = plain;
        message.from = "\"Watch, Night <a@example.com>\" <drover@example.org>";
        char *mail = formatted(&message);
        assert_non_null(strstr(
                mail, "From: =?UTF-8?B?V2F0Y2gsIE5pZ2h0IDxhQGV4YW1wbGUuY29tPg==?=\r\n <drover@example.org>\r\n"));
        free(mail);
}

static void parts_are_quoted_where_they_must_be(void **state) {
        (void) state;
        struct message message = plain;
        message.text = ".\r\nFrom here\na = b \nend\t\nnul: \x01 \xc3\xa9";
        char *mail = formatted(&message);
        assert_non_null(
                strstr(mail, "\r\n\r\n=2E\r\n=46rom here\r\na =3D b=20\r\nend=09\r\nnul: =01 =C3=A9\r\n--=_drover"));
        free(mail);
}

static void long_lines_of_a_part_are_folded(void **state) {
        (void) state;
        char text[1001] = {0};
        struct message message = plain;
        message.text = text;
        for (unsigned seed = 0; seed < 64; seed++) {
                for (unsigned i = 0; i < 1000; i++)
                        text[i] = "ab =.\t"[(i * 7 + seed * i / 3 + seed) % 6];
                char *mail = formatted(&message);
                assert_well_formed(mail);
                assert_null(strstr(mail, "\r\n."));
                free(mail);
        }
}

static void a_mail_without_an_id_has_one_of_its_own(void **state) {
        (void) state;
        struct message message = plain;
        message.id = NULL;
        char *one = formatted(&message), *other = formatted(&message);
        char *at = strstr(one, "Message-ID: <");
        assert_non_null(at);
        assert_int_equal(strcspn(at, "@"), strlen("Message-ID: <") + 32);
        assert_string_not_equal(one, other);
        free(one);
        free(other);
}

static void addresses_are_split(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        char *address, *name;
        assert_int_equal(message_address("a.b+c@mail.example.org", &address, &name, &err), 0);
        assert_string_equal(address, "a.b+c@mail.example.org");
        assert_null(name);
        free(address);
        assert_int_equal(message_address("Zoé Night <zoe@example.org>", &address, &name, &err), 0);
        assert_string_equal(address, "zoe@example.org");
        assert_string_equal(name, "Zoé Night");
        free(address);
        free(name);
        assert_int_equal(message_address("<zoe@localhost>", &address, &name, &err), 0);
        assert_string_equal(address, "zoe@localhost");
        assert_null(name);
        free(address);
}

static void what_is_no_address_is_refused(void **state) {
        (void) state;
        static const char *const bad[] = {"",
                                          "a",
                                          "@",
                                          "a@",
                                          "@b",
                                          "a@b@c",
                                          "a b@c",
                                          "a@b c",
                                          "<a@b",
                                          "a@b>",
                                          "a@b> SIZE=1",
                                          "x <a@b> y",
                                          "a..b@c",
                                          ".a@c",
                                          "a.@c",
                                          "a@.c",
                                          "a@c..d",
                                          "a@c.",
                                          "a@-c",
                                          "-a@c",
                                          "zo\xc3\xa9@example.org",
                                          "a@g\xc3\xa9n.example",
                                          "a,b@c",
                                          "<a@b>,<c@d",
                                          "\"a\"@b"};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                struct error err = ERROR_INIT;
                char *address = NULL;
                if (message_address(bad[i], &address, NULL, &err) == 0)
                        fail_msg("%s passes as %s", bad[i], address);
                assert_int_equal(err.code, ERROR_INVALID);
                assert_int_equal(err.n_hints, 1);
                assert_null(address);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_mail_has_a_text_and_an_html_part),
                cmocka_unit_test(nothing_in_a_value_begins_a_line_of_its_own),
                cmocka_unit_test(what_is_not_utf_8_is_refused),
                cmocka_unit_test(what_is_too_long_is_refused),
                cmocka_unit_test(the_largest_parts_fit),
                cmocka_unit_test(a_subject_in_another_language_is_encoded_and_cut_between_its_characters),
                cmocka_unit_test(what_looks_encoded_is_encoded),
                cmocka_unit_test(long_headers_are_folded),
                cmocka_unit_test(a_name_that_is_more_than_words_is_encoded),
                cmocka_unit_test(parts_are_quoted_where_they_must_be),
                cmocka_unit_test(long_lines_of_a_part_are_folded),
                cmocka_unit_test(a_mail_without_an_id_has_one_of_its_own),
                cmocka_unit_test(addresses_are_split),
                cmocka_unit_test(what_is_no_address_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
