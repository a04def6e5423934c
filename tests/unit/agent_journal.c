// SPDX-License-Identifier: LGPL-2.1-or-later
/* The agent's journal: what it says after it was left in any state and opened again. */
#include "agent/journal/journal.h"
#include "common/cleanup.h"
#include "common/db.h"
#include "common/file.h"
#include "common/memory.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <cmocka.h>
#include "scratch.h"

#define VM    "6c1f8a8e-0f4e-4b3c-9d5e-0a1b2c3d4e5f"
#define OTHER "11111111-2222-4333-8444-555555555555"

struct scene {
        char directory[64];
        char path[96];
        struct journal *journal;
        struct error err;
};

static void reopen(struct scene *scene) {
        journal_close(scene->journal);
        scene->journal = NULL;
        assert_int_equal(journal_open(scene->path, &scene->journal, &scene->err), 0);
}

static int set_up(void **state) {
        struct scene *scene = new (struct scene);
        assert_int_equal(scratch_new(scene->directory, sizeof(scene->directory)), 0);
        snprintf(scene->path, sizeof(scene->path), "%s/agent.db", scene->directory);
        reopen(scene);
        *state = scene;
        return 0;
}

static int tear_down(void **state) {
        struct scene *scene = *state;
        journal_close(scene->journal);
        file_remove_tree(scene->directory, NULL);
        free(scene);
        return 0;
}

static enum journal_step begin(struct scene *scene, const char *step, uint32_t attempt, char *result, size_t size) {
        enum journal_step state = JOURNAL_STEP_NEW;
        _cleanup_(free_p) uint8_t *bytes = NULL;
        size_t length = 0;
        assert_int_equal(journal_step_begin(scene->journal, "job1", step, attempt, (const uint8_t *) "ask", 3, &state,
                                            &bytes, &length, &scene->err),
                         0);
        if (result)
                snprintf(result, size, "%.*s", (int) length, bytes ? (const char *) bytes : "");
        return state;
}

static void put(struct scene *scene, const char *job, const char *item, enum hold_kind kind, const char *vm) {
        struct hold hold = {.kind = kind, .directory = "/srv/images", .name = "erp.qcow2", .bytes = 42, .at = 7};
        snprintf(hold.job, sizeof(hold.job), "%s", job);
        snprintf(hold.item, sizeof(hold.item), "%s", item);
        snprintf(hold.vm_uuid, sizeof(hold.vm_uuid), "%s", vm);
        snprintf(hold.vm_name, sizeof(hold.vm_name), "erp");
        assert_int_equal(journal_hold_put(scene->journal, &hold, &scene->err), 0);
}

static unsigned count(struct scene *scene, const char *job, enum hold_kind kind) {
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0;
        assert_int_equal(journal_holds(scene->journal, job, kind, &holds, &n, &scene->err), 0);
        return n;
}

static void a_vm_never_told_has_epoch_zero(void **state) {
        struct scene *scene = *state;
        uint64_t epoch = 99;
        assert_int_equal(journal_epoch(scene->journal, VM, &epoch, &scene->err), 0);
        assert_int_equal(epoch, 0);
}

static void an_epoch_may_be_granted_again_and_grow(void **state) {
        struct scene *scene = *state;
        uint64_t epoch = 0;
        assert_int_equal(journal_grant(scene->journal, VM, 3, &scene->err), 0);
        assert_int_equal(journal_grant(scene->journal, VM, 3, &scene->err), 0);
        assert_int_equal(journal_grant(scene->journal, VM, 5, &scene->err), 0);
        assert_int_equal(journal_grant(scene->journal, OTHER, 1, &scene->err), 0);
        reopen(scene);
        assert_int_equal(journal_epoch(scene->journal, VM, &epoch, &scene->err), 0);
        assert_int_equal(epoch, 5);
}

static void fault_14_a_stale_epoch_is_refused(void **state) {
        struct scene *scene = *state;
        uint64_t epoch = 0;
        assert_int_equal(journal_grant(scene->journal, VM, 5, &scene->err), 0);
        reopen(scene);
        assert_int_equal(journal_grant(scene->journal, VM, 4, &scene->err), -1);
        assert_int_equal(scene->err.code, ERROR_STALE);
        assert_string_equal(scene->err.message, "epoch 4 of VM " VM " is over: this host has seen a later one");
        assert_int_equal(journal_epoch(scene->journal, VM, &epoch, &scene->err), 0);
        assert_int_equal(epoch, 5);
}

static void an_epoch_beyond_the_range_is_refused(void **state) {
        struct scene *scene = *state;
        assert_int_equal(journal_grant(scene->journal, VM, UINT64_MAX, &scene->err), -1);
        assert_int_equal(scene->err.code, ERROR_INVALID);
}

static void a_step_is_new_then_intended_then_done(void **state) {
        struct scene *scene = *state;
        char result[32];
        assert_int_equal(begin(scene, "fence", 1, NULL, 0), JOURNAL_STEP_NEW);
        assert_int_equal(begin(scene, "fence", 1, NULL, 0), JOURNAL_STEP_INTENT);
        reopen(scene);
        assert_int_equal(begin(scene, "fence", 1, NULL, 0), JOURNAL_STEP_INTENT);
        assert_int_equal(
                journal_step_end(scene->journal, "job1", "fence", 1, (const uint8_t *) "answer", 6, &scene->err), 0);
        reopen(scene);
        assert_int_equal(begin(scene, "fence", 1, result, sizeof(result)), JOURNAL_STEP_DONE);
        assert_string_equal(result, "answer");
}

static void another_attempt_or_step_is_its_own(void **state) {
        struct scene *scene = *state;
        begin(scene, "fence", 1, NULL, 0);
        assert_int_equal(journal_step_end(scene->journal, "job1", "fence", 1, NULL, 0, &scene->err), 0);
        assert_int_equal(begin(scene, "fence", 2, NULL, 0), JOURNAL_STEP_NEW);
        assert_int_equal(begin(scene, "retire", 1, NULL, 0), JOURNAL_STEP_NEW);
        assert_int_equal(begin(scene, "fence", 1, NULL, 0), JOURNAL_STEP_DONE);
}

static void a_step_that_was_never_begun_cannot_end(void **state) {
        struct scene *scene = *state;
        assert_int_equal(journal_step_end(scene->journal, "job1", "fence", 1, NULL, 0, &scene->err), -1);
        assert_int_equal(scene->err.code, ERROR_NOT_FOUND);
        assert_string_equal(scene->err.message, "journal: step fence of job job1 was never begun");
}

static void fault_09_an_intent_survives_the_death_of_the_process(void **state) {
        struct scene *scene = *state;
        journal_close(steal(&scene->journal));
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                // Nothing is closed on the way out: what was committed must already be on disk.
                struct journal *journal;
                enum journal_step step;
                uint8_t *bytes;
                size_t length;
                if (journal_open(scene->path, &journal, NULL) < 0 ||
                    journal_step_begin(journal, "job1", "fence", 1, NULL, 0, &step, &bytes, &length, NULL) < 0 ||
                    journal_grant(journal, VM, 9, NULL) < 0)
                        _exit(1);
                kill(getpid(), SIGKILL);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        reopen(scene);
        uint64_t epoch = 0;
        assert_int_equal(begin(scene, "fence", 1, NULL, 0), JOURNAL_STEP_INTENT);
        assert_int_equal(journal_epoch(scene->journal, VM, &epoch, &scene->err), 0);
        assert_int_equal(epoch, 9);
}

static void a_fact_is_replaced_read_and_removed(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) uint8_t *bytes = NULL;
        size_t length = 0;
        assert_int_equal(journal_fact_get(scene->journal, "job1", "was-running", &bytes, &length, &scene->err), 0);
        assert_int_equal(journal_fact_set(scene->journal, "job1", "was-running", "no", 2, &scene->err), 0);
        assert_int_equal(journal_fact_set(scene->journal, "job1", "was-running", "yes", 3, &scene->err), 0);
        reopen(scene);
        assert_int_equal(journal_fact_get(scene->journal, "job1", "was-running", &bytes, &length, &scene->err), 1);
        assert_int_equal(length, 3);
        assert_string_equal((const char *) bytes, "yes");
        assert_int_equal(journal_fact_remove(scene->journal, "job1", "was-running", &scene->err), 0);
        free(steal(&bytes));
        assert_int_equal(journal_fact_get(scene->journal, "job1", "was-running", &bytes, &length, &scene->err), 0);
}

static void holds_are_listed_by_job_and_kind_in_order(void **state) {
        struct scene *scene = *state;
        put(scene, "job2", "vdb", HOLD_INCOMING, VM);
        put(scene, "job2", "vda", HOLD_PUBLISHED, VM);
        put(scene, "job1", "vda", HOLD_RETIRED, OTHER);
        reopen(scene);
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0;
        assert_int_equal(journal_holds(scene->journal, NULL, 0, &holds, &n, &scene->err), 0);
        assert_int_equal(n, 3);
        assert_string_equal(holds[0].job, "job1");
        assert_string_equal(holds[1].item, "vda");
        assert_string_equal(holds[2].item, "vdb");
        assert_int_equal(holds[2].kind, HOLD_INCOMING);
        assert_string_equal(holds[2].vm_uuid, VM);
        assert_string_equal(holds[2].vm_name, "erp");
        assert_string_equal(holds[2].directory, "/srv/images");
        assert_string_equal(holds[2].name, "erp.qcow2");
        assert_int_equal(holds[2].bytes, 42);
        assert_int_equal(holds[2].at, 7);
        assert_int_equal(count(scene, "job2", 0), 2);
        assert_int_equal(count(scene, NULL, HOLD_RETIRED), 1);
        assert_int_equal(count(scene, "job2", HOLD_RETIRED), 0);
}

static void a_hold_is_replaced_and_removed(void **state) {
        struct scene *scene = *state;
        put(scene, "job1", "vda", HOLD_FENCED, VM);
        put(scene, "job1", "vda", HOLD_RETIRED, VM);
        assert_int_equal(count(scene, "job1", 0), 1);
        assert_int_equal(count(scene, "job1", HOLD_RETIRED), 1);
        assert_int_equal(journal_hold_remove(scene->journal, "job1", "vda", &scene->err), 0);
        assert_int_equal(journal_hold_remove(scene->journal, "job1", "vda", &scene->err), 0);
        assert_int_equal(count(scene, "job1", 0), 0);
}

static void the_fencing_job_is_named_while_it_holds(void **state) {
        struct scene *scene = *state;
        char job[33];
        put(scene, "job1", "vda", HOLD_FENCED, VM);
        put(scene, "job2", "vda", HOLD_RETIRED, OTHER);
        assert_int_equal(journal_fenced_by(scene->journal, VM, job, &scene->err), 0);
        assert_string_equal(job, "job1");
        assert_int_equal(journal_fenced_by(scene->journal, OTHER, job, &scene->err), 0);
        assert_string_equal(job, "");
}

static void a_job_is_forgotten_whole(void **state) {
        struct scene *scene = *state;
        uint8_t *bytes = NULL;
        size_t length;
        begin(scene, "fence", 1, NULL, 0);
        put(scene, "job1", "vda", HOLD_FENCED, VM);
        put(scene, "job2", "vda", HOLD_FENCED, VM);
        assert_int_equal(journal_fact_set(scene->journal, "job1", "k", "v", 1, &scene->err), 0);
        assert_int_equal(journal_job_forget(scene->journal, "job1", &scene->err), 0);
        assert_int_equal(count(scene, NULL, 0), 1);
        assert_int_equal(journal_fact_get(scene->journal, "job1", "k", &bytes, &length, &scene->err), 0);
        assert_int_equal(begin(scene, "fence", 1, NULL, 0), JOURNAL_STEP_NEW);
}

static void pruning_keeps_what_is_held_or_unfinished(void **state) {
        struct scene *scene = *state;
        _cleanup_(free_p) uint8_t *bytes = NULL;
        size_t length;
        begin(scene, "fence", 1, NULL, 0);
        begin(scene, "retire", 1, NULL, 0);
        assert_int_equal(journal_step_end(scene->journal, "job1", "fence", 1, NULL, 0, &scene->err), 0);
        assert_int_equal(journal_fact_set(scene->journal, "job1", "k", "v", 1, &scene->err), 0);
        put(scene, "job1", "vda", HOLD_RETIRED, VM);
        assert_int_equal(journal_prune(scene->journal, INT64_MAX, &scene->err), 0);
        assert_int_equal(begin(scene, "fence", 1, NULL, 0), JOURNAL_STEP_DONE);
        assert_int_equal(journal_hold_remove(scene->journal, "job1", "vda", &scene->err), 0);
        assert_int_equal(journal_prune(scene->journal, 0, &scene->err), 0);
        assert_int_equal(begin(scene, "fence", 1, NULL, 0), JOURNAL_STEP_DONE);
        assert_int_equal(journal_prune(scene->journal, INT64_MAX, &scene->err), 0);
        assert_int_equal(journal_fact_get(scene->journal, "job1", "k", &bytes, &length, &scene->err), 1);
        assert_int_equal(begin(scene, "retire", 1, NULL, 0), JOURNAL_STEP_INTENT);
        assert_int_equal(begin(scene, "fence", 1, NULL, 0), JOURNAL_STEP_NEW);
}

static void pruning_drops_finished_jobs_with_their_facts(void **state) {
        struct scene *scene = *state;
        uint8_t *bytes = NULL;
        size_t length;
        begin(scene, "fence", 1, NULL, 0);
        assert_int_equal(journal_step_end(scene->journal, "job1", "fence", 1, NULL, 0, &scene->err), 0);
        assert_int_equal(journal_fact_set(scene->journal, "job1", "k", "v", 1, &scene->err), 0);
        assert_int_equal(journal_grant(scene->journal, VM, 4, &scene->err), 0);
        assert_int_equal(journal_prune(scene->journal, INT64_MAX, &scene->err), 0);
        assert_int_equal(journal_fact_get(scene->journal, "job1", "k", &bytes, &length, &scene->err), 0);
        uint64_t epoch = 0;
        assert_int_equal(journal_epoch(scene->journal, VM, &epoch, &scene->err), 0);
        assert_int_equal(epoch, 4);
}

// Job `job` has ended long ago, and what it noted is `value`.
static void end_with_fact(struct scene *scene, const char *job, const char *value) {
        enum journal_step step;
        uint8_t *result = NULL;
        size_t length;
        struct journal *journal = scene->journal;
        assert_int_equal(journal_step_begin(journal, job, "revive", 1, NULL, 0, &step, &result, &length, &scene->err),
                         0);
        assert_int_equal(journal_step_end(journal, job, "revive", 1, NULL, 0, &scene->err), 0);
        assert_int_equal(journal_fact_set(journal, job, JOURNAL_FACT_REVIVES, value, strlen(value), &scene->err), 0);
        assert_int_equal(journal_fact_set(journal, job, "k", "v", 1, &scene->err), 0);
}

static bool has_fact(struct scene *scene, const char *job, const char *key) {
        _cleanup_(free_p) uint8_t *bytes = NULL;
        size_t length;
        int found = journal_fact_get(scene->journal, job, key, &bytes, &length, &scene->err);
        assert_true(found >= 0);
        return found;
}

static void pruning_keeps_who_brings_back_what_another_job_holds(void **state) {
        struct scene *scene = *state;
        char job[33] = "";
        put(scene, "job1", "vda", HOLD_REVIVED, VM);
        end_with_fact(scene, "job2", "job1");
        end_with_fact(scene, "job3", "job0"); // which holds nothing
        assert_int_equal(journal_prune(scene->journal, INT64_MAX, &scene->err), 0);
        assert_true(has_fact(scene, "job2", JOURNAL_FACT_REVIVES) && has_fact(scene, "job2", "k"));
        assert_false(has_fact(scene, "job3", JOURNAL_FACT_REVIVES) || has_fact(scene, "job3", "k"));
        assert_int_equal(journal_fact_find(scene->journal, JOURNAL_FACT_REVIVES, "job1", job, &scene->err), 1);
        assert_string_equal(job, "job2");
        assert_int_equal(journal_hold_remove(scene->journal, "job1", "vda", &scene->err), 0);
        assert_int_equal(journal_prune(scene->journal, INT64_MAX, &scene->err), 0);
        assert_false(has_fact(scene, "job2", JOURNAL_FACT_REVIVES) || has_fact(scene, "job2", "k"));
        assert_int_equal(journal_fact_find(scene->journal, JOURNAL_FACT_REVIVES, "job1", job, &scene->err), 0);
}

static void a_directory_that_is_missing_is_named(void **state) {
        (void) state;
        struct journal *journal = NULL;
        struct error err = ERROR_INIT;
        assert_int_equal(journal_open("/nonexistent/agent.db", &journal, &err), -1);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
        assert_string_equal(err.message, "journal: database /nonexistent/agent.db: No such file or directory");
        assert_null(journal);
}

// What the first version of the agent has left on a host is there after an update, and what is new can be
// added.
static void holds_of_the_first_schema_are_kept(void **state) {
        struct scene *scene = *state;
        struct db *db = NULL;
        journal_close(scene->journal);
        scene->journal = NULL;
        _cleanup_(free_p) char *log = memory_format("%s-wal", scene->path);
        unlink(scene->path);
        unlink(log);
        static const struct db_migration first = {
                "CREATE TABLE epoch (vm_uuid TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID;"
                "CREATE TABLE step (job TEXT NOT NULL, step TEXT NOT NULL, attempt INTEGER NOT NULL, request "
                "BLOB NOT "
                "NULL, result BLOB, done INTEGER NOT NULL DEFAULT 0, at INTEGER NOT NULL, PRIMARY KEY (job, "
                "step, "
                "attempt));"
                "CREATE TABLE fact (job TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY "
                "(job, key));"
                "CREATE TABLE hold (job TEXT NOT NULL, item TEXT NOT NULL, kind INTEGER NOT NULL CHECK (kind "
                "BETWEEN 1 "
                "AND 4), vm_uuid TEXT NOT NULL, vm_name TEXT NOT NULL, directory TEXT NOT NULL, name TEXT NOT "
                "NULL, "
                "bytes INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (job, item));"
                "CREATE INDEX hold_vm ON hold (vm_uuid);"};
        assert_int_equal(db_open(scene->path, &first, 1, &db, &scene->err), 0);
        assert_int_equal(db_exec(db, "INSERT INTO hold VALUES ('job1', 'vda', 4, '" VM "', 'erp', '/i', 'a', 7, 9)",
                                 &scene->err),
                         0);
        db_close(db);
        reopen(scene);
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0;
        assert_int_equal(journal_holds(scene->journal, "job1", HOLD_RETIRED, &holds, &n, &scene->err), 0);
        assert_int_equal(n, 1);
        assert_string_equal(holds[0].name, "a");
        assert_int_equal(holds[0].bytes, 7);
        holds[0].kind = HOLD_REVIVED;
        assert_int_equal(journal_hold_put(scene->journal, &holds[0], &scene->err), 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(a_vm_never_told_has_epoch_zero),
                TEST(holds_of_the_first_schema_are_kept),
                TEST(an_epoch_may_be_granted_again_and_grow),
                TEST(fault_14_a_stale_epoch_is_refused),
                TEST(an_epoch_beyond_the_range_is_refused),
                TEST(a_step_is_new_then_intended_then_done),
                TEST(another_attempt_or_step_is_its_own),
                TEST(a_step_that_was_never_begun_cannot_end),
                TEST(fault_09_an_intent_survives_the_death_of_the_process),
                TEST(a_fact_is_replaced_read_and_removed),
                TEST(holds_are_listed_by_job_and_kind_in_order),
                TEST(a_hold_is_replaced_and_removed),
                TEST(the_fencing_job_is_named_while_it_holds),
                TEST(a_job_is_forgotten_whole),
                TEST(pruning_keeps_what_is_held_or_unfinished),
                TEST(pruning_drops_finished_jobs_with_their_facts),
                TEST(pruning_keeps_who_brings_back_what_another_job_holds),
                TEST(a_directory_that_is_missing_is_named),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
