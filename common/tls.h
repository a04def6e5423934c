// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * TLS 1.3 only, certificates of the one authority on both sides, roles by ALPN, no early data, no session tickets.
 * tls_engine is pure bytes in, bytes out (memory BIOs), so it runs on the loop, in tests and under the fuzzer.
 * Bulk transfers use the same contexts with a socket BIO on a thread of their own (agent/transfer/channel).
 */
#include "common/identity.h"
#include "common/buffer.h"
#include <openssl/ssl.h>

#define TLS_ALPN_AGENT    "drover-agent/1"
#define TLS_ALPN_OPERATOR "drover-operator/1"
#define TLS_ALPN_JOIN     "drover-join/1"
#define TLS_ALPN_DATA     "drover-data/1"

// What one process shows and trusts. Immutable once made; replaced as a whole on renewal; reference-counted and
// safe to share between threads.
struct tls_credentials;
int tls_credentials_new(X509 *certificate, EVP_PKEY *key, X509 *authority, struct tls_credentials **ret,
                        struct error *err); // takes its own references
int tls_credentials_load(const char *directory, const char *name, struct tls_credentials **ret,
                         struct error *err); // <directory>/<name>.crt, <name>.key, ca.crt
struct tls_credentials *tls_credentials_ref(struct tls_credentials *credentials);
void tls_credentials_unref(struct tls_credentials *credentials);
const struct identity *tls_credentials_identity(const struct tls_credentials *credentials);
EVP_PKEY *tls_credentials_key(const struct tls_credentials *credentials);   // borrowed
X509 *tls_credentials_authority(const struct tls_credentials *credentials); // borrowed

struct tls_policy {
        const char *const *alpns; // allowed on this side, NULL-terminated; the client offers exactly the first
        enum identity_kind peer;  // required kind of the peer's certificate; IDENTITY_NONE: checked by the caller after
                                  // the handshake
        bool anonymous_join;      // server: on TLS_ALPN_JOIN alone a client may come without a certificate
        const uint8_t *authority_sha256; // joiner: no CA file yet; the peer's chain must end in a CA certificate with
                                         // this SHA-256, sent in the handshake; 32 bytes or NULL
};
struct tls_engine;
// credentials may be NULL only for a joiner (client with authority_sha256).
int tls_engine_new(struct tls_credentials *credentials, const struct tls_policy *policy, bool server,
                   struct tls_engine **ret, struct error *err);
void tls_engine_free(struct tls_engine *engine);
// Feed what came from the network; plain bytes are appended to `plain`, bytes to send to `wire`. Returns 0, 1 when
// the peer has closed the TLS session properly (close_notify), -1 on failure; `wire` may then hold an alert, to be sent
// before the connection is closed.
int tls_engine_feed(struct tls_engine *engine, const uint8_t *bytes, size_t length, struct buffer *plain,
                    struct buffer *wire, struct error *err);
int tls_engine_start(struct tls_engine *engine, struct buffer *wire, struct error *err); // client: first flight
int tls_engine_write(struct tls_engine *engine, const uint8_t *bytes, size_t length, struct buffer *wire,
                     struct error *err);
int tls_engine_shutdown(struct tls_engine *engine, struct buffer *wire, struct error *err); // close_notify
bool tls_engine_ready(const struct tls_engine *engine);  // handshake complete and peer checked
bool tls_engine_midway(const struct tls_engine *engine); // a record has begun to arrive and is not yet whole
const struct identity *tls_engine_peer(const struct tls_engine *engine); // kind IDENTITY_NONE: no certificate (join)
const char *tls_engine_alpn(const struct tls_engine *engine);            // "" before the handshake's end
X509 *tls_engine_peer_authority(const struct tls_engine *engine);        // joiner: the CA that was pinned; borrowed
EVP_PKEY *tls_engine_peer_key(const struct tls_engine *engine);          // peer's public key; borrowed
// Bytes that arrived after the peer's close_notify and are not TLS of this session (relay hand-over).
int tls_engine_leftover(struct tls_engine *engine, struct buffer *bytes, struct error *err);

// A blocking session's SSL object with the same rules, for a socket BIO; the caller owns it.
int tls_new_ssl(struct tls_credentials *credentials, const struct tls_policy *policy, bool server, SSL **ret,
                struct error *err);
// After the handshake, before anything else: checks the policy's protocol and kind. Kind IDENTITY_NONE: an anonymous
// joiner.
int tls_peer_of(SSL *ssl, struct identity *ret_identity, struct error *err);
X509 *tls_authority_of(SSL *ssl);                             // joiner: the CA that was pinned; borrowed; else NULL
const char *tls_alpn_of(SSL *ssl, char *buffer, size_t size); // "" before the handshake's end
// Say why SSL_do_handshake, SSL_read or SSL_write returned `result` (not for WANT_READ, WANT_WRITE). Returns -1.
int tls_failure(SSL *ssl, int result, struct error *err);
// Take OpenSSL's error queue into err: "what: reason"; the queue is empty afterwards. Returns -1.
int tls_error(struct error *err, const char *what);
