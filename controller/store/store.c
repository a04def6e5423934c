// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The controller's database: opening, the schema with its migrations, transactions, the installation's settings. The
 * loop thread's. The SQL of all store_*.c is written so that PostgreSQL takes it too (BLOB is called BYTEA there).
 */
#include "common/cleanup.h"
#include "common/memory.h"
#include "controller/store/store_private.h"
#include <stdio.h>
#include <string.h>

// What the fleet is made of and who belongs to it. A removed host keeps its row for the record; its name is free again.
#define SCHEMA_MEMBERS                                                                                                 \
        "CREATE TABLE meta (key TEXT PRIMARY KEY CHECK (length(key) <= 64), value TEXT NOT NULL);"                     \
        "CREATE TABLE site (name TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 63),"                              \
        " timezone TEXT NOT NULL CHECK (length(timezone) <= 63), rates TEXT NOT NULL CHECK (length(rates) <= 1023));"  \
        "CREATE TABLE host (uuid TEXT PRIMARY KEY CHECK (length(uuid) = 36),"                                          \
        " site TEXT NOT NULL CHECK (length(site) BETWEEN 1 AND 63),"                                                   \
        " name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 63),"                                                   \
        " joined_at BIGINT NOT NULL, last_seen_at BIGINT NOT NULL, removed_at BIGINT NOT NULL);"                       \
        "CREATE UNIQUE INDEX host_member ON host (site, name) WHERE removed_at = 0;"                                   \
        "CREATE TABLE account (name TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 63),"                           \
        " role TEXT NOT NULL CHECK (length(role) <= 15), sites TEXT NOT NULL CHECK (length(sites) <= 1023),"           \
        " created_at BIGINT NOT NULL, last_seen_at BIGINT NOT NULL, removed_at BIGINT NOT NULL);"                      \
        "CREATE TABLE certificate (sha256 BLOB PRIMARY KEY CHECK (length(sha256) = 32), number BIGINT NOT NULL,"       \
        " serial TEXT NOT NULL CHECK (length(serial) <= 47), kind BIGINT NOT NULL,"                                    \
        " subject TEXT NOT NULL CHECK (length(subject) <= 63),"                                                        \
        " not_before BIGINT NOT NULL, not_after BIGINT NOT NULL, revoked_at BIGINT NOT NULL);"                         \
        "CREATE UNIQUE INDEX certificate_number ON certificate (number);"                                              \
        "CREATE INDEX certificate_subject ON certificate (kind, subject, number);"                                     \
        "CREATE TABLE token (id TEXT PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 32), secret_sha256 BLOB NOT NULL,"    \
        " is_operator BIGINT NOT NULL, site TEXT NOT NULL CHECK (length(site) <= 63),"                                 \
        " name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 63), role TEXT NOT NULL CHECK (length(role) <= 15),"    \
        " sites TEXT NOT NULL CHECK (length(sites) <= 1023),"                                                          \
        " created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, used_at BIGINT NOT NULL);"                           \
        "CREATE UNIQUE INDEX token_open ON token (is_operator, site, name) WHERE used_at = 0;"                         \
        "CREATE INDEX token_expiry ON token (expires_at);"

// Which host may run a VM, and what hosts have told of themselves.
#define SCHEMA_FLEET                                                                                                   \
        "CREATE TABLE owner (vm_uuid TEXT PRIMARY KEY CHECK (length(vm_uuid) = 36),"                                   \
        " host_uuid TEXT NOT NULL CHECK (length(host_uuid) = 36), epoch BIGINT NOT NULL CHECK (epoch > 0));"           \
        "CREATE TABLE inventory (host_uuid TEXT NOT NULL, item BIGINT NOT NULL,"                                       \
        " key TEXT NOT NULL CHECK (length(key) <= 255), bytes BLOB NOT NULL, PRIMARY KEY (host_uuid, item, key));"

// Jobs with their steps and transfers, and who asked for what.
#define SCHEMA_JOBS                                                                                                    \
        "CREATE TABLE job (id TEXT PRIMARY KEY CHECK (length(id) BETWEEN 4 AND 32), kind TEXT NOT NULL,"               \
        " state TEXT NOT NULL, vm TEXT NOT NULL, vm_uuid TEXT NOT NULL, user_name TEXT NOT NULL,"                      \
        " source TEXT NOT NULL, target TEXT NOT NULL, created_ms BIGINT NOT NULL, started_ms BIGINT NOT NULL,"         \
        " finished_ms BIGINT NOT NULL, error_code BIGINT NOT NULL, error_message TEXT, error_hints TEXT, spec BLOB,"   \
        " epoch BIGINT NOT NULL, committed BIGINT NOT NULL, undoing BIGINT NOT NULL,"                                  \
        " cancel_requested BIGINT NOT NULL);"                                                                          \
        "CREATE INDEX job_newest ON job (created_ms, id);"                                                             \
        "CREATE INDEX job_state ON job (state, created_ms, id);"                                                       \
        "CREATE INDEX job_finished ON job (state, finished_ms);"                                                       \
        "CREATE TABLE step (job TEXT NOT NULL REFERENCES job (id), number BIGINT NOT NULL, name TEXT NOT NULL,"        \
        " host TEXT NOT NULL, state TEXT NOT NULL, attempt BIGINT NOT NULL, started_ms BIGINT NOT NULL,"               \
        " finished_ms BIGINT NOT NULL, error_code BIGINT NOT NULL, error_message TEXT, result BLOB,"                   \
        " PRIMARY KEY (job, number));"                                                                                 \
        "CREATE TABLE transfer (job TEXT NOT NULL REFERENCES job (id), disk TEXT NOT NULL, digest TEXT, state BLOB,"   \
        " attempt BIGINT NOT NULL, resumed BIGINT NOT NULL, PRIMARY KEY (job, disk));"                                 \
        "CREATE TABLE audit (id BIGINT PRIMARY KEY, at BIGINT NOT NULL, user_name TEXT NOT NULL,"                      \
        " role TEXT NOT NULL, address TEXT NOT NULL, verb TEXT NOT NULL, object TEXT NOT NULL,"                        \
        " outcome TEXT NOT NULL, job TEXT NOT NULL, message TEXT);"                                                    \
        "CREATE INDEX audit_job ON audit (job, id);"

// Jobs that were asked for together; a batch is one of its own parts.
#define SCHEMA_BATCHES                                                                                                 \
        "ALTER TABLE job ADD COLUMN batch TEXT NOT NULL DEFAULT '' CHECK (length(batch) <= 32);"                       \
        "CREATE INDEX job_batch ON job (batch) WHERE batch <> '';"

static const struct db_migration migrations[] = {
        {.sql = SCHEMA_MEMBERS SCHEMA_FLEET SCHEMA_JOBS},
        {.sql = SCHEMA_BATCHES},
};

int store_open(const char *path, struct store **ret, struct error *err) {
        struct db *db;
        if (db_open(path, migrations, ARRAY_SIZE(migrations), &db, err) < 0)
                return -1;
        struct store *store = new (struct store);
        store->db = db;
        *ret = store;
        return 0;
}

void store_close(struct store *store) {
        if (!store)
                return;
        db_close(store->db);
        free(store);
}

int store_begin(struct store *store, struct error *err) {
        return db_begin(store->db, err);
}

int store_commit(struct store *store, struct error *err) {
        return db_commit(store->db, err);
}

void store_rollback(struct store *store) {
        db_rollback(store->db);
}

int store_meta_set(struct store *store, const char *key, const char *value, struct error *err) {
        struct db_query q;
        db_query(
                store->db, &q,
                "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value");
        db_bind_text(&q, 1, key);
        db_bind_text(&q, 2, value);
        return store_run(&q, err);
}

int store_meta_get(struct store *store, const char *key, char **ret_value, struct error *err) {
        struct db_query q;
        db_query(store->db, &q, "SELECT value FROM meta WHERE key = ?1");
        db_bind_text(&q, 1, key);
        int result = db_step(&q, err);
        if (result > 0)
                *ret_value = memory_string(db_text(&q, 0));
        db_done(&q);
        return result;
}

void *store_grow(void *list, unsigned n, size_t size) {
        // Doubling: at the powers of two what is there is full.
        bool full = n == 0 || (n >= 8 && (n & (n - 1)) == 0);
        if (!full)
                return list;
        size_t room = n < 8 ? 8 : (size_t) n * 2;
        return memory_grow(list, room, size);
}

void store_text(char *buffer, size_t size, struct db_query *query, int column) {
        snprintf(buffer, size, "%s", db_text(query, column));
}

char *store_new_text(struct db_query *query, int column) {
        return db_is_null(query, column) ? NULL : memory_string(db_text(query, column));
}

uint8_t *store_new_blob(struct db_query *query, int column, size_t *ret_length) {
        const uint8_t *bytes = db_blob(query, column, ret_length);
        if (*ret_length == 0)
                return NULL;
        uint8_t *copy = memory_new(*ret_length);
        memcpy(copy, bytes, *ret_length);
        return copy;
}

int store_run(struct db_query *query, struct error *err) {
        return db_run(query, err) < 0 ? -1 : 0;
}
