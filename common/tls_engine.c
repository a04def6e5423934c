// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One TLS session as pure bytes in, bytes out. The BIO below reads from what tls_engine_feed() was given and writes to
 * the caller's `wire`, so nothing is copied on the way and a session at rest holds no buffer. An engine belongs to one
 * thread at a time.
 */
#include "common/tls.h"
#include "common/memory.h"
#include <assert.h>
#include <openssl/err.h>
#include <pthread.h>
#include <string.h>

#define READ_SIZE     (16u << 10) // the plain text of one record (RFC 8446 5.1)
#define RECORD_HEADER 5u
#define LEFTOVER_MAX  (1u << 20)

struct tls_engine {
        SSL *ssl;
        const uint8_t *input; // during tls_engine_feed() only
        size_t input_length;
        struct buffer *wire; // during a call only
        struct buffer leftover;
        struct identity peer;
        char alpn[32];
        uint8_t header[RECORD_HEADER]; // of the record that is arriving
        unsigned header_have;
        size_t record_left;
        bool ready, peer_closed, failed;
};

static int bio_read(BIO *bio, char *out, size_t size, size_t *ret_read) {
        struct tls_engine *engine = BIO_get_data(bio);
        BIO_clear_retry_flags(bio);
        if (engine->input_length == 0) {
                BIO_set_retry_read(bio);
                return -1;
        }
        size_t n = size < engine->input_length ? size : engine->input_length;
        memcpy(out, engine->input, n);
        engine->input += n;
        engine->input_length -= n;
        *ret_read = n;
        return 1;
}

static int bio_write(BIO *bio, const char *bytes, size_t length, size_t *ret_written) {
        struct tls_engine *engine = BIO_get_data(bio);
        BIO_clear_retry_flags(bio);
        if (!engine->wire || buffer_append(engine->wire, bytes, length, NULL) < 0)
                return -1;
        *ret_written = length;
        return 1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer) {
        (void) bio, (void) number, (void) pointer;
        return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;

static void make_method(void) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "drover engine");
        if (method) {
                BIO_meth_set_read_ex(method, bio_read);
                BIO_meth_set_write_ex(method, bio_write);
                BIO_meth_set_ctrl(method, bio_control);
        }
}

int tls_engine_new(struct tls_credentials *credentials, const struct tls_policy *policy, bool server,
                   struct tls_engine **ret, struct error *err) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        SSL *ssl;
        pthread_once(&once, make_method);
        if (tls_new_ssl(credentials, policy, server, &ssl, err) < 0)
                return -1;
        BIO *bio = method ? BIO_new(method) : NULL;
        if (!bio) {
                SSL_free(ssl);
                return tls_error(err, "make a TLS session");
        }
        struct tls_engine *engine = new (struct tls_engine);
        engine->ssl = ssl;
        buffer_init(&engine->leftover, LEFTOVER_MAX);
        BIO_set_data(bio, engine);
        BIO_set_init(bio, 1);
        SSL_set_bio(ssl, bio, bio);
        SSL_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS); // a session at rest costs no 16 KiB buffers
        *ret = engine;
        return 0;
}

void tls_engine_free(struct tls_engine *engine) {
        if (!engine)
                return;
        SSL_free(engine->ssl);
        buffer_fini(&engine->leftover);
        free(engine);
}

static int fail(struct tls_engine *engine, int result, struct error *err) {
        engine->failed = true;
        return tls_failure(engine->ssl, result, err);
}

// Follows the records' lengths, to know whether one is under way.
static void track_records(struct tls_engine *engine, const uint8_t *bytes, size_t length) {
        while (length > 0) {
                size_t n;
                if (engine->record_left > 0) {
                        n = length < engine->record_left ? length : engine->record_left;
                        engine->record_left -= n;
                } else {
                        n = 1;
                        engine->header[engine->header_have++] = *bytes;
                        if (engine->header_have == RECORD_HEADER) {
                                engine->record_left = (size_t) engine->header[3] << 8 | engine->header[4];
                                engine->header_have = 0;
                        }
                }
                bytes += n;
                length -= n;
        }
}

static bool would_block(struct tls_engine *engine, int result) {
        return SSL_get_error(engine->ssl, result) == SSL_ERROR_WANT_READ;
}

static int handshake(struct tls_engine *engine, struct error *err) {
        ERR_clear_error();
        int r = SSL_do_handshake(engine->ssl);
        if (r != 1)
                return would_block(engine, r) ? 0 : fail(engine, r, err);
        if (tls_peer_of(engine->ssl, &engine->peer, err) < 0) {
                engine->failed = true;
                return -1;
        }
        tls_alpn_of(engine->ssl, engine->alpn, sizeof(engine->alpn));
        engine->ready = true;
        return 0;
}

static int read_plain(struct tls_engine *engine, struct buffer *plain, struct error *err) {
        for (;;) {
                uint8_t *space;
                if (buffer_reserve(plain, READ_SIZE, &space, err) < 0) {
                        engine->failed = true;
                        return -1;
                }
                ERR_clear_error();
                int r = SSL_read(engine->ssl, space, READ_SIZE);
                if (r > 0) {
                        buffer_commit(plain, (size_t) r);
                        continue;
                }
                int kind = SSL_get_error(engine->ssl, r);
                if (kind == SSL_ERROR_ZERO_RETURN) {
                        engine->peer_closed = true;
                        return 1;
                }
                return kind == SSL_ERROR_WANT_READ ? 0 : fail(engine, r, err);
        }
}

static int feed(struct tls_engine *engine, struct buffer *plain, struct error *err) {
        if (engine->peer_closed)
                return 1;
        if (!engine->ready && handshake(engine, err) < 0)
                return -1;
        return engine->ready ? read_plain(engine, plain, err) : 0;
}

int tls_engine_feed(struct tls_engine *engine, const uint8_t *bytes, size_t length, struct buffer *plain,
                    struct buffer *wire, struct error *err) {
        if (engine->failed)
                return error_set(err, ERROR_TLS, "the TLS session has failed before");
        track_records(engine, bytes, length);
        engine->input = bytes;
        engine->input_length = length;
        engine->wire = wire;
        int r = feed(engine, plain, err);
        if (r == 1 && buffer_append(&engine->leftover, engine->input, engine->input_length, err) < 0) {
                engine->failed = true;
                r = -1;
        }
        assert(r != 0 || engine->input_length == 0); // what is not yet a record stays inside OpenSSL
        engine->input = NULL;
        engine->input_length = 0;
        engine->wire = NULL;
        return r;
}

int tls_engine_start(struct tls_engine *engine, struct buffer *wire, struct error *err) {
        engine->wire = wire;
        int r = handshake(engine, err);
        engine->wire = NULL;
        return r;
}

int tls_engine_write(struct tls_engine *engine, const uint8_t *bytes, size_t length, struct buffer *wire,
                     struct error *err) {
        if (engine->failed || !engine->ready)
                return error_set(err, ERROR_TLS, "the TLS session is not open");
        if (length == 0)
                return 0;
        size_t written;
        engine->wire = wire;
        ERR_clear_error();
        int r = SSL_write_ex(engine->ssl, bytes, length, &written);
        if (r != 1)
                fail(engine, r, err);
        engine->wire = NULL;
        return r == 1 ? 0 : -1;
}

int tls_engine_shutdown(struct tls_engine *engine, struct buffer *wire, struct error *err) {
        if (engine->failed || !engine->ready)
                return error_set(err, ERROR_TLS, "the TLS session is not open");
        engine->wire = wire;
        ERR_clear_error();
        int r = SSL_shutdown(engine->ssl);
        if (r < 0)
                fail(engine, r, err);
        engine->wire = NULL;
        return r < 0 ? -1 : 0;
}

bool tls_engine_ready(const struct tls_engine *engine) {
        return engine->ready;
}

bool tls_engine_midway(const struct tls_engine *engine) {
        return engine->header_have > 0 || engine->record_left > 0;
}

const struct identity *tls_engine_peer(const struct tls_engine *engine) {
        return &engine->peer;
}

const char *tls_engine_alpn(const struct tls_engine *engine) {
        return engine->alpn;
}

X509 *tls_engine_peer_authority(const struct tls_engine *engine) {
        return tls_authority_of(engine->ssl);
}

EVP_PKEY *tls_engine_peer_key(const struct tls_engine *engine) {
        X509 *certificate = SSL_get0_peer_certificate(engine->ssl);
        return certificate ? X509_get0_pubkey(certificate) : NULL;
}

int tls_engine_leftover(struct tls_engine *engine, struct buffer *bytes, struct error *err) {
        if (buffer_append(bytes, engine->leftover.data, engine->leftover.length, err) < 0)
                return -1;
        buffer_fini(&engine->leftover);
        buffer_init(&engine->leftover, LEFTOVER_MAX);
        return 0;
}
