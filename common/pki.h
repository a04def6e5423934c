// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Keys and certificates (OpenSSL 3): ECDSA P-256, X.509 v3. Nothing here opens a socket or decides who may have what.
 * Private keys are written 0600 and never logged. OpenSSL's errors are translated in common/tls_error.c.
 */
#include "common/identity.h"
#include "common/buffer.h"
#include <openssl/evp.h>
#include <openssl/x509.h>

int pki_new_key(EVP_PKEY **ret_key, struct error *err);
int pki_write_key(const char *path, EVP_PKEY *key, struct error *err); // PEM, 0600, atomic
int pki_read_key(const char *path, EVP_PKEY **ret_key, struct error *err);
int pki_new_csr(EVP_PKEY *key, uint8_t **ret_der, size_t *ret_length, struct error *err); // caller free()s
// A self-signed CA, valid for `days`; CN is for people.
int pki_new_authority(EVP_PKEY *key, const char *common_name, unsigned days, X509 **ret_certificate, struct error *err);
struct pki_request {
        const struct identity *identity; // becomes the SAN URI
        const char *common_name;         // for people
        int64_t not_before, not_after;   // seconds since 1970 UTC
        bool server;                     // extendedKeyUsage serverAuth beside clientAuth
};
// Checks the CSR's own signature and its key type (P-256 only), issues with a random 127-bit serial.
int pki_issue(X509 *authority, EVP_PKEY *authority_key, const uint8_t *csr_der, size_t length,
              const struct pki_request *request, X509 **ret_certificate, struct error *err);
int pki_certificate_pem(X509 *certificate, struct buffer *pem, struct error *err);                       // appended
int pki_parse_certificate(const uint8_t *pem, size_t length, X509 **ret_certificate, struct error *err); // exactly one
int pki_read_certificate(const char *path, X509 **ret_certificate, struct error *err);
int pki_fingerprint(X509 *certificate, uint8_t ret_sha256[32], struct error *err);     // of the DER
int pki_identity(X509 *certificate, struct identity *ret_identity, struct error *err); // exactly one SAN URI
bool pki_matches(X509 *certificate, EVP_PKEY *key);
int pki_sign(EVP_PKEY *key, const void *bytes, size_t length, uint8_t *signature, size_t *length_inout,
             struct error *err); // ECDSA-SHA256; 80 bytes are enough
int pki_verify(EVP_PKEY *key, const void *bytes, size_t length, const uint8_t *signature, size_t signature_length,
               struct error *err);
int pki_sha256(const void *bytes, size_t length, uint8_t ret_digest[32]);
