// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Join tokens (token.h): text that a person carries from one screen to another. No message here repeats the token: it
 * holds a secret. Pure, any thread.
 */
#include "proto/token.h"
#include "common/cleanup.h"
#include <stdlib.h>
#include <string.h>

DEFINE_CLEANUP(proto_free, ProtobufCMessage *)

#define PREFIX        "DRV1."
#define PREFIX_LENGTH (sizeof PREFIX - 1)
#define BYTES_MAX     (TOKEN_MAX / 4 * 3)
#define ADDRESSES_MAX 8
#define ADDRESS_MAX   260

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// ---- base64url without padding (RFC 4648, section 5) ----
static int base64_append(const uint8_t *bytes, size_t length, struct buffer *text, struct error *err) {
        for (size_t i = 0; i < length; i += 3) {
                size_t have = length - i < 3 ? length - i : 3;
                uint32_t group = (uint32_t) bytes[i] << 16;
                if (have > 1)
                        group |= (uint32_t) bytes[i + 1] << 8;
                if (have > 2)
                        group |= bytes[i + 2];
                char four[4];
                for (unsigned k = 0; k < 4; k++)
                        four[k] = alphabet[group >> (18 - 6 * k) & 63];
                if (buffer_append(text, four, have + 1, err) < 0)
                        return -1;
        }
        return 0;
}

// False on a character outside the alphabet, on an impossible length, and on left-over bits that are not zero, so that
// one token has one spelling.
static bool base64_decode(const char *text, size_t length, uint8_t *bytes, size_t *ret_length) {
        uint32_t bits = 0;
        unsigned have = 0;
        size_t n = 0;
        if (length % 4 == 1)
                return false;
        for (size_t i = 0; i < length; i++) {
                const char *place = text[i] ? strchr(alphabet, text[i]) : NULL;
                if (!place)
                        return false;
                bits = bits << 6 | (uint32_t) (place - alphabet);
                have += 6;
                if (have >= 8) {
                        have -= 8;
                        bytes[n++] = (uint8_t) (bits >> have);
                        bits &= (1u << have) - 1;
                }
        }
        *ret_length = n;
        return bits == 0;
}

// ---- what stands inside ----
static bool all_of(const char *text, size_t length, const char *allowed) {
        return length > 0 && strspn(text, allowed) >= length;
}

static bool port_ok(const char *text) {
        size_t length = strlen(text);
        if (length > 5 || !all_of(text, length, "0123456789") || text[0] == '0')
                return false;
        unsigned long port = strtoul(text, NULL, 10);
        return port >= 1 && port <= 65535;
}

static bool address_ok(const char *address) {
        const char *colon = strrchr(address, ':');
        if (strlen(address) > ADDRESS_MAX || !colon || !port_ok(colon + 1))
                return false;
        size_t length = (size_t) (colon - address);
        if (address[0] == '[')
                return length >= 4 && address[length - 1] == ']' &&
                       all_of(address + 1, length - 2, "0123456789abcdefABCDEF:.");
        return address[0] != '-' &&
               all_of(address, length, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-");
}

static int check(const Drover__JoinToken *token, struct error *err) {
        if (token->n_addresses < 1 || token->n_addresses > ADDRESSES_MAX)
                return error_set(err, ERROR_INVALID, "it names %zu addresses of the controller, not 1 to %d",
                                 token->n_addresses, ADDRESSES_MAX);
        for (size_t i = 0; i < token->n_addresses; i++)
                if (!address_ok(token->addresses[i]))
                        return error_set(err, ERROR_INVALID, "\"%.*s\" is not of the form host:port", ADDRESS_MAX,
                                         token->addresses[i]);
        if (token->authority_sha256.len != 32)
                return error_set(err, ERROR_INVALID, "its hash of the authority is %zu bytes long, not 32",
                                 token->authority_sha256.len);
        if (token->secret.len != 32)
                return error_set(err, ERROR_INVALID, "its secret is %zu bytes long, not 32", token->secret.len);
        size_t id_length = strlen(token->token_id);
        if (id_length > 64 || !all_of(token->token_id, id_length, alphabet))
                return error_set(err, ERROR_INVALID, "its id is not 1 to 64 letters and digits");
        return 0;
}

int token_encode(const Drover__JoinToken *token, struct buffer *text, struct error *err) {
        _cleanup_(buffer_fini) struct buffer bytes;
        buffer_init(&bytes, BYTES_MAX);
        if (check(token, err) < 0 || proto_pack(&token->base, &bytes, err) < 0)
                return error_prefix(err, "make a join token");
        if (PREFIX_LENGTH + (bytes.length * 4 + 2) / 3 > TOKEN_MAX)
                return error_set(err, ERROR_TOO_LARGE, "make a join token: longer than %d characters", TOKEN_MAX);
        int result = buffer_append_text(text, PREFIX, err);
        return result < 0 ? -1 : base64_append(bytes.data, bytes.length, text, err);
}

static int not_a_token(struct error *err, const char *why) {
        error_set(err, ERROR_INVALID, "this is not a join token: %s", why);
        error_hint(err, "paste the whole line that `drover host invite` or `drover user invite` printed");
        return -1;
}

int token_decode(const char *text, Drover__JoinToken **ret, struct error *err) {
        static const char space[] = " \t\r\n";
        uint8_t bytes[BYTES_MAX];
        size_t n;
        text += strspn(text, space);
        size_t length = strnlen(text, TOKEN_MAX + 16);
        while (length > 0 && strchr(space, text[length - 1]))
                length--;
        if (length > TOKEN_MAX)
                return not_a_token(err, "it is too long");
        if (length < PREFIX_LENGTH || memcmp(text, PREFIX, PREFIX_LENGTH) != 0)
                return not_a_token(err, "it does not begin with \"" PREFIX "\"");
        if (!base64_decode(text + PREFIX_LENGTH, length - PREFIX_LENGTH, bytes, &n))
                return not_a_token(err, "a part is missing or a character is wrong");
        _cleanup_(proto_free_p) ProtobufCMessage *message = NULL;
        if (proto_unpack(&drover__join_token__descriptor, bytes, n, &message, NULL) < 0)
                return not_a_token(err, "a part is missing or a character is wrong");
        struct error why = ERROR_INIT;
        if (check((const Drover__JoinToken *) message, &why) < 0)
                return not_a_token(err, why.message);
        *ret = (Drover__JoinToken *) steal(&message);
        return 0;
}
