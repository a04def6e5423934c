// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The renewal of one certificate at a time; loop thread only. The few kilobytes that are synced to disk once in weeks
 * are written on the loop.
 */
#include "agent/session/renew.h"
#include "agent/session/state.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/timer.h"

#include <string.h>

#define CHECK_MOST_MS   (3600u * 1000u) // wall clocks jump, so even a far date is looked at every hour
#define CHECK_LEAST_MS  1000u
#define TRIES_IN_A_LIFE 24 // after a failure: certificates of hours (tests) are tried again sooner

struct renewal {
        char *directory;
        const struct clock *clock;
        struct renewal_hooks hooks;
        struct timer *timer;
        X509 *certificate, *authority;
        struct identity identity;
        EVP_PKEY *pending; // of the request under way
        bool online;
};

static void key_free_p(EVP_PKEY **key) {
        EVP_PKEY_free(*key);
}

static void certificate_free_p(X509 **certificate) {
        X509_free(*certificate);
}

static int64_t seconds_of(const ASN1_TIME *time) {
        struct tm broken = {0};
        return ASN1_TIME_to_tm(time, &broken) ? (int64_t) timegm(&broken) : 0;
}

int64_t renewal_due(int64_t not_before, int64_t not_after) {
        return not_before + (not_after - not_before) / 3 * 2;
}

static int64_t life(const struct renewal *renewal) {
        return renewal->identity.not_after - seconds_of(X509_get0_notBefore(renewal->certificate));
}

static int64_t due(const struct renewal *renewal) {
        return renewal_due(seconds_of(X509_get0_notBefore(renewal->certificate)), renewal->identity.not_after);
}

static uint64_t bounded_ms(int64_t seconds) {
        if (seconds <= 0)
                return CHECK_LEAST_MS;
        return seconds >= CHECK_MOST_MS / 1000 ? CHECK_MOST_MS : (uint64_t) seconds * 1000;
}

static int ask(struct renewal *renewal, struct error *err) {
        _cleanup_(key_free_p) EVP_PKEY *key = NULL;
        _cleanup_(free_p) uint8_t *csr = NULL;
        size_t length = 0;
        if (pki_new_key(&key, err) < 0 || pki_new_csr(key, &csr, &length, err) < 0)
                return -1;
        Drover__RenewRequest request;
        drover__renew_request__init(&request);
        request.csr_der = (ProtobufCBinaryData){.len = length, .data = csr};
        if (renewal->hooks.send(&request, renewal->hooks.data, err) < 0)
                return -1;
        EVP_PKEY_free(renewal->pending);
        renewal->pending = steal(&key);
        return 0;
}

static void on_check(void *data) {
        struct renewal *renewal = data;
        int64_t left = due(renewal) - clock_wall(renewal->clock);
        if (left > 0) {
                timer_once(renewal->timer, bounded_ms(left));
                return;
        }
        struct error err = ERROR_INIT;
        if (ask(renewal, &err) < 0)
                log_failure(LOG_LEVEL_WARNING, "certificate renewal", &err, NULL);
        timer_once(renewal->timer, bounded_ms(life(renewal) / TRIES_IN_A_LIFE)); // again, unless a good reply comes
}

int renewal_new(uv_loop_t *loop, const char *state_directory, const struct clock *clock,
                const struct renewal_hooks *hooks, struct renewal **ret, struct error *err) {
        _cleanup_(free_p) char *certificate_path = state_path(state_directory, STATE_NAME ".crt");
        _cleanup_(free_p) char *authority_path = state_path(state_directory, "ca.crt");
        _cleanup_(certificate_free_p) X509 *certificate = NULL;
        _cleanup_(certificate_free_p) X509 *authority = NULL;
        struct identity identity;
        if (pki_read_certificate(certificate_path, &certificate, err) < 0 ||
            pki_read_certificate(authority_path, &authority, err) < 0 || pki_identity(certificate, &identity, err) < 0)
                return -1;
        struct renewal *renewal = new (struct renewal);
        renewal->directory = memory_string(state_directory);
        renewal->clock = clock;
        renewal->hooks = *hooks;
        renewal->timer = timer_new(loop, on_check, renewal);
        renewal->certificate = steal(&certificate);
        renewal->authority = steal(&authority);
        renewal->identity = identity;
        *ret = renewal;
        return 0;
}

void renewal_free(struct renewal *renewal) {
        if (!renewal)
                return;
        timer_free(renewal->timer);
        X509_free(renewal->certificate);
        X509_free(renewal->authority);
        EVP_PKEY_free(renewal->pending);
        free(renewal->directory);
        free(renewal);
}

void renewal_begin(struct renewal *renewal) {
        renewal->online = true;
        on_check(renewal);
}

void renewal_end(struct renewal *renewal) {
        renewal->online = false;
        timer_stop(renewal->timer);
        EVP_PKEY_free(steal(&renewal->pending));
}

static int check_certificate(const struct renewal *renewal, X509 *certificate, struct error *err) {
        struct identity identity;
        if (!pki_matches(certificate, renewal->pending))
                return error_set(err, ERROR_PROTOCOL, "the new certificate is for another key");
        if (pki_identity(certificate, &identity, err) < 0)
                return -1;
        if (identity.kind != renewal->identity.kind || strcmp(identity.name, renewal->identity.name) != 0)
                return error_set(err, ERROR_PROTOCOL, "the new certificate is for %s %s, not for this host",
                                 identity_kind_word(identity.kind), identity.name);
        if (X509_verify(certificate, X509_get0_pubkey(renewal->authority)) != 1) {
                struct error ignored = ERROR_INIT;
                tls_error(&ignored, "verify"); // empties OpenSSL's queue
                return error_set(err, ERROR_TLS, "the new certificate is not signed by this host's authority");
        }
        if (identity.not_after <= clock_wall(renewal->clock))
                return error_set(err, ERROR_PROTOCOL, "the new certificate has expired already");
        return 0;
}

static int take(struct renewal *renewal, const Drover__RenewReply *reply, struct error *err) {
        if (reply->failure)
                return proto_error(reply->failure, err);
        if (!renewal->pending)
                return error_set(err, ERROR_PROTOCOL, "a new certificate came, and none was asked for");
        _cleanup_(certificate_free_p) X509 *certificate = NULL;
        if (pki_parse_certificate(reply->certificate_pem.data, reply->certificate_pem.len, &certificate, err) < 0 ||
            check_certificate(renewal, certificate, err) < 0)
                return -1;
        struct tls_credentials *credentials = NULL;
        if (tls_credentials_new(certificate, renewal->pending, renewal->authority, &credentials, err) < 0)
                return -1;
        if (state_store_renewal(renewal->directory, renewal->pending, certificate, err) < 0) {
                tls_credentials_unref(credentials);
                return -1;
        }
        EVP_PKEY_free(steal(&renewal->pending));
        X509_free(renewal->certificate);
        renewal->certificate = steal(&certificate);
        renewal->identity = *tls_credentials_identity(credentials);
        renewal->hooks.renewed(credentials, renewal->hooks.data);
        return 0;
}

void renewal_reply(struct renewal *renewal, const Drover__RenewReply *reply) {
        struct error err = ERROR_INIT;
        if (take(renewal, reply, &err) < 0) {
                log_failure(LOG_LEVEL_WARNING, "certificate renewal", &err, NULL);
                return;
        }
        char until[CLOCK_RFC3339_MAX];
        log_info("certificate renewed", "until", clock_rfc3339(renewal->identity.not_after, until), NULL);
        if (renewal->online)
                timer_once(renewal->timer, bounded_ms(due(renewal) - clock_wall(renewal->clock)));
}
