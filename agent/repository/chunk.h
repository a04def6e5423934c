// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What content in a repository is called. A disk is cut at multiples of CHUNK_BYTES; a chunk's name is the SHA-256 of
 * its content or, in a sealed repository, the HMAC-SHA-256 under the key of names, and 32 zero bytes when it holds
 * nothing but zeros. Equal names are equal content. Any thread; each keeps its own state of OpenSSL until it ends.
 */
#include "common/error.h"
#include <stdint.h>
#include <string.h>

#define CHUNK_BYTES 65536u // the longest; the last one of a disk or file may be shorter
#define CHUNK_NAME  32
#define CHUNK_HEX   65 // of a name, with its NUL

struct chunk_name {
        uint8_t bytes[CHUNK_NAME];
};
// The key of names of a sealed repository.
struct chunk_key {
        uint8_t bytes[32];
};
extern const struct chunk_name chunk_zero_name;

bool chunk_is_zero(const void *content, size_t length); // nothing but zeros, or nothing at all
// 1 to CHUNK_BYTES bytes. key NULL: the repository is not sealed.
struct chunk_name chunk_name_of(const void *content, size_t length, const struct chunk_key *key);

static inline bool chunk_name_equal(const struct chunk_name *a, const struct chunk_name *b) {
        return memcmp(a->bytes, b->bytes, CHUNK_NAME) == 0;
}
static inline int chunk_name_compare(const struct chunk_name *a, const struct chunk_name *b) {
        return memcmp(a->bytes, b->bytes, CHUNK_NAME);
}
static inline bool chunk_name_is_zero(const struct chunk_name *name) {
        return chunk_name_equal(name, &chunk_zero_name);
}
void chunk_name_to_hex(const struct chunk_name *name, char ret_hex[CHUNK_HEX]); // lower case
// The first 64 characters of text, which must be lower-case hex digits; what follows them is not looked at.
// false: they are not, and *ret_name is as it was.
bool chunk_name_from_hex(const char *text, struct chunk_name *ret_name);
