// SPDX-License-Identifier: LGPL-2.1-or-later
/* What a repository is, as text (see label.h). Pure functions, any thread. */
#include "agent/repository/label.h"
#include "agent/repository/lines.h"
#include <stdio.h>
#include <string.h>

static int unknown(struct error *err, const char *what) {
        error_set(err, ERROR_VERSION, "%s is unknown to this version of drover", what);
        error_hint(err, "a newer drover can use this repository; this one is %s", DROVER_VERSION);
        return -1;
}

static int parse_version(struct lines *lines, struct error *err) {
        struct line line;
        char text[32], what[96];
        if (lines_expect(lines, "drover-repository", &line, err) < 0)
                return -1;
        if (!line_text(&line, text, sizeof text))
                return lines_wrong(lines, err, "this is not a version");
        snprintf(what, sizeof what, "version \"%s\" of a repository", text);
        return strcmp(text, "1") == 0 ? 0 : unknown(err, what);
}

static int parse_id(struct lines *lines, struct label *label, struct error *err) {
        struct line line;
        uint8_t bytes[LABEL_ID];
        if (lines_expect(lines, "id", &line, err) < 0)
                return -1;
        if (!lines_from_hex(line.value, line.length, bytes, sizeof bytes))
                return lines_wrong(lines, err, "the id is not 32 hex digits");
        lines_to_hex(bytes, sizeof bytes, label->id);
        if (lines_expect(lines, "created", &line, err) < 0)
                return -1;
        if (!line_text(&line, label->created, sizeof label->created) || !lines_is_time(label->created))
                return lines_wrong(lines, err, "this is not a time such as 2026-11-22T08:00:00Z");
        return 0;
}

// One of two values; *ret_second says which.
static int parse_choice(struct lines *lines, const char *word, const char *first, const char *second, bool *ret_second,
                        struct error *err) {
        struct line line;
        char text[64], what[128];
        if (lines_expect(lines, word, &line, err) < 0)
                return -1;
        if (!line_text(&line, text, sizeof text))
                return lines_wrong(lines, err, "the value is too long");
        snprintf(what, sizeof what, "\"%s %s\"", word, text);
        if (strcmp(text, first) != 0 && strcmp(text, second) != 0)
                return unknown(err, what);
        *ret_second = strcmp(text, second) == 0;
        return 0;
}

static int parse_sealing(struct lines *lines, struct label *label, struct error *err) {
        struct line line;
        bool keyed;
        if (parse_choice(lines, "names", "sha256", "hmac-sha256", &keyed, err) < 0 ||
            parse_choice(lines, "seal", "none", "aes-256-gcm", &label->sealed, err) < 0)
                return -1;
        if (keyed != label->sealed)
                return lines_wrong(lines, err, "a repository is sealed with keyed names, or neither");
        if (!label->sealed)
                return 0;
        if (lines_expect(lines, "key-check", &line, err) < 0)
                return -1;
        if (!lines_from_hex(line.value, line.length, label->key_check, sizeof label->key_check))
                return lines_wrong(lines, err, "the check of the key is not 32 hex digits");
        return 0;
}

int label_parse(const void *text, size_t length, struct label *ret_label, struct error *err) {
        struct lines lines;
        struct line line;
        struct label label = {.sealed = false};
        char what[LINES_WORD_MAX + 16];
        if (length > LABEL_TEXT_MAX)
                return error_set(err, ERROR_CORRUPT, "it is longer than %u bytes", LABEL_TEXT_MAX);
        lines_init(&lines, text, length);
        if (parse_version(&lines, err) < 0 || parse_id(&lines, &label, err) < 0 ||
            parse_sealing(&lines, &label, err) < 0)
                return -1;
        int more = lines_next(&lines, &line, err);
        if (more < 0)
                return -1;
        if (more > 0) {
                snprintf(what, sizeof what, "the word \"%s\"", line.word);
                return unknown(err, what);
        }
        *ret_label = label;
        return 0;
}

int label_print(const struct label *label, struct buffer *text, struct error *err) {
        char check[2 * LABEL_KEY_CHECK + 1];
        if (buffer_appendf(text, err, "drover-repository %d\nid %s\ncreated %s\nnames %s\nseal %s\n", LABEL_VERSION,
                           label->id, label->created, label->sealed ? "hmac-sha256" : "sha256",
                           label->sealed ? "aes-256-gcm" : "none") < 0)
                return -1;
        if (!label->sealed)
                return 0;
        lines_to_hex(label->key_check, sizeof label->key_check, check);
        return buffer_appendf(text, err, "key-check %s\n", check);
}
