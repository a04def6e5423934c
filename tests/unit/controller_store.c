// SPDX-License-Identifier: LGPL-2.1-or-later
/* The controller's store: what is committed stays, lists are in order, and the guards within the statements hold. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "controller.h"
#include "common/memory.h"
#include <sqlite3.h>

static struct store_job job_at(const char *id, int64_t created_ms, const char *state) {
        struct store_job job = {.kind = "vm.move", .vm = "lyon/kvm1/erp", .vm_uuid = UUID_1, .user = "alice"};
        snprintf(job.id, sizeof(job.id), "%s", id);
        snprintf(job.state, sizeof(job.state), "%s", state);
        job.created_ms = created_ms;
        return job;
}

static void put_job(struct store *store, const char *id, int64_t created_ms, const char *state) {
        struct store_job job = job_at(id, created_ms, state);
        OK(store_job_put(store, &job, err));
}

static void add_host(struct store *store, const char *uuid, const char *site, const char *name) {
        struct store_host host = {.joined_at = 10, .last_seen_at = 10};
        snprintf(host.uuid, sizeof(host.uuid), "%s", uuid);
        snprintf(host.site, sizeof(host.site), "%s", site);
        snprintf(host.name, sizeof(host.name), "%s", name);
        OK(store_host_add(store, &host, err));
}

static void copy_file(const char *from, const char *to) {
        struct buffer content;
        buffer_init(&content, 0);
        OK(file_read(scratch_path(from), 64u << 20, &content, err));
        OK(file_write(scratch_path(to), content.data, content.length, 0600, err));
        buffer_fini(&content);
}

// The files as a power cut would leave them: copied while the store is open and a transaction is under way.
static void fault_15_what_was_committed_is_there_after_a_power_cut(void **state) {
        (void) state;
        struct store *store = open_store("c.db");
        put_job(store, "aaaa", 1, "running");
        struct store_owner owner = {.vm_uuid = UUID_1, .host_uuid = UUID_2, .epoch = 7};
        OK(store_owner_set(store, &owner, err));
        OK(store_begin(store, err));
        put_job(store, "bbbb", 2, "queued");
        copy_file("c.db", "cut.db");
        copy_file("c.db-wal", "cut.db-wal");
        store_rollback(store);
        store_close(store);

        store = open_store("cut.db");
        struct store_job job;
        assert_int_equal(store_job_get(store, "aaaa", &job, NULL), 1);
        assert_string_equal(job.state, "running");
        store_job_fini(&job);
        assert_int_equal(store_job_get(store, "bbbb", &job, NULL), 0);
        owner.epoch = 6;
        FAILS(store_owner_set(store, &owner, err), ERROR_STALE,
              "epoch 6 of VM " UUID_1 " is not newer than the one granted");
        store_close(store);
}

static void fault_18_a_newer_schema_is_refused_by_name(void **state) {
        (void) state;
        char message[700];
        struct store *store = open_store("c.db");
        store_close(store);
        sqlite3 *raw;
        assert_int_equal(sqlite3_open(scratch_path("c.db"), &raw), SQLITE_OK);
        assert_int_equal(sqlite3_exec(raw, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(raw);
        snprintf(message, sizeof(message),
                 "database %s has schema 99, this program knows 2: it was written by a newer drover",
                 scratch_path("c.db"));
        FAILS(store_open(scratch_path("c.db"), &store, err), ERROR_VERSION, message);
}

static void fault_18_a_database_of_before_batches_is_taken_over(void **state) {
        (void) state;
        struct store_job job, *parts;
        unsigned n;
        struct store *store = open_store("c.db");
        put_job(store, "aaaa", 1, "done");
        store_close(store);
        sqlite3 *raw;
        assert_int_equal(sqlite3_open(scratch_path("c.db"), &raw), SQLITE_OK);
        assert_int_equal(sqlite3_exec(raw,
                                      "DROP INDEX job_batch; ALTER TABLE job DROP COLUMN batch;"
                                      "PRAGMA user_version = 1",
                                      NULL, NULL, NULL),
                         SQLITE_OK);
        sqlite3_close(raw);
        store = open_store("c.db");
        assert_int_equal(store_job_get(store, "aaaa", &job, NULL), 1);
        assert_string_equal(job.batch, "");
        store_job_fini(&job);
        job = job_at("bbbb", 2, "queued");
        snprintf(job.batch, sizeof(job.batch), "cccc");
        OK(store_job_put(store, &job, err));
        OK(store_jobs_of(store, "cccc", &parts, &n, err));
        assert_int_equal(n, 1);
        assert_string_equal(parts[0].id, "bbbb");
        assert_string_equal(parts[0].batch, "cccc");
        store_job_fini(&parts[0]);
        free(parts);
        OK(store_jobs_of(store, "", &parts, &n, err));
        assert_int_equal(n, 0);
        free(parts);
        store_close(store);
}

static void a_rolled_back_transaction_leaves_nothing(void **state) {
        (void) state;
        struct store *store = open_store("c.db");
        struct store_job job;
        OK(store_begin(store, err));
        put_job(store, "aaaa", 1, "queued");
        store_rollback(store);
        assert_int_equal(store_job_get(store, "aaaa", &job, NULL), 0);
        OK(store_begin(store, err));
        put_job(store, "aaaa", 1, "queued");
        OK(store_commit(store, err));
        assert_int_equal(store_job_get(store, "aaaa", &job, NULL), 1);
        store_job_fini(&job);
        store_close(store);
}

static void settings_are_replaced(void **state) {
        (void) state;
        struct store *store = open_store("c.db");
        char *value = NULL;
        assert_int_equal(store_meta_get(store, "name", &value, NULL), 0);
        assert_null(value);
        OK(store_meta_set(store, "name", "hq", err));
        OK(store_meta_set(store, "name", "centre", err));
        assert_int_equal(store_meta_get(store, "name", &value, NULL), 1);
        assert_string_equal(value, "centre");
        free(value);
        store_close(store);
}

static void fault_14_an_epoch_that_falls_is_refused(void **state) {
        (void) state;
        struct store *store = open_store("c.db");
        struct store_owner owner = {.vm_uuid = UUID_1, .host_uuid = UUID_2, .epoch = 5}, *list;
        unsigned n;
        OK(store_owner_set(store, &owner, err));
        OK(store_owner_set(store, &owner, err)); // the same again, after a crash
        struct store_owner other = {.vm_uuid = UUID_1, .host_uuid = UUID_3, .epoch = 5};
        FAILS(store_owner_set(store, &other, err), ERROR_STALE,
              "epoch 5 of VM " UUID_1 " is not newer than the one granted");
        other.epoch = 4;
        FAILS(store_owner_set(store, &other, err), ERROR_STALE,
              "epoch 4 of VM " UUID_1 " is not newer than the one granted");
        other.epoch = 6;
        OK(store_owner_set(store, &other, err));
        other.epoch = 0;
        FAILS(store_owner_set(store, &other, err), ERROR_INVALID, "epoch 0 is out of range");
        other.epoch = UINT64_MAX;
        FAILS(store_owner_set(store, &other, err), ERROR_INVALID, "epoch 18446744073709551615 is out of range");
        OK(store_owners(store, &list, &n, err));
        assert_int_equal(n, 1);
        assert_string_equal(list[0].host_uuid, UUID_3);
        assert_int_equal(list[0].epoch, 6);
        free(list);
        store_close(store);
}

// ---- jobs ----
static void all_of_a_job_is_kept_and_replaced(void **state) {
        (void) state;
        struct store *store = open_store("c.db");
        uint8_t spec[] = {1, 0, 2};
        struct store_job job = job_at("aaaa", 5, "running"), read;
        snprintf(job.source, sizeof(job.source), "lyon/kvm1");
        snprintf(job.target, sizeof(job.target), "nantes/kvm1");
        job.started_ms = 6;
        job.spec = spec;
        job.spec_length = sizeof(spec);
        job.epoch = 9;
        OK(store_job_put(store, &job, err));
        assert_int_equal(store_job_get(store, "aaaa", &read, NULL), 1);
        assert_null(read.error_message);
        store_job_fini(&read);

        snprintf(job.state, sizeof(job.state), "failed");
        job.finished_ms = 7;
        job.error_code = ERROR_IO;
        job.error_message = (char *) "copy vda: no";
        job.error_hints = (char *) "a\nb";
        job.committed = job.undoing = job.cancel_requested = true;
        OK(store_job_put(store, &job, err));
        assert_int_equal(store_job_get(store, "aaaa", &read, NULL), 1);
        assert_string_equal(read.kind, "vm.move");
        assert_string_equal(read.state, "failed");
        assert_string_equal(read.vm, "lyon/kvm1/erp");
        assert_string_equal(read.user, "alice");
        assert_string_equal(read.source, "lyon/kvm1");
        assert_string_equal(read.target, "nantes/kvm1");
        assert_int_equal(read.created_ms, 5);
        assert_int_equal(read.started_ms, 6);
        assert_int_equal(read.finished_ms, 7);
        assert_int_equal(read.error_code, ERROR_IO);
        assert_string_equal(read.error_message, "copy vda: no");
        assert_string_equal(read.error_hints, "a\nb");
        assert_int_equal(read.spec_length, sizeof(spec));
        assert_memory_equal(read.spec, spec, sizeof(spec));
        assert_int_equal(read.epoch, 9);
        assert_true(read.committed && read.undoing && read.cancel_requested);
        store_job_fini(&read);
        store_close(store);
}

static void expect_jobs(struct store *store, const char *state, bool unfinished, unsigned limit, const char *ids) {
        struct store_job *list;
        unsigned n;
        char seen[200] = "";
        OK(store_jobs(store, state, unfinished, limit, &list, &n, err));
        for (unsigned i = 0; i < n; i++) {
                append(seen, sizeof(seen), list[i].id);
                append(seen, sizeof(seen), " ");
                store_job_fini(&list[i]);
        }
        free(list);
        assert_string_equal(seen, ids);
}

static void jobs_are_listed_newest_first_and_then_by_id(void **state) {
        (void) state;
        struct store *store = open_store("c.db");
        put_job(store, "bbbb", 10, "done");
        put_job(store, "cccc", 10, "failed");
        put_job(store, "aaaa", 10, "waiting");
        put_job(store, "dddd", 30, "needs-operator");
        put_job(store, "eeee", 20, "running");
        put_job(store, "ffff", 5, "queued");
        expect_jobs(store, NULL, false, 0, "dddd eeee cccc bbbb aaaa ffff ");
        expect_jobs(store, NULL, false, 3, "dddd eeee cccc ");
        expect_jobs(store, "done", false, 0, "bbbb ");
        expect_jobs(store, NULL, true, 0, "eeee aaaa ffff ");
        expect_jobs(store, "done", true, 0, "");
        store_close(store);
}

static void a_job_is_found_by_a_unique_beginning(void **state) {
        (void) state;
        struct store *store = open_store("c.db");
        char id[33] = "";
        put_job(store, "abc1", 1, "done");
        put_job(store, "abc2", 1, "done");
        put_job(store, "abc23", 1, "done");
        put_job(store, "zzzz", 1, "done");
        assert_int_equal(store_job_find(store, "zz", id, NULL), 1);
        assert_string_equal(id, "zzzz");
        assert_int_equal(store_job_find(store, "abc2", id, NULL), 1); // whole, although another begins with it
        assert_string_equal(id, "abc2");
        assert_int_equal(store_job_find(store, "x", id, NULL), 0);
        assert_int_equal(store_job_find(store, "%", id, NULL), 0);
        FAILS(store_job_find(store, "abc", id, err), ERROR_CONFLICT, "more than one job begins with \"abc\"");
        store_close(store);
}

static void failed_jobs_are_counted_by_when_they_ended(void **state) {
        (void) state;
        struct store *store = open_store("c.db");
        unsigned n = 9;
        struct store_job job = job_at("aaaa", 1, "failed");
        job.finished_ms = 100;
        OK(store_job_put(store, &job, err));
        job = job_at("bbbb", 1, "done");
        job.finished_ms = 200;
        OK(store_job_put(store, &job, err));
        OK(store_jobs_failed_since(store, 100, &n, err));
        assert_int_equal(n, 1);
        OK(store_jobs_failed_since(store, 101, &n, err));
        assert_int_equal(n, 0);
        store_close(store);
}

static void steps_and_transfers_belong_to_a_job(void **state) {
        (void) state;
        struct store *store = open_store("c.db");
        struct store_step step = {.job = "aaaa", .number = 2, .name = "copy", .host = "lyon/kvm1", .state = "running"};
        struct error why = ERROR_INIT;
        assert_int_equal(store_step_put(store, &step, &why), -1); // no such job
        assert_int_equal(why.code, ERROR_CONFLICT);
        put_job(store, "aaaa", 1, "running");
        OK(store_step_put(store, &step, err));
        uint8_t result[] = {8, 0};
        step.result = result;
        step.result_length = sizeof(result);
        step.attempt = 3;
        step.error_message = (char *) "no";
        OK(store_step_put(store, &step, err));
        struct store_step first = {.job = "aaaa", .number = 1, .name = "check"}, *steps;
        OK(store_step_put(store, &first, err));
        unsigned n;
        OK(store_steps(store, "aaaa", &steps, &n, err));
        assert_int_equal(n, 2);
        assert_string_equal(steps[0].name, "check");
        assert_null(steps[0].result);
        assert_int_equal(steps[1].attempt, 3);
        assert_string_equal(steps[1].error_message, "no");
        assert_memory_equal(steps[1].result, result, sizeof(result));
        for (unsigned i = 0; i < n; i++)
                store_step_fini(&steps[i]);
        free(steps);

        struct store_transfer transfer = {.job = "aaaa", .disk = "vda", .attempt = 1}, *transfers;
        OK(store_transfer_put(store, &transfer, err));
        transfer.digest = (char *) "sha256:00";
        transfer.resumed = 4;
        OK(store_transfer_put(store, &transfer, err));
        OK(store_transfers(store, "aaaa", &transfers, &n, err));
        assert_int_equal(n, 1);
        assert_string_equal(transfers[0].digest, "sha256:00");
        assert_int_equal(transfers[0].resumed, 4);
        store_transfer_fini(&transfers[0]);
        free(transfers);
        store_close(store);
}

static void the_audit_is_newest_first_and_a_job_ends_its_own_entry(void **state) {
        (void) state;
        struct store *store = open_store("c.db");
        struct store_audit move = {.at = 1, .user = "alice", .verb = "vm_move", .outcome = "started", .job = "aaaa"};
        struct store_audit cancel = {.at = 2, .user = "bob", .verb = "job_cancel", .outcome = "done", .job = "aaaa"};
        struct store_audit *list;
        int64_t id = 0;
        unsigned n;
        OK(store_audit_add(store, &move, &id, err));
        assert_int_equal(id, 1);
        OK(store_audit_add(store, &cancel, &id, err));
        assert_int_equal(id, 2);
        OK(store_audit_outcome(store, "aaaa", "cancelled", "by bob", err));
        OK(store_audits(store, 0, &list, &n, err));
        assert_int_equal(n, 2);
        assert_string_equal(list[0].user, "bob");
        assert_string_equal(list[0].outcome, "done");
        assert_string_equal(list[1].outcome, "cancelled");
        assert_string_equal(list[1].message, "by bob");
        store_audit_fini(&list[0]);
        store_audit_fini(&list[1]);
        free(list);
        OK(store_audits(store, 1, &list, &n, err));
        assert_int_equal(n, 1);
        store_audit_fini(&list[0]);
        free(list);
        store_close(store);
}

// ---- members ----
static void a_site_with_hosts_stays(void **state) {
        (void) state;
        struct store *store = open_store("c.db");
        struct store_site lyon = {.name = "lyon", .timezone = "Europe/Paris", .rates = "40Mbit@mon..fri:08-18"}, *list;
        unsigned n;
        OK(store_site_put(store, &lyon, err));
        add_host(store, UUID_1, "lyon", "kvm1");
        add_host(store, UUID_2, "nantes", "kvm1"); // a site that is not there is made
        OK(store_sites(store, &list, &n, err));
        assert_int_equal(n, 2);
        assert_string_equal(list[0].name, "lyon");
        assert_string_equal(list[0].timezone, "Europe/Paris");
        assert_string_equal(list[0].rates, "40Mbit@mon..fri:08-18");
        free(list);
        FAILS_WITH_HINT(store_site_remove(store, "lyon", err), ERROR_CONFLICT, "site lyon has 1 host",
                        "drover host list");
        OK(store_host_remove(store, UUID_1, 20, err));
        OK(store_site_remove(store, "lyon", err));
        FAILS(store_site_remove(store, "lyon", err), ERROR_NOT_FOUND, "no site lyon");
        store_close(store);
}

static struct store_token token_for(const char *id, const char *site, const char *name) {
        struct store_token token = {.created_at = 100, .expires_at = 200};
        snprintf(token.id, sizeof(token.id), "%s", id);
        snprintf(token.site, sizeof(token.site), "%s", site);
        snprintf(token.name, sizeof(token.name), "%s", name);
        return token;
}

static void expect_open_tokens(struct store *store, int64_t now, const char *ids) {
        struct store_token *list;
        unsigned n;
        char seen[200] = "";
        OK(store_tokens_open(store, now, &list, &n, err));
        for (unsigned i = 0; i < n; i++) {
                append(seen, sizeof(seen), list[i].id);
                append(seen, sizeof(seen), " ");
        }
        free(list);
        assert_string_equal(seen, ids);
}

static void a_new_token_replaces_the_unused_one_of_the_same_name(void **state) {
        (void) state;
        struct store *store = open_store("c.db");
        struct store_token token = token_for("t1", "lyon", "kvm1"), read;
        OK(store_token_add(store, &token, err));
        token = token_for("t2", "lyon", "kvm1");
        memset(token.secret_sha256, 7, sizeof(token.secret_sha256));
        OK(store_token_add(store, &token, err));
        assert_int_equal(store_token_get(store, "t1", &read, NULL), 0);
        assert_int_equal(store_token_get(store, "t2", &read, NULL), 1);
        assert_memory_equal(read.secret_sha256, token.secret_sha256, 32);
        struct store_token user = token_for("t3", "", "kvm1");
        user.operator= true;
        snprintf(user.role, sizeof(user.role), "viewer");
        OK(store_token_add(store, &user, err));
        expect_open_tokens(store, 150, "t2 t3 ");
        expect_open_tokens(store, 200, "");
        OK(store_token_use(store, "t2", 150, err));
        FAILS(store_token_use(store, "t2", 151, err), ERROR_DENIED, "this join token has been used already");
        expect_open_tokens(store, 150, "t3 ");
        token = token_for("t4", "lyon", "kvm1"); // the used one is kept beside
        OK(store_token_add(store, &token, err));
        assert_int_equal(store_token_get(store, "t2", &read, NULL), 1);
        assert_int_equal(read.used_at, 150);
        OK(store_tokens_prune(store, 201, err));
        assert_int_equal(store_token_get(store, "t2", &read, NULL), 0);
        store_close(store);
}

static void removing_a_site_takes_back_its_invitations(void **state) {
        (void) state;
        struct store *store = open_store("c.db");
        struct store_site lyon = {.name = "lyon"};
        struct store_token token = token_for("t1", "lyon", "kvm1");
        OK(store_site_put(store, &lyon, err));
        OK(store_token_add(store, &token, err));
        OK(store_site_remove(store, "lyon", err));
        expect_open_tokens(store, 150, "");
        store_close(store);
}

static int count_rows(const char *host_uuid, enum store_item item, const char *key, const uint8_t *bytes, size_t length,
                      void *data, struct error *err) {
        (void) host_uuid, (void) item, (void) key, (void) bytes, (void) length, (void) err;
        (*(unsigned *) data)++;
        return 0;
}

static int refuse_row(const char *host_uuid, enum store_item item, const char *key, const uint8_t *bytes, size_t length,
                      void *data, struct error *err) {
        (void) host_uuid, (void) item, (void) data;
        assert_string_equal(key, UUID_3);
        assert_int_equal(length, 2);
        assert_memory_equal(bytes, "xy", 2);
        return error_set(err, ERROR_CORRUPT, "no");
}

static void fault_47_a_name_is_free_again_and_the_inventory_gone_with_its_host(void **state) {
        (void) state;
        struct store *store = open_store("c.db");
        struct store_host taken = {.uuid = UUID_2, .site = "lyon", .name = "kvm1"}, read, *hosts;
        unsigned n = 0;
        add_host(store, UUID_1, "lyon", "kvm1");
        FAILS_WITH_HINT(store_host_add(store, &taken, err), ERROR_CONFLICT, "lyon/kvm1 has joined already",
                        "drover host rm lyon/kvm1");
        OK(store_inventory_put(store, UUID_1, STORE_DOMAIN, UUID_3, "ab", 2, err));
        OK(store_inventory_put(store, UUID_1, STORE_DOMAIN, UUID_3, "xy", 2, err));
        OK(store_inventory_put(store, UUID_1, STORE_FACTS, "", NULL, 0, err));
        OK(store_inventory_remove(store, UUID_1, STORE_FACTS, "", err));
        FAILS(store_inventory_each(store, refuse_row, NULL, err), ERROR_CORRUPT, "no");
        OK(store_host_seen(store, UUID_1, 55, err));
        assert_int_equal(store_host_get(store, UUID_1, &read, NULL), 1);
        assert_int_equal(read.last_seen_at, 55);

        OK(store_host_remove(store, UUID_1, 60, err));
        FAILS(store_host_remove(store, UUID_1, 61, err), ERROR_NOT_FOUND, "no host " UUID_1);
        assert_int_equal(store_host_get(store, UUID_1, &read, NULL), 0);
        OK(store_inventory_each(store, count_rows, &n, err));
        assert_int_equal(n, 0);
        OK(store_host_add(store, &taken, err));
        assert_int_equal(store_host_named(store, "lyon", "kvm1", &read, NULL), 1);
        assert_string_equal(read.uuid, UUID_2);
        assert_int_equal(store_host_named(store, "lyon", "kvm2", &read, NULL), 0);
        OK(store_hosts(store, &hosts, &n, err));
        assert_int_equal(n, 1);
        free(hosts);
        store_close(store);
}

static void add_certificate(struct store *store, uint8_t fill, const char *subject) {
        struct store_certificate certificate = {.kind = IDENTITY_HOST, .serial = "1f", .not_after = 100};
        memset(certificate.sha256, fill, sizeof(certificate.sha256));
        snprintf(certificate.subject, sizeof(certificate.subject), "%s", subject);
        OK(store_certificate_add(store, &certificate, err));
}

static int valid(struct store *store, uint8_t fill) {
        uint8_t sha256[32];
        memset(sha256, fill, sizeof(sha256));
        return store_certificate_valid(store, sha256, NULL);
}

static void certificates_are_known_until_they_are_revoked(void **state) {
        (void) state;
        struct store *store = open_store("c.db");
        struct store_certificate newest;
        assert_int_equal(valid(store, 1), 0);
        add_certificate(store, 1, UUID_1);
        add_certificate(store, 2, UUID_1); // within the same second
        add_certificate(store, 3, UUID_2);
        assert_int_equal(valid(store, 1), 1);
        assert_int_equal(store_certificate_newest(store, IDENTITY_HOST, UUID_1, &newest, NULL), 1);
        assert_int_equal(newest.sha256[0], 2);
        assert_string_equal(newest.serial, "1f");
        assert_int_equal(store_certificate_newest(store, IDENTITY_USER, UUID_1, &newest, NULL), 0);
        OK(store_certificates_revoke(store, IDENTITY_HOST, UUID_1, 50, err));
        assert_int_equal(valid(store, 1), 0);
        assert_int_equal(valid(store, 2), 0);
        assert_int_equal(valid(store, 3), 1);
        assert_int_equal(store_certificate_newest(store, IDENTITY_HOST, UUID_1, &newest, NULL), 0);
        assert_int_equal(store_certificate_get(store, (uint8_t[32]){0}, &newest, NULL), 0);
        store_close(store);
}

static void old_certificates_are_forgotten_but_not_the_one_in_use(void **state) {
        (void) state;
        struct store *store = open_store("c.db");
        uint8_t in_use[32];
        memset(in_use, 2, sizeof(in_use));
        for (uint8_t i = 1; i <= 6; i++)
                add_certificate(store, i, UUID_1);
        OK(store_certificates_trim(store, IDENTITY_HOST, UUID_1, in_use, 2, err));
        for (uint8_t i = 1; i <= 6; i++)
                assert_int_equal(valid(store, i), i == 2 || i >= 5);
        store_close(store);
}

static void users_come_go_and_come_again(void **state) {
        (void) state;
        struct store *store = open_store("c.db");
        struct store_user user = {.name = "alice", .role = "admin", .sites = "lyon nantes", .created_at = 5}, read,
                          *list;
        unsigned n;
        OK(store_user_put(store, &user, err));
        OK(store_user_seen(store, "alice", 9, err));
        assert_int_equal(store_user_get(store, "alice", &read, NULL), 1);
        assert_string_equal(read.role, "admin");
        assert_string_equal(read.sites, "lyon nantes");
        assert_int_equal(read.last_seen_at, 9);
        OK(store_user_remove(store, "alice", 10, err));
        FAILS(store_user_remove(store, "alice", 10, err), ERROR_NOT_FOUND, "no user alice");
        assert_int_equal(store_user_get(store, "alice", &read, NULL), 0);
        snprintf(user.role, sizeof(user.role), "viewer");
        OK(store_user_put(store, &user, err));
        OK(store_users(store, &list, &n, err));
        assert_int_equal(n, 1);
        assert_string_equal(list[0].role, "viewer");
        free(list);
        store_close(store);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                SCRATCH_TEST(fault_15_what_was_committed_is_there_after_a_power_cut),
                SCRATCH_TEST(fault_18_a_newer_schema_is_refused_by_name),
                SCRATCH_TEST(fault_18_a_database_of_before_batches_is_taken_over),
                SCRATCH_TEST(a_rolled_back_transaction_leaves_nothing),
                SCRATCH_TEST(settings_are_replaced),
                SCRATCH_TEST(fault_14_an_epoch_that_falls_is_refused),
                SCRATCH_TEST(all_of_a_job_is_kept_and_replaced),
                SCRATCH_TEST(jobs_are_listed_newest_first_and_then_by_id),
                SCRATCH_TEST(a_job_is_found_by_a_unique_beginning),
                SCRATCH_TEST(failed_jobs_are_counted_by_when_they_ended),
                SCRATCH_TEST(steps_and_transfers_belong_to_a_job),
                SCRATCH_TEST(the_audit_is_newest_first_and_a_job_ends_its_own_entry),
                SCRATCH_TEST(a_site_with_hosts_stays),
                SCRATCH_TEST(a_new_token_replaces_the_unused_one_of_the_same_name),
                SCRATCH_TEST(removing_a_site_takes_back_its_invitations),
                SCRATCH_TEST(fault_47_a_name_is_free_again_and_the_inventory_gone_with_its_host),
                SCRATCH_TEST(certificates_are_known_until_they_are_revoked),
                SCRATCH_TEST(old_certificates_are_forgotten_but_not_the_one_in_use),
                SCRATCH_TEST(users_come_go_and_come_again),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
