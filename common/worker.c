// SPDX-License-Identifier: LGPL-2.1-or-later
/* libuv's thread pool with a count of what is under way. worker_run() and `done` belong to the loop's thread. */
#include "common/worker.h"
#include "common/memory.h"
#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct worker_job {
        uv_work_t request;
        worker_fn work, done;
        void *data;
};

static atomic_uint pending;

void worker_init(unsigned threads) {
        char text[16];
        snprintf(text, sizeof(text), "%u", threads);
        setenv("UV_THREADPOOL_SIZE", text, 1);
}

static void on_work(uv_work_t *request) {
        struct worker_job *job = request->data;
        job->work(job->data);
}

static void on_done(uv_work_t *request, int status) {
        struct worker_job *job = request->data;
        assert(status == 0); // nothing here cancels
        (void) status;
        worker_fn done = job->done;
        void *data = job->data;
        free(job);
        atomic_fetch_sub(&pending, 1);
        if (done)
                done(data);
}

void worker_run(uv_loop_t *loop, worker_fn work, worker_fn done, void *data) {
        assert(work);
        struct worker_job *job = new (struct worker_job);
        *job = (struct worker_job){.request.data = job, .work = work, .done = done, .data = data};
        atomic_fetch_add(&pending, 1);
        int r = uv_queue_work(loop, &job->request, on_work, on_done);
        assert(r == 0); // fails only without a work function
        (void) r;
}

unsigned worker_pending(void) {
        return atomic_load(&pending);
}
