// SPDX-License-Identifier: LGPL-2.1-or-later
/* Who asked for what, when, from where, and how it ended. Entries are only ever added. Loop thread. */
#include "common/cleanup.h"
#include "controller/store/store_private.h"

void store_audit_fini(struct store_audit *audit) {
        free(audit->message);
        audit->message = NULL;
}

int store_audit_add(struct store *store, const struct store_audit *audit, int64_t *ret_id, struct error *err) {
        struct db_query q;
        int64_t id = 0;
        int result;
        db_query(store->db, &q,
                 "INSERT INTO audit (id, at, user_name, role, address, verb, object, outcome, job, message)"
                 " SELECT coalesce(max(id), 0) + 1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM audit RETURNING id");
        db_bind_int(&q, 1, audit->at);
        db_bind_text(&q, 2, audit->user);
        db_bind_text(&q, 3, audit->role);
        db_bind_text(&q, 4, audit->address);
        db_bind_text(&q, 5, audit->verb);
        db_bind_text(&q, 6, audit->object);
        db_bind_text(&q, 7, audit->outcome);
        db_bind_text(&q, 8, audit->job);
        db_bind_text(&q, 9, audit->message);
        // To the end, which is where a commit that fails says so.
        while ((result = db_step(&q, err)) > 0)
                id = db_int(&q, 0);
        if (result < 0)
                return -1;
        if (ret_id)
                *ret_id = id;
        return 0;
}

// The entry that made the job; later ones about it (a cancel) keep the outcome of their own.
int store_audit_outcome(struct store *store, const char *job, const char *outcome, const char *message,
                        struct error *err) {
        struct db_query q;
        db_query(store->db, &q,
                 "UPDATE audit SET outcome = ?2, message = ?3 WHERE id = (SELECT min(id) FROM audit WHERE job = ?1)");
        db_bind_text(&q, 1, job);
        db_bind_text(&q, 2, outcome);
        db_bind_text(&q, 3, message);
        return store_run(&q, err);
}

static void read_audit(struct db_query *q, struct store_audit *audit) {
        *audit = (struct store_audit){.id = db_int(q, 0), .at = db_int(q, 1)};
        STORE_TEXT(audit->user, q, 2);
        STORE_TEXT(audit->role, q, 3);
        STORE_TEXT(audit->address, q, 4);
        STORE_TEXT(audit->verb, q, 5);
        STORE_TEXT(audit->object, q, 6);
        STORE_TEXT(audit->outcome, q, 7);
        STORE_TEXT(audit->job, q, 8);
        audit->message = store_new_text(q, 9);
}

int store_audits(struct store *store, unsigned limit, struct store_audit **ret, unsigned *ret_n, struct error *err) {
        struct store_audit *list = NULL;
        struct db_query q;
        unsigned n = 0;
        int result;
        db_query(store->db, &q,
                 "SELECT id, at, user_name, role, address, verb, object, outcome, job, message FROM audit"
                 " ORDER BY id DESC LIMIT ?1");
        db_bind_int(&q, 1, limit ? limit : INT64_MAX);
        while ((result = db_step(&q, err)) > 0) {
                store_room(list, n);
                read_audit(&q, &list[n++]);
        }
        db_done(&q);
        if (result < 0) {
                for (unsigned i = 0; i < n; i++)
                        store_audit_fini(&list[i]);
                free(list);
                return -1;
        }
        *ret = list;
        *ret_n = n;
        return 0;
}
