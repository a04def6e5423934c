// SPDX-License-Identifier: LGPL-2.1-or-later
/* The steps of a job, by number, and what each of its transfers came to, by disk. Loop thread. */
#include "common/cleanup.h"
#include "controller/store/store_private.h"

void store_step_fini(struct store_step *step) {
        free(step->error_message);
        free(step->result);
        step->error_message = NULL;
        step->result = NULL;
        step->result_length = 0;
}

int store_step_put(struct store *store, const struct store_step *step, struct error *err) {
        struct db_query q;
        db_query(store->db, &q,
                 "INSERT INTO step (job, number, name, host, state, attempt, started_ms, finished_ms, error_code,"
                 " error_message, result) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
                 " ON CONFLICT (job, number) DO UPDATE SET name = excluded.name, host = excluded.host,"
                 " state = excluded.state, attempt = excluded.attempt, started_ms = excluded.started_ms,"
                 " finished_ms = excluded.finished_ms, error_code = excluded.error_code,"
                 " error_message = excluded.error_message, result = excluded.result");
        db_bind_text(&q, 1, step->job);
        db_bind_int(&q, 2, step->number);
        db_bind_text(&q, 3, step->name);
        db_bind_text(&q, 4, step->host);
        db_bind_text(&q, 5, step->state);
        db_bind_int(&q, 6, step->attempt);
        db_bind_int(&q, 7, step->started_ms);
        db_bind_int(&q, 8, step->finished_ms);
        db_bind_int(&q, 9, step->error_code);
        db_bind_text(&q, 10, step->error_message);
        db_bind_blob(&q, 11, step->result, step->result_length);
        return store_run(&q, err);
}

static void read_step(struct db_query *q, struct store_step *step) {
        *step = (struct store_step){0};
        STORE_TEXT(step->job, q, 0);
        step->number = (unsigned) db_int(q, 1);
        STORE_TEXT(step->name, q, 2);
        STORE_TEXT(step->host, q, 3);
        STORE_TEXT(step->state, q, 4);
        step->attempt = (uint32_t) db_int(q, 5);
        step->started_ms = db_int(q, 6);
        step->finished_ms = db_int(q, 7);
        step->error_code = (unsigned) db_int(q, 8);
        step->error_message = store_new_text(q, 9);
        step->result = store_new_blob(q, 10, &step->result_length);
}

int store_steps(struct store *store, const char *job, struct store_step **ret, unsigned *ret_n, struct error *err) {
        struct store_step *list = NULL;
        struct db_query q;
        unsigned n = 0;
        int result;
        db_query(store->db, &q,
                 "SELECT job, number, name, host, state, attempt, started_ms, finished_ms, error_code, error_message,"
                 " result FROM step WHERE job = ?1 ORDER BY number");
        db_bind_text(&q, 1, job);
        while ((result = db_step(&q, err)) > 0) {
                store_room(list, n);
                read_step(&q, &list[n++]);
        }
        db_done(&q);
        if (result < 0) {
                for (unsigned i = 0; i < n; i++)
                        store_step_fini(&list[i]);
                free(list);
                return -1;
        }
        *ret = list;
        *ret_n = n;
        return 0;
}

void store_transfer_fini(struct store_transfer *transfer) {
        free(transfer->digest);
        free(transfer->state);
        transfer->digest = NULL;
        transfer->state = NULL;
        transfer->state_length = 0;
}

int store_transfer_put(struct store *store, const struct store_transfer *transfer, struct error *err) {
        struct db_query q;
        db_query(store->db, &q,
                 "INSERT INTO transfer (job, disk, digest, state, attempt, resumed) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
                 " ON CONFLICT (job, disk) DO UPDATE SET digest = excluded.digest, state = excluded.state,"
                 " attempt = excluded.attempt, resumed = excluded.resumed");
        db_bind_text(&q, 1, transfer->job);
        db_bind_text(&q, 2, transfer->disk);
        db_bind_text(&q, 3, transfer->digest);
        db_bind_blob(&q, 4, transfer->state, transfer->state_length);
        db_bind_int(&q, 5, transfer->attempt);
        db_bind_int(&q, 6, transfer->resumed);
        return store_run(&q, err);
}

static void read_transfer(struct db_query *q, struct store_transfer *transfer) {
        *transfer = (struct store_transfer){0};
        STORE_TEXT(transfer->job, q, 0);
        STORE_TEXT(transfer->disk, q, 1);
        transfer->digest = store_new_text(q, 2);
        transfer->state = store_new_blob(q, 3, &transfer->state_length);
        transfer->attempt = (uint32_t) db_int(q, 4);
        transfer->resumed = (uint32_t) db_int(q, 5);
}

int store_transfers(struct store *store, const char *job, struct store_transfer **ret, unsigned *ret_n,
                    struct error *err) {
        struct store_transfer *list = NULL;
        struct db_query q;
        unsigned n = 0;
        int result;
        db_query(store->db, &q,
                 "SELECT job, disk, digest, state, attempt, resumed FROM transfer WHERE job = ?1 ORDER BY disk");
        db_bind_text(&q, 1, job);
        while ((result = db_step(&q, err)) > 0) {
                store_room(list, n);
                read_transfer(&q, &list[n++]);
        }
        db_done(&q);
        if (result < 0) {
                for (unsigned i = 0; i < n; i++)
                        store_transfer_fini(&list[i]);
                free(list);
                return -1;
        }
        *ret = list;
        *ret_n = n;
        return 0;
}
