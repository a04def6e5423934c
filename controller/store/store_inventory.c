// SPDX-License-Identifier: LGPL-2.1-or-later
/* What hosts have told of themselves, as packed messages; written in batches within the caller's transaction. Loop
 * thread. */
#include "controller/store/store_private.h"

int store_inventory_put(struct store *store, const char *host_uuid, enum store_item item, const char *key,
                        const void *bytes, size_t length, struct error *err) {
        struct db_query q;
        db_query(store->db, &q,
                 "INSERT INTO inventory (host_uuid, item, key, bytes) VALUES (?1, ?2, ?3, ?4)"
                 " ON CONFLICT (host_uuid, item, key) DO UPDATE SET bytes = excluded.bytes");
        db_bind_text(&q, 1, host_uuid);
        db_bind_int(&q, 2, item);
        db_bind_text(&q, 3, key);
        db_bind_blob(&q, 4, length ? bytes : "", length); // a message of defaults packs to nothing: not NULL
        return store_run(&q, err);
}

int store_inventory_remove(struct store *store, const char *host_uuid, enum store_item item, const char *key,
                           struct error *err) {
        struct db_query q;
        db_query(store->db, &q, "DELETE FROM inventory WHERE host_uuid = ?1 AND item = ?2 AND key = ?3");
        db_bind_text(&q, 1, host_uuid);
        db_bind_int(&q, 2, item);
        db_bind_text(&q, 3, key);
        return store_run(&q, err);
}

int store_inventory_each(struct store *store, store_inventory_fn fn, void *data, struct error *err) {
        struct db_query q;
        int result;
        db_query(store->db, &q, "SELECT host_uuid, item, key, bytes FROM inventory ORDER BY host_uuid, item, key");
        while ((result = db_step(&q, err)) > 0) {
                size_t length;
                const uint8_t *bytes = db_blob(&q, 3, &length);
                result = fn(db_text(&q, 0), (enum store_item) db_int(&q, 1), db_text(&q, 2), bytes, length, data, err);
                if (result < 0)
                        break;
        }
        db_done(&q);
        return result < 0 ? -1 : 0;
}
