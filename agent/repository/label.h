// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The text `repository` of a repository's directory: what it is, written once. Pure functions, any thread.
 */
#include "common/buffer.h"

#define LABEL_TEXT_MAX  4096u
#define LABEL_VERSION   1
#define LABEL_ID        16 // bytes
#define LABEL_ID_HEX    33
#define LABEL_KEY_CHECK 16
#define LABEL_TIME      21 // "2026-11-22T08:00:00Z" and its NUL

struct label {
        char id[LABEL_ID_HEX]; // lower-case hex digits
        char created[LABEL_TIME];
        bool sealed;                        // the names are HMACs and the groups AES-256-GCM
        uint8_t key_check[LABEL_KEY_CHECK]; // of a sealed one
};

// ERROR_VERSION for a version, a word or a kind of names or of sealing that this program does not know, by its name;
// ERROR_CORRUPT for anything else that is not as it should be.
int label_parse(const void *text, size_t length, struct label *ret_label, struct error *err);
int label_print(const struct label *label, struct buffer *text, struct error *err); // appends
