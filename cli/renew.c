// SPDX-License-Identifier: LGPL-2.1-or-later
/* Renewing the operator's certificate; see renew.h. */
#include "cli/renew.h"
#include "cli/output.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/pki.h"

#include <stdio.h>
#include <time.h>

static int64_t seconds_of(const ASN1_TIME *time) {
        struct tm tm;
        return ASN1_TIME_to_tm(time, &tm) == 1 ? timegm(&tm) : 0;
}

bool renew_due(int64_t not_before, int64_t not_after, int64_t now) {
        return now < not_after && now > not_before + (not_after - not_before) / 3 * 2;
}

static int ask(struct client *client, EVP_PKEY *key, Drover__OperatorReply **ret, struct error *err) {
        _cleanup_(free_p) uint8_t *csr = NULL;
        Drover__OperatorRequest request = DROVER__OPERATOR_REQUEST__INIT;
        Drover__CertificateRenew verb = DROVER__CERTIFICATE_RENEW__INIT;
        request.verb_case = DROVER__OPERATOR_REQUEST__VERB_CERTIFICATE_RENEW;
        request.certificate_renew = &verb;
        if (pki_new_csr(key, &csr, &verb.csr_der.len, err) < 0)
                return -1;
        verb.csr_der.data = csr;
        return client_ask_one(client, &request, ret, err);
}

static int keep(const char *path, EVP_PKEY *key, const Drover__OperatorReply *reply, struct error *err) {
        if (reply->value_case != DROVER__OPERATOR_REPLY__VALUE_CERTIFICATE)
                return error_set(err, ERROR_PROTOCOL, "the controller's answer holds no certificate");
        const ProtobufCBinaryData *pem = &reply->certificate->certificate_pem;
        X509 *certificate = NULL;
        if (pki_parse_certificate(pem->data, pem->len, &certificate, err) < 0)
                return -1;
        bool ours = pki_matches(certificate, key);
        X509_free(certificate);
        if (!ours)
                return error_set(err, ERROR_PROTOCOL, "the certificate that came back is for another key");
        return file_write(path, pem->data, pem->len, 0600, err);
}

static int renew(struct client *client, const char *certificate_path, struct error *err) {
        char key_path[4200];
        EVP_PKEY *key = NULL;
        Drover__OperatorReply *reply = NULL;
        snprintf(key_path, sizeof(key_path), "%s/client.key", client_directory());
        int r = pki_read_key(key_path, &key, err);
        if (r == 0)
                r = ask(client, key, &reply, err);
        if (r == 0)
                r = keep(certificate_path, key, reply, err);
        EVP_PKEY_free(key);
        if (reply)
                proto_free(&reply->base);
        return r;
}

void renew_if_due(struct client *client) {
        char path[4200];
        X509 *certificate = NULL;
        struct error err = ERROR_INIT;
        snprintf(path, sizeof(path), "%s/client.crt", client_directory());
        if (pki_read_certificate(path, &certificate, &err) < 0)
                return;
        bool due = renew_due(seconds_of(X509_get0_notBefore(certificate)), seconds_of(X509_get0_notAfter(certificate)),
                             clock_wall(&system_clock));
        X509_free(certificate);
        if (due && renew(client, path, &err) < 0)
                output_line("warning: your certificate could not be renewed: %s", err.message);
}
