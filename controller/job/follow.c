// SPDX-License-Identifier: LGPL-2.1-or-later
/* Who watches a job: told of every change, at most five times a second, and always of the last one. Loop thread. */
#include "controller/job/engine.h"
#include "common/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOLLOW_EVERY_MS 200u

void follow_tell(struct runner *runner, struct job *job, bool ended) {
        Drover__JobRecord *record = NULL;
        uint64_t now = clock_ms(runner->clock);
        bool all_told = true;
        for (struct runner_follower **link = &runner->followers; *link;) {
                struct runner_follower *follower = *link;
                if (strcmp(follower->job, job->row.id) != 0) {
                        link = &follower->next;
                        continue;
                }
                if (!ended && now - follower->told_ms < FOLLOW_EVERY_MS) {
                        all_told = false;
                        link = &follower->next;
                        continue;
                }
                follower->told_ms = now;
                if (!record)
                        record = job_record(job);
                if (ended)
                        *link = follower->next;
                else
                        link = &follower->next;
                follower->fn(record, ended, follower->data);
                if (ended)
                        free(follower);
        }
        job->changed = !all_told;
        if (record)
                proto_free(&record->base);
}

static struct job *unfinished(struct runner *runner, const char *id) {
        for (struct job *job = runner->jobs; job; job = job->next)
                if (strcmp(job->row.id, id) == 0)
                        return job;
        return NULL;
}

int runner_follow(struct runner *runner, const char *id, runner_follow_fn fn, void *data, struct runner_follower **ret,
                  struct error *err) {
        Drover__JobRecord *record = NULL;
        if (runner_job(runner, id, &record, err) < 0)
                return -1;
        struct job *job = unfinished(runner, record->id);
        *ret = NULL;
        if (job) {
                struct runner_follower *follower = new (struct runner_follower);
                snprintf(follower->job, sizeof(follower->job), "%s", record->id);
                follower->fn = fn;
                follower->data = data;
                follower->told_ms = clock_ms(runner->clock);
                follower->next = runner->followers;
                runner->followers = follower;
                *ret = follower;
        }
        fn(record, job == NULL, data);
        proto_free(&record->base);
        return 0;
}

void runner_unfollow(struct runner *runner, struct runner_follower *follower) {
        for (struct runner_follower **link = &runner->followers; *link; link = &(*link)->next) {
                if (*link != follower)
                        continue;
                *link = follower->next;
                free(follower);
                return;
        }
}
