// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * TLS sessions in memory. On one side the engine; on the other a stranger: a bare SSL object that may show any
 * certificate and speak any version. A matrix runs each bad certificate against both roles of the engine.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "certificates.h"
#include "scratch.h"
#include "common/file.h"
#include "common/memory.h"
#include <fcntl.h>
#include <openssl/err.h>
#include <pthread.h>
#include <sys/socket.h>

#define PAST     1577836800 // 2020-01-01
#define PAST_END 1609459200 // 2021-01-01
#define FAR      3786912000 // 2090-01-01
#define FAR_END  3818448000 // 2091-01-01

static struct authority ours, theirs;
static struct tls_credentials *controller, *host, *user;
static const char *const agent_only[] = {TLS_ALPN_AGENT, NULL};
static const char *const join_only[] = {TLS_ALPN_JOIN, NULL};
static const char *const all[] = {TLS_ALPN_AGENT, TLS_ALPN_OPERATOR, TLS_ALPN_JOIN, TLS_ALPN_DATA, NULL};
static const struct tls_policy to_controller = {.alpns = agent_only, .peer = IDENTITY_CONTROLLER};
static const struct tls_policy to_host = {.alpns = agent_only, .peer = IDENTITY_HOST};
static const struct tls_policy to_anyone = {.alpns = all, .anonymous_join = true};

static int make_all(void **state) {
        (void) state;
        ours = authority_new();
        theirs = authority_new();
        controller = credentials_new(&ours, IDENTITY_CONTROLLER);
        host = credentials_new(&ours, IDENTITY_HOST);
        user = credentials_new(&ours, IDENTITY_USER);
        return 0;
}

static int free_all(void **state) {
        (void) state;
        tls_credentials_unref(controller);
        tls_credentials_unref(host);
        tls_credentials_unref(user);
        authority_free(&ours);
        authority_free(&theirs);
        return 0;
}

// ---- one side: an engine with what it has received, has to send, and how it ended

struct side {
        struct tls_engine *engine;
        struct buffer plain, wire;
        struct error err;
        int result;
};

static void side_init(struct side *side, struct tls_credentials *credentials, const struct tls_policy *policy,
                      bool server) {
        *side = (struct side){.result = 0};
        buffer_init(&side->plain, 0);
        buffer_init(&side->wire, 0);
        must(tls_engine_new(credentials, policy, server, &side->engine, &side->err), &side->err);
        if (!server)
                must(tls_engine_start(side->engine, &side->wire, &side->err), &side->err);
}

static void side_fini(struct side *side) {
        tls_engine_free(side->engine);
        buffer_fini(&side->plain);
        buffer_fini(&side->wire);
}

// Everything that `from` has to send goes to `to`, in pieces of `step` bytes. Returns whether there was anything.
static bool carry(struct side *from, struct side *to, size_t step) {
        struct buffer bytes = from->wire;
        buffer_init(&from->wire, 0);
        for (size_t i = 0; i < bytes.length && to->result == 0; i += step) {
                size_t n = bytes.length - i < step ? bytes.length - i : step;
                to->result = tls_engine_feed(to->engine, bytes.data + i, n, &to->plain, &to->wire, &to->err);
        }
        bool any = bytes.length > 0;
        buffer_fini(&bytes);
        return any;
}

static void converse(struct side *one, struct side *other, size_t step) {
        bool any = true;
        while (any) {
                any = carry(one, other, step);
                any |= carry(other, one, step);
        }
}

static void say(struct side *from, const void *bytes, size_t length) {
        must(tls_engine_write(from->engine, bytes, length, &from->wire, &from->err), &from->err);
}

// ---- the other side: a stranger

struct stranger {
        SSL *ssl;
        BIO *in, *out; // the SSL object's
        struct error err;
        bool failed;
};

static void stranger_init(struct stranger *stranger, SSL *ssl) {
        *stranger = (struct stranger){.ssl = ssl, .in = BIO_new(BIO_s_mem()), .out = BIO_new(BIO_s_mem())};
        SSL_set_bio(ssl, stranger->in, stranger->out);
}

// Shows `certificate` (NULL: none) though its own credentials are good.
static void stranger_showing(struct stranger *stranger, const struct tls_policy *policy, bool server, X509 *certificate,
                             EVP_PKEY *key) {
        struct error err = ERROR_INIT;
        SSL *ssl;
        must(tls_new_ssl(server ? controller : host, policy, server, &ssl, &err), &err);
        SSL_certs_clear(ssl);
        if (certificate) {
                assert_int_equal(SSL_use_certificate(ssl, certificate), 1);
                assert_int_equal(SSL_use_PrivateKey(ssl, key), 1);
                assert_int_equal(SSL_add1_chain_cert(ssl, ours.certificate), 1);
        }
        stranger_init(stranger, ssl);
}

static void stranger_fini(struct stranger *stranger) {
        SSL_free(stranger->ssl);
}

static void stranger_step(struct stranger *stranger) {
        char byte;
        ERR_clear_error();
        if (stranger->failed)
                return;
        int r = SSL_is_init_finished(stranger->ssl) ? SSL_read(stranger->ssl, &byte, 1)
                                                    : SSL_do_handshake(stranger->ssl);
        if (r > 0 || SSL_get_error(stranger->ssl, r) == SSL_ERROR_WANT_READ)
                return;
        stranger->failed = true;
        tls_failure(stranger->ssl, r, &stranger->err);
}

static bool to_stranger(struct side *side, struct stranger *stranger) {
        if (side->wire.length == 0)
                return false;
        BIO_write(stranger->in, side->wire.data, (int) side->wire.length);
        buffer_clear(&side->wire);
        return true;
}

static bool from_stranger(struct stranger *stranger, struct side *side) {
        char *bytes;
        long length = BIO_get_mem_data(stranger->out, &bytes);
        if (length <= 0)
                return false;
        if (side->result == 0)
                side->result = tls_engine_feed(side->engine, (uint8_t *) bytes, (size_t) length, &side->plain,
                                               &side->wire, &side->err);
        (void) BIO_reset(stranger->out);
        return true;
}

static void meet(struct side *side, struct stranger *stranger) {
        stranger_step(stranger);
        for (bool any = true; any;) {
                any = to_stranger(side, stranger);
                stranger_step(stranger);
                any |= from_stranger(stranger, side);
        }
        stranger_step(stranger);
}

// ---- what must work

static void both_sides_know_each_other_after_the_handshake(void **state) {
        (void) state;
        struct side client, server;
        side_init(&client, host, &to_controller, false);
        side_init(&server, controller, &to_anyone, true);
        assert_string_equal(tls_engine_alpn(client.engine), "");
        converse(&client, &server, SIZE_MAX);
        assert_true(tls_engine_ready(client.engine) && tls_engine_ready(server.engine));
        assert_int_equal(tls_engine_peer(client.engine)->kind, IDENTITY_CONTROLLER);
        assert_string_equal(tls_engine_peer(client.engine)->name, UUID_CONTROLLER);
        assert_int_equal(tls_engine_peer(server.engine)->kind, IDENTITY_HOST);
        assert_string_equal(tls_engine_peer(server.engine)->name, UUID_HOST);
        assert_memory_equal(tls_engine_peer(server.engine)->certificate_sha256,
                            tls_credentials_identity(host)->certificate_sha256, 32);
        assert_string_equal(tls_engine_alpn(client.engine), TLS_ALPN_AGENT);
        assert_string_equal(tls_engine_alpn(server.engine), TLS_ALPN_AGENT);
        assert_int_equal(EVP_PKEY_eq(tls_engine_peer_key(server.engine), tls_credentials_key(host)), 1);
        assert_null(tls_engine_peer_authority(client.engine));
        side_fini(&client);
        side_fini(&server);
}

static void fault_05_a_byte_at_a_time_gives_the_same(void **state) {
        (void) state;
        struct side client, server;
        uint8_t *large = memory_new(100000);
        memset(large, 'x', 100000);
        side_init(&client, host, &to_controller, false);
        side_init(&server, controller, &to_anyone, true);
        converse(&client, &server, 1);
        assert_true(tls_engine_ready(client.engine) && tls_engine_ready(server.engine));
        say(&client, large, 100000);
        say(&client, "end", 3);
        say(&server, "yes", 3);
        converse(&client, &server, 1);
        assert_int_equal(server.plain.length, 100003);
        assert_memory_equal(server.plain.data, large, 100000);
        assert_memory_equal(server.plain.data + 100000, "end", 3);
        assert_int_equal(client.plain.length, 3);
        assert_memory_equal(client.plain.data, "yes", 3);
        free(large);
        side_fini(&client);
        side_fini(&server);
}

static void the_server_sends_no_ticket_and_the_session_cannot_be_resumed(void **state) {
        (void) state;
        struct side client, server;
        side_init(&client, host, &to_controller, false);
        side_init(&server, controller, &to_anyone, true);
        carry(&client, &server, SIZE_MAX);
        carry(&server, &client, SIZE_MAX);
        carry(&client, &server, SIZE_MAX);
        assert_true(tls_engine_ready(server.engine));
        assert_int_equal(server.wire.length, 0);
        side_fini(&client);
        side_fini(&server);
}

static void a_record_under_way_can_be_told(void **state) {
        (void) state;
        struct side client, server;
        side_init(&client, host, &to_controller, false);
        side_init(&server, controller, &to_anyone, true);
        converse(&client, &server, SIZE_MAX);
        assert_false(tls_engine_midway(server.engine));
        say(&client, "hello", 5);
        for (size_t i = 0; i < client.wire.length; i++) {
                must(tls_engine_feed(server.engine, client.wire.data + i, 1, &server.plain, &server.wire, &server.err),
                     &server.err);
                assert_int_equal(tls_engine_midway(server.engine), i + 1 < client.wire.length);
        }
        assert_int_equal(server.plain.length, 5);
        side_fini(&client);
        side_fini(&server);
}

static void what_follows_the_end_of_the_session_is_left_over(void **state) {
        (void) state;
        struct side client, server;
        struct buffer leftover;
        buffer_init(&leftover, 0);
        side_init(&client, host, &to_controller, false);
        side_init(&server, controller, &to_anyone, true);
        converse(&client, &server, SIZE_MAX);
        say(&client, "last", 4);
        must(tls_engine_shutdown(client.engine, &client.wire, &client.err), &client.err);
        must(buffer_append_text(&client.wire, "raw bytes", NULL), NULL);
        carry(&client, &server, SIZE_MAX);
        assert_int_equal(server.result, 1);
        assert_int_equal(server.plain.length, 4);
        // One side's end does not end the other side's.
        say(&server, "bye", 3);
        carry(&server, &client, SIZE_MAX);
        assert_int_equal(client.result, 0);
        assert_memory_equal(client.plain.data, "bye", 3);
        assert_int_equal(
                tls_engine_feed(server.engine, (const uint8_t *) "!", 1, &server.plain, &server.wire, &server.err), 1);
        must(tls_engine_leftover(server.engine, &leftover, &server.err), &server.err);
        assert_int_equal(leftover.length, 10);
        assert_memory_equal(leftover.data, "raw bytes!", 10);
        buffer_fini(&leftover);
        side_fini(&client);
        side_fini(&server);
}

static void a_damaged_record_ends_the_session(void **state) {
        (void) state;
        struct side client, server;
        side_init(&client, host, &to_controller, false);
        side_init(&server, controller, &to_anyone, true);
        converse(&client, &server, SIZE_MAX);
        say(&client, "hello", 5);
        client.wire.data[client.wire.length - 1] ^= 1;
        carry(&client, &server, SIZE_MAX);
        assert_int_equal(server.result, -1);
        assert_error(server.err, ERROR_TLS, "a record was damaged or forged on its way");
        assert_int_equal(server.plain.length, 0);
        assert_true(server.wire.length > 0); // an alert
        assert_int_equal(tls_engine_feed(server.engine, NULL, 0, &server.plain, &server.wire, &server.err), -1);
        assert_int_equal(tls_engine_write(server.engine, (const uint8_t *) "x", 1, &server.wire, &server.err), -1);
        assert_error(server.err, ERROR_TLS, "the TLS session is not open");
        side_fini(&client);
        side_fini(&server);
}

// Whatever comes of it: the server says so, and is heard to have said so.
static void assert_damage(const uint8_t *header, size_t length, size_t flipped_byte, unsigned flipped_bit) {
        static const uint8_t page[4096];
        struct side client, server;
        side_init(&client, host, &to_controller, false);
        side_init(&server, controller, &to_anyone, true);
        converse(&client, &server, SIZE_MAX);
        say(&client, "hello", 5);
        if (header)
                memcpy(client.wire.data, header, length);
        client.wire.data[flipped_byte] ^= (uint8_t) (1u << flipped_bit);
        for (unsigned i = 0; i < 5; i++) // as much as a changed length may ask for
                say(&client, page, sizeof(page));
        carry(&client, &server, SIZE_MAX);
        assert_int_equal(server.result, -1);
        assert_error(server.err, ERROR_TLS, "a record was damaged or forged on its way");
        assert_int_equal(server.plain.length, 0);
        carry(&server, &client, SIZE_MAX);
        assert_error(client.err, ERROR_TLS, "the peer says that a record was damaged or forged on its way");
        side_fini(&client);
        side_fini(&server);
}

// In its type, its version, its length or its content.
static void fault_06_a_change_of_any_byte_of_a_record_is_damage(void **state) {
        (void) state;
        for (size_t at = 0; at < 12; at++)
                for (unsigned bit = 0; bit < 8; bit++)
                        assert_damage(NULL, 0, at, bit);
}

static void fault_06_a_header_of_the_relays_own_is_damage(void **state) {
        (void) state;
        static const uint8_t headers[][6] = {
                {23, 3, 3, 0, 0},
                {23, 3, 3, 0, 1},
                {23, 3, 3, 0, 15},
                {23, 3, 3, 0x41, 0x01},
                {23, 3, 3, 0x41, 0x02},
                {20, 3, 3, 0, 1, 1},
                {20, 3, 3, 0, 1},
                {21, 3, 3, 0, 2, 2},
                {22, 3, 3, 0, 2},
                {24, 3, 3, 0, 2},
                {0},
                {255, 255, 255, 255, 255, 255},
                {'G', 'E', 'T', ' ', '/'},
                {0x80, 0x2e, 1, 3, 1},
        };
        for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
                assert_damage(headers[i], sizeof(headers[i]), 7, 0);
}

static void what_is_no_tls_is_named(void **state) {
        (void) state;
        static const struct {
                const char *bytes;
                enum error_code code;
                const char *text;
        } cases[] = {
                {"GET / HTTP/1.1\r\n\r\n", ERROR_PROTOCOL, "the peer speaks HTTP"},
                {"SSH-2.0-OpenSSH_9.2p1\r\n", ERROR_VERSION, "the peer does not speak TLS 1.3"},
        };
        for (size_t i = 0; i < 2; i++) {
                struct side server;
                side_init(&server, controller, &to_anyone, true);
                server.result = tls_engine_feed(server.engine, (const uint8_t *) cases[i].bytes, strlen(cases[i].bytes),
                                                &server.plain, &server.wire, &server.err);
                assert_int_equal(server.result, -1);
                assert_error(server.err, cases[i].code, cases[i].text);
                side_fini(&server);
        }
}

// ---- the matrix

static const char *const two_uris[] = {"drover://host/" UUID_HOST, "drover://controller/" UUID_CONTROLLER};
static const char *const web_uri[] = {"https://acme.example/"};

enum shown { GOOD, EXPIRED, NOT_YET, OTHER_AUTHORITY, SAME_NAME, WRONG_KIND, TWO, NONE, FOREIGN_URI, SELF_SIGNED };

// A certificate of `kind` (or with the flaw) and its key.
static X509 *show(enum shown shown, enum identity_kind kind, EVP_PKEY **ret_key) {
        struct error err = ERROR_INIT;
        must(pki_new_key(ret_key, &err), &err);
        EVP_PKEY *key = *ret_key;
        X509 *certificate;
        switch (shown) {
        case EXPIRED:
                return certificate_new(&ours, key, kind, PAST, PAST_END);
        case NOT_YET:
                return certificate_new(&ours, key, kind, FAR, FAR_END);
        case OTHER_AUTHORITY:
                return certificate_now(&theirs, key, kind);
        case WRONG_KIND:
                return certificate_now(&ours, key, IDENTITY_USER);
        case SAME_NAME: // names our authority as its issuer, key identifier and all, but signs itself
                certificate = certificate_now(&ours, key, kind);
                assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
                return certificate;
        case SELF_SIGNED:
                certificate = certificate_now(&ours, key, kind);
                X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
                X509_EXTENSION_free(X509_delete_ext(
                        certificate, X509_get_ext_by_NID(certificate, NID_authority_key_identifier, -1)));
                assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
                return certificate;
        default:
                certificate = certificate_now(&ours, key, kind);
                if (shown == TWO)
                        certificate_rename(certificate, ours.key, two_uris, 2);
                else if (shown == NONE)
                        certificate_rename(certificate, ours.key, NULL, 0);
                else if (shown == FOREIGN_URI)
                        certificate_rename(certificate, ours.key, web_uri, 1);
                return certificate;
        }
}

struct flaw {
        enum shown shown;
        enum error_code code;
        const char *text;          // what the engine says
        enum error_code told_code; // what the one who showed it is told
        const char *told;
};

#define NOT_OURS "the peer's certificate is not of our authority"
#define TOLD_CA  "the peer says that our certificate is not of its authority"
#define TOLD_BAD "the peer refuses our certificate"
#define REFUSED  "the peer's certificate is refused: "

static const struct flaw flaws[] = {
        {EXPIRED, ERROR_TLS, "the peer's certificate expired on 2021-01-01T00:00:00Z", ERROR_TLS,
         "the peer says that our certificate has expired"},
        {NOT_YET, ERROR_TLS, "the peer's certificate is not valid before 2090-01-01T00:00:00Z", ERROR_DENIED, TOLD_BAD},
        {OTHER_AUTHORITY, ERROR_TLS, NOT_OURS, ERROR_TLS, TOLD_CA},
        {SELF_SIGNED, ERROR_TLS, NOT_OURS, ERROR_TLS, TOLD_CA},
        {TWO, ERROR_TLS, REFUSED "the certificate has 2 SAN URIs, expected 1", ERROR_DENIED, TOLD_BAD},
        {NONE, ERROR_TLS, REFUSED "the certificate has 0 SAN URIs, expected 1", ERROR_DENIED, TOLD_BAD},
        {FOREIGN_URI, ERROR_TLS,
         REFUSED "the certificate's SAN URI: \"https://acme.example/\" is not an identity: it does not begin with "
                 "drover://",
         ERROR_DENIED, TOLD_BAD},
};

static void check_flaw(const struct flaw *flaw, bool engine_is_server) {
        struct side side;
        struct stranger stranger;
        EVP_PKEY *key;
        X509 *certificate = show(flaw->shown, engine_is_server ? IDENTITY_HOST : IDENTITY_CONTROLLER, &key);
        side_init(&side, engine_is_server ? controller : host, engine_is_server ? &to_host : &to_controller,
                  engine_is_server);
        stranger_showing(&stranger, engine_is_server ? &to_controller : &to_host, !engine_is_server, certificate, key);
        meet(&side, &stranger);
        assert_int_equal(side.result, -1);
        assert_false(tls_engine_ready(side.engine));
        assert_error(side.err, flaw->code, flaw->text);
        assert_true(stranger.failed);
        assert_error(stranger.err, flaw->told_code, flaw->told);
        stranger_fini(&stranger);
        side_fini(&side);
        X509_free(certificate);
        EVP_PKEY_free(key);
}

static void fault_44_each_bad_client_certificate_is_refused_and_told_so(void **state) {
        (void) state;
        for (size_t i = 0; i < sizeof(flaws) / sizeof(flaws[0]); i++)
                check_flaw(&flaws[i], true);
}

static void fault_44_each_bad_server_certificate_is_refused_and_told_so(void **state) {
        (void) state;
        for (size_t i = 0; i < sizeof(flaws) / sizeof(flaws[0]); i++)
                check_flaw(&flaws[i], false);
}

// The signature does not hold; the alert is one for that.
static void fault_44_a_forged_signature_is_refused(void **state) {
        (void) state;
        static const struct flaw forged = {SAME_NAME, ERROR_TLS, NOT_OURS, ERROR_TLS,
                                           "the peer says that our certificate does not hold"};
        check_flaw(&forged, true);
        check_flaw(&forged, false);
}

static void fault_44_a_user_is_no_host(void **state) {
        (void) state;
        static const struct flaw kind = {WRONG_KIND, ERROR_DENIED, "the peer is a user (alice), expected a host",
                                         ERROR_DENIED, TOLD_BAD};
        check_flaw(&kind, true);
}

static void fault_44_a_user_is_no_server(void **state) {
        (void) state;
        static const struct flaw kind = {WRONG_KIND, ERROR_TLS, "the peer's certificate is not for a server",
                                         ERROR_DENIED, "the peer refuses our certificate for this use"};
        check_flaw(&kind, false);
}

static void fault_44_a_host_is_no_controller(void **state) {
        (void) state;
        struct side client, server;
        side_init(&client, host, &to_controller, false);
        side_init(&server, host, &to_anyone, true);
        converse(&client, &server, SIZE_MAX);
        assert_error(client.err, ERROR_DENIED, "the peer is a host (" UUID_HOST "), expected a controller");
        assert_error(server.err, ERROR_DENIED, TOLD_BAD);
        assert_false(tls_engine_ready(client.engine) || tls_engine_ready(server.engine));
        side_fini(&client);
        side_fini(&server);
}

static void a_good_stranger_is_let_in(void **state) {
        (void) state;
        for (int server = 0; server < 2; server++) {
                struct side side;
                struct stranger stranger;
                EVP_PKEY *key;
                X509 *certificate = show(GOOD, server ? IDENTITY_HOST : IDENTITY_CONTROLLER, &key);
                side_init(&side, server ? controller : host, server ? &to_host : &to_controller, server);
                stranger_showing(&stranger, server ? &to_controller : &to_host, !server, certificate, key);
                meet(&side, &stranger);
                assert_int_equal(side.result, 0);
                assert_true(tls_engine_ready(side.engine));
                assert_false(stranger.failed);
                stranger_fini(&stranger);
                side_fini(&side);
                X509_free(certificate);
                EVP_PKEY_free(key);
        }
}

static void the_times_hint_at_the_clocks(void **state) {
        (void) state;
        struct side side;
        struct stranger stranger;
        EVP_PKEY *key;
        X509 *certificate = show(NOT_YET, IDENTITY_HOST, &key);
        side_init(&side, controller, &to_host, true);
        stranger_showing(&stranger, &to_controller, false, certificate, key);
        meet(&side, &stranger);
        assert_int_equal(side.err.n_hints, 1);
        assert_string_equal(side.err.hints[0], "compare the clocks of both machines");
        stranger_fini(&stranger);
        side_fini(&side);
        X509_free(certificate);
        EVP_PKEY_free(key);
}

// A leaf of our authority that acts as an authority itself.
static void fault_43_a_certificate_signed_by_a_host_is_refused(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct authority middle;
        struct stranger stranger;
        struct side side;
        EVP_PKEY *key;
        must(pki_new_key(&middle.key, &err), &err);
        must(pki_new_key(&key, &err), &err);
        middle.certificate = certificate_now(&ours, middle.key, IDENTITY_HOST);
        X509 *certificate = certificate_now(&middle, key, IDENTITY_HOST);
        side_init(&side, controller, &to_host, true);
        stranger_showing(&stranger, &to_controller, false, certificate, key);
        assert_int_equal(SSL_add1_chain_cert(stranger.ssl, middle.certificate), 1);
        meet(&side, &stranger);
        assert_int_equal(side.result, -1);
        assert_false(tls_engine_ready(side.engine));
        assert_int_equal(side.err.code, ERROR_TLS);
        stranger_fini(&stranger);
        side_fini(&side);
        X509_free(certificate);
        EVP_PKEY_free(key);
        authority_free(&middle);
}

// ---- protocols and versions

static SSL *bare(const SSL_METHOD *method, int most, const char *alpn) {
        SSL_CTX *context = SSL_CTX_new(method);
        SSL_CTX_set_max_proto_version(context, most);
        SSL *ssl = SSL_new(context);
        SSL_CTX_free(context);
        if (alpn)
                SSL_set_alpn_protos(ssl, (const unsigned char *) alpn, (unsigned) strlen(alpn));
        SSL_set_connect_state(ssl);
        return ssl;
}

static void refuse_bare(SSL *ssl, enum error_code code, const char *text, const char *told) {
        struct side server;
        struct stranger stranger;
        side_init(&server, controller, &to_anyone, true);
        // A bare SSL object has no session of ours that tls_failure() could look at: read its alert by hand.
        stranger_init(&stranger, ssl);
        ERR_clear_error();
        assert_int_equal(SSL_do_handshake(ssl), -1);
        assert_true(from_stranger(&stranger, &server));
        assert_int_equal(server.result, -1);
        assert_error(server.err, code, text);
        assert_true(to_stranger(&server, &stranger));
        ERR_clear_error();
        assert_int_equal(SSL_do_handshake(ssl), -1);
        assert_string_equal(ERR_reason_error_string(ERR_get_error()), told);
        ERR_clear_error();
        stranger_fini(&stranger);
        side_fini(&server);
}

static void a_client_of_tls_1_2_is_refused(void **state) {
        (void) state;
        refuse_bare(bare(TLS_client_method(), TLS1_2_VERSION, "\x0e" TLS_ALPN_AGENT), ERROR_VERSION,
                    "the peer does not speak TLS 1.3", "tlsv1 alert protocol version");
}

static void a_client_that_names_no_protocol_is_refused(void **state) {
        (void) state;
        refuse_bare(bare(TLS_client_method(), TLS1_3_VERSION, NULL), ERROR_PROTOCOL,
                    "the peer names no protocol (ALPN)", "tlsv1 alert no application protocol");
}

static void fault_41_a_protocol_of_another_version_is_refused_by_name(void **state) {
        (void) state;
        refuse_bare(bare(TLS_client_method(), TLS1_3_VERSION,
                         "\x0e"
                         "drover-agent/9\x02h2"),
                    ERROR_VERSION,
                    "the peer speaks drover-agent/9, h2; here is drover-agent/1, drover-operator/1, drover-join/1, "
                    "drover-data/1",
                    "tlsv1 alert no application protocol");
}

static void fault_41_the_client_is_told_that_its_protocol_is_unknown(void **state) {
        (void) state;
        static const char *const operators[] = {TLS_ALPN_OPERATOR, NULL};
        struct tls_policy policy = {.alpns = operators, .peer = IDENTITY_HOST};
        struct side client, server;
        side_init(&client, host, &to_controller, false);
        side_init(&server, controller, &policy, true);
        converse(&client, &server, SIZE_MAX);
        assert_error(server.err, ERROR_VERSION, "the peer speaks drover-agent/1; here is drover-operator/1");
        assert_error(client.err, ERROR_VERSION, "the peer does not speak drover-agent/1");
        side_fini(&client);
        side_fini(&server);
}

static int choose_nothing(SSL *ssl, const unsigned char **out, unsigned char *length, const unsigned char *in,
                          unsigned in_length, void *data) {
        (void) ssl, (void) out, (void) length, (void) in, (void) in_length, (void) data;
        return SSL_TLSEXT_ERR_NOACK;
}

static int choose_another(SSL *ssl, const unsigned char **out, unsigned char *length, const unsigned char *in,
                          unsigned in_length, void *data) {
        (void) ssl, (void) in, (void) in_length, (void) data;
        *out = (const unsigned char *) TLS_ALPN_DATA;
        *length = (unsigned char) strlen(TLS_ALPN_DATA);
        return SSL_TLSEXT_ERR_OK;
}

static void the_server_must_choose_what_the_client_offered(void **state) {
        (void) state;
        SSL_CTX_alpn_select_cb_func choices[] = {choose_nothing, choose_another};
        for (int i = 0; i < 2; i++) {
                struct side client;
                struct stranger stranger;
                EVP_PKEY *key;
                X509 *certificate = show(GOOD, IDENTITY_CONTROLLER, &key);
                side_init(&client, host, &to_controller, false);
                SSL_CTX *context = SSL_CTX_new(TLS_server_method());
                SSL_CTX_set_alpn_select_cb(context, choices[i], NULL);
                SSL_CTX_use_certificate(context, certificate);
                SSL_CTX_use_PrivateKey(context, key);
                SSL *ssl = SSL_new(context);
                SSL_set_accept_state(ssl);
                stranger_init(&stranger, ssl);
                to_stranger(&client, &stranger);
                assert_int_equal(SSL_do_handshake(ssl), -1);
                assert_true(from_stranger(&stranger, &client));
                assert_int_equal(client.result, -1);
                assert_false(tls_engine_ready(client.engine));
                if (i == 0) // the other is refused by newer versions of OpenSSL itself, before we look
                        assert_error(client.err, ERROR_VERSION, "the peer does not speak drover-agent/1");
                SSL_CTX_free(context);
                stranger_fini(&stranger);
                side_fini(&client);
                X509_free(certificate);
                EVP_PKEY_free(key);
        }
}

// ---- without a certificate

static void fault_42_no_certificate_is_denied(void **state) {
        (void) state;
        static const char *const others[][2] = {{TLS_ALPN_AGENT}, {TLS_ALPN_OPERATOR}, {TLS_ALPN_DATA}};
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
                struct tls_policy policy = {.alpns = others[i], .peer = IDENTITY_CONTROLLER};
                struct side server;
                struct stranger stranger;
                side_init(&server, controller, &to_anyone, true);
                stranger_showing(&stranger, &policy, false, NULL, NULL);
                meet(&server, &stranger);
                assert_int_equal(server.result, -1);
                assert_false(tls_engine_ready(server.engine));
                assert_error(server.err, ERROR_DENIED, "the peer shows no certificate");
                assert_error(stranger.err, ERROR_DENIED, "the peer wants a certificate and we showed none");
                stranger_fini(&stranger);
                side_fini(&server);
        }
}

static void fault_42_joining_without_a_certificate_needs_the_policys_word(void **state) {
        (void) state;
        struct tls_policy strict = {.alpns = all};
        struct tls_policy policy = {.alpns = join_only, .peer = IDENTITY_CONTROLLER};
        struct side server;
        struct stranger stranger;
        side_init(&server, controller, &strict, true);
        stranger_showing(&stranger, &policy, false, NULL, NULL);
        meet(&server, &stranger);
        assert_error(server.err, ERROR_DENIED, "the peer shows no certificate");
        stranger_fini(&stranger);
        side_fini(&server);
}

static void fault_44_a_joiner_with_a_bad_certificate_is_refused(void **state) {
        (void) state;
        struct tls_policy policy = {.alpns = join_only, .peer = IDENTITY_CONTROLLER};
        struct side server;
        struct stranger stranger;
        EVP_PKEY *key;
        X509 *certificate = show(OTHER_AUTHORITY, IDENTITY_HOST, &key);
        side_init(&server, controller, &to_anyone, true);
        stranger_showing(&stranger, &policy, false, certificate, key);
        meet(&server, &stranger);
        assert_error(server.err, ERROR_TLS, NOT_OURS);
        stranger_fini(&stranger);
        side_fini(&server);
        X509_free(certificate);
        EVP_PKEY_free(key);
}

// ---- joining

static void join(struct tls_credentials *server_credentials, struct authority *pinned, struct side *client,
                 struct side *server) {
        struct error err = ERROR_INIT;
        uint8_t digest[32];
        must(pki_fingerprint(pinned->certificate, digest, &err), &err);
        struct tls_policy policy = {.alpns = join_only, .peer = IDENTITY_CONTROLLER, .authority_sha256 = digest};
        side_init(client, NULL, &policy, false);
        side_init(server, server_credentials, &to_anyone, true);
        memset(digest, 0, sizeof(digest)); // the engine has its own copy
        converse(client, server, 7);
}

static void a_joiner_learns_the_authority_that_it_was_told_of(void **state) {
        (void) state;
        struct side client, server;
        join(controller, &ours, &client, &server);
        assert_true(tls_engine_ready(client.engine) && tls_engine_ready(server.engine));
        assert_int_equal(X509_cmp(tls_engine_peer_authority(client.engine), ours.certificate), 0);
        assert_string_equal(tls_engine_peer(client.engine)->name, UUID_CONTROLLER);
        assert_int_equal(tls_engine_peer(server.engine)->kind, IDENTITY_NONE);
        assert_null(tls_engine_peer_key(server.engine));
        assert_string_equal(tls_engine_alpn(server.engine), TLS_ALPN_JOIN);
        say(&client, "secret", 6);
        converse(&client, &server, SIZE_MAX);
        assert_memory_equal(server.plain.data, "secret", 6);
        side_fini(&client);
        side_fini(&server);
}

static void check_no_secret(struct side *client, struct side *server, enum error_code code, const char *text,
                            const char *told) {
        assert_int_equal(client->result, -1);
        assert_error(client->err, code, text);
        assert_error(server->err, server->err.code, told);
        assert_false(tls_engine_ready(client->engine));
        assert_false(tls_engine_ready(server->engine));
        assert_int_equal(tls_engine_write(client->engine, (const uint8_t *) "secret", 6, &client->wire, &client->err),
                         -1);
        assert_int_equal(server->plain.length, 0);
        side_fini(client);
        side_fini(server);
}

static void fault_46_other_authority_gets_no_secret(void **state) {
        (void) state;
        struct side client, server;
        struct tls_credentials *other = credentials_new(&theirs, IDENTITY_CONTROLLER);
        join(other, &ours, &client, &server);
        check_no_secret(&client, &server, ERROR_TLS, "the peer's authority is not the one that we were told to trust",
                        TOLD_CA);
        tls_credentials_unref(other);
}

static void fault_46_a_host_that_plays_the_controller_gets_no_secret(void **state) {
        (void) state;
        struct side client, server;
        join(host, &ours, &client, &server);
        check_no_secret(&client, &server, ERROR_DENIED, "the peer is a host (" UUID_HOST "), expected a controller",
                        TOLD_BAD);
}

// The authority's certificate is public: sending it along proves nothing.
static void fault_46_the_right_authority_beside_a_forged_certificate_gets_no_secret(void **state) {
        (void) state;
        static const enum shown forged[] = {OTHER_AUTHORITY, SAME_NAME, SELF_SIGNED, EXPIRED};
        struct error err = ERROR_INIT;
        uint8_t digest[32];
        must(pki_fingerprint(ours.certificate, digest, &err), &err);
        struct tls_policy policy = {.alpns = join_only, .peer = IDENTITY_CONTROLLER, .authority_sha256 = digest};
        for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
                struct side client;
                struct stranger stranger;
                EVP_PKEY *key;
                X509 *certificate = show(forged[i], IDENTITY_CONTROLLER, &key);
                side_init(&client, NULL, &policy, false);
                stranger_showing(&stranger, &to_anyone, true, certificate, key);
                meet(&client, &stranger);
                assert_int_equal(client.result, -1);
                assert_false(tls_engine_ready(client.engine));
                if (forged[i] == EXPIRED)
                        assert_error(client.err, ERROR_TLS, flaws[0].text);
                else
                        assert_error(client.err, ERROR_TLS, NOT_OURS);
                stranger_fini(&stranger);
                side_fini(&client);
                X509_free(certificate);
                EVP_PKEY_free(key);
        }
}

// ---- credentials

static void credentials_that_do_not_fit_together_are_refused(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct tls_credentials *credentials = NULL;
        EVP_PKEY *key;
        X509 *certificate = show(GOOD, IDENTITY_HOST, &key);
        assert_int_equal(tls_credentials_new(certificate, ours.key, ours.certificate, &credentials, &err), -1);
        assert_error(err, ERROR_INVALID, "the key does not belong to the certificate");
        assert_int_equal(tls_credentials_new(certificate, key, theirs.certificate, &credentials, &err), -1);
        assert_error(err, ERROR_INVALID, "the certificate was not issued by the authority beside it");
        assert_null(credentials);
        assert_int_equal(tls_engine_new(NULL, &to_controller, false, NULL, &err), -1);
        assert_error(err, ERROR_INVALID, "a TLS session needs a certificate or a pinned authority");
        X509_free(certificate);
        EVP_PKEY_free(key);
}

static void credentials_are_loaded_from_three_files(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct tls_credentials *credentials = NULL;
        struct buffer pem;
        EVP_PKEY *key;
        char text[200];
        X509 *certificate = show(GOOD, IDENTITY_HOST, &key);
        buffer_init(&pem, 0);
        assert_int_equal(tls_credentials_load(scratch, "agent", &credentials, &err), -1);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
        must(pki_certificate_pem(certificate, &pem, &err), &err);
        must(file_write(scratch_path("agent.crt"), pem.data, pem.length, 0644, &err), &err);
        must(pki_write_key(scratch_path("agent.key"), key, &err), &err);
        buffer_clear(&pem);
        must(pki_certificate_pem(theirs.certificate, &pem, &err), &err);
        must(file_write(scratch_path("ca.crt"), pem.data, pem.length, 0644, &err), &err);
        assert_int_equal(tls_credentials_load(scratch, "agent", &credentials, &err), -1);
        snprintf(text, sizeof(text), "%s: the certificate was not issued by the authority beside it",
                 scratch_path("agent.crt"));
        assert_error(err, ERROR_INVALID, text);
        buffer_clear(&pem);
        must(pki_certificate_pem(ours.certificate, &pem, &err), &err);
        must(file_write(scratch_path("ca.crt"), pem.data, pem.length, 0644, &err), &err);
        must(tls_credentials_load(scratch, "agent", &credentials, &err), &err);
        assert_string_equal(tls_credentials_identity(credentials)->name, UUID_HOST);
        assert_int_equal(X509_cmp(tls_credentials_authority(credentials), ours.certificate), 0);
        assert_ptr_equal(tls_credentials_ref(credentials), credentials);
        tls_credentials_unref(credentials);
        tls_credentials_unref(credentials);
        buffer_fini(&pem);
        X509_free(certificate);
        EVP_PKEY_free(key);
}

// ---- blocking sessions

struct blocking {
        int fd;
        SSL *ssl;
        struct identity peer;
        struct error err;
        int result;
};

static void *serve(void *data) {
        struct blocking *side = data;
        char text[16];
        SSL_set_fd(side->ssl, side->fd);
        int r = SSL_do_handshake(side->ssl);
        side->result = r == 1 ? tls_peer_of(side->ssl, &side->peer, &side->err) : tls_failure(side->ssl, r, &side->err);
        if (side->result == 0 && (r = SSL_read(side->ssl, text, sizeof(text))) <= 0)
                side->result = tls_failure(side->ssl, r, &side->err);
        if (side->result == 0 && (r = SSL_read(side->ssl, text, sizeof(text))) <= 0)
                side->result = tls_failure(side->ssl, r, &side->err);
        return NULL;
}

static void run_blocking(struct blocking *server, struct tls_credentials *client_credentials, bool orderly) {
        int fds[2];
        pthread_t thread;
        struct error err = ERROR_INIT;
        struct identity peer;
        SSL *ssl;
        *server = (struct blocking){.result = 0};
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        server->fd = fds[0];
        must(tls_new_ssl(controller, &to_host, true, &server->ssl, &err), &err);
        must(tls_new_ssl(client_credentials, &to_controller, false, &ssl, &err), &err);
        assert_int_equal(pthread_create(&thread, NULL, serve, server), 0);
        SSL_set_fd(ssl, fds[1]);
        assert_int_equal(SSL_do_handshake(ssl), 1);
        must(tls_peer_of(ssl, &peer, &err), &err);
        assert_string_equal(peer.name, UUID_CONTROLLER);
        SSL_write(ssl, "hello", 5);
        if (orderly)
                SSL_shutdown(ssl);
        shutdown(fds[1], SHUT_WR);
        pthread_join(thread, NULL);
        SSL_free(ssl);
        SSL_free(server->ssl);
        close(fds[0]);
        close(fds[1]);
}

static void a_blocking_session_follows_the_same_rules(void **state) {
        (void) state;
        struct blocking server;
        run_blocking(&server, host, true);
        assert_string_equal(server.peer.name, UUID_HOST);
        assert_error(server.err, ERROR_UNREACHABLE, "the peer closed the connection");
        run_blocking(&server, host, false);
        assert_error(server.err, ERROR_UNREACHABLE, "the peer broke off the connection");
        run_blocking(&server, user, true);
        assert_int_equal(server.peer.kind, IDENTITY_NONE);
        assert_error(server.err, ERROR_DENIED, "the peer is a user (alice), expected a host");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(both_sides_know_each_other_after_the_handshake),
                cmocka_unit_test(fault_05_a_byte_at_a_time_gives_the_same),
                cmocka_unit_test(the_server_sends_no_ticket_and_the_session_cannot_be_resumed),
                cmocka_unit_test(a_record_under_way_can_be_told),
                cmocka_unit_test(what_follows_the_end_of_the_session_is_left_over),
                cmocka_unit_test(a_damaged_record_ends_the_session),
                cmocka_unit_test(fault_06_a_change_of_any_byte_of_a_record_is_damage),
                cmocka_unit_test(fault_06_a_header_of_the_relays_own_is_damage),
                cmocka_unit_test(what_is_no_tls_is_named),
                cmocka_unit_test(a_good_stranger_is_let_in),
                cmocka_unit_test(fault_44_each_bad_client_certificate_is_refused_and_told_so),
                cmocka_unit_test(fault_44_each_bad_server_certificate_is_refused_and_told_so),
                cmocka_unit_test(fault_44_a_forged_signature_is_refused),
                cmocka_unit_test(fault_44_a_user_is_no_host),
                cmocka_unit_test(fault_44_a_user_is_no_server),
                cmocka_unit_test(fault_44_a_host_is_no_controller),
                cmocka_unit_test(the_times_hint_at_the_clocks),
                cmocka_unit_test(fault_43_a_certificate_signed_by_a_host_is_refused),
                cmocka_unit_test(a_client_of_tls_1_2_is_refused),
                cmocka_unit_test(a_client_that_names_no_protocol_is_refused),
                cmocka_unit_test(fault_41_a_protocol_of_another_version_is_refused_by_name),
                cmocka_unit_test(fault_41_the_client_is_told_that_its_protocol_is_unknown),
                cmocka_unit_test(the_server_must_choose_what_the_client_offered),
                cmocka_unit_test(fault_42_no_certificate_is_denied),
                cmocka_unit_test(fault_42_joining_without_a_certificate_needs_the_policys_word),
                cmocka_unit_test(fault_44_a_joiner_with_a_bad_certificate_is_refused),
                cmocka_unit_test(a_joiner_learns_the_authority_that_it_was_told_of),
                cmocka_unit_test(fault_46_other_authority_gets_no_secret),
                cmocka_unit_test(fault_46_a_host_that_plays_the_controller_gets_no_secret),
                cmocka_unit_test(fault_46_the_right_authority_beside_a_forged_certificate_gets_no_secret),
                cmocka_unit_test(credentials_that_do_not_fit_together_are_refused),
                SCRATCH_TEST(credentials_are_loaded_from_three_files),
                cmocka_unit_test(a_blocking_session_follows_the_same_rules),
        };
        return cmocka_run_group_tests(tests, make_all, free_all);
}
