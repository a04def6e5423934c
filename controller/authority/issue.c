// SPDX-License-Identifier: LGPL-2.1-or-later
/* Issuing: certificates for members and for the controller itself, their renewal, and tickets. Loop thread. */
#include "common/cleanup.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/random.h"
#include "controller/authority/authority_private.h"
#include "proto/ticket.h"
#include <openssl/asn1.h>
#include <string.h>
#include <time.h>

#define DAY            86400
#define TICKET_SECONDS 600

DEFINE_CLEANUP(X509_free, X509 *)

static int64_t validity(const struct authority *authority, enum identity_kind kind) {
        if (authority->certificate_seconds)
                return authority->certificate_seconds;
        uint32_t days = kind == IDENTITY_HOST   ? authority->host_days
                        : kind == IDENTITY_USER ? authority->user_days
                                                : authority->server_days;
        return (int64_t) days * DAY;
}

// A certificate that holds for minutes must not look as if most of its life were over.
static int64_t backdate(int64_t life) {
        return life / 8 < AUTHORITY_BACKDATE ? life / 8 : AUTHORITY_BACKDATE;
}

int64_t authority_issued_at(const struct store_certificate *record) {
        return record->not_before + backdate((record->not_after - record->not_before) / 9 * 8);
}

static int64_t end_of(const X509 *certificate) {
        struct tm end;
        return ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) == 1 ? (int64_t) timegm(&end) : 0;
}

int authority_issue(struct authority *authority, enum identity_kind kind, const char *subject, const uint8_t *csr_der,
                    size_t csr_length, X509 **ret_certificate, struct store_certificate *ret_record,
                    struct error *err) {
        _cleanup_(X509_free_p) X509 *certificate = NULL;
        struct identity identity = {.kind = kind};
        int64_t now = authority_now(authority), end = now + validity(authority, kind);
        int64_t last = end_of(authority->certificate);
        memcpy(identity.name, subject, strnlen(subject, NAME_USER_MAX));
        if (now >= last)
                return error_set(err, ERROR_FAILED, "the authority's own certificate has expired");
        struct pki_request request = {.identity = &identity,
                                      .not_before = now - backdate(end - now),
                                      .not_after = end < last ? end : last,
                                      // A host is a server too: to the other hosts, for transfers.
                                      .server = kind != IDENTITY_USER};
        struct identity issued;
        if (pki_issue(authority->certificate, authority->key, csr_der, csr_length, &request, &certificate, err) < 0 ||
            pki_identity(certificate, &issued, err) < 0)
                return -1;
        *ret_record = (struct store_certificate){
                .kind = kind, .not_before = request.not_before, .not_after = request.not_after};
        memcpy(ret_record->sha256, issued.certificate_sha256, sizeof(ret_record->sha256));
        memcpy(ret_record->serial, issued.serial, sizeof(ret_record->serial));
        memcpy(ret_record->subject, issued.name, sizeof(ret_record->subject));
        *ret_certificate = steal(&certificate);
        return 0;
}

int authority_issue_key(struct authority *authority, enum identity_kind kind, const char *subject, EVP_PKEY *key,
                        X509 **ret_certificate, struct store_certificate *ret_record, struct error *err) {
        _cleanup_(free_p) uint8_t *csr = NULL;
        size_t length;
        if (pki_new_csr(key, &csr, &length, err) < 0)
                return -1;
        return authority_issue(authority, kind, subject, csr, length, ret_certificate, ret_record, err);
}

int authority_write_certificate(const char *path, X509 *certificate, struct error *err) {
        struct buffer pem;
        buffer_init(&pem, 0);
        int result = pki_certificate_pem(certificate, &pem, err);
        if (result == 0)
                result = file_write(path, pem.data, pem.length, 0600, err);
        buffer_fini(&pem);
        return result;
}

// The key stays: agents check tickets by the key that the controller's certificate showed when they connected, and a
// connection outlives a certificate.
int authority_renew_own(struct authority *authority, bool *ret_renewed, struct error *err) {
        _cleanup_(X509_free_p) X509 *certificate = NULL;
        _cleanup_(free_p) char *path = authority_path(authority, "server.crt");
        struct tls_credentials *credentials;
        struct store_certificate record = {0};
        int64_t life = authority->server_not_after - authority->server_issued_at;
        if (authority->credentials && authority_now(authority) < authority->server_issued_at + life / 3 * 2) {
                *ret_renewed = false;
                return 0;
        }
        if (authority_issue_key(authority, IDENTITY_CONTROLLER, authority->uuid, authority->server_key, &certificate,
                                &record, err) < 0 ||
            tls_credentials_new(certificate, authority->server_key, authority->certificate, &credentials, err) < 0)
                return error_prefix(err, "renew the controller's certificate");
        if (store_certificate_add(authority->store, &record, err) < 0 ||
            authority_write_certificate(path, certificate, err) < 0) {
                tls_credentials_unref(credentials);
                return error_prefix(err, "renew the controller's certificate");
        }
        tls_credentials_unref(authority->credentials);
        authority->credentials = credentials;
        authority->server_issued_at = authority_issued_at(&record);
        authority->server_not_after = record.not_after;
        *ret_renewed = true;
        return 0;
}

static int keep_certificate(struct authority *authority, const struct store_certificate *record,
                            const uint8_t in_use[32], struct error *err) {
        if (store_begin(authority->store, err) < 0)
                return -1;
        if (store_certificate_add(authority->store, record, err) < 0 ||
            store_certificates_trim(authority->store, record->kind, record->subject, in_use, AUTHORITY_KEEP, err) < 0) {
                store_rollback(authority->store);
                return -1;
        }
        return store_commit(authority->store, err);
}

int authority_renew(struct authority *authority, const struct identity *peer, const uint8_t *csr_der, size_t length,
                    struct buffer *certificate_pem, struct buffer *authority_pem, struct error *err) {
        _cleanup_(X509_free_p) X509 *certificate = NULL;
        struct store_certificate record = {0};
        if (authority_check_peer(authority, peer, err) < 0 ||
            authority_issue(authority, peer->kind, peer->name, csr_der, length, &certificate, &record, err) < 0 ||
            keep_certificate(authority, &record, peer->certificate_sha256, err) < 0 ||
            pki_certificate_pem(certificate, certificate_pem, err) < 0)
                return error_prefix(err, "renew a certificate");
        return pki_certificate_pem(authority->certificate, authority_pem, err);
}

static int fill_certificate(struct authority *authority, const char *host, ProtobufCBinaryData *field,
                            struct error *err) {
        struct store_certificate newest;
        int found = store_certificate_newest(authority->store, IDENTITY_HOST, host, &newest, err);
        if (found == 0)
                error_set(err, ERROR_DENIED, "host %.36s has no certificate", host);
        if (found <= 0)
                return -1;
        free(field->data);
        field->data = memory_new(sizeof(newest.sha256));
        field->len = sizeof(newest.sha256);
        memcpy(field->data, newest.sha256, field->len);
        return 0;
}

int authority_ticket(struct authority *authority, Drover__Ticket *ticket, struct buffer *signed_ticket,
                     struct error *err) {
        if (fill_certificate(authority, ticket->source_host, &ticket->source_certificate_sha256, err) < 0 ||
            fill_certificate(authority, ticket->sink_host, &ticket->sink_certificate_sha256, err) < 0)
                return error_prefix(err, "make a ticket");
        free(ticket->nonce.data);
        ticket->nonce.data = memory_new(TICKET_NONCE);
        ticket->nonce.len = TICKET_NONCE;
        random_bytes(ticket->nonce.data, ticket->nonce.len);
        ticket->expires_at = authority_now(authority) + TICKET_SECONDS;
        return ticket_sign(ticket, authority->server_key, signed_ticket, err);
}

EVP_PKEY *authority_ticket_key(struct authority *authority) {
        return authority->server_key;
}
