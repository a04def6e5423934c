// SPDX-License-Identifier: LGPL-2.1-or-later
/* Names of chunks (see chunk.h). OpenSSL fails at these only without memory, so that there is nothing to go on with. */
#include "agent/repository/chunk.h"
#include "common/log.h"
#include "common/memory.h"
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

const struct chunk_name chunk_zero_name;

// Fetching an algorithm costs more than hashing a short chunk, so that each thread does it once.
struct hasher {
        EVP_MD *algorithm;
        EVP_MD_CTX *digest;
        EVP_MAC_CTX *mac; // under a key
};
static pthread_key_t hasher_key;
static pthread_once_t hasher_once = PTHREAD_ONCE_INIT;

static void hasher_free(void *pointer) {
        struct hasher *hasher = pointer;
        EVP_MD_CTX_free(hasher->digest);
        EVP_MD_free(hasher->algorithm);
        EVP_MAC_CTX_free(hasher->mac);
        free(hasher);
}

static void need(bool done) {
        if (done)
                return;
        log_error("OpenSSL cannot hash, ending", NULL);
        _exit(EXIT_FAILURE);
}

// The thread that ends the process runs no destructors of its own.
static void end_last(void) {
        struct hasher *hasher = pthread_getspecific(hasher_key);
        if (!hasher)
                return;
        pthread_setspecific(hasher_key, NULL);
        hasher_free(hasher);
}

static void make_key(void) {
        need(pthread_key_create(&hasher_key, hasher_free) == 0 && atexit(end_last) == 0);
}

static struct hasher *hasher_of_thread(void) {
        pthread_once(&hasher_once, make_key);
        struct hasher *hasher = pthread_getspecific(hasher_key);
        if (hasher)
                return hasher;
        hasher = new (struct hasher);
        hasher->algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
        hasher->digest = EVP_MD_CTX_new();
        EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
        hasher->mac = EVP_MAC_CTX_new(hmac);
        EVP_MAC_free(hmac);
        OSSL_PARAM with[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
                             OSSL_PARAM_construct_end()};
        need(hasher->algorithm && hasher->digest && hasher->mac && EVP_MAC_CTX_set_params(hasher->mac, with) == 1);
        need(pthread_setspecific(hasher_key, hasher) == 0);
        return hasher;
}

bool chunk_is_zero(const void *content, size_t length) {
        const uint8_t *bytes = content;
        return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

struct chunk_name chunk_name_of(const void *content, size_t length, const struct chunk_key *key) {
        struct chunk_name name = {0};
        if (chunk_is_zero(content, length))
                return name;
        struct hasher *hasher = hasher_of_thread();
        if (key) {
                size_t n = 0;
                need(EVP_MAC_init(hasher->mac, key->bytes, sizeof key->bytes, NULL) == 1 &&
                     EVP_MAC_update(hasher->mac, content, length) == 1 &&
                     EVP_MAC_final(hasher->mac, name.bytes, &n, sizeof name.bytes) == 1 && n == CHUNK_NAME);
        } else {
                need(EVP_DigestInit_ex2(hasher->digest, hasher->algorithm, NULL) == 1 &&
                     EVP_DigestUpdate(hasher->digest, content, length) == 1 &&
                     EVP_DigestFinal_ex(hasher->digest, name.bytes, NULL) == 1);
        }
        return name;
}

void chunk_name_to_hex(const struct chunk_name *name, char ret_hex[CHUNK_HEX]) {
        static const char digits[] = "0123456789abcdef";
        for (size_t i = 0; i < CHUNK_NAME; i++) {
                ret_hex[2 * i] = digits[name->bytes[i] >> 4];
                ret_hex[2 * i + 1] = digits[name->bytes[i] & 15];
        }
        ret_hex[CHUNK_HEX - 1] = '\0';
}

static int digit_of(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool chunk_name_from_hex(const char *text, struct chunk_name *ret_name) {
        struct chunk_name name;
        for (size_t i = 0; i < CHUNK_NAME; i++) {
                int high = digit_of(text[2 * i]); // a NUL is no digit, so that nothing behind it is read
                int low = high < 0 ? -1 : digit_of(text[2 * i + 1]);
                if (low < 0)
                        return false;
                name.bytes[i] = (uint8_t) (high << 4 | low);
        }
        *ret_name = name;
        return true;
}
