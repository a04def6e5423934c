// SPDX-License-Identifier: LGPL-2.1-or-later
/* The database: migrations, transactions, statements, and SQLite's errors as ours. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/db.h"
#include "common/memory.h"
#include "scratch.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

static const struct db_migration migrations[] = {
        {"CREATE TABLE site (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
         "CREATE TABLE host (id INTEGER PRIMARY KEY, site INTEGER NOT NULL REFERENCES site(id), key BLOB);"},
        {"ALTER TABLE site ADD COLUMN zone TEXT"},
};

static struct db *open_with(const struct db_migration *list, unsigned n) {
        struct error err = ERROR_INIT;
        struct db *db = NULL;
        if (db_open(scratch_path("d.db"), list, n, &db, &err) < 0)
                fail_msg("%s", err.message);
        return db;
}

static struct db *open_db(void) {
        return open_with(migrations, 2);
}

// "database FILE: why" with the path of this run.
static const char *about(const char *why) {
        static char text[700];
        snprintf(text, sizeof(text), "database %s%s", scratch_path("d.db"), why);
        return text;
}

static void cannot_open(const struct db_migration *list, unsigned n, enum error_code code, const char *message) {
        struct error err = ERROR_INIT;
        struct db *db = NULL;
        assert_int_equal(db_open(scratch_path("d.db"), list, n, &db, &err), -1);
        assert_error(err, code, message);
        assert_null(db);
}

static void run(struct db *db, const char *sql) {
        struct error err = ERROR_INIT;
        if (db_exec(db, sql, &err) < 0)
                fail_msg("%s", err.message);
}

static int64_t number(struct db *db, const char *sql) {
        struct error err = ERROR_INIT;
        struct db_query q;
        db_query(db, &q, sql);
        if (db_step(&q, &err) != 1)
                fail_msg("%s", err.message);
        int64_t value = db_int(&q, 0);
        db_done(&q);
        return value;
}

static int add_site(struct db *db, const char *name, struct error *err) {
        struct db_query q;
        db_query(db, &q, "INSERT INTO site (name) VALUES (?1)");
        db_bind_text(&q, 1, name);
        return db_run(&q, err);
}

static unsigned descriptors(void) {
        unsigned n = 0;
        DIR *dir = opendir("/proc/self/fd");
        while (readdir(dir))
                n++;
        closedir(dir);
        return n;
}

static void a_new_file_has_every_migration_and_mode_0600(void **state) {
        (void) state;
        struct stat status;
        mode_t old = umask(0);
        struct db *db = open_db();
        umask(old);
        assert_int_equal(number(db, "PRAGMA user_version"), 2);
        assert_int_equal(stat(scratch_path("d.db"), &status), 0);
        assert_int_equal(status.st_mode & 07777, 0600);
        assert_int_equal(stat(scratch_path("d.db-wal"), &status), 0);
        assert_int_equal(status.st_mode & 07777, 0600);
        db_close(db);
}

static void fault_15_commits_are_synced_and_foreign_keys_hold(void **state) {
        (void) state;
        struct db *db = open_db();
        struct db_query q;
        db_query(db, &q, "PRAGMA journal_mode");
        assert_int_equal(db_step(&q, NULL), 1);
        assert_string_equal(db_text(&q, 0), "wal");
        db_done(&q);
        assert_int_equal(number(db, "PRAGMA synchronous"), 2); // FULL
        assert_int_equal(number(db, "PRAGMA foreign_keys"), 1);
        db_close(db);
}

static void an_older_file_gets_the_migrations_that_are_missing(void **state) {
        (void) state;
        struct db *db = open_with(migrations, 1);
        assert_int_equal(add_site(db, "lyon", NULL), 1);
        assert_int_equal(number(db, "PRAGMA user_version"), 1);
        db_close(db);
        db = open_db();
        assert_int_equal(number(db, "PRAGMA user_version"), 2);
        assert_int_equal(number(db, "SELECT count(*) FROM site WHERE name = 'lyon' AND zone IS NULL"), 1);
        db_close(db);
        db = open_db(); // and not twice
        db_close(db);
}

static void a_migration_that_fails_changes_nothing_and_is_named(void **state) {
        (void) state;
        static const struct db_migration bad[] = {
                {"CREATE TABLE a (x)"}, {"CREATE TABLE b (x)"}, {"CREATE TABLE c (x); CREATE TABLE a (y)"}};
        char message[700];
        snprintf(message, sizeof(message), "migration 3: %s", about(": table a already exists"));
        cannot_open(bad, 3, ERROR_DATABASE, message);
        struct db *db = open_with(bad, 2);
        assert_int_equal(number(db, "PRAGMA user_version"), 2);
        assert_int_equal(number(db, "SELECT count(*) FROM sqlite_schema WHERE name IN ('a', 'b')"), 2);
        assert_int_equal(number(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'c'"), 0);
        db_close(db);
}

static void fault_18_a_newer_schema_is_refused_by_name(void **state) {
        (void) state;
        struct db *db = open_db();
        run(db, "PRAGMA user_version = 7");
        db_close(db);
        cannot_open(migrations, 2, ERROR_VERSION,
                    about(" has schema 7, this program knows 2: it was written by a newer drover"));
        static const struct db_migration seven[7] = {{""}, {""}, {""}, {""}, {""}, {""}, {""}};
        db_close(open_with(seven, 7));
}

static void what_is_no_database_is_refused(void **state) {
        (void) state;
        scratch_write("d.db", "This is a text, and long enough that SQLite looks at its first sixteen bytes, "
                              "which it does for each file that is not empty.\n");
        cannot_open(migrations, 2, ERROR_CORRUPT, about(": file is not a database"));
}

static void a_link_or_a_directory_in_the_place_of_the_file_is_refused(void **state) {
        (void) state;
        assert_int_equal(symlink("elsewhere", scratch_path("d.db")), 0);
        cannot_open(migrations, 2, ERROR_INVALID, about(": not a regular file"));
        assert_false(scratch_has("elsewhere"));
        unlink(scratch_path("d.db"));
        assert_int_equal(mkdir(scratch_path("d.db"), 0700), 0);
        cannot_open(migrations, 2, ERROR_INVALID, about(": not a regular file"));
}

static void a_missing_folder_is_named(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct db *db = NULL;
        assert_int_equal(db_open("/nonexistent/d.db", migrations, 2, &db, &err), -1);
        assert_error(err, ERROR_NOT_FOUND, "database /nonexistent/d.db: No such file or directory");
}

static void a_rollback_undoes_and_a_commit_keeps(void **state) {
        (void) state;
        struct db *db = open_db();
        assert_int_equal(db_begin(db, NULL), 0);
        assert_int_equal(add_site(db, "lyon", NULL), 1);
        db_rollback(db);
        assert_int_equal(number(db, "SELECT count(*) FROM site"), 0);
        assert_int_equal(db_begin(db, NULL), 0);
        assert_int_equal(add_site(db, "nantes", NULL), 1);
        assert_int_equal(db_commit(db, NULL), 0);
        db_rollback(db); // nothing is open: nothing happens
        db_close(db);
        db = open_db();
        assert_int_equal(number(db, "SELECT count(*) FROM site"), 1);
        db_close(db);
}

static void transactions_do_not_nest(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct db *db = open_db();
        assert_int_equal(db_begin(db, NULL), 0);
        assert_int_equal(db_begin(db, &err), -1);
        assert_error(err, ERROR_DATABASE, about(": cannot start a transaction within a transaction"));
        assert_int_equal(db_commit(db, NULL), 0);
        assert_int_equal(db_commit(db, &err), -1);
        assert_error(err, ERROR_DATABASE, about(": cannot commit - no transaction is active"));
        db_close(db);
}

static void a_commit_that_fails_has_rolled_back(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct db *db = open_db();
        assert_int_equal(db_begin(db, NULL), 0);
        run(db, "PRAGMA defer_foreign_keys = ON; INSERT INTO host (site) VALUES (99)");
        assert_int_equal(db_commit(db, &err), -1);
        assert_error(err, ERROR_CONFLICT, about(": FOREIGN KEY constraint failed"));
        assert_int_equal(number(db, "SELECT count(*) FROM host"), 0);
        assert_int_equal(db_begin(db, NULL), 0);
        assert_int_equal(db_commit(db, NULL), 0);
        db_close(db);
}

static void commit_one_and_die_before_the_other(void) {
        struct db *db = open_db();
        db_begin(db, NULL);
        add_site(db, "kept", NULL);
        db_commit(db, NULL);
        db_begin(db, NULL);
        add_site(db, "lost", NULL);
        _exit(0);
}

static void fault_15_after_a_crash_what_was_committed_is_there_and_nothing_else(void **state) {
        (void) state;
        assert_int_equal(status_of_child(commit_one_and_die_before_the_other), 0);
        struct db *db = open_db();
        assert_int_equal(number(db, "SELECT count(*) FROM site WHERE name = 'kept'"), 1);
        assert_int_equal(number(db, "SELECT count(*) FROM site"), 1);
        db_close(db);
}

static void a_violated_constraint_is_a_conflict(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct db *db = open_db();
        assert_int_equal(add_site(db, "lyon", NULL), 1);
        assert_int_equal(add_site(db, "lyon", &err), -1);
        assert_error(err, ERROR_CONFLICT, about(": UNIQUE constraint failed: site.name"));
        assert_int_equal(add_site(db, NULL, &err), -1);
        assert_error(err, ERROR_CONFLICT, about(": NOT NULL constraint failed: site.name"));
        assert_int_equal(db_exec(db, "INSERT INTO host (site) VALUES (99)", &err), -1);
        assert_error(err, ERROR_CONFLICT, about(": FOREIGN KEY constraint failed"));
        assert_int_equal(add_site(db, "nantes", NULL), 1); // the statement is usable after its failures
        db_close(db);
}

static void fault_19_a_full_database_is_no_space_and_nothing_is_hurt(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct db *db = open_db();
        run(db, "PRAGMA max_page_count = 8");
        assert_int_equal(add_site(db, "lyon", NULL), 1);
        assert_int_equal(db_exec(db, "INSERT INTO site (name) VALUES (hex(randomblob(100000)))", &err), -1);
        assert_error(err, ERROR_NO_SPACE, about(": database or disk is full"));
        assert_int_equal(number(db, "SELECT count(*) FROM site"), 1);
        assert_int_equal(add_site(db, "nantes", NULL), 1);
        db_close(db);
}

static void a_value_over_sqlites_bound_is_too_large(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct db *db = open_db();
        assert_int_equal(db_exec(db, "SELECT zeroblob(2000000000)", &err), -1);
        assert_error(err, ERROR_TOO_LARGE, about(": string or blob too big"));
        db_close(db);
}

static void values_come_back_as_they_were_bound(void **state) {
        (void) state;
        struct db *db = open_db();
        struct db_query q;
        size_t length;
        db_query(db, &q, "SELECT ?1, ?2, ?3, ?4, ?5, ?6");
        db_bind_int(&q, 1, INT64_MIN);
        db_bind_text(&q, 2, "caf\xc3\xa9");
        db_bind_text(&q, 3, NULL);
        db_bind_blob(&q, 4, "a\0b", 3);
        db_bind_blob(&q, 5, NULL, 0);
        assert_int_equal(db_step(&q, NULL), 1);
        assert_true(db_int(&q, 0) == INT64_MIN);
        assert_string_equal(db_text(&q, 1), "caf\xc3\xa9");
        assert_string_equal(db_text(&q, 2), "");
        assert_true(db_is_null(&q, 2));
        assert_memory_equal(db_blob(&q, 3, &length), "a\0b", 3);
        assert_int_equal(length, 3);
        assert_non_null(db_blob(&q, 4, &length));
        assert_int_equal(length, 0);
        assert_false(db_is_null(&q, 4));
        assert_true(db_is_null(&q, 5)); // never bound
        assert_int_equal(db_step(&q, NULL), 0);
        db_close(db);
}

static void bindings_of_one_use_do_not_reach_the_next(void **state) {
        (void) state;
        struct db *db = open_db();
        for (int use = 0; use < 2; use++) {
                struct db_query q;
                db_query(db, &q, "SELECT ?1");
                if (use == 0)
                        db_bind_int(&q, 1, 42);
                assert_int_equal(db_step(&q, NULL), 1);
                assert_int_equal(db_is_null(&q, 0), use == 1);
                db_done(&q);
        }
        db_close(db);
}

static void the_same_text_may_be_under_way_twice(void **state) {
        (void) state;
        static const char sql[] = "SELECT name FROM site ORDER BY name";
        struct db *db = open_db();
        struct db_query outer, inner;
        unsigned pairs = 0;
        add_site(db, "lyon", NULL);
        add_site(db, "nantes", NULL);
        add_site(db, "paris", NULL);
        for (db_query(db, &outer, sql); db_step(&outer, NULL) > 0;) {
                char *name = memory_string(db_text(&outer, 0));
                for (db_query(db, &inner, sql); db_step(&inner, NULL) > 0;)
                        pairs++;
                assert_string_equal(db_text(&outer, 0), name);
                free(name);
        }
        assert_int_equal(pairs, 9);
        db_close(db);
}

static void another_text_at_the_same_address_is_another_statement(void **state) {
        (void) state;
        struct db *db = open_db();
        char sql[] = "SELECT 1";
        assert_int_equal(number(db, sql), 1);
        sql[7] = '2';
        assert_int_equal(number(db, sql), 2);
        sql[7] = '1';
        assert_int_equal(number(db, sql), 1);
        db_close(db);
}

static void a_statement_is_prepared_once(void **state) {
        (void) state;
        static const char sql[] = "SELECT 1";
        struct db *db = open_db();
        struct db_query q;
        db_query(db, &q, sql);
        sqlite3_stmt *first = q.statement;
        assert_non_null(q.kept);
        db_done(&q);
        db_query(db, &q, sql);
        assert_ptr_equal(q.statement, first);
        db_done(&q);
        db_close(db);
}

static void done_twice_does_not_end_anothers_query(void **state) {
        (void) state;
        static const char sql[] = "SELECT 1 UNION SELECT 2";
        struct db *db = open_db();
        struct db_query one, other;
        db_query(db, &one, sql);
        while (db_step(&one, NULL) > 0)
                ;
        db_query(db, &other, sql);
        assert_int_equal(db_step(&other, NULL), 1);
        db_done(&one);
        assert_int_equal(db_step(&one, NULL), 0);
        assert_int_equal(db_step(&other, NULL), 1);
        assert_int_equal(db_int(&other, 0), 2);
        db_done(&other);
        db_close(db);
}

static void errors_stick_until_the_step(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct db *db = open_db();
        struct db_query q;
        db_query(db, &q, "SELECT nonsense FROM nowhere");
        db_bind_int(&q, 1, 1);
        db_bind_text(&q, 2, "x");
        db_bind_blob(&q, 3, "x", 1);
        assert_int_equal(db_step(&q, &err), -1);
        assert_error(err, ERROR_DATABASE, about(": no such table: nowhere"));
        db_done(&q);
        db_query(db, &q, "SELECT ?1");
        db_bind_int(&q, 2, 1);
        db_bind_int(&q, 1, 1);
        assert_int_equal(db_step(&q, &err), -1);
        assert_error(err, ERROR_DATABASE, about(": column index out of range"));
        assert_int_equal(db_run(&q, &err), -1);
        db_done(&q);
        db_close(db);
}

static void run_returns_the_rows_changed(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct db *db = open_db();
        struct db_query q;
        add_site(db, "lyon", NULL);
        assert_int_equal(db_last_id(db), 1);
        add_site(db, "nantes", NULL);
        assert_int_equal(db_last_id(db), 2);
        db_query(db, &q, "UPDATE site SET zone = 'Europe/Paris'");
        assert_int_equal(db_run(&q, &err), 2);
        db_query(db, &q, "CREATE TABLE later (x)"); // changes no row, though the statement before did
        assert_int_equal(db_run(&q, &err), 0);
        db_query(db, &q, "UPDATE site SET zone = NULL WHERE name = 'paris'");
        assert_int_equal(db_run(&q, &err), 0);
        db_query(db, &q, "DELETE FROM site RETURNING id");
        assert_int_equal(db_run(&q, &err), 2);
        db_close(db);
}

static void a_close_ends_what_was_left_open_and_leaks_nothing(void **state) {
        (void) state;
        unsigned before = descriptors();
        struct db *db = open_db();
        struct db_query kept, second;
        add_site(db, "lyon", NULL);
        db_begin(db, NULL);
        add_site(db, "lost", NULL);
        for (int i = 0; i < 2; i++) {
                db_query(db, i ? &second : &kept, "SELECT name FROM site");
                assert_int_equal(db_step(i ? &second : &kept, NULL), 1);
        }
        db_close(db);
        assert_int_equal(descriptors(), before);
        db = open_db();
        assert_int_equal(number(db, "SELECT count(*) FROM site"), 1);
        db_close(db);
        db_close(NULL);
}

static void a_failed_open_leaks_nothing(void **state) {
        (void) state;
        unsigned before = descriptors();
        static const struct db_migration bad[] = {{"nonsense"}};
        char message[700];
        snprintf(message, sizeof(message), "migration 1: %s", about(": near \"nonsense\": syntax error"));
        cannot_open(bad, 1, ERROR_DATABASE, message);
        assert_int_equal(descriptors(), before);
}

static void many_statements_are_all_kept(void **state) {
        (void) state;
        static char texts[300][32];
        struct db *db = open_db();
        for (int turn = 0; turn < 2; turn++)
                for (int i = 0; i < 300; i++) {
                        snprintf(texts[i], sizeof(texts[i]), "SELECT %d", i);
                        assert_int_equal(number(db, texts[i]), i);
                }
        db_close(db);
}

static void a_database_in_memory_works(void **state) {
        (void) state;
        struct db *db = NULL;
        assert_int_equal(db_open(":memory:", migrations, 2, &db, NULL), 0);
        assert_int_equal(add_site(db, "lyon", NULL), 1);
        db_close(db);
        assert_false(scratch_has("d.db"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                SCRATCH_TEST(a_new_file_has_every_migration_and_mode_0600),
                SCRATCH_TEST(fault_15_commits_are_synced_and_foreign_keys_hold),
                SCRATCH_TEST(an_older_file_gets_the_migrations_that_are_missing),
                SCRATCH_TEST(a_migration_that_fails_changes_nothing_and_is_named),
                SCRATCH_TEST(fault_18_a_newer_schema_is_refused_by_name),
                SCRATCH_TEST(what_is_no_database_is_refused),
                SCRATCH_TEST(a_link_or_a_directory_in_the_place_of_the_file_is_refused),
                SCRATCH_TEST(a_missing_folder_is_named),
                SCRATCH_TEST(a_rollback_undoes_and_a_commit_keeps),
                SCRATCH_TEST(transactions_do_not_nest),
                SCRATCH_TEST(a_commit_that_fails_has_rolled_back),
                SCRATCH_TEST(fault_15_after_a_crash_what_was_committed_is_there_and_nothing_else),
                SCRATCH_TEST(a_violated_constraint_is_a_conflict),
                SCRATCH_TEST(fault_19_a_full_database_is_no_space_and_nothing_is_hurt),
                SCRATCH_TEST(a_value_over_sqlites_bound_is_too_large),
                SCRATCH_TEST(values_come_back_as_they_were_bound),
                SCRATCH_TEST(bindings_of_one_use_do_not_reach_the_next),
                SCRATCH_TEST(the_same_text_may_be_under_way_twice),
                SCRATCH_TEST(another_text_at_the_same_address_is_another_statement),
                SCRATCH_TEST(a_statement_is_prepared_once),
                SCRATCH_TEST(done_twice_does_not_end_anothers_query),
                SCRATCH_TEST(errors_stick_until_the_step),
                SCRATCH_TEST(run_returns_the_rows_changed),
                SCRATCH_TEST(a_close_ends_what_was_left_open_and_leaks_nothing),
                SCRATCH_TEST(a_failed_open_leaks_nothing),
                SCRATCH_TEST(many_statements_are_all_kept),
                SCRATCH_TEST(a_database_in_memory_works),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
