// SPDX-License-Identifier: LGPL-2.1-or-later
/* How long copying will take; see outlook.h. */
#include "controller/job/outlook.h"
#include "common/memory.h"
#include "controller/job/engine.h"
#include "controller/job/plan_batch.h"

#include <stdio.h>
#include <string.h>

#define LINES_MAX     1024u
#define CHANGES_MAX   200u            // of the sites' rates that are looked at: more than a week of hours
#define CONTENT_MIN   (32ull << 20)   // less says nothing about a line
#define ASSUMED_RATE  (110ull << 20)  // of a line that nothing is known of: 1 Gbit/s
#define WITHIN_HOST   (400ull << 20)  // both ends on one disk
#define LIMITED(rate) ((rate) *7 / 8) // above this it was the limit that was measured

struct outlook_line {
        char source[NAME_SITE_MAX + 1], target[NAME_SITE_MAX + 1];
        uint64_t rate; // bytes of content a second
};

void outlook_fini(struct outlook *outlook) {
        free(outlook->lines);
        *outlook = (struct outlook){0};
}

static struct outlook_line *find(const struct outlook *outlook, const char *source, const char *target) {
        for (unsigned i = 0; i < outlook->n; i++)
                if (strcmp(outlook->lines[i].source, source) == 0 && strcmp(outlook->lines[i].target, target) == 0)
                        return &outlook->lines[i];
        return NULL;
}

static void learn(struct outlook *outlook, const char *source, const char *target, uint64_t rate, bool limited) {
        struct outlook_line *line = find(outlook, source, target);
        if (!line && (limited || outlook->n == LINES_MAX))
                return;
        if (!line) {
                outlook->lines = memory_grow(outlook->lines, outlook->n + 1, sizeof(*outlook->lines));
                line = &outlook->lines[outlook->n++];
                *line = (struct outlook_line){.rate = rate};
                snprintf(line->source, sizeof(line->source), "%s", source);
                snprintf(line->target, sizeof(line->target), "%s", target);
                return;
        }
        if (limited && rate <= line->rate) // the line itself could have carried more
                return;
        line->rate = (line->rate + rate) / 2;
}

void outlook_heard(struct job *job, const struct job_step *step, const Drover__TransferState *state) {
        const struct fleet_host *source = fleet_host_by_uuid(job->runner->fleet, job->plan->source_host);
        const struct fleet_host *target = fleet_host_by_uuid(job->runner->fleet, job->plan->target_host);
        uint64_t aside = state->bytes_zero + state->bytes_kept + state->bytes_reused;
        uint64_t ms = clock_ms(job->runner->clock) - step->begun_ms;
        if (!source || !target || source == target || step->begun_ms == 0 || ms == 0 ||
            state->bytes_done < aside + CONTENT_MIN)
                return;
        uint64_t limit = job_transfer(job, state->disk)->state.rate_bytes_per_second;
        uint64_t content_rate = (state->bytes_done - aside) * 1000 / ms;
        uint64_t wire_rate = job_transfer(job, state->disk)->state.bytes_wire * 1000 / ms;
        learn(&job->runner->outlook, source->site, target->site, content_rate ? content_rate : 1,
              limit && wire_rate >= LIMITED(limit));
}

static uint64_t lower(uint64_t one, uint64_t other) { // 0: no limit
        return !one ? other : !other || one < other ? one : other;
}

static int64_t sooner(int64_t one, int64_t other) {
        return one < other ? one : other;
}

uint64_t outlook_seconds(struct runner *runner, const char *source_site, const char *target_site, uint64_t bytes,
                         uint64_t job_rate) {
        const struct outlook_line *line = find(&runner->outlook, source_site, target_site);
        uint64_t carried = lower(job_rate, line ? line->rate : ASSUMED_RATE), seconds = 0;
        bool crosses = strcmp(source_site, target_site) != 0;
        int64_t at = clock_wall(runner->clock);
        for (unsigned changes = 0;; changes++) {
                int64_t until = INT64_MAX, other_until = INT64_MAX;
                uint64_t rate = carried;
                if (crosses) {
                        rate = lower(rate, shape_site_rate(runner, source_site, at, &until));
                        rate = lower(rate, shape_site_rate(runner, target_site, at, &other_until));
                        until = sooner(until, other_until);
                }
                uint64_t needed = bytes / rate;
                if (changes == CHANGES_MAX || until == INT64_MAX || needed <= (uint64_t) (until - at))
                        return seconds + needed;
                bytes -= rate * (uint64_t) (until - at);
                seconds += (uint64_t) (until - at);
                at = until;
        }
}

// ---- plans

static void site_of(const char *host_name, char ret[NAME_SITE_MAX + 1]) { // SITE/HOST
        snprintf(ret, NAME_SITE_MAX + 1, "%.*s", (int) strcspn(host_name, "/"), host_name);
}

static uint64_t plan_seconds(struct runner *runner, const Drover__MovePlan *plan, uint64_t bytes, uint64_t job_rate) {
        char source[NAME_SITE_MAX + 1], target[NAME_SITE_MAX + 1];
        if (strcmp(plan->source_host, plan->target_host) == 0)
                return bytes / WITHIN_HOST;
        site_of(plan->source_name, source);
        site_of(plan->target_name, target);
        return outlook_seconds(runner, source, target, bytes, job_rate);
}

void runner_estimate(struct runner *runner, Drover__MovePlan *plan) {
        plan_estimate(plan, plan_seconds(runner, plan, plan->bytes_to_copy, plan->rate_bytes_per_second));
}

// The VMs of a wave go side by side and share the line; none is done before its own rate allows.
static uint64_t wave_seconds(struct runner *runner, const Drover__BatchPlan *batch, uint32_t wave) {
        uint64_t slowest = 0, together = 0, bytes = 0;
        size_t at = 0;
        for (const Drover__MovePlan *plan; (plan = plan_batch_next(batch, wave, &at));) {
                bytes += plan->bytes_to_copy;
                together = plan_seconds(runner, plan, bytes, 0);
                if (plan->estimated_seconds > slowest)
                        slowest = plan->estimated_seconds;
        }
        return together > slowest ? together : slowest;
}

void runner_estimate_batch(struct runner *runner, Drover__BatchPlan *batch) {
        uint64_t seconds = 0;
        for (size_t i = 0; i < batch->n_plans; i++)
                if (batch->plans[i]->n_refusals == 0)
                        runner_estimate(runner, batch->plans[i]);
        for (uint32_t wave = 1; wave <= batch->waves; wave++)
                seconds += wave_seconds(runner, batch, wave);
        batch->estimated_seconds = seconds > UINT32_MAX ? UINT32_MAX : (uint32_t) seconds;
}
