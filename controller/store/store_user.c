// SPDX-License-Identifier: LGPL-2.1-or-later
/* Operators: a name, a role, sites. A removed one keeps its row, for the record, and may be put again. Loop thread. */
#include "common/cleanup.h"
#include "controller/store/store_private.h"

int store_user_put(struct store *store, const struct store_user *user, struct error *err) {
        struct db_query q;
        db_query(store->db, &q,
                 "INSERT INTO account (name, role, sites, created_at, last_seen_at, removed_at)"
                 " VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (name) DO UPDATE SET role = excluded.role,"
                 " sites = excluded.sites, created_at = excluded.created_at, last_seen_at = excluded.last_seen_at,"
                 " removed_at = excluded.removed_at");
        db_bind_text(&q, 1, user->name);
        db_bind_text(&q, 2, user->role);
        db_bind_text(&q, 3, user->sites);
        db_bind_int(&q, 4, user->created_at);
        db_bind_int(&q, 5, user->last_seen_at);
        db_bind_int(&q, 6, user->removed_at);
        return store_run(&q, err);
}

static void read_user(struct db_query *q, struct store_user *user) {
        STORE_TEXT(user->name, q, 0);
        STORE_TEXT(user->role, q, 1);
        STORE_TEXT(user->sites, q, 2);
        user->created_at = db_int(q, 3);
        user->last_seen_at = db_int(q, 4);
        user->removed_at = db_int(q, 5);
}

int store_user_get(struct store *store, const char *name, struct store_user *ret, struct error *err) {
        struct db_query q;
        db_query(store->db, &q,
                 "SELECT name, role, sites, created_at, last_seen_at, removed_at FROM account"
                 " WHERE name = ?1 AND removed_at = 0");
        db_bind_text(&q, 1, name);
        int result = db_step(&q, err);
        if (result > 0)
                read_user(&q, ret);
        db_done(&q);
        return result;
}

int store_user_seen(struct store *store, const char *name, int64_t at, struct error *err) {
        struct db_query q;
        db_query(store->db, &q, "UPDATE account SET last_seen_at = ?2 WHERE name = ?1");
        db_bind_text(&q, 1, name);
        db_bind_int(&q, 2, at);
        return store_run(&q, err);
}

int store_user_remove(struct store *store, const char *name, int64_t at, struct error *err) {
        struct db_query q;
        db_query(store->db, &q, "UPDATE account SET removed_at = ?2 WHERE name = ?1 AND removed_at = 0");
        db_bind_text(&q, 1, name);
        db_bind_int(&q, 2, at);
        int removed = db_run(&q, err);
        if (removed == 0)
                return error_set(err, ERROR_NOT_FOUND, "no user %s", name);
        return removed < 0 ? -1 : 0;
}

int store_users(struct store *store, struct store_user **ret, unsigned *ret_n, struct error *err) {
        _cleanup_(free_p) struct store_user *list = NULL;
        struct db_query q;
        unsigned n = 0;
        int result;
        db_query(store->db, &q,
                 "SELECT name, role, sites, created_at, last_seen_at, removed_at FROM account WHERE removed_at = 0"
                 " ORDER BY name");
        while ((result = db_step(&q, err)) > 0) {
                store_room(list, n);
                read_user(&q, &list[n++]);
        }
        db_done(&q);
        if (result < 0)
                return -1;
        *ret = steal(&list);
        *ret_n = n;
        return 0;
}
