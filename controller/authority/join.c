// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Joining: a token becomes a member with a certificate. The token's use, the member and the certificate are one
 * transaction: after any crash either all of them are there or the token can be used again. Loop thread.
 */
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/memory.h"
#include "controller/authority/authority_private.h"
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

DEFINE_CLEANUP(X509_free, X509 *)

static int hint_invite(const struct store_token *token, struct error *err) {
        if (token->operator)
                error_hint(err, "ask for another one: drover user invite %s --role %s", token->name, token->role);
        else
                error_hint(err, "ask for another one: drover host invite %s/%s", token->site, token->name);
        return -1;
}

// The same work and the same words for a token that was never made and for a secret that is wrong.
static int check_secret(struct authority *authority, const Drover__JoinRequest *request, struct store_token *ret,
                        struct error *err) {
        uint8_t sha256[32];
        struct store_token token = {0};
        bool id_fits = strnlen(request->token_id, sizeof(token.id)) < sizeof(token.id);
        int found = store_token_get(authority->store, id_fits ? request->token_id : "", &token, err);
        if (found < 0)
                return -1;
        if (pki_sha256(request->secret.data, request->secret.len, sha256) < 0)
                return error_set(err, ERROR_FAILED, "hash the secret");
        bool same = CRYPTO_memcmp(sha256, token.secret_sha256, sizeof(sha256)) == 0;
        if (found == 0 || !same || request->secret.len != 32) {
                error_set(err, ERROR_DENIED, "this join token is not valid");
                error_hint(err, "ask for another one: drover host invite SITE/HOST, or drover user invite NAME");
                return -1;
        }
        *ret = token;
        return 0;
}

// A token is for the program that it was made for. Nothing is used up by giving it to the other one.
static int check_kind(const Drover__JoinRequest *request, const struct store_token *token, struct error *err) {
        if (request->kind == DROVER__JOIN_KIND__JOIN_HOST && token->operator) {
                error_set(err, ERROR_DENIED, "this token is for the user %s, and not for a host", token->name);
                error_hint(err, "drover login TOKEN, at their own machine");
                error_hint(err, "for a host: drover host invite SITE/HOST");
                return -1;
        }
        if (request->kind == DROVER__JOIN_KIND__JOIN_OPERATOR && !token->operator) {
                error_set(err, ERROR_DENIED, "this token is for the host %s/%s, and not for a user", token->site,
                          token->name);
                error_hint(err, "drover-agent join TOKEN, on that host");
                error_hint(err, "for a user: drover user invite NAME");
                return -1;
        }
        return 0;
}

static int check_token(struct authority *authority, const Drover__JoinRequest *request, struct store_token *ret,
                       struct error *err) {
        char when[CLOCK_RFC3339_MAX];
        if (check_secret(authority, request, ret, err) < 0 || check_kind(request, ret, err) < 0)
                return -1;
        if (ret->used_at) {
                error_set(err, ERROR_DENIED, "this join token has been used already");
                return hint_invite(ret, err);
        }
        if (ret->expires_at <= authority_now(authority)) {
                error_set(err, ERROR_DENIED, "this join token expired at %s", clock_rfc3339(ret->expires_at, when));
                return hint_invite(ret, err);
        }
        return 0;
}

static int add_host(struct authority *authority, const struct store_token *token, const char *uuid, struct error *err) {
        int64_t now = authority_now(authority);
        struct store_host host = {.joined_at = now, .last_seen_at = now};
        memcpy(host.uuid, uuid, sizeof(host.uuid));
        memcpy(host.site, token->site, sizeof(host.site));
        snprintf(host.name, sizeof(host.name), "%s", token->name);
        return store_host_add(authority->store, &host, err);
}

static int add_user(struct authority *authority, const struct store_token *token, struct error *err) {
        int64_t now = authority_now(authority);
        struct store_user user = {.created_at = now, .last_seen_at = now}, member;
        int found = store_user_get(authority->store, token->name, &member, err);
        if (found > 0) {
                error_set(err, ERROR_CONFLICT, "%s has joined already", token->name);
                error_hint(err, "drover user rm %s", token->name);
        }
        if (found != 0)
                return -1;
        memcpy(user.name, token->name, sizeof(user.name));
        memcpy(user.role, token->role, sizeof(user.role));
        memcpy(user.sites, token->sites, sizeof(user.sites));
        return store_user_put(authority->store, &user, err);
}

static int record_join(struct authority *authority, const struct store_token *token, const char *uuid,
                       const struct store_certificate *record, struct error *err) {
        if (store_token_use(authority->store, token->id, authority_now(authority), err) < 0)
                return hint_invite(token, err);
        bool is_user = token->operator;
        int added = is_user ? add_user(authority, token, err) : add_host(authority, token, uuid, err);
        if (added < 0 || store_certificate_add(authority->store, record, err) < 0)
                return -1;
        return fault_point("controller.join.before-commit", err);
}

static int commit_join(struct authority *authority, const struct store_token *token, const char *uuid,
                       const struct store_certificate *record, struct error *err) {
        if (store_begin(authority->store, err) < 0)
                return -1;
        if (record_join(authority, token, uuid, record, err) < 0) {
                store_rollback(authority->store);
                return -1;
        }
        return store_commit(authority->store, err);
}

static int take_pem(X509 *certificate, ProtobufCBinaryData *field, struct error *err) {
        struct buffer pem;
        buffer_init(&pem, 0);
        int result = pki_certificate_pem(certificate, &pem, err);
        if (result == 0) {
                field->len = pem.length;
                field->data = (uint8_t *) buffer_steal_text(&pem);
        }
        buffer_fini(&pem);
        return result;
}

static int make_reply(struct authority *authority, const struct store_token *token, const char *uuid, X509 *certificate,
                      Drover__JoinReply **ret, struct error *err) {
        Drover__JoinReply *reply = new (Drover__JoinReply);
        drover__join_reply__init(reply);
        reply->site = memory_string(token->site);
        reply->name = memory_string(token->name);
        reply->uuid = memory_string(uuid);
        reply->role = memory_string(token->role);
        reply->clock_at = authority_now(authority);
        reply->addresses = new_array(char *, authority->n_addresses);
        for (; reply->n_addresses < authority->n_addresses; reply->n_addresses++)
                reply->addresses[reply->n_addresses] = memory_string(authority->addresses[reply->n_addresses]);
        if (take_pem(certificate, &reply->certificate_pem, err) < 0 ||
            take_pem(authority->certificate, &reply->authority_pem, err) < 0) {
                proto_free(&reply->base);
                return -1;
        }
        *ret = reply;
        return 0;
}

int authority_join(struct authority *authority, const Drover__JoinRequest *request, Drover__JoinReply **ret,
                   struct error *err) {
        _cleanup_(X509_free_p) X509 *certificate = NULL;
        struct store_certificate record;
        struct store_token token = {0};
        uint32_t version;
        char uuid[NAME_UUID_LENGTH + 1] = "";
        Drover__JoinReply *reply;
        if (proto_negotiate(request->version, request->version, &version, err) < 0 ||
            check_token(authority, request, &token, err) < 0)
                return -1;
        enum identity_kind kind = token.operator? IDENTITY_USER : IDENTITY_HOST;
        if (kind == IDENTITY_HOST)
                name_new_uuid(uuid);
        if (authority_issue(authority, kind, kind == IDENTITY_HOST ? uuid : token.name, request->csr_der.data,
                            request->csr_der.len, &certificate, &record, err) < 0 ||
            make_reply(authority, &token, uuid, certificate, &reply, err) < 0)
                return -1;
        if (commit_join(authority, &token, uuid, &record, err) < 0) {
                proto_free(&reply->base);
                return -1;
        }
        *ret = reply;
        return 0;
}
