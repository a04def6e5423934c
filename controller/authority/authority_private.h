// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* What the files of this folder share, and nobody else sees: the authority itself and how it issues. Loop thread. */
#include "common/clock.h"
#include "common/pki.h"
#include "controller/authority/authority.h"

#define AUTHORITY_YEARS_DAYS 3650u
#define AUTHORITY_BACKDATE   3600 // seconds, at most: a joiner's clock may be behind ours
#define AUTHORITY_KEEP       8u   // certificates of one subject that stay known

struct authority {
        struct store *store;
        const struct clock *clock;
        char *directory;
        uint32_t host_days, user_days, server_days, certificate_seconds;
        X509 *certificate; // the CA's
        EVP_PKEY *key;
        uint8_t sha256[32]; // of the CA's certificate
        EVP_PKEY *server_key;
        struct tls_credentials *credentials;
        int64_t server_issued_at, server_not_after;
        char uuid[NAME_UUID_LENGTH + 1];
        char *name;
        char **addresses;
        unsigned n_addresses;
};

DEFINE_CLEANUP(authority_free, struct authority *)

int64_t authority_now(const struct authority *authority);
// When a certificate was made, of which only from when it holds is written down: that is earlier by the backdating.
int64_t authority_issued_at(const struct store_certificate *record);
char *authority_path(const struct authority *authority, const char *file);
// A certificate for this identity and the record of it, which the caller stores before it hands the certificate out.
int authority_issue(struct authority *authority, enum identity_kind kind, const char *subject, const uint8_t *csr_der,
                    size_t csr_length, X509 **ret_certificate, struct store_certificate *ret_record, struct error *err);
// The same for a key of our own.
int authority_issue_key(struct authority *authority, enum identity_kind kind, const char *subject, EVP_PKEY *key,
                        X509 **ret_certificate, struct store_certificate *ret_record, struct error *err);
int authority_write_certificate(const char *path, X509 *certificate, struct error *err); // PEM, 0600
// The text of a token; secret is 32 bytes.
int authority_token_text(const struct authority *authority, const char *id, const uint8_t *secret, bool operator,
                         char ** ret_text, struct error *err);
