// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Invitations: a random secret goes into the token's text, which is shown once; only the secret's hash is kept. An
 * invitation makes nothing but its token. Loop thread.
 */
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/random.h"
#include "controller/authority/authority_private.h"
#include "proto/token.h"
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#define HOUR      3600u
#define WEEK      (7 * 24 * HOUR)
#define KEEP_USED (30 * 24 * (int64_t) HOUR) // after their end tokens can still say why they are refused
#define ID_BYTES  8

int authority_token_text(const struct authority *authority, const char *id, const uint8_t *secret, bool operator,
                         char ** ret_text, struct error *err) {
        Drover__JoinToken token = DROVER__JOIN_TOKEN__INIT;
        struct buffer text;
        token.addresses = authority->addresses;
        token.n_addresses = authority->n_addresses;
        token.authority_sha256 =
                (ProtobufCBinaryData){.data = (uint8_t *) authority->sha256, .len = sizeof(authority->sha256)};
        token.token_id = (char *) id;
        token.secret = (ProtobufCBinaryData){.data = (uint8_t *) secret, .len = 32};
        token.operator_ = operator;
        buffer_init(&text, TOKEN_MAX + 1);
        int result = token_encode(&token, &text, err);
        if (result == 0)
                *ret_text = buffer_steal_text(&text);
        buffer_fini(&text);
        return result;
}

static int check_ttl(uint32_t *ttl_seconds, struct error *err) {
        if (*ttl_seconds == 0)
                *ttl_seconds = HOUR;
        if (*ttl_seconds <= WEEK)
                return 0;
        error_set(err, ERROR_INVALID, "an invitation lasts 7 days at most");
        error_hint(err, "--ttl 7d");
        return -1;
}

static int make_token(struct authority *authority, struct store_token *token, uint32_t ttl_seconds, char **ret_token,
                      int64_t *ret_expires_at, struct error *err) {
        _cleanup_(free_p) char *text = NULL;
        uint8_t secret[32], id[ID_BYTES];
        bool is_operator = token->operator;
        random_bytes(secret, sizeof(secret));
        random_bytes(id, sizeof(id));
        for (unsigned i = 0; i < sizeof(id); i++)
                snprintf(token->id + (size_t) 2 * i, 3, "%02x", id[i]);
        token->created_at = authority_now(authority);
        token->expires_at = token->created_at + ttl_seconds;
        int result = pki_sha256(secret, sizeof(secret), token->secret_sha256);
        if (result < 0)
                error_set(err, ERROR_FAILED, "hash the secret");
        if (result == 0)
                result = authority_token_text(authority, token->id, secret, is_operator, &text, err);
        OPENSSL_cleanse(secret, sizeof(secret));
        if (result < 0 || store_tokens_prune(authority->store, token->created_at - KEEP_USED, err) < 0 ||
            store_token_add(authority->store, token, err) < 0)
                return error_prefix(err, "make an invitation");
        *ret_expires_at = token->expires_at;
        *ret_token = steal(&text);
        return 0;
}

int authority_invite_host(struct authority *authority, const char *site, const char *host, uint32_t ttl_seconds,
                          char **ret_token, int64_t *ret_expires_at, struct error *err) {
        struct store_token token = {0};
        struct store_host member;
        if (name_check_site(site, err) < 0 || name_check_host(host, err) < 0 || check_ttl(&ttl_seconds, err) < 0)
                return -1;
        int found = store_host_named(authority->store, site, host, &member, err);
        if (found > 0) {
                error_set(err, ERROR_CONFLICT, "%s/%s has joined already", site, host);
                error_hint(err, "drover host rm %s/%s", site, host);
        }
        if (found != 0)
                return -1;
        snprintf(token.site, sizeof(token.site), "%s", site);
        snprintf(token.name, sizeof(token.name), "%s", host);
        return make_token(authority, &token, ttl_seconds, ret_token, ret_expires_at, err);
}

static int check_sites(const char *sites, struct error *err) {
        struct store_token token;
        if (strlen(sites) >= sizeof(token.sites))
                return error_set(err, ERROR_TOO_LARGE, "the list of sites is longer than %zu characters",
                                 sizeof(token.sites) - 1);
        _cleanup_(free_p) char *copy = memory_string(sites);
        char *rest = copy;
        for (char *site; (site = strsep(&rest, " "));)
                if (*site && name_check_site(site, err) < 0)
                        return -1;
        return 0;
}

int authority_invite_user(struct authority *authority, const char *user, enum role role, const char *sites,
                          uint32_t ttl_seconds, char **ret_token, int64_t *ret_expires_at, struct error *err) {
        struct store_token token = {0};
        struct store_user member;
        const char *limited_to = sites ? sites : "";
        if (name_check_user(user, err) < 0 || check_sites(limited_to, err) < 0 || check_ttl(&ttl_seconds, err) < 0)
                return -1;
        if (role == ROLE_NONE)
                return error_set(err, ERROR_INVALID, "a role is viewer, operator or admin");
        int found = store_user_get(authority->store, user, &member, err);
        if (found > 0) {
                error_set(err, ERROR_CONFLICT, "%s has joined already", user);
                error_hint(err, "drover user rm %s", user);
        }
        if (found != 0)
                return -1;
        token.operator= true;
        snprintf(token.name, sizeof(token.name), "%s", user);
        snprintf(token.role, sizeof(token.role), "%s", role_word(role));
        snprintf(token.sites, sizeof(token.sites), "%s", limited_to);
        return make_token(authority, &token, ttl_seconds, ret_token, ret_expires_at, err);
}
