// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/repository/seal, key: what is sealed opens with its key only, and the key survives paper. */
#include "agent/repository/key.h"
#include "common/memory.h"
#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include "scratch.h"

static const char repository[] = "000102030405060708090a0b0c0d0e0f";

static struct seal_secret secret_of(uint8_t seed) {
        struct seal_secret secret;
        for (unsigned i = 0; i < SEAL_SECRET; i++)
                secret.bytes[i] = (uint8_t) (seed * (i + 1));
        return secret;
}

// RFC 5869 in the plainest way, for up to 32 bytes.
static void plain_hkdf(const uint8_t *secret, const uint8_t *salt, size_t n_salt, const char *info, uint8_t *ret) {
        static const uint8_t zeros[32];
        uint8_t key[32], text[64];
        size_t n = strlen(info);
        HMAC(EVP_sha256(), n_salt ? salt : zeros, n_salt ? (int) n_salt : 32, secret, 32, key, NULL);
        memcpy(text, info, n);
        text[n] = 1;
        HMAC(EVP_sha256(), key, 32, text, n + 1, ret, NULL);
}

static void keys_are_made_as_the_page_says(void **state) {
        (void) state;
        struct seal_secret secret = secret_of(7);
        uint8_t pack[16] = {1, 2, 3}, id[16], expected[32], check[LABEL_KEY_CHECK];
        struct chunk_key names;
        struct seal_pack seal;
        for (uint8_t i = 0; i < 16; i++)
                id[i] = i;
        seal_key_of_names(&secret, &names);
        plain_hkdf(secret.bytes, NULL, 0, "drover names", expected);
        assert_memory_equal(names.bytes, expected, 32);
        seal_pack_init(&seal, &secret, pack);
        plain_hkdf(secret.bytes, pack, 16, "drover pack", expected);
        assert_memory_equal(seal.key, expected, 32);
        seal_pack_fini(&seal);
        seal_key_check(&secret, repository, check);
        plain_hkdf(secret.bytes, id, 16, "drover check", expected);
        assert_memory_equal(check, expected, LABEL_KEY_CHECK);
}

static void every_byte_of_a_sealed_body_counts(void **state) {
        (void) state;
        struct seal_secret secret = secret_of(3), other = secret_of(5);
        uint8_t pack[16] = {9}, more[60] = {4, 5}, content[1000], sealed[1028], again[1028], back[1000];
        struct seal_pack seal, wrong;
        struct error err = ERROR_INIT;
        memset(content, 0x5a, sizeof content);
        seal_pack_init(&seal, &secret, pack);
        seal_pack_init(&wrong, &other, pack);
        assert_int_equal(seal.hook.encrypt(&seal.hook, more, 60, content, 1000, sealed, &err), 0);
        assert_int_equal(seal.hook.encrypt(&seal.hook, more, 60, content, 1000, again, &err), 0);
        assert_memory_not_equal(sealed, again, 12); // a nonce of its own
        assert_int_equal(seal.hook.decrypt(&seal.hook, more, 60, sealed, 1028, back, &err), 0);
        assert_memory_equal(back, content, 1000);
        for (unsigned i = 0; i < 1028; i += i < 20 || i > 1000 ? 1 : 97) {
                sealed[i] ^= 0x10;
                assert_int_equal(seal.hook.decrypt(&seal.hook, more, 60, sealed, 1028, back, &err), -1);
                assert_error(err, ERROR_CORRUPT, "the seal of the body is broken");
                assert_true(chunk_is_zero(back, 1000)); // nothing of it is left to be used
                sealed[i] ^= 0x10;
        }
        for (unsigned i = 0; i < 60; i++) {
                more[i] ^= 1;
                assert_int_equal(seal.hook.decrypt(&seal.hook, more, 60, sealed, 1028, back, &err), -1);
                more[i] ^= 1;
        }
        assert_int_equal(seal.hook.decrypt(&seal.hook, more, 60, sealed, 27, back, &err), -1);
        assert_error(err, ERROR_CORRUPT, "27 bytes are no sealed body");
        assert_int_equal(wrong.hook.decrypt(&wrong.hook, more, 60, sealed, 1028, back, &err), -1);
        seal_pack_fini(&seal);
        seal_pack_fini(&wrong);
}

static void fault_76_a_lost_or_wrong_key_is_said_to_be_one(void **state) {
        (void) state;
        struct seal_secret secret = secret_of(3), other = secret_of(5);
        struct label label = {.sealed = true};
        struct error err = ERROR_INIT;
        memcpy(label.id, repository, sizeof repository);
        seal_key_check(&secret, label.id, label.key_check);
        assert_int_equal(seal_check_secret(&secret, &label, &err), 0);
        assert_int_equal(seal_check_secret(NULL, &label, &err), -1);
        assert_error(err, ERROR_NOT_FOUND,
                     "the repository 000102030405060708090a0b0c0d0e0f is sealed, and its key is not here");
        assert_string_equal(err.hints[0],
                            "the key was shown when the repository was made: look for the text or the picture");
        assert_int_equal(seal_check_secret(&other, &label, &err), -1);
        assert_error(err, ERROR_INVALID,
                     "this is the key of another repository, not of 000102030405060708090a0b0c0d0e0f");
        label.sealed = false;
        assert_int_equal(seal_check_secret(NULL, &label, &err), 0);
        assert_int_equal(seal_check_secret(&secret, &label, &err), -1);
        assert_error(err, ERROR_INVALID,
                     "the repository 000102030405060708090a0b0c0d0e0f is not sealed: there is no key to it");
}

// ---- on paper
static void a_key_is_read_however_it_was_typed(void **state) {
        (void) state;
        char text[KEY_TEXT], typed[2 * KEY_TEXT];
        struct error err = ERROR_INIT;
        for (unsigned seed = 0; seed < 200; seed++) {
                struct seal_secret secret = secret_of((uint8_t) seed), back = {{0}};
                key_print(&secret, text);
                assert_int_equal(strlen(text), KEY_TEXT - 1);
                assert_int_equal(key_parse(text, &back, &err), 0);
                assert_memory_equal(&secret, &back, sizeof back);
                size_t n = 0;
                for (const char *at = text; *at; at++) {
                        char c = (char) tolower(*at);
                        if (seed % 3 == 0 && *at == '-')
                                continue;
                        typed[n++] = *at == '-'                  ? (seed % 3 == 1 ? ' ' : '\n')
                                     : at > text + 6 && c == '0' ? 'o'
                                     : at > text + 6 && c == '1' ? 'l'
                                                                 : c;
                }
                typed[n++] = '\n';
                typed[n] = '\0';
                memset(&back, 0, sizeof back);
                if (key_parse(typed, &back, &err) < 0)
                        fail_msg("%s: %s", typed, err.message);
                assert_memory_equal(&secret, &back, sizeof back);
        }
}

static void the_text_of_a_key_stays_what_it_is(void **state) {
        (void) state;
        struct seal_secret secret = secret_of(1);
        char text[KEY_TEXT];
        key_print(&secret, text);
        assert_string_equal(
                text, "DROVER1-0410R-6105B-0R3GV-G28AM-1C606-T3GFZ-208HT-44RM8-2MB1M-E60SA-38DHW-R78YG-3WGBR-8ZXTT");
}

static void assert_group_is_named(const char *text, unsigned group) {
        struct seal_secret back;
        struct error err = ERROR_INIT;
        char expected[100];
        snprintf(expected, sizeof expected, "group %u of the key is not as it was written down", group + 1);
        assert_int_equal(key_parse(text, &back, &err), -1);
        assert_error(err, ERROR_INVALID, expected);
}

static void fault_76_each_mistake_names_its_group(void **state) {
        (void) state;
        static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        struct seal_secret secret = secret_of(11);
        char text[KEY_TEXT], wrong[KEY_TEXT];
        key_print(&secret, text);
        for (unsigned group = 0; group < KEY_GROUPS; group++) {
                unsigned at = 8 + 6 * group;
                for (unsigned i = 0; i < 5; i++) {
                        for (const char *c = alphabet; *c; c++) {
                                memcpy(wrong, text, sizeof text);
                                wrong[at + i] = *c;
                                if (*c != text[at + i])
                                        assert_group_is_named(wrong, group);
                        }
                        for (unsigned k = i + 1; k < 5; k++) {
                                memcpy(wrong, text, sizeof text);
                                wrong[at + i] = text[at + k];
                                wrong[at + k] = text[at + i];
                                if (wrong[at + i] != wrong[at + k])
                                        assert_group_is_named(wrong, group);
                        }
                }
                for (unsigned other = group + 1; other < KEY_GROUPS; other++) {
                        memcpy(wrong, text, sizeof text);
                        memcpy(wrong + at, text + 8 + 6 * other, 5);
                        memcpy(wrong + 8 + 6 * other, text + at, 5);
                        assert_group_is_named(wrong, group);
                }
        }
}

static void refuse(const char *text, const char *message) {
        struct seal_secret back = secret_of(1), before = back;
        struct error err = ERROR_INIT;
        assert_int_equal(key_parse(text, &back, &err), -1);
        assert_error(err, ERROR_INVALID, message);
        assert_string_equal(err.hints[0],
                            "a key is DROVER1 and 14 groups of 5 letters and digits; groups are counted from 1");
        assert_memory_equal(&back, &before, sizeof back);
}

static void what_is_no_key_is_refused(void **state) {
        (void) state;
        struct seal_secret one = secret_of(1), two = secret_of(2);
        char text[KEY_TEXT], mixed[KEY_TEXT + 8];
        key_print(&one, text);
        refuse("", "the key does not begin with DROVER1");
        refuse(text + 8, "the key does not begin with DROVER1");
        refuse("DROVER2-AAAAA", "the key is of a kind that this version of drover does not know: DROVER1 is expected");
        refuse("drover1", "the key ends after 0 of 14 groups");
        snprintf(mixed, sizeof mixed, "%s-00000", text);
        refuse(mixed, "the key has more than 14 groups");
        memcpy(mixed, text, sizeof text);
        mixed[8 + 6 * 3] = 'U';
        refuse(mixed, "group 4 of the key: character 1 is in no key");
        memcpy(mixed, text, 8 + 6 * 4 + 3);
        strcpy(mixed + 8 + 6 * 4 + 3, text + 8 + 6 * 4 + 4);
        refuse(mixed, "group 5 of the key has 4 characters, not 5");
        memcpy(mixed, text, 8 + 6 * 7 - 1);
        mixed[8 + 6 * 7 - 1] = '\0';
        refuse(mixed, "the key ends after 7 of 14 groups");
        key_print(&two, mixed);
        memcpy(mixed, text, 8 + 6 * 7);
        refuse(mixed, "each group of the key is right by itself, and all together are not: more than one mistake in a "
                      "group, or groups of two keys");
}

static void a_picture_is_whole(void **state) {
        (void) state;
        struct seal_secret secret = secret_of(11);
        struct error err = ERROR_INIT;
        char text[KEY_TEXT];
        struct buffer ansi, svg;
        buffer_init(&ansi, 0);
        buffer_init(&svg, 0);
        key_print(&secret, text);
        assert_int_equal(key_draw_ansi(text, &ansi, &err), 0);
        assert_int_equal(key_draw_svg(text, &svg, &err), 0);
        char *lines = buffer_steal_text(&ansi), *picture = buffer_steal_text(&svg);
        unsigned n = 0;
        int side = 0;
        for (const char *at = lines; *at; at++)
                n += *at == '\n';
        assert_non_null(strstr(picture, "viewBox=\"0 0 "));
        assert_int_equal(sscanf(strstr(picture, "viewBox=\"0 0 "), "viewBox=\"0 0 %d", &side), 1);
        assert_int_equal((side - 2 * 4 - 17) % 4, 0); // 17 + 4 * version modules, and the margin
        assert_int_equal(n, (side + 1) / 2);
        assert_non_null(strstr(picture, "\"M4 4h1v1h-1zM5 4h1")); // the upper left corner is dark
        assert_string_equal(picture + strlen(picture) - 7, "</svg>\n");
        assert_null(strstr(picture, text));
        free(lines);
        free(picture);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(keys_are_made_as_the_page_says),
                cmocka_unit_test(every_byte_of_a_sealed_body_counts),
                cmocka_unit_test(fault_76_a_lost_or_wrong_key_is_said_to_be_one),
                cmocka_unit_test(a_key_is_read_however_it_was_typed),
                cmocka_unit_test(the_text_of_a_key_stays_what_it_is),
                cmocka_unit_test(fault_76_each_mistake_names_its_group),
                cmocka_unit_test(what_is_no_key_is_refused),
                cmocka_unit_test(a_picture_is_whole),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
