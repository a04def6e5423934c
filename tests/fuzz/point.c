// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The texts of a repository, whoever wrote them. The first byte chooses: a restore point, with the right end put to
 * what comes, so that more than its hash is looked at; one as it comes; the text `repository`; a key as it is typed.
 * What is taken can be written down again, and means the same.
 */
#include "agent/repository/key.h"
#include "agent/repository/label.h"
#include "agent/repository/lines.h"
#include "agent/repository/point.h"
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool holds) {
        if (!holds)
                abort();
}

static void fuzz_point(const uint8_t *data, size_t size) {
        struct point *point = NULL, *again = NULL;
        struct error err = ERROR_INIT;
        struct buffer text;
        if (point_parse(data, size, &point, &err) < 0) {
                need(err.code == ERROR_CORRUPT || err.code == ERROR_VERSION);
                return;
        }
        buffer_init(&text, POINT_TEXT_MAX);
        need(point_print(point, &text, NULL) == 0 &&
             point_close_text(&text, point->proven ? point->proof : NULL, NULL) == 0 &&
             point_parse(text.data, text.length, &again, NULL) == 0 && strcmp(point->id, again->id) == 0 &&
             point->n_files == again->n_files && point->n_disks == again->n_disks && point->n_facts == again->n_facts);
        buffer_fini(&text);
        point_free(point);
        point_free(again);
}

static void fuzz_closed_point(const uint8_t *data, size_t size) {
        uint8_t hash[32];
        char hex[65];
        struct buffer text;
        buffer_init(&text, 0);
        SHA256(data, size, hash);
        lines_to_hex(hash, sizeof hash, hex);
        need(buffer_append(&text, data, size, NULL) == 0 && buffer_appendf(&text, NULL, "end %s\n", hex) == 0);
        fuzz_point(text.data, text.length);
        buffer_fini(&text);
}

static void fuzz_label(const uint8_t *data, size_t size) {
        struct label label;
        struct error err = ERROR_INIT;
        struct buffer text;
        if (label_parse(data, size, &label, &err) < 0) {
                need(err.code == ERROR_CORRUPT || err.code == ERROR_VERSION);
                return;
        }
        buffer_init(&text, 0);
        need(label_print(&label, &text, NULL) == 0 && text.length == size && memcmp(text.data, data, size) == 0);
        buffer_fini(&text);
}

static void fuzz_key(const uint8_t *data, size_t size) {
        char *typed = strndup((const char *) data, size), text[KEY_TEXT];
        struct seal_secret secret, again;
        if (key_parse(typed, &secret, NULL) == 0) {
                key_print(&secret, text);
                need(key_parse(text, &again, NULL) == 0 && memcmp(&secret, &again, sizeof again) == 0);
        }
        free(typed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (size < 1)
                return 0;
        switch (data[0] % 4) {
        case 0:
                fuzz_closed_point(data + 1, size - 1);
                break;
        case 1:
                fuzz_point(data + 1, size - 1);
                break;
        case 2:
                fuzz_label(data + 1, size - 1);
                break;
        default:
                fuzz_key(data + 1, size - 1);
        }
        return 0;
}
