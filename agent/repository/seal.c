// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Keys, sealed bodies, proofs (see seal.h). What OpenSSL cannot do here it cannot do for want of memory alone, so that
 * there is nothing to go on with; that a tag is wrong is the one failure that comes from outside.
 */
#include "agent/repository/seal.h"
#include "agent/repository/lines.h"
#include "common/log.h"
#include "common/random.h"
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NONCE 12
#define TAG   16
_Static_assert(NONCE + TAG == GROUP_SEAL_MORE, "as group.h has it");

static void need(bool done) {
        if (done)
                return;
        log_error("OpenSSL cannot seal, ending", NULL);
        _exit(EXIT_FAILURE);
}

void seal_secret_new(struct seal_secret *ret_secret) {
        random_bytes(ret_secret->bytes, sizeof ret_secret->bytes);
}

void seal_secret_fini(struct seal_secret *secret) {
        OPENSSL_cleanse(secret, sizeof *secret);
}

// ---- keys
static void derive(const struct seal_secret *secret, const char *info, const uint8_t *salt, size_t n_salt,
                   uint8_t *ret_key, size_t length) {
        EVP_KDF *hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
        EVP_KDF_CTX *context = hkdf ? EVP_KDF_CTX_new(hkdf) : NULL;
        OSSL_PARAM with[5], *at = with;
        *at++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char[]){"SHA256"}, 0);
        *at++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *) secret->bytes, sizeof secret->bytes);
        *at++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *) info, strlen(info));
        if (n_salt > 0)
                *at++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *) salt, n_salt);
        *at = OSSL_PARAM_construct_end();
        need(context && EVP_KDF_derive(context, ret_key, length, with) == 1);
        EVP_KDF_CTX_free(context);
        EVP_KDF_free(hkdf);
}

void seal_key_of_names(const struct seal_secret *secret, struct chunk_key *ret_key) {
        derive(secret, "drover names", NULL, 0, ret_key->bytes, sizeof ret_key->bytes);
}

void seal_key_check(const struct seal_secret *secret, const char *repository_id, uint8_t ret_check[LABEL_KEY_CHECK]) {
        uint8_t id[LABEL_ID] = {0};
        lines_from_hex(repository_id, strlen(repository_id), id, sizeof id);
        derive(secret, "drover check", id, sizeof id, ret_check, LABEL_KEY_CHECK);
}

int seal_check_secret(const struct seal_secret *secret, const struct label *label, struct error *err) {
        uint8_t check[LABEL_KEY_CHECK];
        if (!label->sealed)
                return secret ? error_set(err, ERROR_INVALID, "the repository %s is not sealed: there is no key to it",
                                          label->id)
                              : 0;
        if (!secret) {
                error_set(err, ERROR_NOT_FOUND, "the repository %s is sealed, and its key is not here", label->id);
                error_hint(err, "the key was shown when the repository was made: look for the text or the picture");
                error_hint(err, "without the key nobody can read what is in it: no other copy can be made of it");
                return -1;
        }
        seal_key_check(secret, label->id, check);
        if (CRYPTO_memcmp(check, label->key_check, sizeof check) == 0)
                return 0;
        error_set(err, ERROR_INVALID, "this is the key of another repository, not of %s", label->id);
        error_hint(err, "every sealed repository has a key of its own: see which one this was written down for");
        return -1;
}

// ---- bodies
static const uint8_t *key_of(const struct group_seal *hook) {
        return ((const struct seal_pack *) hook)->key;
}
_Static_assert(offsetof(struct seal_pack, hook) == 0, "the hook is the beginning of it");

static int encrypt(const struct group_seal *hook, const uint8_t *more, size_t n_more, const uint8_t *content,
                   size_t length, uint8_t *ret_sealed, struct error *err) {
        EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        uint8_t *body = ret_sealed + NONCE;
        int n = 0, end = 0;
        if (length > GROUP_STORED_MAX || n_more > GROUP_HEADER_MAX) {
                EVP_CIPHER_CTX_free(context);
                return error_set(err, ERROR_TOO_LARGE, "%zu bytes are too many to seal", length);
        }
        random_bytes(ret_sealed, NONCE);
        need(context && EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL, key_of(hook), ret_sealed) == 1 &&
             EVP_EncryptUpdate(context, NULL, &n, more, (int) n_more) == 1 &&
             EVP_EncryptUpdate(context, body, &n, content, (int) length) == 1 &&
             EVP_EncryptFinal_ex(context, body + n, &end) == 1 && (size_t) n + (size_t) end == length &&
             EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG, body + length) == 1);
        EVP_CIPHER_CTX_free(context);
        return 0;
}

static int decrypt(const struct group_seal *hook, const uint8_t *more, size_t n_more, const uint8_t *sealed,
                   size_t length, uint8_t *ret_content, struct error *err) {
        if (length < GROUP_SEAL_MORE || length > GROUP_STORED_MAX + GROUP_SEAL_MORE || n_more > GROUP_HEADER_MAX)
                return error_set(err, ERROR_CORRUPT, "%zu bytes are no sealed body", length);
        size_t plain = length - GROUP_SEAL_MORE;
        EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        int n = 0, end = 0;
        need(context && EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), NULL, key_of(hook), sealed) == 1 &&
             EVP_DecryptUpdate(context, NULL, &n, more, (int) n_more) == 1 &&
             EVP_DecryptUpdate(context, ret_content, &n, sealed + NONCE, (int) plain) == 1 &&
             EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, TAG, (void *) (sealed + length - TAG)) == 1);
        bool right = EVP_DecryptFinal_ex(context, ret_content + n, &end) == 1 && (size_t) n + (size_t) end == plain;
        EVP_CIPHER_CTX_free(context);
        if (right)
                return 0;
        OPENSSL_cleanse(ret_content, plain); // of what is not authentic, nobody is to use anything
        error_set(err, ERROR_CORRUPT, "the seal of the body is broken");
        error_hint(err, "it was changed after it was written, or sealed with another key");
        return -1;
}

void seal_pack_init(struct seal_pack *seal, const struct seal_secret *secret, const uint8_t pack_id[SEAL_PACK_ID]) {
        seal->hook = (struct group_seal){.encrypt = encrypt, .decrypt = decrypt};
        derive(secret, "drover pack", pack_id, SEAL_PACK_ID, seal->key, sizeof seal->key);
}

void seal_pack_fini(struct seal_pack *seal) {
        OPENSSL_cleanse(seal, sizeof *seal);
}

// ---- restore points
void seal_point_proof(const struct seal_secret *secret, const void *text, size_t length,
                      uint8_t ret_proof[POINT_PROOF]) {
        uint8_t key[32];
        unsigned n = 0;
        derive(secret, "drover point", NULL, 0, key, sizeof key);
        need(HMAC(EVP_sha256(), key, sizeof key, text, length, ret_proof, &n) && n == POINT_PROOF);
        OPENSSL_cleanse(key, sizeof key);
}

int seal_check_point(const struct seal_secret *secret, const struct point *point, const void *text, struct error *err) {
        uint8_t is[POINT_PROOF];
        if (!point->proven)
                return error_set(err, ERROR_CORRUPT, "restore point %s has no proof", point->id);
        seal_point_proof(secret, text, (size_t) point->proven_bytes, is);
        if (CRYPTO_memcmp(is, point->proof, sizeof is) == 0)
                return 0;
        return error_set(err, ERROR_CORRUPT,
                         "restore point %s was not made by anybody who has the key: its proof differs", point->id);
}
