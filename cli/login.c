// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * drover login TOKEN: the operator's side of drover-join/1. The authority is pinned by the token's hash before the
 * secret leaves this machine; key, certificate and settings are stored only when all of it has arrived.
 */
#include "cli/client.h"
#include "cli/settings.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/link.h"
#include "common/pki.h"
#include "common/memory.h"
#include "proto/token.h"

#include <stdio.h>
#include <string.h>

struct login {
        uv_loop_t loop;
        struct link *link;
        const Drover__JoinToken *token;
        EVP_PKEY *key;
        Drover__JoinReply *reply;
        struct error error;
};

static int on_open(struct link *link, void *data, struct error *err) {
        struct login *login = data;
        Drover__JoinRequest request = DROVER__JOIN_REQUEST__INIT;
        Drover__JoinEnvelope envelope = DROVER__JOIN_ENVELOPE__INIT;
        _cleanup_(free_p) uint8_t *csr = NULL;
        struct buffer bytes;
        buffer_init(&bytes, FRAME_MAX_JOIN);
        request.version = PROTO_VERSION_MAX;
        request.token_id = login->token->token_id;
        request.secret = login->token->secret;
        request.kind = DROVER__JOIN_KIND__JOIN_OPERATOR;
        request.software = (char *) "drover " DROVER_VERSION;
        envelope.body_case = DROVER__JOIN_ENVELOPE__BODY_REQUEST;
        envelope.request = &request;
        int r = pki_new_csr(login->key, &csr, &request.csr_der.len, err);
        request.csr_der.data = csr;
        if (r == 0)
                r = PROTO_PACK(&envelope, &bytes, err);
        if (r == 0)
                r = link_send(link, bytes.data, bytes.length, err);
        buffer_fini(&bytes);
        return r;
}

static int on_frame(struct link *link, const uint8_t *frame, size_t length, void *data, struct error *err) {
        struct login *login = data;
        Drover__JoinEnvelope *envelope = NULL;
        if (PROTO_UNPACK(join_envelope, frame, length, &envelope, err) < 0)
                return -1;
        int r = 0;
        if (envelope->body_case == DROVER__JOIN_ENVELOPE__BODY_FAILURE) {
                r = proto_error(envelope->failure, err);
        } else if (envelope->body_case == DROVER__JOIN_ENVELOPE__BODY_REPLY && !login->reply) {
                login->reply = steal(&envelope->reply);
                envelope->body_case = DROVER__JOIN_ENVELOPE__BODY__NOT_SET;
                link_close(link);
        }
        proto_free(&envelope->base);
        return r;
}

static void on_close(struct link *link, const struct error *why, void *data) {
        (void) link;
        struct login *login = data;
        login->link = NULL;
        login->error = *why;
}

static const struct link_callbacks callbacks = {.on_open = on_open, .on_frame = on_frame, .on_close = on_close};

static int exchange(struct login *login, const char *address, struct error *err) {
        static const char *const alpns[] = {TLS_ALPN_JOIN, NULL};
        const struct tls_policy policy = {
                .alpns = alpns, .peer = IDENTITY_CONTROLLER, .authority_sha256 = login->token->authority_sha256.data};
        if (link_connect(&login->loop, address, NULL, &policy, &callbacks, login, &login->link, err) < 0)
                return -1;
        uv_run(&login->loop, UV_RUN_DEFAULT);
        if (login->reply)
                return 0;
        if (login->error.code == ERROR_NONE)
                return error_set(err, ERROR_UNREACHABLE, "%s closed the connection without an answer", address);
        if (err)
                *err = login->error;
        return -1;
}

static int check_reply(struct login *login, X509 **ret_certificate, struct error *err) {
        const Drover__JoinReply *reply = login->reply;
        if (pki_parse_certificate(reply->certificate_pem.data, reply->certificate_pem.len, ret_certificate, err) < 0)
                return error_prefix(err, "the certificate that came back");
        if (!pki_matches(*ret_certificate, login->key))
                return error_set(err, ERROR_PROTOCOL, "the certificate that came back is for another key");
        struct identity identity;
        if (pki_identity(*ret_certificate, &identity, err) < 0)
                return error_prefix(err, "the certificate that came back");
        if (identity.kind != IDENTITY_USER || strcmp(identity.name, reply->name) != 0)
                return error_set(err, ERROR_PROTOCOL, "the certificate that came back is for %s %s, not for a user",
                                 identity_kind_word(identity.kind), identity.name);
        return name_check_user(reply->name, err);
}

static int store(struct login *login, struct error *err) {
        const Drover__JoinReply *reply = login->reply;
        char path[4200];
        if (file_make_directories(settings_directory(), 0700, err) < 0)
                return -1;
        snprintf(path, sizeof(path), "%s/client.key", settings_directory());
        if (pki_write_key(path, login->key, err) < 0)
                return -1;
        snprintf(path, sizeof(path), "%s/client.crt", settings_directory());
        if (file_write(path, reply->certificate_pem.data, reply->certificate_pem.len, 0600, err) < 0)
                return -1;
        snprintf(path, sizeof(path), "%s/ca.crt", settings_directory());
        if (file_write(path, reply->authority_pem.data, reply->authority_pem.len, 0600, err) < 0)
                return -1;
        // Last, since its presence is what says that there are credentials.
        if (reply->n_addresses > 0)
                return settings_write((const char *const *) reply->addresses, reply->n_addresses, reply->name, err);
        return settings_write((const char *const *) login->token->addresses, login->token->n_addresses, reply->name,
                              err);
}

static int refuse_existing(bool replace, struct error *err) {
        struct settings settings;
        if (replace || settings_load(&settings, NULL) < 0)
                return 0;
        error_set(err, ERROR_CONFLICT, "there are credentials of %s in %s already",
                  settings.user ? settings.user : "somebody", settings_directory());
        error_hint(err, "drover login TOKEN --replace");
        error_hint(err, "or keep both: DROVER_CONFIG=DIRECTORY drover login TOKEN");
        settings_fini(&settings);
        return -1;
}

static int run(struct login *login, struct error *err) {
        int r = -1;
        for (size_t i = 0; r < 0 && i < login->token->n_addresses; i++)
                r = exchange(login, login->token->addresses[i], err);
        if (r < 0)
                return -1;
        X509 *certificate = NULL;
        r = check_reply(login, &certificate, err);
        X509_free(certificate);
        return r < 0 ? -1 : store(login, err);
}

int client_login(const char *text, bool replace, char ret_user[64], char ret_role[16], char ret_authority[65],
                 struct error *err) {
        struct login login = {0};
        Drover__JoinToken *token = NULL;
        if (refuse_existing(replace, err) < 0 || token_decode(text, &token, err) < 0)
                return -1;
        login.token = token;
        int r = token->operator_
                        ? pki_new_key(&login.key, err)
                        : error_set(err, ERROR_USAGE, "this token is for a host: drover-agent join TOKEN, there");
        if (r == 0) {
                uv_loop_init(&login.loop);
                r = run(&login, err);
                uv_run(&login.loop, UV_RUN_DEFAULT);
                uv_loop_close(&login.loop);
        }
        if (r == 0) {
                snprintf(ret_user, 64, "%s", login.reply->name);
                snprintf(ret_role, 16, "%s", login.reply->role);
                for (unsigned i = 0; i < 32; i++)
                        snprintf(ret_authority + i * 2, 3, "%02x", token->authority_sha256.data[i]);
        }
        EVP_PKEY_free(login.key);
        if (login.reply)
                proto_free(&login.reply->base);
        proto_free(&token->base);
        return r;
}
