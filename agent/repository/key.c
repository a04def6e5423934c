// SPDX-License-Identifier: LGPL-2.1-or-later
/* A secret as text (see key.h). Pure, any thread. */
#include "agent/repository/key.h"
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define PREFIX   "DROVER"
#define VERSION  '1'
#define SYMBOLS  4u // of a group, before the one that checks them
#define SUM      3u // bytes
#define GROUP    (SYMBOLS + 1)
#define ALL_BITS (8 * (SEAL_SECRET + SUM))
_Static_assert(ALL_BITS == 5 * SYMBOLS * KEY_GROUPS, "nothing is left over");

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static void sum_of(const struct seal_secret *secret, uint8_t ret_sum[SUM]) {
        static const char domain[] = "drover key 1";
        uint8_t text[sizeof domain - 1 + SEAL_SECRET], hash[SHA256_DIGEST_LENGTH];
        memcpy(text, domain, sizeof domain - 1);
        memcpy(text + sizeof domain - 1, secret->bytes, SEAL_SECRET);
        SHA256(text, sizeof text, hash);
        memcpy(ret_sum, hash, SUM);
        OPENSSL_cleanse(text, sizeof text);
        OPENSSL_cleanse(hash, sizeof hash);
}

// Twice this element of the field.
static unsigned twice(unsigned element) {
        return element & 16 ? (element << 1 ^ 0x29) : element << 1;
}

static unsigned check_of(const uint8_t symbols[SYMBOLS], unsigned group) {
        unsigned sum = 0;
        for (unsigned i = SYMBOLS; i-- > 0;)
                sum = twice(sum ^ symbols[i]);
        return sum ^ group;
}

static void get_symbols(const uint8_t *bytes, unsigned group, uint8_t ret_symbols[SYMBOLS]) {
        for (unsigned i = 0; i < SYMBOLS; i++) {
                ret_symbols[i] = 0;
                for (unsigned b = 0; b < 5; b++) {
                        unsigned bit = (group * SYMBOLS + i) * 5 + b;
                        ret_symbols[i] = (uint8_t) (ret_symbols[i] << 1 | (bytes[bit / 8] >> (7 - bit % 8) & 1));
                }
        }
}

static void put_symbols(uint8_t *bytes, unsigned group, const uint8_t symbols[SYMBOLS]) {
        for (unsigned i = 0; i < SYMBOLS; i++)
                for (unsigned b = 0; b < 5; b++) {
                        unsigned bit = (group * SYMBOLS + i) * 5 + b;
                        if (symbols[i] >> (4 - b) & 1)
                                bytes[bit / 8] |= (uint8_t) (0x80 >> bit % 8);
                }
}

void key_print(const struct seal_secret *secret, char ret_text[KEY_TEXT]) {
        uint8_t bytes[SEAL_SECRET + SUM], symbols[SYMBOLS];
        char *at = ret_text + sprintf(ret_text, PREFIX "%c", VERSION);
        memcpy(bytes, secret->bytes, SEAL_SECRET);
        sum_of(secret, bytes + SEAL_SECRET);
        for (unsigned group = 0; group < KEY_GROUPS; group++) {
                get_symbols(bytes, group, symbols);
                *at++ = '-';
                for (unsigned i = 0; i < SYMBOLS; i++)
                        *at++ = alphabet[symbols[i]];
                *at++ = alphabet[check_of(symbols, group)];
        }
        *at = '\0';
        OPENSSL_cleanse(bytes, sizeof bytes);
        OPENSSL_cleanse(symbols, sizeof symbols);
}

// ---- reading what was typed
static bool is_gap(char c) {
        return c == '-' || c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static int symbol_of(char c) {
        char upper = c >= 'a' && c <= 'z' ? (char) (c - 'a' + 'A') : c;
        const char *at = strchr(alphabet, upper == 'O' ? '0' : upper == 'I' || upper == 'L' ? '1' : upper);
        return upper && at ? (int) (at - alphabet) : -1;
}

static int wrong(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int wrong(struct error *err, const char *format, ...) {
        va_list args;
        va_start(args, format);
        error_setv(err, ERROR_INVALID, format, args);
        va_end(args);
        error_hint(err, "a key is DROVER1 and %u groups of %u letters and digits; groups are counted from 1",
                   KEY_GROUPS, GROUP);
        return -1;
}

static int skip_prefix(const char **text, struct error *err) {
        const char *at = *text;
        while (is_gap(*at))
                at++;
        if (strncasecmp(at, PREFIX, strlen(PREFIX)) != 0)
                return wrong(err, "the key does not begin with DROVER1");
        at += strlen(PREFIX);
        if (*at != VERSION)
                return wrong(err,
                             "the key is of a kind that this version of drover does not know: " PREFIX "%c is expected",
                             VERSION);
        *text = at + 1;
        return 0;
}

// Where the group begins. Without gaps in the text, groups are counted off.
static int next_group(const char **text, bool gaps, unsigned group, const char **ret_group, struct error *err) {
        const char *at = *text;
        size_t length = 0;
        while (is_gap(*at))
                at++;
        while (at[length] && !is_gap(at[length]) && (gaps || length < GROUP))
                length++;
        if (length == 0)
                return wrong(err, "the key ends after %u of %u groups", group, KEY_GROUPS);
        if (length != GROUP)
                return wrong(err, "group %u of the key has %zu characters, not %u", group + 1, length, GROUP);
        *ret_group = at;
        *text = at + length;
        return 0;
}

static int read_group(const char *text, unsigned group, uint8_t *bytes, struct error *err) {
        uint8_t symbols[GROUP];
        for (unsigned i = 0; i < GROUP; i++) {
                int symbol = symbol_of(text[i]);
                if (symbol < 0)
                        return wrong(err, "group %u of the key: character %u is in no key", group + 1, i + 1);
                symbols[i] = (uint8_t) symbol;
        }
        bool right = check_of(symbols, group) == symbols[SYMBOLS];
        put_symbols(bytes, group, symbols);
        OPENSSL_cleanse(symbols, sizeof symbols);
        return right ? 0 : wrong(err, "group %u of the key is not as it was written down", group + 1);
}

static bool has_gaps(const char *text) {
        while (is_gap(*text))
                text++;
        while (*text && !is_gap(*text))
                text++;
        while (is_gap(*text))
                text++;
        return *text;
}

static int read_groups(const char *text, uint8_t *bytes, struct error *err) {
        bool gaps = has_gaps(text);
        for (unsigned group = 0; group < KEY_GROUPS; group++) {
                const char *at = NULL;
                if (next_group(&text, gaps, group, &at, err) < 0 || read_group(at, group, bytes, err) < 0)
                        return -1;
        }
        while (is_gap(*text))
                text++;
        return *text ? wrong(err, "the key has more than %u groups", KEY_GROUPS) : 0;
}

int key_parse(const char *text, struct seal_secret *ret_secret, struct error *err) {
        uint8_t bytes[SEAL_SECRET + SUM] = {0}, sum[SUM];
        struct seal_secret secret;
        int result = skip_prefix(&text, err) < 0 || read_groups(text, bytes, err) < 0 ? -1 : 0;
        memcpy(secret.bytes, bytes, SEAL_SECRET);
        sum_of(&secret, sum);
        if (result == 0 && memcmp(sum, bytes + SEAL_SECRET, SUM) != 0)
                result = wrong(err, "each group of the key is right by itself, and all together are not: "
                                    "more than one mistake in a group, or groups of two keys");
        if (result == 0)
                *ret_secret = secret;
        seal_secret_fini(&secret);
        OPENSSL_cleanse(bytes, sizeof bytes);
        return result;
}
