// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sites: a name, a time zone and rates. They are few; removing one takes back its open invitations. Loop thread. */
#include "common/cleanup.h"
#include "controller/store/store_private.h"

int store_site_put(struct store *store, const struct store_site *site, struct error *err) {
        struct db_query q;
        db_query(store->db, &q,
                 "INSERT INTO site (name, timezone, rates) VALUES (?1, ?2, ?3)"
                 " ON CONFLICT (name) DO UPDATE SET timezone = excluded.timezone, rates = excluded.rates");
        db_bind_text(&q, 1, site->name);
        db_bind_text(&q, 2, site->timezone);
        db_bind_text(&q, 3, site->rates);
        return store_run(&q, err);
}

static int count_hosts(struct store *store, const char *name, int64_t *ret_n, struct error *err) {
        struct db_query q;
        db_query(store->db, &q, "SELECT count(*) FROM host WHERE site = ?1 AND removed_at = 0");
        db_bind_text(&q, 1, name);
        int result = db_step(&q, err);
        if (result > 0)
                *ret_n = db_int(&q, 0);
        db_done(&q);
        return result < 0 ? -1 : 0;
}

// The invitation first: without the site it would bring back what the operator has just removed. Should the second
// statement not be reached, an invitation less is no harm.
static int drop_invitations(struct store *store, const char *name, struct error *err) {
        struct db_query q;
        db_query(store->db, &q, "DELETE FROM token WHERE is_operator = 0 AND site = ?1 AND used_at = 0");
        db_bind_text(&q, 1, name);
        return store_run(&q, err);
}

int store_site_remove(struct store *store, const char *name, struct error *err) {
        int64_t hosts = 0;
        if (count_hosts(store, name, &hosts, err) < 0)
                return -1;
        if (hosts > 0) {
                error_set(err, ERROR_CONFLICT, "site %s has %lld host%s", name, (long long) hosts,
                          hosts == 1 ? "" : "s");
                error_hint(err, "drover host list");
                return -1;
        }
        struct db_query q;
        if (drop_invitations(store, name, err) < 0)
                return -1;
        db_query(store->db, &q, "DELETE FROM site WHERE name = ?1");
        db_bind_text(&q, 1, name);
        int removed = db_run(&q, err);
        if (removed == 0)
                return error_set(err, ERROR_NOT_FOUND, "no site %s", name);
        return removed < 0 ? -1 : 0;
}

int store_sites(struct store *store, struct store_site **ret, unsigned *ret_n, struct error *err) {
        _cleanup_(free_p) struct store_site *list = NULL;
        struct db_query q;
        unsigned n = 0;
        int result;
        db_query(store->db, &q, "SELECT name, timezone, rates FROM site ORDER BY name");
        while ((result = db_step(&q, err)) > 0) {
                store_room(list, n);
                struct store_site *site = &list[n++];
                STORE_TEXT(site->name, &q, 0);
                STORE_TEXT(site->timezone, &q, 1);
                STORE_TEXT(site->rates, &q, 2);
        }
        db_done(&q);
        if (result < 0)
                return -1;
        *ret = steal(&list);
        *ret_n = n;
        return 0;
}
