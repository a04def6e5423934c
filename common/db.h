// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * SQLite as both journals use it: WAL, synchronous=FULL (what was acknowledged survives a power cut, fault 15),
 * foreign keys on, a busy timeout, numbered migrations. SQLite's errors are translated here and nowhere else.
 * A struct db belongs to one thread, or its owner locks around it.
 */
#include "common/error.h"
#include <stdint.h>
#include <sqlite3.h>

struct db;
struct db_migration {
        const char *sql; // one or more statements, run in one transaction; number is its place in the array + 1
};
// Opens or makes the file (mode 0600), applies the migrations that are missing; a newer schema is refused by name.
// ":memory:" is for tests.
int db_open(const char *path, const struct db_migration *migrations, unsigned n, struct db **ret_db, struct error *err);
void db_close(struct db *db);
int db_exec(struct db *db, const char *sql, struct error *err);
// Transactions do not nest and take the write lock at once. A commit that fails has rolled back; db_rollback() without
// a transaction does nothing.
int db_begin(struct db *db, struct error *err);
int db_commit(struct db *db, struct error *err);
void db_rollback(struct db *db);

/*
 * A statement is prepared once and kept by the db, keyed by the address of its text (a string literal):
 *     struct db_query q;
 *     db_query(db, &q, "SELECT name FROM site WHERE id = ?1"); db_bind_int(&q, 1, id);
 *     while ((r = db_step(&q, err)) > 0) use(db_text(&q, 0));
 *     db_done(&q);
 * The last row and every failure give the statement back; db_done() after that does nothing.
 * Errors stick: binds after a failure do nothing and db_step returns -1.
 */
struct db_statement;
struct db_query {
        struct db *db;
        sqlite3_stmt *statement;   // NULL once it has ended, failed or was given back
        struct db_statement *kept; // its place in the db; NULL when the kept one was under way and this is one more
        int failed;                // SQLite's extended code, or 0
};
void db_query(struct db *db, struct db_query *query, const char *sql);
void db_bind_int(struct db_query *query, int index, int64_t value);
void db_bind_text(struct db_query *query, int index, const char *text);                 // NULL binds NULL; copied
void db_bind_blob(struct db_query *query, int index, const void *bytes, size_t length); // copied
int db_step(struct db_query *query, struct error *err); // 1: a row, 0: no more, -1: failed
int64_t db_int(struct db_query *query, int column);
const char *db_text(struct db_query *query, int column); // "" for NULL; valid until the next db_step/db_done
const uint8_t *db_blob(struct db_query *query, int column, size_t *ret_length);
bool db_is_null(struct db_query *query, int column);
void db_done(struct db_query *query);
// Run to the end and forget: for INSERT, UPDATE, DELETE after binds. Returns rows changed, or -1. ERROR_CONFLICT on a
// violated constraint, ERROR_NO_SPACE on a full disk.
int db_run(struct db_query *query, struct error *err);
int64_t db_last_id(struct db *db);
