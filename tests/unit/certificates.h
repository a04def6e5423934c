// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Authorities and certificates for tests. Whatever fails here fails the test. Include after cmocka.h. */
#include "common/clock.h"
#include "common/pki.h"
#include "common/tls.h"
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define UUID_CONTROLLER "11111111-1111-4111-8111-111111111111"
#define UUID_HOST       "22222222-2222-4222-8222-222222222222"
#define HOUR            3600

struct authority {
        EVP_PKEY *key;
        X509 *certificate;
};

static inline void must(int r, const struct error *err) {
        if (r < 0)
                fail_msg("%s", err->message);
}

static inline struct authority authority_new(void) {
        struct error err = ERROR_INIT;
        struct authority authority;
        must(pki_new_key(&authority.key, &err), &err);
        must(pki_new_authority(authority.key, "drover of ACME", 3650, &authority.certificate, &err), &err);
        return authority;
}

static inline void authority_free(struct authority *authority) {
        EVP_PKEY_free(authority->key);
        X509_free(authority->certificate);
}

static inline struct identity identity_of(enum identity_kind kind) {
        struct identity identity = {.kind = kind};
        strcpy(identity.name, kind == IDENTITY_USER ? "alice" : kind == IDENTITY_HOST ? UUID_HOST : UUID_CONTROLLER);
        return identity;
}

static inline X509 *certificate_new(struct authority *authority, EVP_PKEY *key, enum identity_kind kind, int64_t from,
                                    int64_t to) {
        struct error err = ERROR_INIT;
        struct identity identity = identity_of(kind);
        struct pki_request request = {.identity = &identity,
                                      .common_name = "for people",
                                      .not_before = from,
                                      .not_after = to,
                                      .server = kind != IDENTITY_USER};
        uint8_t *csr;
        size_t length;
        X509 *certificate = NULL;
        must(pki_new_csr(key, &csr, &length, &err), &err);
        must(pki_issue(authority->certificate, authority->key, csr, length, &request, &certificate, &err), &err);
        free(csr);
        return certificate;
}

static inline X509 *certificate_now(struct authority *authority, EVP_PKEY *key, enum identity_kind kind) {
        int64_t now = clock_wall(&system_clock);
        return certificate_new(authority, key, kind, now - HOUR, now + HOUR);
}

static inline struct tls_credentials *credentials_new(struct authority *authority, enum identity_kind kind) {
        struct error err = ERROR_INIT;
        struct tls_credentials *credentials = NULL;
        EVP_PKEY *key;
        must(pki_new_key(&key, &err), &err);
        X509 *certificate = certificate_now(authority, key, kind);
        must(tls_credentials_new(certificate, key, authority->certificate, &credentials, &err), &err);
        X509_free(certificate);
        EVP_PKEY_free(key);
        return credentials;
}

// Put other SAN URIs into a certificate (none: no SAN at all) and sign it again.
static inline void certificate_rename(X509 *certificate, EVP_PKEY *signer, const char *const *uris, unsigned n) {
        int at = X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1);
        if (at >= 0)
                X509_EXTENSION_free(X509_delete_ext(certificate, at));
        GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
        for (unsigned i = 0; i < n; i++) {
                GENERAL_NAME *name = GENERAL_NAME_new();
                ASN1_IA5STRING *text = ASN1_IA5STRING_new();
                ASN1_STRING_set(text, uris[i], -1);
                GENERAL_NAME_set0_value(name, GEN_URI, text);
                sk_GENERAL_NAME_push(names, name);
        }
        if (n > 0)
                assert_int_equal(X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT), 1);
        GENERAL_NAMES_free(names);
        assert_true(X509_sign(certificate, signer, EVP_sha256()) > 0);
}
