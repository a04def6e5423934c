// SPDX-License-Identifier: LGPL-2.1-or-later
/* Verbs about jobs. A follower is told when its link has room; what it missed meanwhile it does not need. Loop thread.
 */
#include "common/cleanup.h"
#include "common/memory.h"
#include "controller/session/batch.h"
#include "controller/session/operator_link.h"
#include <stdio.h>
#include <string.h>

#define JOBS_DEFAULT 50u
#define JOBS_MAX     10000u

BATCH_FILL(fill, JOBS, jobs, jobs, job_records, JobRecords, JobRecord)

// ---- list and show

static bool may_see(const struct verb_call *call, const Drover__JobRecord *job) {
        return verb_may_see_source(call, job, false) || (job->target[0] && verb_may_see_host(call, job->target));
}

// Of unfinished jobs the runner knows more than the store; the lists of all and of the ended ones begin in the store.
static int find_jobs(const struct verb_call *call, const char *state, unsigned limit, Drover__JobRecords **ret,
                     struct error *err) {
        bool ended = strcmp(state, "done") == 0 || strcmp(state, "failed") == 0 || strcmp(state, "cancelled") == 0;
        if (!state[0] || ended)
                return runner_jobs(call->session->runner, state, call->sites[0] ? JOBS_MAX : limit, ret, err);
        *ret = runner_unfinished(call->session->runner);
        return 0;
}

static bool is_wanted(const struct verb_call *call, const Drover__JobRecord *job, const char *state) {
        return (!state[0] || strcmp(job->state, state) == 0) && may_see(call, job);
}

static void free_rest(Drover__JobRecords *jobs) {
        size_t left = 0;
        for (size_t i = 0; i < jobs->n_jobs; i++) // protobuf-c frees no lists with gaps
                if (jobs->jobs[i])
                        jobs->jobs[left++] = jobs->jobs[i];
        jobs->n_jobs = left;
        proto_free(&jobs->base);
}

// The newest ones that the operator may see.
int verb_job_list(struct verb_call *call, struct error *err) {
        const Drover__JobList *list = call->request->job_list;
        unsigned limit = list->limit ? list->limit : JOBS_DEFAULT, shown = 0;
        Drover__JobRecords *jobs;
        struct batch batch;
        if (limit > JOBS_MAX)
                return error_set(err, ERROR_INVALID, "at most %u jobs can be listed at once", JOBS_MAX);
        if (find_jobs(call, list->state, limit, &jobs, err) < 0)
                return -1;
        batch_init(&batch, call, fill);
        int r = 0;
        for (size_t i = 0; r == 0 && i < jobs->n_jobs && shown < limit; i++) {
                if (!is_wanted(call, jobs->jobs[i], list->state))
                        continue;
                r = batch_add(&batch, &steal(&jobs->jobs[i])->base, err);
                shown++;
        }
        if (r == 0)
                r = batch_end(&batch, err);
        batch_fini(&batch);
        free_rest(jobs);
        return r;
}

int verb_job_show(struct verb_call *call, struct error *err) {
        return verb_reply_job(call, call->job_id, err);
}

// ---- follow

struct following {
        struct stream *stream;
        struct runner *runner;
        struct runner_follower *follower; // NULL: the job has ended
        char job[33];
        bool missed; // there was no room for the newest news
        bool ended;
};

static int send_job(struct stream *stream, const Drover__JobRecord *job, bool last, struct error *err) {
        Drover__OperatorReply reply = DROVER__OPERATOR_REPLY__INIT;
        Drover__JobRecords records = DROVER__JOB_RECORDS__INIT;
        Drover__JobRecord *one = (Drover__JobRecord *) job;
        records.jobs = &one;
        records.n_jobs = 1;
        reply.value_case = DROVER__OPERATOR_REPLY__VALUE_JOBS;
        reply.jobs = &records;
        return stream_reply(stream, &reply, last, err);
}

// From the runner, which is in the middle of telling all its followers: the stream ends here only after the last news.
static void on_news(const Drover__JobRecord *job, bool ended, void *data) {
        struct following *following = data;
        struct stream *stream = following->stream;
        if (!ended && !stream_has_room(stream)) {
                following->missed = true;
                return;
        }
        following->missed = false;
        following->ended = ended;
        if (ended)
                following->follower = NULL;
        send_job(stream, job, ended, NULL); // a link that cannot send ends by itself
        if (ended && following->job[0])
                stream_end(stream);
}

static int follow_more(struct stream *stream, enum stream_state *ret, struct error *err) {
        struct following *following = stream->data;
        Drover__JobRecord *job;
        *ret = STREAM_IDLE;
        if (!following->missed)
                return 0;
        following->missed = false;
        if (runner_job(following->runner, following->job, &job, err) < 0)
                return -1;
        int r = send_job(stream, job, false, err);
        proto_free(&job->base);
        return r;
}

static void follow_end(struct stream *stream) {
        struct following *following = stream->data;
        if (following->follower)
                runner_unfollow(following->runner, following->follower);
        free(following);
}

static const struct stream_kind follow_kind = {.more = follow_more, .end = follow_end};

// on_news() is called before runner_follow() returns; `job` is filled in after it, so that it does not end the stream
// under our feet.
int verb_job_follow(struct verb_call *call, struct error *err) {
        struct following *following = new (struct following);
        struct runner_follower *follower = NULL;
        struct stream *stream;
        following->runner = call->session->runner;
        if (stream_open(call->link, call->request->id, &follow_kind, following, &stream, err) < 0) {
                free(following);
                return -1;
        }
        following->stream = stream;
        if (runner_follow(call->session->runner, call->job_id, on_news, following, &follower, err) < 0) {
                stream_end(stream);
                return -1;
        }
        call->answered = true;
        if (following->ended) {
                stream_end(stream);
                return 0;
        }
        following->follower = follower;
        snprintf(following->job, sizeof(following->job), "%s", call->job_id);
        return 0;
}

// ---- set, cancel and retry

int verb_job_set(struct verb_call *call, struct error *err) {
        uint64_t rate = call->request->job_set->rate_bytes_per_second;
        memcpy(call->job, call->job_id, sizeof(call->job));
        return runner_set_rate(call->session->runner, call->job_id, rate, err) < 0
                       ? -1
                       : verb_reply_job(call, call->job_id, err);
}

int verb_job_cancel(struct verb_call *call, struct error *err) {
        memcpy(call->job, call->job_id, sizeof(call->job));
        return runner_cancel(call->session->runner, call->job_id, err) < 0 ? -1
                                                                           : verb_reply_job(call, call->job_id, err);
}

// A batch that has ended is a new one then, of what it left.
int verb_job_retry(struct verb_call *call, struct error *err) {
        Drover__VmMoveMany *again = NULL;
        char what[sizeof(((struct store_job *) NULL)->vm)];
        int r = runner_batch_again(call->session->runner, call->job_id, &again, what, err);
        if (r > 0) {
                r = verb_move_many(call, again, what, err);
                proto_free(&again->base);
                return r;
        }
        if (r < 0)
                return -1;
        memcpy(call->job, call->job_id, sizeof(call->job));
        return runner_retry(call->session->runner, call->job_id, err) < 0 ? -1
                                                                          : verb_reply_job(call, call->job_id, err);
}
