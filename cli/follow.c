// SPDX-License-Identifier: LGPL-2.1-or-later
/* Following a job: one bar a disk on a terminal, a line a step without one, events with -o jsonl; see follow.h. */
#include "cli/follow.h"
#include "cli/follow_parts.h"
#include "cli/outcome.h"
#include "cli/record.h"
#include "cli/several.h"
#include "common/clock.h"
#include "common/memory.h"
#include "common/units.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FOLLOW_DISKS_MAX 64
#define BAR_WIDTH        16

struct follow {
        struct invocation *call;
        json_t *rows; // of one of several jobs: -o json prints one array of all; NULL: the job by itself
        Drover__JobRecord *last;
        unsigned drawn;    // lines of the live part on the terminal
        char said[64][48]; // steps already printed, as name:state:attempt
        unsigned n_said;
        char note[256];
        struct {
                uint64_t bytes, at_ms;
                double rate;
        } rates[FOLLOW_DISKS_MAX];
};

static bool say_once(struct follow *follow, const Drover__StepRecord *step) {
        char key[48];
        snprintf(key, sizeof(key), "%.24s:%.8s:%u", step->name, step->state, step->attempt);
        for (unsigned i = 0; i < follow->n_said; i++)
                if (strcmp(follow->said[i], key) == 0)
                        return false;
        if (follow->n_said < 64)
                memcpy(follow->said[follow->n_said++], key, sizeof(key));
        return true;
}

static void erase_live(struct follow *follow) {
        for (; follow->drawn > 0; follow->drawn--)
                fputs("\033[1A\033[2K", stderr);
}

// A live line that wrapped would take two rows, of which only one is erased: the terminal cuts it off instead.
static void allow_wrapping(bool wrap) {
        fputs(wrap ? "\033[?7h" : "\033[?7l", stderr);
}

static void say_step(const Drover__StepRecord *step) {
        double seconds = (double) (step->finished_ms - step->started_ms) / 1000;
        if (step->error)
                output_line("  %-14s %-16s %s: %s", step->name, step->host, step->state, step->error->message);
        else
                output_line("  %-14s %-16s %s, %.1f s%s%s", step->name, step->host, step->state, seconds,
                            step->note[0] ? ": " : "", step->note);
}

static void say_steps(struct follow *follow, const Drover__JobRecord *job) {
        for (size_t i = 0; i < job->n_steps; i++) {
                const Drover__StepRecord *step = job->steps[i];
                bool ended = strcmp(step->state, "done") == 0 || strcmp(step->state, "failed") == 0;
                if (ended && say_once(follow, step))
                        say_step(step);
        }
}

static void update_rate(struct follow *follow, size_t i, uint64_t bytes) {
        uint64_t now = clock_ms(&system_clock);
        if (i >= FOLLOW_DISKS_MAX)
                return;
        if (follow->rates[i].at_ms && now > follow->rates[i].at_ms && bytes >= follow->rates[i].bytes) {
                double rate =
                        (double) (bytes - follow->rates[i].bytes) * 1000 / (double) (now - follow->rates[i].at_ms);
                follow->rates[i].rate = follow->rates[i].rate > 0 ? follow->rates[i].rate * 0.7 + rate * 0.3 : rate;
        }
        follow->rates[i].at_ms = now;
        follow->rates[i].bytes = bytes;
}

static void draw_transfer(struct follow *follow, const Drover__TransferRecord *transfer, size_t i) {
        const Drover__TransferState *state = transfer->state;
        char done[UNITS_TEXT_MAX], total[UNITS_TEXT_MAX], rate[UNITS_TEXT_MAX], saved[UNITS_TEXT_MAX],
                left[UNITS_TEXT_MAX], bar[BAR_WIDTH + 1];
        uint64_t unsent = state->bytes_zero + state->bytes_reused;
        update_rate(follow, i, state->bytes_done);
        unsigned filled =
                state->bytes_total ? (unsigned) (state->bytes_done * BAR_WIDTH / state->bytes_total) : BAR_WIDTH;
        for (unsigned c = 0; c < BAR_WIDTH; c++)
                bar[c] = c < filled ? '#' : '.';
        bar[BAR_WIDTH] = '\0';
        double speed = i < FOLLOW_DISKS_MAX ? follow->rates[i].rate : 0;
        uint64_t rest = state->bytes_total > state->bytes_done ? state->bytes_total - state->bytes_done : 0;
        units_format_duration(speed > 1 ? (uint64_t) ((double) rest / speed) : 0, left);
        output_line("  %-6s [%s] %s of %s, %s, %s left%s%s%s", state->disk, bar,
                    units_format_size(state->bytes_done, done), units_format_size(state->bytes_total, total),
                    units_format_rate((uint64_t) speed, rate), rest && speed <= 1 ? "?" : left, unsent ? ", " : "",
                    unsent ? units_format_size(unsent, saved) : "", unsent ? " not sent" : "");
        follow->drawn++;
}

static void draw_live(struct follow *follow, const Drover__JobRecord *job) {
        bool copying = false;
        allow_wrapping(false);
        for (size_t i = 0; i < job->n_steps; i++) {
                const Drover__StepRecord *step = job->steps[i];
                if (strcmp(step->state, "running") != 0)
                        continue;
                copying |= strncmp(step->name, "receive-", 8) == 0 || strncmp(step->name, "copy-", 5) == 0;
                if (strncmp(step->name, "send-", 5) == 0)
                        continue;
                output_line("  %-14s %-16s %s ...", step->name, step->host, step->note[0] ? step->note : "running");
                follow->drawn++;
        }
        for (size_t i = 0; copying && i < job->n_transfers; i++)
                draw_transfer(follow, job->transfers[i], i);
        if (job->n_parts > 0) {
                follow->drawn += follow_parts_draw(job);
        } else if (job->note[0]) {
                output_line("  %s: %s", job->state, job->note);
                follow->drawn++;
        }
        allow_wrapping(true);
}

static void say_note(struct follow *follow, const Drover__JobRecord *job) {
        if (strcmp(follow->note, job->note) == 0)
                return;
        snprintf(follow->note, sizeof(follow->note), "%s", job->note);
        if (job->note[0])
                output_line("  %s: %s", job->state, job->note);
}

// `before`: what was shown last; NULL: nothing.
static void show(struct follow *follow, const Drover__JobRecord *before, const Drover__JobRecord *job) {
        if (follow->call->format == OUTPUT_JSONL) {
                json_t *event = record_job(job, true);
                json_dumpf(event, stdout, JSON_COMPACT);
                putchar('\n');
                fflush(stdout);
                json_decref(event);
                return;
        }
        if (follow->call->format == OUTPUT_JSON)
                return;
        bool live = output_terminal();
        if (live)
                erase_live(follow);
        say_steps(follow, job);
        follow_parts_say(before, job);
        if (live)
                draw_live(follow, job);
        else
                say_note(follow, job);
}

static int on_reply(const Drover__OperatorReply *reply, void *data, struct error *err) {
        struct follow *follow = data;
        if (reply->value_case != DROVER__OPERATOR_REPLY__VALUE_JOBS || reply->jobs->n_jobs == 0)
                return reply->last ? 0 : error_set(err, ERROR_PROTOCOL, "the controller's answer holds no job");
        Drover__JobRecord *before = follow->last;
        follow->last = (Drover__JobRecord *) proto_copy(&reply->jobs->jobs[0]->base);
        show(follow, before, follow->last);
        if (before)
                proto_free(&before->base);
        return 0;
}

static void say_end(const struct follow *follow) {
        const Drover__JobRecord *job = follow->last;
        if (follow->rows) {
                json_array_append_new(follow->rows, record_job(job, true));
        } else if (follow->call->format == OUTPUT_JSON) {
                output_show(record_job(job, true), OUTPUT_JSON, "id");
        } else if (follow->call->format != OUTPUT_JSONL && strcmp(job->state, "done") == 0) {
                for (size_t i = 0; i < job->n_warnings; i++)
                        output_line("warning: %s", job->warnings[i]);
                double seconds = (double) (job->finished_ms - job->started_ms) / 1000;
                if (job->clone[0])
                        output_line("%s %s: %s is there, with UUID %s, in %.1f s", job->kind, job->vm, job->clone,
                                    job->clone_uuid, seconds);
                else
                        output_line("%s %s: done in %.1f s", job->kind, job->vm, seconds);
        }
}

static int ended(struct follow *follow, struct error *err) {
        if (!follow->last)
                return error_set(err, ERROR_PROTOCOL, "the controller's answer holds no job");
        say_end(follow);
        return outcome_of(follow->last, follow->call, err);
}

static int detached(const char *id, struct error *err) {
        error_set(err, ERROR_DETACHED, "no longer following; job %s goes on", id);
        error_hint(err, "drover job follow %s", id);
        error_hint(err, "drover job cancel %s", id);
        return -1;
}

// The controller can be restarted while it is followed: the job lives on, so dial again for a while.
static int follow_again(struct follow *follow, const char *id, struct error *err) {
        for (unsigned tries = 0; tries < 60; tries++) {
                struct client *client;
                struct error why = ERROR_INIT;
                Drover__OperatorRequest request = DROVER__OPERATOR_REQUEST__INIT;
                Drover__JobFollow verb = DROVER__JOB_FOLLOW__INIT;
                request.verb_case = DROVER__OPERATOR_REQUEST__VERB_JOB_FOLLOW;
                request.job_follow = &verb;
                verb.id = (char *) id;
                int r = client_open(&client, &why);
                if (r == 0) {
                        r = client_ask(client, &request, on_reply, follow, &why);
                        client_close(client);
                }
                if (r == 0)
                        return 0;
                if (why.code != ERROR_UNREACHABLE && why.code != ERROR_TIMEOUT) {
                        if (err)
                                *err = why;
                        return -1;
                }
                usleep(500 * 1000);
        }
        return detached(id, err);
}

static int follow_into(struct client *client, const char *id, struct invocation *call, json_t *rows,
                       struct error *err) {
        struct follow follow = {.call = call, .rows = rows};
        Drover__OperatorRequest request = DROVER__OPERATOR_REQUEST__INIT;
        Drover__JobFollow verb = DROVER__JOB_FOLLOW__INIT;
        struct error why = ERROR_INIT;
        request.verb_case = DROVER__OPERATOR_REQUEST__VERB_JOB_FOLLOW;
        request.job_follow = &verb;
        verb.id = (char *) id;
        int r = client_ask(client, &request, on_reply, &follow, &why);
        if (r < 0 && why.code == ERROR_UNREACHABLE) {
                error_clear(&why);
                r = follow_again(&follow, id, &why);
        }
        if (r < 0 && why.code == ERROR_INTERRUPTED) {
                r = detached(id, err);
        } else if (r < 0) {
                if (err)
                        *err = why;
        } else {
                r = ended(&follow, err);
        }
        if (follow.last)
                proto_free(&follow.last->base);
        return r;
}

int follow_job(struct client *client, const char *id, struct invocation *call, struct error *err) {
        return follow_into(client, id, call, NULL, err);
}

// What a request has begun: one job, or, to purge all, one for each host.
struct started {
        struct client *client;
        Drover__JobRecord **jobs;
        size_t n;
};

static int on_started(const Drover__OperatorReply *reply, void *data, struct error *err) {
        struct started *started = data;
        if (reply->value_case != DROVER__OPERATOR_REPLY__VALUE_JOBS)
                return reply->last ? 0 : error_set(err, ERROR_PROTOCOL, "the controller's answer holds no job");
        started->jobs = memory_grow(started->jobs, started->n + reply->jobs->n_jobs + 1, sizeof(*started->jobs));
        for (size_t i = 0; i < reply->jobs->n_jobs; i++)
                started->jobs[started->n++] = (Drover__JobRecord *) proto_copy(&reply->jobs->jobs[i]->base);
        return 0;
}

static int take_job(struct client *client, const Drover__JobRecord *job, struct invocation *call, json_t *rows,
                    struct error *err) {
        if (call->detach && rows) {
                json_array_append_new(rows, record_job(job, false));
                return 0;
        }
        if (call->detach) {
                output_show(record_job(job, false), call->format == OUTPUT_TABLE ? OUTPUT_NAME : call->format, "id");
                return 0;
        }
        if (call->format == OUTPUT_TABLE || call->format == OUTPUT_WIDE)
                output_line("%s %s%s%s: job %s", job->kind, job->vm, job->target[0] ? " to " : "",
                            job->clone[0] ? job->clone : job->target, job->id);
        return follow_into(client, job->id, call, rows, err);
}

static int take_nth(size_t i, struct invocation *call, json_t *rows, void *data, struct error *err) {
        const struct started *started = data;
        return take_job(started->client, started->jobs[i], call, rows, err);
}

// Some requests begin a job at each host, be it one: what they print does not depend on how many there are.
static bool begins_several(const Drover__OperatorRequest *request) {
        return request->verb_case == DROVER__OPERATOR_REQUEST__VERB_VM_PURGE && request->vm_purge->all;
}

static int take_started(struct started *started, bool several, struct invocation *call, json_t *rows,
                        struct error *err) {
        if (started->n == 0)
                return error_set(err, ERROR_PROTOCOL, "the controller's answer holds no job");
        if (!several)
                return take_nth(0, call, rows, started, err);
        return several_run(&(struct several){"jobs", started->n, take_nth, started}, call, err);
}

int follow_request_into(Drover__OperatorRequest *request, struct invocation *call, json_t *rows, struct error *err) {
        struct started started = {0};
        if (client_open(&started.client, err) < 0)
                return -1;
        int r = client_ask(started.client, request, on_started, &started, err);
        if (r == 0)
                r = take_started(&started, begins_several(request), call, rows, err);
        for (size_t i = 0; i < started.n; i++)
                proto_free(&started.jobs[i]->base);
        free(started.jobs);
        client_close(started.client);
        return r;
}

int follow_request(Drover__OperatorRequest *request, struct invocation *call, struct error *err) {
        return follow_request_into(request, call, NULL, err);
}
