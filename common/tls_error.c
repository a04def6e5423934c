// SPDX-License-Identifier: LGPL-2.1-or-later
/* OpenSSL's errors and its peers' alerts in our words; nowhere else. Safe from any thread: the queue is the thread's.
 */
#include "common/tls_session.h"
#include <errno.h>
#include <openssl/err.h>
#include <string.h>

#define DAMAGED       "a record was damaged or forged on its way"
#define DAMAGED_THERE "the peer says that a record was damaged or forged on its way"

static const struct {
        int reason;
        enum error_code code;
        const char *text;
} reasons[] = {
        {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, ERROR_TLS, "the peer says that our certificate has expired"},
        {SSL_R_TLSV1_ALERT_UNKNOWN_CA, ERROR_TLS, "the peer says that our certificate is not of its authority"},
        {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, ERROR_DENIED, "the peer refuses our certificate"},
        {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, ERROR_DENIED, "the peer refuses our certificate"},
        {SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, ERROR_DENIED, "the peer says that our certificate is revoked"},
        {SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, ERROR_DENIED, "the peer refuses our certificate for this use"},
        {SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, ERROR_DENIED, "the peer wants a certificate and we showed none"},
        {SSL_R_TLSV1_ALERT_DECRYPT_ERROR, ERROR_TLS, "the peer says that our certificate does not hold"},
        {SSL_R_TLSV1_ALERT_ACCESS_DENIED, ERROR_DENIED, "the peer denies us access"},
        {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, ERROR_TLS, "the peer refuses the handshake"},
        {SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, ERROR_VERSION, "the peer does not speak our protocol"},
        {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, ERROR_DENIED, "the peer shows no certificate"},
        {SSL_R_CERTIFICATE_VERIFY_FAILED, ERROR_TLS, "the peer's certificate is refused"},
        {SSL_R_UNSUPPORTED_PROTOCOL, ERROR_VERSION, "the peer does not speak TLS 1.3"},
        {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, ERROR_VERSION, "the peer does not speak TLS 1.3"},
        {SSL_R_WRONG_VERSION_NUMBER, ERROR_VERSION, "the peer does not speak TLS 1.3"},
        {SSL_R_HTTP_REQUEST, ERROR_PROTOCOL, "the peer speaks HTTP"},
        {SSL_R_UNEXPECTED_EOF_WHILE_READING, ERROR_UNREACHABLE, "the peer broke off the connection"},
        {SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, ERROR_TLS, DAMAGED},
        {SSL_R_SSLV3_ALERT_BAD_RECORD_MAC, ERROR_TLS, DAMAGED_THERE},
};

// What a record's header makes of changed bytes. Before the session stands these are words of somebody who speaks
// another protocol; afterwards nobody but the network, or who sits on it, has changed the language.
static const struct {
        int reason;
        const char *text;
} changed[] = {
        {SSL_R_WRONG_VERSION_NUMBER, DAMAGED},
        {SSL_R_BAD_RECORD_TYPE, DAMAGED},
        {SSL_R_PACKET_LENGTH_TOO_LONG, DAMAGED},
        {SSL_R_ENCRYPTED_LENGTH_TOO_LONG, DAMAGED},
        {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, DAMAGED_THERE},
        {SSL_R_TLSV1_ALERT_RECORD_OVERFLOW, DAMAGED_THERE},
        {SSL_R_TLSV1_ALERT_DECODE_ERROR, DAMAGED_THERE},
        {SSL_R_SSLV3_ALERT_UNEXPECTED_MESSAGE, DAMAGED_THERE},
};

// The earliest error is the cause, later ones are layers that passed it on.
static int translate(struct error *err, unsigned long code) {
        if (code == 0)
                return error_set(err, ERROR_TLS, "failed");
        if (ERR_SYSTEM_ERROR(code))
                return error_set(err, ERROR_UNREACHABLE, "%s", strerror(ERR_GET_REASON(code)));
        if (ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE)
                return error_set(err, ERROR_NO_MEMORY, "out of memory");
        for (size_t i = 0; ERR_GET_LIB(code) == ERR_LIB_SSL && i < sizeof(reasons) / sizeof(reasons[0]); i++)
                if (ERR_GET_REASON(code) == reasons[i].reason)
                        return error_set(err, reasons[i].code, "%s", reasons[i].text);
        const char *reason = ERR_reason_error_string(code);
        return error_set(err, ERROR_TLS, "%s", reason ? reason : "failed");
}

int tls_error(struct error *err, const char *what) {
        unsigned long code = ERR_get_error();
        ERR_clear_error();
        if (!err)
                return -1;
        translate(err, code);
        return error_prefix(err, "%s", what);
}

int tls_failure(SSL *ssl, int result, struct error *err) {
        int saved = errno;
        const struct tls_session *session = tls_session_of(ssl);
        int kind = SSL_get_error(ssl, result);
        unsigned long code = ERR_get_error();
        ERR_clear_error();
        if (session->why) {
                if (err)
                        *err = *session->why;
                return -1;
        }
        if (kind == SSL_ERROR_ZERO_RETURN)
                return error_set(err, ERROR_UNREACHABLE, "the peer closed the connection");
        if (kind == SSL_ERROR_SYSCALL && code == 0)
                return saved ? error_set(err, ERROR_UNREACHABLE, "%s", strerror(saved))
                             : error_set(err, ERROR_UNREACHABLE, "the peer broke off the connection");
        if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL)
                return error_set(err, ERROR_VERSION, "the peer does not speak %.*s", (int) session->alpn[0],
                                 (const char *) session->alpn + 1);
        // The state stays "the session stands" when an error has ended it, unlike what SSL_is_init_finished() says.
        bool stood = SSL_get_state(ssl) == TLS_ST_OK;
        for (size_t i = 0; stood && ERR_GET_LIB(code) == ERR_LIB_SSL && i < sizeof(changed) / sizeof(changed[0]); i++)
                if (ERR_GET_REASON(code) == changed[i].reason)
                        return error_set(err, ERROR_TLS, "%s", changed[i].text);
        return translate(err, code);
}
