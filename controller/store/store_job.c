// SPDX-License-Identifier: LGPL-2.1-or-later
/* Jobs: what the runner has committed itself to. Steps and transfers stand in store_step.c. Loop thread. */
#include "common/cleanup.h"
#include "common/memory.h"
#include "controller/store/store_private.h"
#include <string.h>

#define COLUMNS                                                                                                        \
        "SELECT id, kind, state, vm, vm_uuid, user_name, source, target, created_ms, started_ms, finished_ms,"         \
        " error_code, error_message, error_hints, spec, epoch, committed, undoing, cancel_requested, batch FROM job"
#define NEWEST_FIRST " ORDER BY created_ms DESC, id DESC LIMIT ?1"

void store_job_fini(struct store_job *job) {
        free(job->error_message);
        free(job->error_hints);
        free(job->spec);
        job->error_message = job->error_hints = NULL;
        job->spec = NULL;
        job->spec_length = 0;
}

int store_job_put(struct store *store, const struct store_job *job, struct error *err) {
        struct db_query q;
        db_query(store->db, &q,
                 "INSERT INTO job (id, kind, state, vm, vm_uuid, user_name, source, target, created_ms, started_ms,"
                 " finished_ms, error_code, error_message, error_hints, spec, epoch, committed, undoing,"
                 " cancel_requested, batch) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, "
                 "?16,"
                 " ?17, ?18, ?19, ?20) ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, state = excluded.state,"
                 " vm = excluded.vm, vm_uuid = excluded.vm_uuid, user_name = excluded.user_name,"
                 " source = excluded.source, target = excluded.target, created_ms = excluded.created_ms,"
                 " started_ms = excluded.started_ms, finished_ms = excluded.finished_ms,"
                 " error_code = excluded.error_code, error_message = excluded.error_message,"
                 " error_hints = excluded.error_hints, spec = excluded.spec, epoch = excluded.epoch,"
                 " committed = excluded.committed, undoing = excluded.undoing,"
                 " cancel_requested = excluded.cancel_requested, batch = excluded.batch");
        const char *const texts[] = {job->id,      job->kind, job->state,  job->vm,
                                     job->vm_uuid, job->user, job->source, job->target};
        int at = 1;
        for (unsigned i = 0; i < ARRAY_SIZE(texts); i++)
                db_bind_text(&q, at++, texts[i]);
        db_bind_int(&q, at++, job->created_ms);
        db_bind_int(&q, at++, job->started_ms);
        db_bind_int(&q, at++, job->finished_ms);
        db_bind_int(&q, at++, job->error_code);
        db_bind_text(&q, at++, job->error_message);
        db_bind_text(&q, at++, job->error_hints);
        db_bind_blob(&q, at++, job->spec, job->spec_length);
        db_bind_int(&q, at++, (int64_t) job->epoch);
        db_bind_int(&q, at++, job->committed);
        db_bind_int(&q, at++, job->undoing);
        db_bind_int(&q, at++, job->cancel_requested);
        db_bind_text(&q, at++, job->batch);
        return store_run(&q, err);
}

static void read_job(struct db_query *q, struct store_job *job) {
        *job = (struct store_job){0};
        STORE_TEXT(job->id, q, 0);
        STORE_TEXT(job->kind, q, 1);
        STORE_TEXT(job->state, q, 2);
        STORE_TEXT(job->vm, q, 3);
        STORE_TEXT(job->vm_uuid, q, 4);
        STORE_TEXT(job->user, q, 5);
        STORE_TEXT(job->source, q, 6);
        STORE_TEXT(job->target, q, 7);
        job->created_ms = db_int(q, 8);
        job->started_ms = db_int(q, 9);
        job->finished_ms = db_int(q, 10);
        job->error_code = (unsigned) db_int(q, 11);
        job->error_message = store_new_text(q, 12);
        job->error_hints = store_new_text(q, 13);
        job->spec = store_new_blob(q, 14, &job->spec_length);
        job->epoch = (uint64_t) db_int(q, 15);
        job->committed = db_int(q, 16) != 0;
        job->undoing = db_int(q, 17) != 0;
        job->cancel_requested = db_int(q, 18) != 0;
        STORE_TEXT(job->batch, q, 19);
}

int store_job_get(struct store *store, const char *id, struct store_job *ret, struct error *err) {
        struct db_query q;
        db_query(store->db, &q, COLUMNS " WHERE id = ?1");
        db_bind_text(&q, 1, id);
        int result = db_step(&q, err);
        if (result > 0)
                read_job(&q, ret);
        db_done(&q);
        return result;
}

// A list under way, so that a failure in the middle frees what is there.
struct job_list {
        struct store_job *jobs;
        unsigned n;
};

static void job_list_fini(struct job_list *list) {
        for (unsigned i = 0; i < list->n; i++)
                store_job_fini(&list->jobs[i]);
        free(list->jobs);
}

static int read_jobs(struct db_query *q, struct store_job **ret, unsigned *ret_n, struct error *err) {
        _cleanup_(job_list_fini) struct job_list list = {0};
        int result;
        while ((result = db_step(q, err)) > 0) {
                store_room(list.jobs, list.n);
                read_job(q, &list.jobs[list.n++]);
        }
        db_done(q);
        if (result < 0)
                return -1;
        *ret = steal(&list.jobs);
        *ret_n = list.n;
        list.n = 0;
        return 0;
}

int store_jobs(struct store *store, const char *state, bool unfinished_only, unsigned limit, struct store_job **ret,
               unsigned *ret_n, struct error *err) {
        struct db_query q;
        if (state)
                db_query(store->db, &q,
                         COLUMNS
                         " WHERE state = ?2 AND (?3 = 0 OR state IN ('queued', 'running', 'waiting'))" NEWEST_FIRST);
        else if (unfinished_only)
                db_query(store->db, &q, COLUMNS " WHERE state IN ('queued', 'running', 'waiting')" NEWEST_FIRST);
        else
                db_query(store->db, &q, COLUMNS NEWEST_FIRST);
        db_bind_int(&q, 1, limit ? limit : INT64_MAX);
        if (state) {
                db_bind_text(&q, 2, state);
                db_bind_int(&q, 3, unfinished_only);
        }
        return read_jobs(&q, ret, ret_n, err);
}

int store_jobs_of(struct store *store, const char *batch, struct store_job **ret, unsigned *ret_n, struct error *err) {
        struct db_query q;
        db_query(store->db, &q, COLUMNS " WHERE batch = ?1 AND id <> ?1 AND batch <> ''");
        db_bind_text(&q, 1, batch);
        return read_jobs(&q, ret, ret_n, err);
}

int store_jobs_failed_since(struct store *store, int64_t since_ms, unsigned *ret_n, struct error *err) {
        struct db_query q;
        db_query(store->db, &q, "SELECT count(*) FROM job WHERE state = 'failed' AND finished_ms >= ?1");
        db_bind_int(&q, 1, since_ms);
        int result = db_step(&q, err);
        if (result > 0)
                *ret_n = (unsigned) db_int(&q, 0);
        db_done(&q);
        return result < 0 ? -1 : 0;
}

// By comparison and not by LIKE, so that the primary key's index serves and no character is special. Ids are of
// [a-z0-9], and '~' sorts after all of these.
int store_job_find(struct store *store, const char *beginning, char ret_id[33], struct error *err) {
        struct db_query q;
        char id[33];
        unsigned n = 0;
        int result;
        db_query(store->db, &q, "SELECT id FROM job WHERE id >= ?1 AND id < ?1 || '~' ORDER BY id LIMIT 2");
        db_bind_text(&q, 1, beginning);
        while ((result = db_step(&q, err)) > 0) {
                if (n++ == 0)
                        STORE_TEXT(id, &q, 0);
        }
        db_done(&q);
        if (result < 0 || n == 0)
                return result;
        if (n > 1 && strcmp(id, beginning) != 0)
                return error_set(err, ERROR_CONFLICT, "more than one job begins with \"%s\"", beginning);
        memcpy(ret_id, id, sizeof(id));
        return 1;
}
