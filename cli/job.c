// SPDX-License-Identifier: LGPL-2.1-or-later
/* drover job: what was asked for, how far it is, and stopping it; and drover audit: who asked. */
#include "cli/verb.h"
#include "common/units.h"

#include <stdlib.h>
#include <string.h>

// As many the controller lists at once.
#define JOBS_MAX   10000u
#define AUDITS_MAX 100000u

COLLECT(collect, JOBS, jobs, jobs, record_job(reply->jobs->jobs[i], false))
COLLECT(collect_whole, JOBS, jobs, jobs, record_job(reply->jobs->jobs[i], true))
COLLECT(collect_audits, AUDITS, audits, audits, record_audit(reply->audits->audits[i]))

static const struct column columns[] = {
        {"ID", "id", COLUMN_TEXT, false},
        {"KIND", "kind", COLUMN_TEXT, false},
        {"STATE", "state", COLUMN_TEXT, false},
        {"VM", "vm", COLUMN_TEXT, false},
        {"TARGET", "target", COLUMN_TEXT, false},
        {"CREATED", "created_at", COLUMN_AGE, false},
        {"TOOK", "duration_seconds", COLUMN_SECONDS, false},
        {"USER", "user", COLUMN_TEXT, false},
        {"CLONE", "clone", COLUMN_TEXT, true},
        {"BATCH", "batch", COLUMN_TEXT, true},
        {"NOTE", "note", COLUMN_TEXT, true},
        {0},
};
static const struct column audit_columns[] = {
        {"AT", "at", COLUMN_TEXT, false},           {"USER", "user", COLUMN_TEXT, false},
        {"ROLE", "role", COLUMN_TEXT, true},        {"FROM", "address", COLUMN_TEXT, false},
        {"VERB", "verb", COLUMN_TEXT, false},       {"OBJECT", "object", COLUMN_TEXT, false},
        {"OUTCOME", "outcome", COLUMN_TEXT, false}, {"JOB", "job", COLUMN_TEXT, false},
        {"MESSAGE", "message", COLUMN_TEXT, true},  {0},
};

static int take_limit(const struct invocation *call, unsigned most, uint32_t *ret, struct error *err) {
        const char *text = option_value(call, "--limit");
        char *end;
        if (!text)
                return 0;
        unsigned long value = strtoul(text, &end, 10);
        if (*end || end == text || text[0] == '-' || value == 0 || value > most)
                return error_set(err, ERROR_USAGE, "--limit %s: a number from 1 to %u", text, most);
        *ret = (uint32_t) value;
        return 0;
}

static int list(struct invocation *call, struct error *err) {
        VERB(job_list, JOB_LIST, job_list, JobList)
        verb.state = verb_text(call, "--state");
        verb.limit = 50;
        if (take_limit(call, JOBS_MAX, &verb.limit, err) < 0)
                return -1;
        return list_run(call, &request, collect, columns, "id", "no jobs", err);
}

static int show(struct invocation *call, struct error *err) {
        VERB(job_show, JOB_SHOW, job_show, JobShow)
        verb.id = (char *) call->objects[0];
        return list_show(call, &request, collect_whole, "id", "such job", err);
}

static int follow(struct invocation *call, struct error *err) {
        struct client *client;
        if (client_open(&client, err) < 0)
                return -1;
        int r = follow_job(client, call->objects[0], call, err);
        client_close(client);
        return r;
}

// NULL with err when the answer holds none.
static const Drover__JobRecord *the_job(const Drover__OperatorReply *reply, struct error *err) {
        if (reply->value_case == DROVER__OPERATOR_REPLY__VALUE_JOBS && reply->jobs->n_jobs > 0)
                return reply->jobs->jobs[0];
        error_set(err, ERROR_PROTOCOL, "the controller's answer holds no job");
        return NULL;
}

static bool for_people(const struct invocation *call) {
        return call->format == OUTPUT_TABLE || call->format == OUTPUT_WIDE;
}

struct change {
        const struct invocation *call;
        const char *said;
};

static int on_changed(const Drover__OperatorReply *reply, void *data, struct error *err) {
        const struct change *change = data;
        const Drover__JobRecord *job = the_job(reply, err);
        if (!job)
                return -1;
        if (for_people(change->call))
                output_line("%s", change->said);
        else
                output_show(record_job(job, false), change->call->format, "id");
        return 1;
}

static int set(struct invocation *call, struct error *err) {
        VERB(job_set, JOB_SET, job_set, JobSet)
        struct change change = {call, "job changed"};
        const char *rate = option_value(call, "--rate");
        verb.id = (char *) call->objects[0];
        if (!rate) {
                error_set(err, ERROR_USAGE, "nothing to change: give --rate");
                error_hint(err, "drover job set --help");
                return -1;
        }
        if (units_parse_rate(rate, &verb.rate_bytes_per_second, err) < 0)
                return error_prefix(err, "--rate");
        return client_ask_once(&request, on_changed, &change, err);
}

static int cancel(struct invocation *call, struct error *err) {
        VERB(job_cancel, JOB_CANCEL, job_cancel, JobCancel)
        struct change change = {call, "cancelling: what it did is being undone"};
        verb.id = (char *) call->objects[0];
        return client_ask_once(&request, on_changed, &change, err);
}

// What is left of a batch that has ended goes on as another one, which has to be named.
static int on_retried(const Drover__OperatorReply *reply, void *data, struct error *err) {
        const struct invocation *call = data;
        const Drover__JobRecord *job = the_job(reply, err);
        if (!job)
                return -1;
        if (!for_people(call))
                output_show(record_job(job, false), call->format, "id");
        else if (strncmp(job->id, call->objects[0], strlen(call->objects[0])) == 0)
                output_line("the job goes on");
        else
                output_line("what was left goes on as job %s: drover job follow %s", job->id, job->id);
        return 1;
}

static int retry(struct invocation *call, struct error *err) {
        VERB(job_retry, JOB_RETRY, job_retry, JobRetry)
        verb.id = (char *) call->objects[0];
        return client_ask_once(&request, on_retried, call, err);
}

static int audit(struct invocation *call, struct error *err) {
        VERB(audit_list, AUDIT_LIST, audit_list, AuditList)
        verb.limit = 50;
        if (take_limit(call, AUDITS_MAX, &verb.limit, err) < 0)
                return -1;
        return list_run(call, &request, collect_audits, audit_columns, "id", "nothing has been asked for yet", err);
}

static const struct command_option list_options[] = {
        {"--state", "STATE", "only in this state: queued, running, waiting, done, failed, cancelled, needs-operator",
         false},
        {"--limit", "N", "the newest N; 50 by default", false},
        {0},
};
static const struct command_option limit[] = {{"--limit", "N", "the newest N; 50 by default", false}, {0}};

static const struct command_option settings[] = {{"--rate", "RATE", "such as 40Mbit or 5M, or full", false}, {0}};

#define ONE_JOB .objects = "ID", .objects_min = 1, .objects_max = 1, .completes = "job"

const struct command job_commands[] = {
        {.noun = "job",
         .verb = "list",
         .summary = "The newest jobs",
         .options = list_options,
         .run = list,
         .lists = true},
        {.noun = "job",
         .verb = "show",
         ONE_JOB,
         .summary = "One job, with its steps and transfers",
         .run = show,
         .lists = true},
        {.noun = "job",
         .verb = "follow",
         ONE_JOB,
         .summary = "Watch a job until it ends; Ctrl-C stops watching only",
         .run = follow,
         .lists = true},
        {.noun = "job",
         .verb = "set",
         ONE_JOB,
         .summary = "Change how fast a job may send, at once",
         .description = "Its own limit, below what its sites' lines leave it; full takes the limit away.",
         .options = settings,
         .run = set,
         .lists = true},
        {.noun = "job",
         .verb = "cancel",
         ONE_JOB,
         .summary = "Stop a job and undo what it did; not after its commit point",
         .run = cancel,
         .lists = true},
        {.noun = "job",
         .verb = "retry",
         ONE_JOB,
         .summary = "Let a job that needs an operator go on from where it stopped",
         .description = "Of several moves that have ended, those that did not succeed are planned and run again, as a "
                        "new job.",
         .run = retry,
         .lists = true},
        {0},
};

const struct command audit_commands[] = {
        {.noun = "audit",
         .verb = "list",
         .summary = "Who asked for what, when, from where, and how it ended",
         .options = limit,
         .run = audit,
         .lists = true},
        {0},
};
