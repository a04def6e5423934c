// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The agent's journal: epochs, steps, facts and holds in one SQLite file. Any worker and the loop may call it; one lock
 * stands around the one connection. Each function is one statement or one transaction, so that a death in the middle
 * leaves either all of it or nothing.
 */
#include "agent/journal/journal.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/db.h"
#include "common/file.h"
#include "common/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct journal {
        pthread_mutex_t lock;
        struct db *db;
        char *directory;
};

static const struct db_migration migrations[] = {
        {"CREATE TABLE epoch (vm_uuid TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID;"
         "CREATE TABLE step (job TEXT NOT NULL, step TEXT NOT NULL, attempt INTEGER NOT NULL, request BLOB NOT NULL,"
         "  result BLOB, done INTEGER NOT NULL DEFAULT 0, at INTEGER NOT NULL, PRIMARY KEY (job, step, attempt));"
         "CREATE TABLE fact (job TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (job, key));"
         "CREATE TABLE hold (job TEXT NOT NULL, item TEXT NOT NULL, kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),"
         "  vm_uuid TEXT NOT NULL, vm_name TEXT NOT NULL, directory TEXT NOT NULL, name TEXT NOT NULL,"
         "  bytes INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (job, item));"
         "CREATE INDEX hold_vm ON hold (vm_uuid);"},
        // One kind of hold more: SQLite changes no constraint in place.
        {"CREATE TABLE hold_2 (job TEXT NOT NULL, item TEXT NOT NULL, kind INTEGER NOT NULL"
         "  CHECK (kind BETWEEN 1 AND 5), vm_uuid TEXT NOT NULL, vm_name TEXT NOT NULL, directory TEXT NOT NULL,"
         "  name TEXT NOT NULL, bytes INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (job, item));"
         "INSERT INTO hold_2 SELECT * FROM hold; DROP TABLE hold; ALTER TABLE hold_2 RENAME TO hold;"
         "CREATE INDEX hold_vm ON hold (vm_uuid);"},
        {"ALTER TABLE hold ADD COLUMN device INTEGER NOT NULL DEFAULT 0;"},
};

int journal_open(const char *path, struct journal **ret, struct error *err) {
        struct db *db;
        if (db_open(path, migrations, ARRAY_SIZE(migrations), &db, err) < 0)
                return error_prefix(err, "journal");
        struct journal *journal = new (struct journal);
        pthread_mutex_init(&journal->lock, NULL);
        journal->db = db;
        const char *slash = strrchr(path, '/');
        journal->directory = memory_format("%.*s/ranges", slash ? (int) (slash - path) : 1, slash ? path : ".");
        *ret = journal;
        return 0;
}

void journal_close(struct journal *journal) {
        if (!journal)
                return;
        db_close(journal->db);
        pthread_mutex_destroy(&journal->lock);
        free(journal->directory);
        free(journal);
}

static void query_begin(struct journal *journal, struct db_query *q, const char *sql) {
        pthread_mutex_lock(&journal->lock);
        db_query(journal->db, q, sql);
}

// Ends what query_begin() began: gives `result` back, named as the journal's when it is a failure.
static int query_end(struct journal *journal, struct db_query *q, int result, struct error *err) {
        db_done(q);
        pthread_mutex_unlock(&journal->lock);
        return result < 0 ? error_prefix(err, "journal") : result;
}

static int query_run(struct journal *journal, struct db_query *q, struct error *err) {
        return query_end(journal, q, db_run(q, err), err) < 0 ? -1 : 0;
}

// ---- epochs ----

static int epoch_read(struct journal *journal, const char *vm_uuid, uint64_t *ret_epoch, struct error *err) {
        struct db_query q;
        query_begin(journal, &q, "SELECT epoch FROM epoch WHERE vm_uuid = ?1");
        db_bind_text(&q, 1, vm_uuid);
        int found = db_step(&q, err);
        if (found > 0)
                *ret_epoch = (uint64_t) db_int(&q, 0);
        return query_end(journal, &q, found, err);
}

int journal_epoch(struct journal *journal, const char *vm_uuid, uint64_t *ret_epoch, struct error *err) {
        uint64_t epoch = 0;
        if (epoch_read(journal, vm_uuid, &epoch, err) < 0)
                return -1;
        *ret_epoch = epoch;
        return 0;
}

int journal_grant(struct journal *journal, const char *vm_uuid, uint64_t epoch, struct error *err) {
        if (epoch > INT64_MAX)
                return error_set(err, ERROR_INVALID, "epoch %llu is out of range", (unsigned long long) epoch);
        uint64_t known = 0;
        if (epoch_read(journal, vm_uuid, &known, err) < 0)
                return -1;
        if (epoch == known)
                return 0;
        // The condition stands in the statement as well: two threads may have read the same value.
        struct db_query q;
        query_begin(journal, &q,
                    "INSERT INTO epoch (vm_uuid, epoch) VALUES (?1, ?2) "
                    "ON CONFLICT (vm_uuid) DO UPDATE SET epoch = excluded.epoch WHERE excluded.epoch >= epoch.epoch");
        db_bind_text(&q, 1, vm_uuid);
        db_bind_int(&q, 2, (int64_t) epoch);
        int changed = query_end(journal, &q, db_run(&q, err), err);
        if (changed < 0)
                return -1;
        if (changed == 0)
                return error_set(err, ERROR_STALE, "epoch %llu of VM %s is over: this host has seen a later one",
                                 (unsigned long long) epoch, vm_uuid);
        return 0;
}

// ---- steps ----

struct step_key {
        const char *job, *step;
        uint32_t attempt;
};

static void step_bind(struct db_query *q, const struct step_key *key) {
        db_bind_text(q, 1, key->job);
        db_bind_text(q, 2, key->step);
        db_bind_int(q, 3, key->attempt);
}

static uint8_t *copy_blob(struct db_query *q, int column, size_t *ret_length) {
        const uint8_t *bytes = db_blob(q, column, ret_length);
        uint8_t *copy = memory_new(*ret_length + 1); // the NUL lets a text fact be read as a string
        memcpy(copy, bytes, *ret_length);
        return copy;
}

// Records the intent; false when there is one already.
static int step_insert(struct journal *journal, const struct step_key *key, const uint8_t *request, size_t length,
                       bool *ret_new, struct error *err) {
        struct db_query q;
        query_begin(journal, &q,
                    "INSERT INTO step (job, step, attempt, request, at) VALUES (?1, ?2, ?3, ?4, ?5) "
                    "ON CONFLICT DO NOTHING");
        step_bind(&q, key);
        db_bind_blob(&q, 4, request, length);
        db_bind_int(&q, 5, clock_wall(&system_clock));
        int changed = query_end(journal, &q, db_run(&q, err), err);
        if (changed < 0)
                return -1;
        *ret_new = changed > 0;
        return 0;
}

int journal_step_begin(struct journal *journal, const char *job, const char *step, uint32_t attempt,
                       const uint8_t *request, size_t length, enum journal_step *ret_state, uint8_t **ret_result,
                       size_t *ret_length, struct error *err) {
        const struct step_key key = {.job = job, .step = step, .attempt = attempt};
        bool is_new;
        if (step_insert(journal, &key, request, length, &is_new, err) < 0)
                return -1;
        *ret_result = NULL;
        *ret_length = 0;
        *ret_state = JOURNAL_STEP_NEW;
        if (is_new)
                return 0;
        struct db_query q;
        query_begin(journal, &q, "SELECT done, result FROM step WHERE job = ?1 AND step = ?2 AND attempt = ?3");
        step_bind(&q, &key);
        int found = db_step(&q, err);
        bool done = found > 0 && db_int(&q, 0) != 0;
        if (done)
                *ret_result = copy_blob(&q, 1, ret_length);
        *ret_state = done ? JOURNAL_STEP_DONE : JOURNAL_STEP_INTENT;
        return query_end(journal, &q, found, err) < 0 ? -1 : 0;
}

int journal_step_end(struct journal *journal, const char *job, const char *step, uint32_t attempt,
                     const uint8_t *result, size_t length, struct error *err) {
        const struct step_key key = {.job = job, .step = step, .attempt = attempt};
        struct db_query q;
        query_begin(journal, &q,
                    "UPDATE step SET done = 1, result = ?4, at = ?5 WHERE job = ?1 AND step = ?2 AND attempt = ?3");
        step_bind(&q, &key);
        db_bind_blob(&q, 4, result, length);
        db_bind_int(&q, 5, clock_wall(&system_clock));
        int changed = query_end(journal, &q, db_run(&q, err), err);
        if (changed < 0)
                return -1;
        return changed > 0 ? 0
                           : error_set(err, ERROR_NOT_FOUND, "journal: step %s of job %s was never begun", step, job);
}

// ---- facts ----

int journal_fact_set(struct journal *journal, const char *job, const char *key, const void *bytes, size_t length,
                     struct error *err) {
        struct db_query q;
        query_begin(journal, &q,
                    "INSERT INTO fact (job, key, value) VALUES (?1, ?2, ?3) "
                    "ON CONFLICT (job, key) DO UPDATE SET value = excluded.value");
        db_bind_text(&q, 1, job);
        db_bind_text(&q, 2, key);
        db_bind_blob(&q, 3, bytes, length);
        return query_run(journal, &q, err);
}

int journal_fact_get(struct journal *journal, const char *job, const char *key, uint8_t **ret_bytes, size_t *ret_length,
                     struct error *err) {
        struct db_query q;
        query_begin(journal, &q, "SELECT value FROM fact WHERE job = ?1 AND key = ?2");
        db_bind_text(&q, 1, job);
        db_bind_text(&q, 2, key);
        int found = db_step(&q, err);
        if (found > 0)
                *ret_bytes = copy_blob(&q, 0, ret_length);
        return query_end(journal, &q, found, err);
}

int journal_fact_remove(struct journal *journal, const char *job, const char *key, struct error *err) {
        struct db_query q;
        query_begin(journal, &q, "DELETE FROM fact WHERE job = ?1 AND key = ?2");
        db_bind_text(&q, 1, job);
        db_bind_text(&q, 2, key);
        return query_run(journal, &q, err);
}

int journal_fact_find(struct journal *journal, const char *key, const char *text, char ret_job[33], struct error *err) {
        struct db_query q;
        query_begin(journal, &q, "SELECT job FROM fact WHERE key = ?1 AND CAST(value AS TEXT) = ?2 LIMIT 1");
        db_bind_text(&q, 1, key);
        db_bind_text(&q, 2, text);
        int found = db_step(&q, err);
        if (found > 0)
                snprintf(ret_job, 33, "%s", db_text(&q, 0));
        return query_end(journal, &q, found, err);
}

int journal_fact_find_prefix(struct journal *journal, const char *prefix, const char *text, char ret_job[33],
                             char ret_key[JOURNAL_KEY_MAX], struct error *err) {
        struct db_query q;
        query_begin(journal, &q,
                    "SELECT job, key FROM fact WHERE substr(key, 1, length(?1)) = ?1 AND CAST(value AS TEXT) = ?2 "
                    "AND length(key) < ?3 LIMIT 1");
        db_bind_text(&q, 1, prefix);
        db_bind_text(&q, 2, text);
        db_bind_int(&q, 3, JOURNAL_KEY_MAX);
        int found = db_step(&q, err);
        if (found > 0) {
                snprintf(ret_job, 33, "%s", db_text(&q, 0));
                snprintf(ret_key, JOURNAL_KEY_MAX, "%s", db_text(&q, 1));
        }
        return query_end(journal, &q, found, err);
}

// ---- holds ----

int journal_hold_put(struct journal *journal, const struct hold *hold, struct error *err) {
        struct db_query q;
        query_begin(journal, &q,
                    "INSERT OR REPLACE INTO hold (job, item, kind, vm_uuid, vm_name, directory, name, bytes, at, "
                    "device) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)");
        db_bind_text(&q, 1, hold->job);
        db_bind_text(&q, 2, hold->item);
        db_bind_int(&q, 3, hold->kind);
        db_bind_text(&q, 4, hold->vm_uuid);
        db_bind_text(&q, 5, hold->vm_name);
        db_bind_text(&q, 6, hold->directory);
        db_bind_text(&q, 7, hold->name);
        db_bind_int(&q, 8, (int64_t) hold->bytes);
        db_bind_int(&q, 9, hold->at);
        db_bind_int(&q, 10, hold->device);
        return query_run(journal, &q, err);
}

int journal_hold_remove(struct journal *journal, const char *job, const char *item, struct error *err) {
        struct db_query q;
        query_begin(journal, &q, "DELETE FROM hold WHERE job = ?1 AND item = ?2");
        db_bind_text(&q, 1, job);
        db_bind_text(&q, 2, item);
        return query_run(journal, &q, err);
}

static void hold_read(struct db_query *q, struct hold *hold) {
        memset(hold, 0, sizeof(*hold));
        snprintf(hold->job, sizeof(hold->job), "%s", db_text(q, 0));
        snprintf(hold->item, sizeof(hold->item), "%s", db_text(q, 1));
        hold->kind = (enum hold_kind) db_int(q, 2);
        snprintf(hold->vm_uuid, sizeof(hold->vm_uuid), "%s", db_text(q, 3));
        snprintf(hold->vm_name, sizeof(hold->vm_name), "%s", db_text(q, 4));
        snprintf(hold->directory, sizeof(hold->directory), "%s", db_text(q, 5));
        snprintf(hold->name, sizeof(hold->name), "%s", db_text(q, 6));
        hold->bytes = (uint64_t) db_int(q, 7);
        hold->at = db_int(q, 8);
        hold->device = db_int(q, 9) != 0;
}

int journal_holds(struct journal *journal, const char *job, enum hold_kind kind, struct hold **ret, unsigned *ret_n,
                  struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0, room = 0;
        struct db_query q;
        query_begin(journal, &q,
                    "SELECT job, item, kind, vm_uuid, vm_name, directory, name, bytes, at, device FROM hold "
                    "WHERE (?1 IS NULL OR job = ?1) AND (?2 = 0 OR kind = ?2) ORDER BY job, item");
        db_bind_text(&q, 1, job);
        db_bind_int(&q, 2, kind);
        int row;
        while ((row = db_step(&q, err)) > 0) {
                if (n == room) {
                        room = room ? 2 * room : 4;
                        holds = memory_grow(holds, room, sizeof(*holds));
                }
                hold_read(&q, &holds[n++]);
        }
        if (query_end(journal, &q, row, err) < 0)
                return -1;
        *ret = steal(&holds);
        *ret_n = n;
        return 0;
}

int journal_fenced_by(struct journal *journal, const char *vm_uuid, char ret_job[33], struct error *err) {
        struct db_query q;
        query_begin(journal, &q, "SELECT job FROM hold WHERE vm_uuid = ?1 AND kind = ?2 ORDER BY at DESC LIMIT 1");
        db_bind_text(&q, 1, vm_uuid);
        db_bind_int(&q, 2, HOLD_FENCED);
        int found = db_step(&q, err);
        if (found >= 0)
                snprintf(ret_job, 33, "%s", found > 0 ? db_text(&q, 0) : "");
        return query_end(journal, &q, found, err) < 0 ? -1 : 0;
}

// ---- records ----

static char *record_path(const struct journal *journal, const char *job, const char *item) {
        return memory_format("%s/%s.%s", journal->directory, job, item);
}

int journal_record_open(struct journal *journal, const char *job, const char *item, int *ret_fd, struct error *err) {
        _cleanup_(free_p) char *path = record_path(journal, job, item);
        if (mkdir(journal->directory, 0700) < 0 && errno != EEXIST)
                return error_errno(err, errno, "make %s", journal->directory);
        _cleanup_(close_p) int directory = open(journal->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(close_p) int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (directory < 0 || fd < 0)
                return error_errno(err, errno, "open %s", path);
        if (file_sync_directory(directory, err) < 0)
                return -1;
        *ret_fd = steal_fd(&fd);
        return 0;
}

int journal_record_remove(struct journal *journal, const char *job, const char *item, struct error *err) {
        _cleanup_(free_p) char *path = record_path(journal, job, item);
        if (unlink(path) < 0)
                return errno == ENOENT ? 0 : error_errno(err, errno, "remove %s", path);
        _cleanup_(close_p) int directory = open(journal->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return directory < 0 ? error_errno(err, errno, "%s", journal->directory) : file_sync_directory(directory, err);
}

// ---- forgetting ----

// Each statement has ?1; all of them or none.
static int run_all(struct journal *journal, const char *const *statements, unsigned n, const char *text, int64_t number,
                   struct error *err) {
        pthread_mutex_lock(&journal->lock);
        int result = db_begin(journal->db, err);
        bool open = result == 0;
        for (unsigned i = 0; result >= 0 && i < n; i++) {
                struct db_query q;
                db_query(journal->db, &q, statements[i]);
                if (text)
                        db_bind_text(&q, 1, text);
                else
                        db_bind_int(&q, 1, number);
                result = db_run(&q, err);
                db_done(&q);
        }
        if (open && result >= 0)
                result = db_commit(journal->db, err);
        else if (open)
                db_rollback(journal->db);
        pthread_mutex_unlock(&journal->lock);
        return result < 0 ? error_prefix(err, "journal") : 0;
}

int journal_job_forget(struct journal *journal, const char *job, struct error *err) {
        static const char *const statements[] = {
                "DELETE FROM hold WHERE job = ?1",
                "DELETE FROM fact WHERE job = ?1",
                "DELETE FROM step WHERE job = ?1",
        };
        return run_all(journal, statements, ARRAY_SIZE(statements), job, 0, err);
}

// The jobs that are kept whole.
#define HOLDING                                                                                                        \
        "(SELECT job FROM hold UNION SELECT job FROM fact WHERE key = '" JOURNAL_FACT_REVIVES "' "                     \
        "AND CAST(value AS TEXT) IN (SELECT job FROM hold))"

int journal_prune(struct journal *journal, int64_t before, struct error *err) {
        // A fact has no time of its own: it goes with the last step of its job, if that went by age just now.
        static const char *const statements[] = {
                "DELETE FROM fact WHERE job NOT IN " HOLDING " AND job IN (SELECT job FROM step) "
                "AND job NOT IN (SELECT job FROM step WHERE done = 0 OR at >= ?1)",
                "DELETE FROM step WHERE done = 1 AND at < ?1 AND job NOT IN " HOLDING,
        };
        return run_all(journal, statements, ARRAY_SIZE(statements), NULL, before, err);
}
