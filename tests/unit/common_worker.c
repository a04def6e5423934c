// SPDX-License-Identifier: LGPL-2.1-or-later
/* Work off the loop: it runs elsewhere, its end is told on the loop, and it is counted in between. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/worker.h"
#include <pthread.h>
#include <stdlib.h>

struct job {
        pthread_t worked_on, done_on;
        int worked, done;
        unsigned pending_at_done;
};

static void work(void *data) {
        struct job *job = data;
        job->worked_on = pthread_self();
        job->worked++;
}

static void done(void *data) {
        struct job *job = data;
        job->done_on = pthread_self();
        job->pending_at_done = worker_pending();
        job->done++;
}

static void work_runs_elsewhere_and_its_end_is_told_on_the_loop(void **state) {
        (void) state;
        uv_loop_t loop;
        struct job job = {0};
        uv_loop_init(&loop);
        worker_run(&loop, work, done, &job);
        assert_int_equal(worker_pending(), 1);
        assert_int_equal(job.done, 0);
        uv_run(&loop, UV_RUN_DEFAULT);
        assert_int_equal(job.worked, 1);
        assert_int_equal(job.done, 1);
        assert_false(pthread_equal(job.worked_on, pthread_self()));
        assert_true(pthread_equal(job.done_on, pthread_self()));
        assert_int_equal(job.pending_at_done, 0);
        assert_int_equal(uv_loop_close(&loop), 0);
}

static void many_are_counted_until_each_is_done(void **state) {
        (void) state;
        uv_loop_t loop;
        struct job jobs[100] = {0};
        uv_loop_init(&loop);
        for (size_t i = 0; i < 100; i++)
                worker_run(&loop, work, done, &jobs[i]);
        assert_int_equal(worker_pending(), 100);
        uv_run(&loop, UV_RUN_DEFAULT);
        assert_int_equal(worker_pending(), 0);
        for (size_t i = 0; i < 100; i++)
                assert_int_equal(jobs[i].worked + jobs[i].done, 2);
        assert_int_equal(uv_loop_close(&loop), 0);
}

static void nobody_has_to_listen_for_the_end(void **state) {
        (void) state;
        uv_loop_t loop;
        struct job job = {0};
        uv_loop_init(&loop);
        worker_run(&loop, work, NULL, &job);
        uv_run(&loop, UV_RUN_DEFAULT);
        assert_int_equal(job.worked, 1);
        assert_int_equal(worker_pending(), 0);
        assert_int_equal(uv_loop_close(&loop), 0);
}

static void the_number_of_threads_is_set_for_libuv(void **state) {
        (void) state;
        worker_init(6);
        assert_string_equal(getenv("UV_THREADPOOL_SIZE"), "6");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_number_of_threads_is_set_for_libuv),
                cmocka_unit_test(work_runs_elsewhere_and_its_end_is_told_on_the_loop),
                cmocka_unit_test(many_are_counted_until_each_is_done),
                cmocka_unit_test(nobody_has_to_listen_for_the_end),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
