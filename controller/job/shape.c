// SPDX-License-Identifier: LGPL-2.1-or-later
/* Rates for the transfers under way; see shape.h. */
#include "controller/job/shape.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/timetable.h"
#include "common/units.h"
#include "controller/job/allot.h"
#include "controller/job/engine.h"
#include "controller/job/recipe_parts.h"

#include <stdio.h>
#include <string.h>

#define SHAPE_AGAIN_MS 2000u // after this, a source that keeps to another rate is told again

struct shape_line {
        struct store_site site; // as it was when it was read
        struct timetable timetable;
        struct zone *zone;
        int64_t from, until; // while the rate holds
        uint64_t rate;
};

void shape_fini(struct shape *shape) {
        for (unsigned i = 0; i < shape->n; i++)
                zone_free(shape->lines[i].zone);
        free(shape->lines);
        *shape = (struct shape){0};
}

// ---- what a line may carry now

// What was stored has been checked; should a zone or a rate no longer be readable, the others still hold.
static void read_line(struct shape_line *line, const struct store_site *site) {
        struct error err = ERROR_INIT;
        zone_free(line->zone);
        *line = (struct shape_line){.site = *site};
        if (zone_open(site->timezone, &line->zone, &err) < 0) {
                log_failure(LOG_LEVEL_WARNING, "rates go by UTC", &err, "site", site->name, NULL);
                zone_open("UTC", &line->zone, NULL);
        }
        _cleanup_(free_p) char *rates = memory_string(site->rates);
        char *rest = rates;
        for (char *text; (text = strsep(&rest, "\n"));)
                if (*text && timetable_read(&line->timetable, text, &err) < 0)
                        log_failure(LOG_LEVEL_WARNING, "a rate is left out", &err, "site", site->name, NULL);
}

static struct shape_line *find_line(struct shape *shape, const struct store_site *site) {
        struct shape_line *line = NULL;
        for (unsigned i = 0; i < shape->n && !line; i++)
                if (strcmp(shape->lines[i].site.name, site->name) == 0)
                        line = &shape->lines[i];
        if (!line) {
                shape->lines = memory_grow(shape->lines, shape->n + 1, sizeof(*shape->lines));
                line = &shape->lines[shape->n++];
                *line = (struct shape_line){0};
        }
        if (!line->zone || strcmp(line->site.timezone, site->timezone) != 0 ||
            strcmp(line->site.rates, site->rates) != 0)
                read_line(line, site);
        return line;
}

// The hour turns at `until`; a clock that was set goes outside both.
static uint64_t line_rate(struct shape_line *line, int64_t now) {
        if (now < line->from || now >= line->until) {
                line->rate = timetable_rate(&line->timetable, line->zone, now);
                line->from = now;
                line->until = timetable_next_change(&line->timetable, line->zone, now);
        }
        return line->rate;
}

uint64_t shape_site_rate(struct runner *runner, const char *site, int64_t at, int64_t *ret_until) {
        size_t n;
        const struct store_site *sites = fleet_sites(runner->fleet, &n);
        *ret_until = INT64_MAX;
        for (size_t i = 0; i < n; i++) {
                if (strcmp(sites[i].name, site) != 0)
                        continue;
                struct shape_line *line = find_line(&runner->shape, &sites[i]);
                *ret_until = timetable_next_change(&line->timetable, line->zone, at);
                return timetable_rate(&line->timetable, line->zone, at);
        }
        return 0;
}

static struct allot_line *now_lines(struct runner *runner, size_t *ret_n) {
        const struct store_site *sites = fleet_sites(runner->fleet, ret_n);
        struct allot_line *lines = new_array(struct allot_line, *ret_n + 1);
        int64_t now = clock_wall(runner->clock);
        for (size_t i = 0; i < *ret_n; i++)
                lines[i] = (struct allot_line){sites[i].name, line_rate(find_line(&runner->shape, &sites[i]), now)};
        return lines;
}

// ---- a job's own rate

// Of a move its plan, of a batch the plan of all.
static int store_spec(struct job *job, const ProtobufCMessage *spec, struct error *err) {
        struct buffer bytes;
        buffer_init(&bytes, 0);
        int r = proto_pack(spec, &bytes, err);
        if (r == 0) {
                job_set_spec(job, bytes.data, bytes.length);
                r = job_store(job, job->runner->store, err);
        }
        buffer_fini(&bytes);
        return r;
}

static bool copies(const struct job *job) {
        for (unsigned i = 0; i < job->n_steps; i++)
                if (job->steps[i].kind->copies)
                        return true;
        return false;
}

int shape_set_rate(struct job *job, uint64_t rate, struct error *err) {
        if (job->batch)
                return parts_set_rate(job, rate, err) < 0 ? -1 : store_spec(job, &job->batch->base, err);
        if (!job->plan || !copies(job))
                return error_set(err, ERROR_CONFLICT, "job %s copies nothing, so it has no rate", job->row.id);
        uint64_t before = job->plan->rate_bytes_per_second;
        job->plan->rate_bytes_per_second = rate;
        if (store_spec(job, &job->plan->base, err) < 0) {
                job->plan->rate_bytes_per_second = before;
                return -1;
        }
        job->changed = true;
        return 0;
}

int runner_set_rate(struct runner *runner, const char *id, uint64_t rate, struct error *err) {
        Drover__JobRecord *record;
        if (runner_job(runner, id, &record, err) < 0)
                return -1;
        struct job *job = runner->jobs;
        while (job && strcmp(job->row.id, record->id) != 0)
                job = job->next;
        int r = job ? shape_set_rate(job, rate, err)
                    : error_set(err, ERROR_CONFLICT, "job %s has ended: it is %s", record->id, record->state);
        proto_free(&record->base);
        if (r == 0)
                engine_tick(runner);
        return r;
}

// ---- who uses them

struct deal {
        struct allot_transfer *transfers;
        struct {
                struct job *job;
                struct job_step *step;
        } * of; // beside the transfers
        size_t n;
};

static void deal_fini(struct deal *deal) {
        free(deal->transfers);
        free(deal->of);
}

static void add(struct deal *deal, struct job *job, struct job_step *step) {
        const struct fleet_host *source = fleet_host_by_uuid(job->runner->fleet, job->plan->source_host);
        const struct fleet_host *target = fleet_host_by_uuid(job->runner->fleet, job->plan->target_host);
        if (!source || !target)
                return;
        deal->transfers = memory_grow(deal->transfers, deal->n + 1, sizeof(*deal->transfers));
        deal->of = memory_grow(deal->of, deal->n + 1, sizeof(*deal->of));
        deal->transfers[deal->n] = (struct allot_transfer){.source_site = source->site,
                                                           .target_site = target->site,
                                                           .job = job->row.id,
                                                           .relayed = step->path == DROVER__TRANSFER_PATH__PATH_RELAY,
                                                           .job_rate = job->plan->rate_bytes_per_second};
        deal->of[deal->n].job = job;
        deal->of[deal->n++].step = step;
}

static void make_deal(struct runner *runner, struct deal *deal) {
        for (struct job *job = runner->jobs; job; job = job->next)
                for (unsigned i = 0; job->plan && i < job->n_steps; i++) {
                        struct job_step *step = &job->steps[i];
                        if (step->kind->copies && step->kind->place == AT_SOURCE && step->state == STEP_RUNNING)
                                add(deal, job, step);
                }
        if (deal->n == 0)
                return;
        size_t n_lines;
        _cleanup_(free_p) struct allot_line *lines = now_lines(runner, &n_lines);
        allot_rates(deal->transfers, deal->n, lines, n_lines);
        for (size_t i = 0; i < deal->n; i++) // as the source would: what is shown is what it keeps to
                if (deal->transfers[i].rate && deal->transfers[i].rate < UNITS_RATE_LEAST)
                        deal->transfers[i].rate = UNITS_RATE_LEAST;
}

// ---- telling

static void keep(struct job *job, struct job_step *step, uint64_t rate) {
        step->rate = rate;
        step->rate_told = true;
        step->rate_told_ms = clock_ms(job->runner->clock);
        job_transfer(job, recipe_item_name(job, step->item))->state.rate_bytes_per_second = rate;
        job->changed = true;
}

static void tell(struct job *job, struct job_step *step, uint64_t rate) {
        struct error err = ERROR_INIT;
        if (ask_rate(job, step, rate, &err) < 0)
                engine_log(job, step, "cannot change the rate", &err); // it is asked again when it is back
        keep(job, step, rate);
}

uint64_t shape_first(struct job *job, struct job_step *step) {
        _cleanup_(deal_fini) struct deal deal = {0};
        make_deal(job->runner, &deal);
        for (size_t i = 0; i < deal.n; i++)
                if (deal.of[i].step == step) {
                        bool known = step->rate_told; // this attempt was asked before: it may run already, at another
                        uint64_t rate = deal.transfers[i].rate;
                        keep(job, step, rate);
                        step->rate_told = !known;
                        return rate;
                }
        return job->plan->rate_bytes_per_second;
}

void shape_tick(struct runner *runner) {
        _cleanup_(deal_fini) struct deal deal = {0};
        make_deal(runner, &deal);
        for (size_t i = 0; i < deal.n; i++) {
                struct job_step *step = deal.of[i].step;
                if (step->asked && (!step->rate_told || step->rate != deal.transfers[i].rate))
                        tell(deal.of[i].job, step, deal.transfers[i].rate);
        }
}

void shape_heard(struct job *job, struct job_step *step, const Drover__TransferState *state) {
        if (state->rate_bytes_per_second != step->rate &&
            clock_ms(job->runner->clock) - step->rate_told_ms >= SHAPE_AGAIN_MS)
                step->rate_told = false;
}
