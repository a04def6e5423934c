// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Hosts and which of them owns a VM. A host that was removed keeps its row, for the record; one that joins again is a
 * new row with a new UUID, so nothing that names the old UUID speaks of it (fault 47). Loop thread.
 */
#include "common/cleanup.h"
#include "controller/store/store_private.h"
#include <string.h>

// A host's site always exists: it may have been removed between the invitation and the join.
static int ensure_site(struct store *store, const char *name, struct error *err) {
        struct db_query q;
        db_query(store->db, &q,
                 "INSERT INTO site (name, timezone, rates) VALUES (?1, '', '') ON CONFLICT (name) DO NOTHING");
        db_bind_text(&q, 1, name);
        return store_run(&q, err);
}

int store_host_add(struct store *store, const struct store_host *host, struct error *err) {
        struct error why = ERROR_INIT;
        struct db_query q;
        if (ensure_site(store, host->site, err) < 0)
                return -1;
        db_query(store->db, &q,
                 "INSERT INTO host (uuid, site, name, joined_at, last_seen_at, removed_at)"
                 " VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
        db_bind_text(&q, 1, host->uuid);
        db_bind_text(&q, 2, host->site);
        db_bind_text(&q, 3, host->name);
        db_bind_int(&q, 4, host->joined_at);
        db_bind_int(&q, 5, host->last_seen_at);
        db_bind_int(&q, 6, host->removed_at);
        if (db_run(&q, &why) >= 0)
                return 0;
        if (why.code == ERROR_CONFLICT) {
                error_set(err, ERROR_CONFLICT, "%s/%s has joined already", host->site, host->name);
                error_hint(err, "drover host rm %s/%s", host->site, host->name);
                return -1;
        }
        if (err)
                *err = why;
        return -1;
}

int store_host_seen(struct store *store, const char *uuid, int64_t at, struct error *err) {
        struct db_query q;
        db_query(store->db, &q, "UPDATE host SET last_seen_at = ?2 WHERE uuid = ?1");
        db_bind_text(&q, 1, uuid);
        db_bind_int(&q, 2, at);
        return store_run(&q, err);
}

static int drop_inventory(struct store *store, const char *uuid, struct error *err) {
        struct db_query q;
        db_query(store->db, &q, "DELETE FROM inventory WHERE host_uuid = ?1");
        db_bind_text(&q, 1, uuid);
        return store_run(&q, err);
}

int store_host_remove(struct store *store, const char *uuid, int64_t at, struct error *err) {
        struct db_query q;
        db_query(store->db, &q, "UPDATE host SET removed_at = ?2 WHERE uuid = ?1 AND removed_at = 0");
        db_bind_text(&q, 1, uuid);
        db_bind_int(&q, 2, at);
        int removed = db_run(&q, err);
        if (removed == 0)
                return error_set(err, ERROR_NOT_FOUND, "no host %s", uuid);
        return removed < 0 ? -1 : drop_inventory(store, uuid, err);
}

static void read_host(struct db_query *q, struct store_host *host) {
        STORE_TEXT(host->uuid, q, 0);
        STORE_TEXT(host->site, q, 1);
        STORE_TEXT(host->name, q, 2);
        host->joined_at = db_int(q, 3);
        host->last_seen_at = db_int(q, 4);
        host->removed_at = db_int(q, 5);
}

int store_hosts(struct store *store, struct store_host **ret, unsigned *ret_n, struct error *err) {
        _cleanup_(free_p) struct store_host *list = NULL;
        struct db_query q;
        unsigned n = 0;
        int result;
        db_query(store->db, &q,
                 "SELECT uuid, site, name, joined_at, last_seen_at, removed_at FROM host WHERE removed_at = 0"
                 " ORDER BY site, name");
        while ((result = db_step(&q, err)) > 0) {
                store_room(list, n);
                read_host(&q, &list[n++]);
        }
        db_done(&q);
        if (result < 0)
                return -1;
        *ret = steal(&list);
        *ret_n = n;
        return 0;
}

static int one_host(struct db_query *q, struct store_host *ret, struct error *err) {
        int result = db_step(q, err);
        if (result > 0)
                read_host(q, ret);
        db_done(q);
        return result;
}

int store_host_get(struct store *store, const char *uuid, struct store_host *ret, struct error *err) {
        struct db_query q;
        db_query(store->db, &q,
                 "SELECT uuid, site, name, joined_at, last_seen_at, removed_at FROM host"
                 " WHERE uuid = ?1 AND removed_at = 0");
        db_bind_text(&q, 1, uuid);
        return one_host(&q, ret, err);
}

int store_host_named(struct store *store, const char *site, const char *name, struct store_host *ret,
                     struct error *err) {
        struct db_query q;
        db_query(store->db, &q,
                 "SELECT uuid, site, name, joined_at, last_seen_at, removed_at FROM host"
                 " WHERE site = ?1 AND name = ?2 AND removed_at = 0");
        db_bind_text(&q, 1, site);
        db_bind_text(&q, 2, name);
        return one_host(&q, ret, err);
}

// One statement, so that no other can come between the comparison and the change. The same grant again is no change.
int store_owner_set(struct store *store, const struct store_owner *owner, struct error *err) {
        if (owner->epoch == 0 || owner->epoch > INT64_MAX)
                return error_set(err, ERROR_INVALID, "epoch %llu is out of range", (unsigned long long) owner->epoch);
        struct db_query q;
        db_query(store->db, &q,
                 "INSERT INTO owner (vm_uuid, host_uuid, epoch) VALUES (?1, ?2, ?3) ON CONFLICT (vm_uuid)"
                 " DO UPDATE SET host_uuid = excluded.host_uuid, epoch = excluded.epoch"
                 " WHERE excluded.epoch > owner.epoch"
                 " OR (excluded.epoch = owner.epoch AND excluded.host_uuid = owner.host_uuid)");
        db_bind_text(&q, 1, owner->vm_uuid);
        db_bind_text(&q, 2, owner->host_uuid);
        db_bind_int(&q, 3, (int64_t) owner->epoch);
        int changed = db_run(&q, err);
        if (changed == 0)
                return error_set(err, ERROR_STALE, "epoch %llu of VM %s is not newer than the one granted",
                                 (unsigned long long) owner->epoch, owner->vm_uuid);
        return changed < 0 ? -1 : 0;
}

int store_owners(struct store *store, struct store_owner **ret, unsigned *ret_n, struct error *err) {
        _cleanup_(free_p) struct store_owner *list = NULL;
        struct db_query q;
        unsigned n = 0;
        int result;
        db_query(store->db, &q, "SELECT vm_uuid, host_uuid, epoch FROM owner ORDER BY vm_uuid");
        while ((result = db_step(&q, err)) > 0) {
                store_room(list, n);
                struct store_owner *owner = &list[n++];
                STORE_TEXT(owner->vm_uuid, &q, 0);
                STORE_TEXT(owner->host_uuid, &q, 1);
                owner->epoch = (uint64_t) db_int(&q, 2);
        }
        db_done(&q);
        if (result < 0)
                return -1;
        *ret = steal(&list);
        *ret_n = n;
        return 0;
}
