// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Private to common/tls*.c: what we attach to an SSL object. It lives and dies with the SSL object. */
#include "common/tls.h"

#define TLS_ALPN_WIRE_MAX 128

struct tls_session {
        bool server, anonymous_join, pins;
        enum identity_kind peer_kind;
        uint8_t authority_sha256[32];    // if pins
        uint8_t alpn[TLS_ALPN_WIRE_MAX]; // the policy's, each with its length before it (RFC 7301)
        unsigned alpn_length;
        struct identity peer; // once its certificate is verified
        X509 *authority;      // if pins: what was found
        struct error *why;    // why a callback ended the handshake
};
struct tls_session *tls_session_of(const SSL *ssl);
