// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Contexts, and the rules for whom to talk to. All checks of a peer stand in OpenSSL's callbacks, so that the peer gets
 * an alert and nothing of ours has been sent when it fails; tls_peer_of() checks again what must hold afterwards.
 * Credentials are immutable and may be shared between threads.
 */
#include "common/tls_session.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/memory.h"
#include "common/pki.h"
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define CERTIFICATES_MAX (16 << 10) // bytes of certificates that a peer may send before it is known

struct tls_credentials {
        atomic_uint refs;
        X509 *certificate, *authority;
        EVP_PKEY *key;
        SSL_CTX *context; // both sides: what differs is set on each SSL object
        struct identity identity;
};

DEFINE_CLEANUP(SSL_free, SSL *)
DEFINE_CLEANUP(SSL_CTX_free, SSL_CTX *)
DEFINE_CLEANUP(X509_free, X509 *)
DEFINE_CLEANUP(EVP_PKEY_free, EVP_PKEY *)

static int session_index = -1;

static void free_session(void *parent, void *pointer, CRYPTO_EX_DATA *data, int index, long number, void *argument) {
        (void) parent, (void) data, (void) index, (void) number, (void) argument;
        struct tls_session *session = pointer;
        if (!session)
                return;
        X509_free(session->authority);
        free(session->why);
        free(session);
}

static void make_index(void) {
        session_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_session);
}

struct tls_session *tls_session_of(const SSL *ssl) {
        return SSL_get_ex_data(ssl, session_index);
}

static void refuse(struct tls_session *session, enum error_code code, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
static void refuse(struct tls_session *session, enum error_code code, const char *format, ...) {
        if (session->why)
                return;
        session->why = new (struct error);
        va_list args;
        va_start(args, format);
        error_setv(session->why, code, format, args);
        va_end(args);
}

// ---- protocols (ALPN)

// "drover-agent/1, drover-join/1" from the form on the wire.
static void alpn_text(const uint8_t *wire, unsigned length, char *text, size_t size) {
        size_t used = 0;
        text[0] = 0;
        for (unsigned i = 0; i < length && used + 1 < size; i += wire[i] + 1u) {
                unsigned n = wire[i] < length - i - 1 ? wire[i] : length - i - 1;
                int r = snprintf(text + used, size - used, "%s%.*s", i ? ", " : "", (int) n,
                                 (const char *) wire + i + 1);
                used += r > 0 ? (size_t) r : 0;
        }
}

static bool is_join(const uint8_t *alpn, unsigned length) {
        return length == strlen(TLS_ALPN_JOIN) && memcmp(alpn, TLS_ALPN_JOIN, length) == 0;
}

static int on_alpn(SSL *ssl, const unsigned char **ret_out, unsigned char *ret_length, const unsigned char *offered,
                   unsigned offered_length, void *argument) {
        (void) argument;
        struct tls_session *session = tls_session_of(ssl);
        unsigned char *chosen, length;
        if (SSL_select_next_proto(&chosen, &length, session->alpn, session->alpn_length, offered, offered_length) !=
            OPENSSL_NPN_NEGOTIATED) {
                char theirs[200], ours[200];
                alpn_text(offered, offered_length, theirs, sizeof(theirs));
                alpn_text(session->alpn, session->alpn_length, ours, sizeof(ours));
                refuse(session, ERROR_VERSION, "the peer speaks %s; here is %s", theirs, ours);
                return SSL_TLSEXT_ERR_ALERT_FATAL;
        }
        if (session->anonymous_join && is_join(chosen, length)) // the only case without a certificate
                SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
        *ret_out = chosen;
        *ret_length = length;
        return SSL_TLSEXT_ERR_OK;
}

// OpenSSL does not call on_alpn() for a client that offers nothing.
static int on_client_hello(SSL *ssl, int *alert, void *argument) {
        (void) argument;
        const unsigned char *bytes;
        size_t length;
        if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &bytes, &length) == 1)
                return SSL_CLIENT_HELLO_SUCCESS;
        refuse(tls_session_of(ssl), ERROR_PROTOCOL, "the peer names no protocol (ALPN)");
        *alert = SSL_AD_NO_APPLICATION_PROTOCOL;
        return SSL_CLIENT_HELLO_ERROR;
}

static bool alpn_agreed(const SSL *ssl, struct tls_session *session) {
        const unsigned char *chosen;
        unsigned length;
        SSL_get0_alpn_selected(ssl, &chosen, &length);
        if (length > 0 &&
            (session->server || (length == session->alpn[0] && memcmp(chosen, session->alpn + 1, length) == 0)))
                return true;
        char ours[200];
        alpn_text(session->alpn, session->alpn_length, ours, sizeof(ours));
        refuse(session, ERROR_VERSION, "the peer does not speak %s", ours);
        return false;
}

static int encode_alpn(struct tls_session *session, const struct tls_policy *policy, struct error *err) {
        for (unsigned i = 0; policy->alpns && policy->alpns[i] && (session->server || i == 0); i++) {
                size_t length = strlen(policy->alpns[i]);
                if (length == 0 || session->alpn_length + 1 + length > sizeof(session->alpn))
                        return error_set(err, ERROR_INVALID, "the protocols' names are too long");
                session->alpn[session->alpn_length++] = (uint8_t) length;
                memcpy(session->alpn + session->alpn_length, policy->alpns[i], length);
                session->alpn_length += (unsigned) length;
        }
        return session->alpn_length ? 0 : error_set(err, ERROR_INVALID, "a TLS session needs a protocol");
}

// ---- certificates

static void refuse_time(struct tls_session *session, X509_STORE_CTX *store, bool expired) {
        X509 *certificate = X509_STORE_CTX_get_current_cert(store);
        const char *whose = X509_STORE_CTX_get_error_depth(store) == 0 ? "peer" : "authority";
        const ASN1_TIME *at = expired ? X509_get0_notAfter(certificate) : X509_get0_notBefore(certificate);
        struct tm parts;
        char text[CLOCK_RFC3339_MAX] = "an unknown date";
        if (ASN1_TIME_to_tm(at, &parts) == 1)
                clock_rfc3339(timegm(&parts), text);
        if (expired)
                refuse(session, ERROR_TLS, "the %s's certificate expired on %s", whose, text);
        else
                refuse(session, ERROR_TLS, "the %s's certificate is not valid before %s", whose, text);
        error_hint(session->why, "compare the clocks of both machines");
}

static void refuse_chain(struct tls_session *session, X509_STORE_CTX *store) {
        int error = X509_STORE_CTX_get_error(store);
        switch (error) {
        case X509_V_ERR_CERT_HAS_EXPIRED:
        case X509_V_ERR_CERT_NOT_YET_VALID:
                refuse_time(session, store, error == X509_V_ERR_CERT_HAS_EXPIRED);
                return;
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
        case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        case X509_V_ERR_CERT_CHAIN_TOO_LONG:
        case X509_V_ERR_CERT_UNTRUSTED:
                refuse(session, ERROR_TLS, "the peer's certificate is not of our authority");
                return;
        case X509_V_ERR_INVALID_PURPOSE:
                refuse(session, ERROR_TLS, "the peer's certificate is not for a %s",
                       session->server ? "client" : "server");
                return;
        default:
                refuse(session, ERROR_TLS, "the peer's certificate is refused: %s",
                       X509_verify_cert_error_string(error));
        }
}

// A joiner trusts nothing yet but a hash: the certificate with that hash, which the peer sends, becomes the one anchor.
static int verify_pinned(X509_STORE_CTX *store, struct tls_session *session) {
        STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(store);
        for (int i = 1; i < sk_X509_num(sent) && !session->authority; i++) {
                uint8_t digest[32];
                X509 *certificate = sk_X509_value(sent, i);
                if (pki_fingerprint(certificate, digest, NULL) == 0 &&
                    CRYPTO_memcmp(digest, session->authority_sha256, sizeof(digest)) == 0 &&
                    X509_up_ref(certificate) == 1)
                        session->authority = certificate;
        }
        STACK_OF(X509) *trusted = sk_X509_new_null();
        if (!session->authority || !trusted || sk_X509_push(trusted, session->authority) <= 0) {
                sk_X509_free(trusted);
                refuse(session, ERROR_TLS, "the peer's authority is not the one that we were told to trust");
                X509_STORE_CTX_set_error(store, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN);
                return 0;
        }
        X509_STORE_CTX_set0_trusted_stack(store, trusted);
        int r = X509_verify_cert(store);
        X509_STORE_CTX_set0_trusted_stack(store, NULL);
        sk_X509_free(trusted);
        return r;
}

static bool kind_allowed(struct tls_session *session, const struct identity *peer) {
        enum identity_kind wanted = session->pins ? IDENTITY_CONTROLLER : session->peer_kind;
        if (wanted == IDENTITY_NONE || wanted == peer->kind)
                return true;
        refuse(session, ERROR_DENIED, "the peer is a %s (%s), expected a %s", identity_kind_word(peer->kind),
               peer->name, identity_kind_word(wanted));
        return false;
}

// In place of OpenSSL's own: 1 accepts. What fails here reaches the peer as an alert.
static int on_verify(X509_STORE_CTX *store, void *argument) {
        (void) argument;
        SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
        struct tls_session *session = tls_session_of(ssl);
        struct identity peer;
        struct error err = ERROR_INIT;
        if ((session->pins ? verify_pinned(store, session) : X509_verify_cert(store)) <= 0) {
                refuse_chain(session, store);
                return 0;
        }
        if (pki_identity(X509_STORE_CTX_get0_cert(store), &peer, &err) < 0)
                refuse(session, ERROR_TLS, "the peer's certificate is refused: %s", err.message);
        else if (kind_allowed(session, &peer) && (session->server || alpn_agreed(ssl, session)))
                session->peer = peer;
        if (!session->why)
                return 1;
        X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
        return 0;
}

// ---- contexts

static int new_context(SSL_CTX **ret, struct error *err) {
        _cleanup_(SSL_CTX_free_p) SSL_CTX *context = SSL_CTX_new(TLS_method());
        if (!context || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
            SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) != 1 ||
            SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                              "TLS_CHACHA20_POLY1305_SHA256") != 1 ||
            SSL_CTX_set1_groups_list(context, "X25519:P-256") != 1 || SSL_CTX_set_num_tickets(context, 0) != 1 ||
            SSL_CTX_set_max_early_data(context, 0) != 1 ||
            SSL_CTX_set_session_id_context(context, (const unsigned char *) "drover", 6) != 1)
                return tls_error(err, "make a TLS context");
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
        SSL_CTX_set_mode(context, SSL_MODE_NO_AUTO_CHAIN);
        SSL_CTX_set_max_cert_list(context, CERTIFICATES_MAX);
        SSL_CTX_set_verify_depth(context, 0); // no intermediates: the authority signs leaves itself
        SSL_CTX_set_cert_verify_callback(context, on_verify, NULL);
        SSL_CTX_set_alpn_select_cb(context, on_alpn, NULL);
        SSL_CTX_set_client_hello_cb(context, on_client_hello, NULL);
        *ret = steal(&context);
        return 0;
}

int tls_credentials_new(X509 *certificate, EVP_PKEY *key, X509 *authority, struct tls_credentials **ret,
                        struct error *err) {
        struct identity identity;
        if (pki_identity(certificate, &identity, err) < 0)
                return -1;
        if (!pki_matches(certificate, key))
                return error_set(err, ERROR_INVALID, "the key does not belong to the certificate");
        if (X509_verify(certificate, X509_get0_pubkey(authority)) != 1) {
                ERR_clear_error();
                return error_set(err, ERROR_INVALID, "the certificate was not issued by the authority beside it");
        }
        _cleanup_(SSL_CTX_free_p) SSL_CTX *context = NULL;
        if (new_context(&context, err) < 0)
                return -1;
        // The authority goes along in the chain: a joiner knows no more of it than its hash.
        if (SSL_CTX_use_certificate(context, certificate) != 1 || SSL_CTX_use_PrivateKey(context, key) != 1 ||
            X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority) != 1 ||
            SSL_CTX_add1_chain_cert(context, authority) != 1)
                return tls_error(err, "load the certificate");
        struct tls_credentials *credentials = new (struct tls_credentials);
        X509_up_ref(certificate);
        X509_up_ref(authority);
        EVP_PKEY_up_ref(key);
        credentials->certificate = certificate;
        credentials->authority = authority;
        credentials->key = key;
        credentials->context = steal(&context);
        credentials->identity = identity;
        atomic_init(&credentials->refs, 1);
        *ret = credentials;
        return 0;
}

int tls_credentials_load(const char *directory, const char *name, struct tls_credentials **ret, struct error *err) {
        _cleanup_(free_p) char *certificate_path = memory_format("%s/%s.crt", directory, name);
        _cleanup_(free_p) char *key_path = memory_format("%s/%s.key", directory, name);
        _cleanup_(free_p) char *authority_path = memory_format("%s/ca.crt", directory);
        _cleanup_(X509_free_p) X509 *certificate = NULL;
        _cleanup_(X509_free_p) X509 *authority = NULL;
        _cleanup_(EVP_PKEY_free_p) EVP_PKEY *key = NULL;
        if (pki_read_certificate(certificate_path, &certificate, err) < 0 || pki_read_key(key_path, &key, err) < 0 ||
            pki_read_certificate(authority_path, &authority, err) < 0)
                return -1;
        if (tls_credentials_new(certificate, key, authority, ret, err) < 0)
                return error_prefix(err, "%s", certificate_path);
        return 0;
}

struct tls_credentials *tls_credentials_ref(struct tls_credentials *credentials) {
        if (credentials)
                atomic_fetch_add(&credentials->refs, 1);
        return credentials;
}

void tls_credentials_unref(struct tls_credentials *credentials) {
        if (!credentials || atomic_fetch_sub(&credentials->refs, 1) != 1)
                return;
        SSL_CTX_free(credentials->context);
        X509_free(credentials->certificate);
        X509_free(credentials->authority);
        EVP_PKEY_free(credentials->key);
        free(credentials);
}

const struct identity *tls_credentials_identity(const struct tls_credentials *credentials) {
        return &credentials->identity;
}

EVP_PKEY *tls_credentials_key(const struct tls_credentials *credentials) {
        return credentials->key;
}

X509 *tls_credentials_authority(const struct tls_credentials *credentials) {
        return credentials->authority;
}

// ---- sessions

static int new_session(const struct tls_policy *policy, bool server, struct tls_session **ret, struct error *err) {
        _cleanup_(free_p) struct tls_session *session = new (struct tls_session);
        session->server = server;
        session->anonymous_join = server && policy->anonymous_join;
        session->peer_kind = policy->peer;
        session->pins = !server && policy->authority_sha256;
        if (session->pins)
                memcpy(session->authority_sha256, policy->authority_sha256, sizeof(session->authority_sha256));
        if (encode_alpn(session, policy, err) < 0)
                return -1;
        *ret = steal(&session);
        return 0;
}

int tls_new_ssl(struct tls_credentials *credentials, const struct tls_policy *policy, bool server, SSL **ret,
                struct error *err) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        pthread_once(&once, make_index);
        if (!credentials && (server || !policy->authority_sha256))
                return error_set(err, ERROR_INVALID, "a TLS session needs a certificate or a pinned authority");
        _cleanup_(SSL_CTX_free_p) SSL_CTX *own = NULL;
        if (!credentials && new_context(&own, err) < 0)
                return -1;
        struct tls_session *session;
        if (new_session(policy, server, &session, err) < 0)
                return -1;
        _cleanup_(SSL_free_p) SSL *ssl = SSL_new(own ? own : credentials->context);
        if (!ssl || SSL_set_ex_data(ssl, session_index, session) != 1) {
                free(session);
                return tls_error(err, "make a TLS session");
        }
        // From here the session belongs to the SSL object.
        if (!server && SSL_set_alpn_protos(ssl, session->alpn, session->alpn_length) != 0)
                return tls_error(err, "make a TLS session");
        SSL_set_verify(ssl, SSL_VERIFY_PEER | (server ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
        if (server)
                SSL_set_accept_state(ssl);
        else
                SSL_set_connect_state(ssl);
        *ret = steal(&ssl);
        return 0;
}

const char *tls_alpn_of(SSL *ssl, char *buffer, size_t size) {
        const unsigned char *chosen;
        unsigned length;
        SSL_get0_alpn_selected(ssl, &chosen, &length);
        snprintf(buffer, size, "%.*s", (int) length, (const char *) chosen);
        return buffer;
}

X509 *tls_authority_of(SSL *ssl) {
        return tls_session_of(ssl)->authority;
}

int tls_peer_of(SSL *ssl, struct identity *ret_identity, struct error *err) {
        struct tls_session *session = tls_session_of(ssl);
        const unsigned char *chosen;
        unsigned length;
        SSL_get0_alpn_selected(ssl, &chosen, &length);
        if (alpn_agreed(ssl, session)) {
                if (!SSL_get0_peer_certificate(ssl)) {
                        if (!session->anonymous_join || !is_join(chosen, length))
                                refuse(session, ERROR_DENIED, "the peer shows no certificate");
                } else if (SSL_get_verify_result(ssl) != X509_V_OK || session->peer.kind == IDENTITY_NONE) {
                        refuse(session, ERROR_TLS, "the peer's certificate was not checked");
                } else {
                        kind_allowed(session, &session->peer);
                }
        }
        if (session->why) {
                if (err)
                        *err = *session->why;
                return -1;
        }
        *ret_identity = session->peer;
        return 0;
}
