// SPDX-License-Identifier: LGPL-2.1-or-later
/* Join tokens: the hash of the secret, what it is for, until when. Of unused ones there is one a name. Loop thread. */
#include "common/cleanup.h"
#include "controller/store/store_private.h"
#include <string.h>

int store_token_add(struct store *store, const struct store_token *token, struct error *err) {
        struct db_query q;
        db_query(store->db, &q,
                 "INSERT INTO token (id, secret_sha256, is_operator, site, name, role, sites, created_at, expires_at,"
                 " used_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
                 " ON CONFLICT (is_operator, site, name) WHERE used_at = 0 DO UPDATE SET id = excluded.id,"
                 " secret_sha256 = excluded.secret_sha256, role = excluded.role, sites = excluded.sites,"
                 " created_at = excluded.created_at, expires_at = excluded.expires_at, used_at = excluded.used_at");
        db_bind_text(&q, 1, token->id);
        db_bind_blob(&q, 2, token->secret_sha256, sizeof(token->secret_sha256));
        db_bind_int(&q, 3, token->operator);
        db_bind_text(&q, 4, token->site);
        db_bind_text(&q, 5, token->name);
        db_bind_text(&q, 6, token->role);
        db_bind_text(&q, 7, token->sites);
        db_bind_int(&q, 8, token->created_at);
        db_bind_int(&q, 9, token->expires_at);
        db_bind_int(&q, 10, token->used_at);
        return store_run(&q, err);
}

static void read_token(struct db_query *q, struct store_token *token) {
        size_t length;
        const uint8_t *hash = db_blob(q, 1, &length);
        *token = (struct store_token){0};
        if (length == sizeof(token->secret_sha256))
                memcpy(token->secret_sha256, hash, length);
        STORE_TEXT(token->id, q, 0);
        token->operator= db_int(q, 2) != 0;
        STORE_TEXT(token->site, q, 3);
        STORE_TEXT(token->name, q, 4);
        STORE_TEXT(token->role, q, 5);
        STORE_TEXT(token->sites, q, 6);
        token->created_at = db_int(q, 7);
        token->expires_at = db_int(q, 8);
        token->used_at = db_int(q, 9);
}

int store_token_get(struct store *store, const char *id, struct store_token *ret, struct error *err) {
        struct db_query q;
        db_query(store->db, &q,
                 "SELECT id, secret_sha256, is_operator, site, name, role, sites, created_at, expires_at, used_at"
                 " FROM token WHERE id = ?1");
        db_bind_text(&q, 1, id);
        int result = db_step(&q, err);
        if (result > 0)
                read_token(&q, ret);
        db_done(&q);
        return result;
}

int store_token_use(struct store *store, const char *id, int64_t at, struct error *err) {
        struct db_query q;
        db_query(store->db, &q, "UPDATE token SET used_at = ?2 WHERE id = ?1 AND used_at = 0");
        db_bind_text(&q, 1, id);
        db_bind_int(&q, 2, at);
        int changed = db_run(&q, err);
        if (changed == 0)
                return error_set(err, ERROR_DENIED, "this join token has been used already");
        return changed < 0 ? -1 : 0;
}

int store_tokens_open(struct store *store, int64_t now, struct store_token **ret, unsigned *ret_n, struct error *err) {
        _cleanup_(free_p) struct store_token *list = NULL;
        struct db_query q;
        unsigned n = 0;
        int result;
        db_query(store->db, &q,
                 "SELECT id, secret_sha256, is_operator, site, name, role, sites, created_at, expires_at, used_at"
                 " FROM token WHERE used_at = 0 AND expires_at > ?1 ORDER BY is_operator, site, name");
        db_bind_int(&q, 1, now);
        while ((result = db_step(&q, err)) > 0) {
                store_room(list, n);
                read_token(&q, &list[n++]);
        }
        db_done(&q);
        if (result < 0)
                return -1;
        *ret = steal(&list);
        *ret_n = n;
        return 0;
}

int store_token_withdraw(struct store *store, bool is_operator, const char *site, const char *name, struct error *err) {
        struct db_query q;
        db_query(store->db, &q, "DELETE FROM token WHERE is_operator = ?1 AND site = ?2 AND name = ?3 AND used_at = 0");
        db_bind_int(&q, 1, is_operator);
        db_bind_text(&q, 2, site);
        db_bind_text(&q, 3, name);
        int removed = db_run(&q, err);
        return removed < 0 ? -1 : removed > 0;
}

int store_tokens_prune(struct store *store, int64_t before, struct error *err) {
        struct db_query q;
        db_query(store->db, &q, "DELETE FROM token WHERE expires_at < ?1");
        db_bind_int(&q, 1, before);
        return store_run(&q, err);
}
