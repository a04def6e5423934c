// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * SQLite behind a small interface: opening with the settings that durability needs, migrations, transactions, and
 * statements that are prepared once. SQLite's errors become ours in fail() and nowhere else.
 */
#include "common/db.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define BUSY_MS 10000
#define BUCKETS 128u

struct db_statement {
        const char *key; // the address of the text, as the caller has it
        char *text;      // a copy: an address may come back with another text
        sqlite3_stmt *statement;
        bool taken;
        struct db_statement *next;
};

struct db {
        sqlite3 *sqlite;
        char *path;
        struct db_statement *statements[BUCKETS];
};

static enum error_code code_of(sqlite3 *sqlite, int result) {
        int system = sqlite ? sqlite3_system_errno(sqlite) : 0;
        switch (result & 0xff) {
        case SQLITE_CONSTRAINT:
                return ERROR_CONFLICT;
        case SQLITE_FULL:
                return ERROR_NO_SPACE;
        case SQLITE_NOMEM:
                return ERROR_NO_MEMORY;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
                return ERROR_CORRUPT;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return ERROR_BUSY;
        case SQLITE_PERM:
        case SQLITE_AUTH:
        case SQLITE_READONLY:
                return ERROR_DENIED;
        case SQLITE_TOOBIG:
                return ERROR_TOO_LARGE;
        case SQLITE_IOERR:
                return system == ENOSPC || system == EDQUOT ? ERROR_NO_SPACE : ERROR_IO;
        case SQLITE_CANTOPEN:
                return system == ENOENT                      ? ERROR_NOT_FOUND
                       : system == EACCES || system == EPERM ? ERROR_DENIED
                                                             : ERROR_IO;
        default:
                return ERROR_DATABASE;
        }
}

static int fail(struct db *db, int result, struct error *err) {
        // The connection's text belongs to its last call, which need not be the one that failed.
        const char *text = db->sqlite && sqlite3_extended_errcode(db->sqlite) == result ? sqlite3_errmsg(db->sqlite)
                                                                                        : sqlite3_errstr(result);
        return error_set(err, code_of(db->sqlite, result), "database %s: %s", db->path, text);
}

int db_exec(struct db *db, const char *sql, struct error *err) {
        int result = sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL);
        return result == SQLITE_OK ? 0 : fail(db, result, err);
}

int db_begin(struct db *db, struct error *err) {
        return db_exec(db, "BEGIN IMMEDIATE", err);
}

int db_commit(struct db *db, struct error *err) {
        if (db_exec(db, "COMMIT", err) == 0)
                return 0;
        db_rollback(db);
        return -1;
}

void db_rollback(struct db *db) {
        // After some failures (a full disk) SQLite has rolled back by itself.
        if (!sqlite3_get_autocommit(db->sqlite))
                db_exec(db, "ROLLBACK", NULL);
}

static int pragma_int(struct db *db, const char *sql, int64_t *ret_value, struct error *err) {
        struct db_query q;
        db_query(db, &q, sql);
        int result = db_step(&q, err);
        if (result > 0)
                *ret_value = db_int(&q, 0);
        db_done(&q);
        return result < 0 ? -1 : 0;
}

static int schema_version(struct db *db, unsigned known, unsigned *ret_version, struct error *err) {
        int64_t version = 0;
        if (pragma_int(db, "PRAGMA user_version", &version, err) < 0)
                return -1;
        if (version < 0 || version > (int64_t) known)
                return error_set(err, ERROR_VERSION,
                                 "database %s has schema %lld, this program knows %u: it was written by a newer drover",
                                 db->path, (long long) version, known);
        *ret_version = (unsigned) version;
        return 0;
}

// The version is read again under the write lock: another process may have been first.
static int migrate_once(struct db *db, const struct db_migration *migrations, unsigned n, bool *ret_more,
                        struct error *err) {
        unsigned version = 0;
        char sql[64];
        if (db_begin(db, err) < 0)
                return -1;
        if (schema_version(db, n, &version, err) < 0)
                goto out;
        if (version < n) {
                snprintf(sql, sizeof(sql), "PRAGMA user_version = %u", version + 1);
                if (db_exec(db, migrations[version].sql, err) < 0 || db_exec(db, sql, err) < 0) {
                        error_prefix(err, "migration %u", version + 1);
                        goto out;
                }
        }
        *ret_more = version + 1 < n;
        return db_commit(db, err);
out:
        db_rollback(db);
        return -1;
}

static int migrate(struct db *db, const struct db_migration *migrations, unsigned n, struct error *err) {
        unsigned version = 0;
        if (schema_version(db, n, &version, err) < 0)
                return -1;
        for (bool more = version < n; more;)
                if (migrate_once(db, migrations, n, &more, err) < 0)
                        return -1;
        return 0;
}

static int set_up(struct db *db, struct error *err) {
        sqlite3_busy_timeout(db->sqlite, BUSY_MS);
        sqlite3_extended_result_codes(db->sqlite, 1);
        sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        struct db_query q;
        db_query(db, &q, "PRAGMA journal_mode = WAL");
        int result = db_step(&q, err);
        bool wal = result > 0 && (strcmp(db_text(&q, 0), "wal") == 0 || strcmp(db->path, ":memory:") == 0);
        db_done(&q);
        if (result < 0)
                return -1;
        if (!wal)
                return error_set(err, ERROR_DATABASE, "database %s: its file system cannot hold a write-ahead log",
                                 db->path);
        return db_exec(db, "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON", err);
}

// SQLite would make the file by the umask. Only a file that is new is opened and closed here: closing a descriptor
// drops every POSIX lock that this process has on the file, those of another connection among them.
static int make_file(const char *path, struct error *err) {
        struct stat status;
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0) {
                close(fd);
                return 0;
        }
        if (errno != EEXIST || lstat(path, &status) < 0)
                return error_errno(err, errno, "database %s", path);
        if (!S_ISREG(status.st_mode))
                return error_set(err, ERROR_INVALID, "database %s: not a regular file", path);
        return 0;
}

static void db_close_p(struct db **db) {
        db_close(*db);
}

int db_open(const char *path, const struct db_migration *migrations, unsigned n, struct db **ret_db,
            struct error *err) {
        if (strcmp(path, ":memory:") != 0 && make_file(path, err) < 0)
                return -1;
        _cleanup_(db_close_p) struct db *db = new (struct db);
        db->path = memory_string(path);
        int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
        int result = sqlite3_open_v2(path, &db->sqlite, flags, NULL);
        if (result != SQLITE_OK)
                return fail(db, result, err);
        unsigned version;
        // First of all, so that a file of a newer program is not written to.
        if (schema_version(db, n, &version, err) < 0 || set_up(db, err) < 0 || migrate(db, migrations, n, err) < 0)
                return -1;
        *ret_db = steal(&db);
        return 0;
}

void db_close(struct db *db) {
        if (!db)
                return;
        // Kept statements, and those of queries that were never done.
        for (sqlite3_stmt *statement; db->sqlite && (statement = sqlite3_next_stmt(db->sqlite, NULL));)
                sqlite3_finalize(statement);
        for (unsigned i = 0; i < BUCKETS; i++)
                for (struct db_statement *kept; (kept = db->statements[i]);) {
                        db->statements[i] = kept->next;
                        free(kept->text);
                        free(kept);
                }
        int result = sqlite3_close(db->sqlite);
        assert(result == SQLITE_OK);
        (void) result;
        free(db->path);
        free(db);
}

static struct db_statement *find(struct db *db, const char *sql, struct db_statement ***ret_bucket) {
        *ret_bucket = &db->statements[((uintptr_t) sql >> 3) % BUCKETS];
        for (struct db_statement *kept = **ret_bucket; kept; kept = kept->next)
                if (kept->key == sql)
                        return kept;
        return NULL;
}

void db_query(struct db *db, struct db_query *query, const char *sql) {
        *query = (struct db_query){.db = db};
        struct db_statement **bucket, *kept = find(db, sql, &bucket);
        bool free_to_take = kept && !kept->taken && strcmp(kept->text, sql) == 0;
        if (free_to_take) {
                kept->taken = true;
                query->kept = kept;
                query->statement = kept->statement;
                return;
        }
        unsigned flags = kept ? 0 : SQLITE_PREPARE_PERSISTENT;
        query->failed = sqlite3_prepare_v3(db->sqlite, sql, -1, flags, &query->statement, NULL);
        if (query->failed || kept)
                return;
        kept = new (struct db_statement);
        *kept = (struct db_statement){
                .key = sql, .text = memory_string(sql), .statement = query->statement, .taken = true, .next = *bucket};
        *bucket = kept;
        query->kept = kept;
}

// A bind on a query that has ended or failed does nothing.
static bool may_bind(const struct db_query *query) {
        return !query->failed && query->statement;
}

void db_bind_int(struct db_query *query, int index, int64_t value) {
        if (may_bind(query))
                query->failed = sqlite3_bind_int64(query->statement, index, value);
}

void db_bind_text(struct db_query *query, int index, const char *text) {
        if (may_bind(query))
                query->failed = text ? sqlite3_bind_text64(query->statement, index, text, strlen(text),
                                                           SQLITE_TRANSIENT, SQLITE_UTF8)
                                     : sqlite3_bind_null(query->statement, index);
}

void db_bind_blob(struct db_query *query, int index, const void *bytes, size_t length) {
        // SQLite takes a NULL pointer for NULL, not for an empty blob.
        if (may_bind(query))
                query->failed = length ? sqlite3_bind_blob64(query->statement, index, bytes, length, SQLITE_TRANSIENT)
                                       : sqlite3_bind_zeroblob(query->statement, index, 0);
}

int db_step(struct db_query *query, struct error *err) {
        if (query->failed) {
                fail(query->db, query->failed, err);
                db_done(query);
                return -1;
        }
        if (!query->statement)
                return 0;
        int result = sqlite3_step(query->statement);
        if (result == SQLITE_ROW)
                return 1;
        if (result != SQLITE_DONE) {
                query->failed = result;
                fail(query->db, result, err);
        }
        db_done(query); // no read transaction stays open behind a query that has ended
        return result == SQLITE_DONE ? 0 : -1;
}

int64_t db_int(struct db_query *query, int column) {
        return sqlite3_column_int64(query->statement, column);
}

const char *db_text(struct db_query *query, int column) {
        const unsigned char *text = sqlite3_column_text(query->statement, column);
        return text ? (const char *) text : "";
}

const uint8_t *db_blob(struct db_query *query, int column, size_t *ret_length) {
        const uint8_t *bytes = sqlite3_column_blob(query->statement, column);
        *ret_length = (size_t) sqlite3_column_bytes(query->statement, column);
        return bytes ? bytes : (const uint8_t *) "";
}

bool db_is_null(struct db_query *query, int column) {
        return sqlite3_column_type(query->statement, column) == SQLITE_NULL;
}

void db_done(struct db_query *query) {
        if (!query->statement)
                return;
        if (query->kept) {
                sqlite3_reset(query->statement);
                sqlite3_clear_bindings(query->statement);
                query->kept->taken = false;
        } else {
                sqlite3_finalize(query->statement);
        }
        query->statement = NULL;
        query->kept = NULL;
}

int db_run(struct db_query *query, struct error *err) {
        sqlite3 *sqlite = query->db->sqlite;
        // sqlite3_changes() is that of the last statement which changes rows, and not all do.
        sqlite3_int64 before = sqlite3_total_changes64(sqlite);
        int result;
        while ((result = db_step(query, err)) > 0)
                ;
        if (result < 0)
                return -1;
        if (sqlite3_total_changes64(sqlite) == before)
                return 0;
        sqlite3_int64 changed = sqlite3_changes64(sqlite);
        return changed > INT_MAX ? INT_MAX : (int) changed;
}

int64_t db_last_id(struct db *db) {
        return sqlite3_last_insert_rowid(db->sqlite);
}
