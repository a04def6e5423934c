// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * status: what is wrong now, the worst first, and the fleet in a few numbers. One pass over the fleet; each kind of
 * problem names its object, its cause and what to type. Loop thread.
 */
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/units.h"
#include "controller/session/certificate_ends.h"
#include "controller/session/verbs.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PROBLEMS_MAX           200u
#define CLOCK_OFF_MOST         2  // seconds
#define POOL_FULL              90 // percent
#define DAY                    86400
#define CERTIFICATE_NEAR_PARTS 6  // the last part of a certificate's life
#define WAITING_LONG           60 // seconds
#define FAILED_SHOWN           5u
#define FAILED_LOOKED_AT       100u

enum severity { SEVERITY_ERROR, SEVERITY_WARNING, SEVERITIES };
static const char *const severity_words[] = {"error", "warning"};

struct survey {
        const struct verb_call *call;
        struct session *session;
        int64_t now;
        Drover__FleetStatus status;
        Drover__Problem *problems[SEVERITIES][PROBLEMS_MAX];
        unsigned n[SEVERITIES], left_out;
};

__attribute__((format(printf, 5, 6))) static void add(struct survey *survey, enum severity severity, const char *object,
                                                      char *hint, const char *format, ...) {
        char text[400];
        va_list args;
        if (survey->n[severity] == PROBLEMS_MAX) {
                survey->left_out++;
                free(hint);
                return;
        }
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        Drover__Problem *problem = new (Drover__Problem);
        drover__problem__init(problem);
        problem->severity = memory_string(severity_words[severity]);
        problem->object = memory_string(object);
        problem->message = memory_string(text);
        problem->hint = hint ? hint : memory_string("");
        proto_clean(&problem->base);
        survey->problems[severity][survey->n[severity]++] = problem;
}

// ---- hosts

static void look_at_certificate(struct survey *survey, const struct fleet_host *host, const char *name) {
        char when[CLOCK_RFC3339_MAX];
        struct store_certificate newest;
        int64_t end = certificate_ends_of(survey->session, host->uuid);
        if (end == 0 || end - survey->now > 30 * DAY) // renewed ones are far from it
                return;
        if (store_certificate_newest(survey->session->store, IDENTITY_HOST, host->uuid, &newest, NULL) <= 0)
                return;
        clock_rfc3339(end, when);
        if (end <= survey->now)
                add(survey, SEVERITY_ERROR, name,
                    memory_format("drover host rm %s, then drover host invite %s", name, name),
                    "its certificate expired at %s", when);
        else if (end - survey->now < (end - newest.not_before) / CERTIFICATE_NEAR_PARTS)
                add(survey, SEVERITY_WARNING, name, memory_string("it renews by itself once the host is online"),
                    "its certificate ends at %s", when);
}

static void look_at_pools(struct survey *survey, const struct fleet_host *host, const char *name) {
        for (size_t i = 0; i < host->n_pools; i++) {
                const Drover__Pool *pool = host->pools[i];
                char left[UNITS_TEXT_MAX];
                survey->status.pool_available_bytes += pool->available_bytes;
                if (!pool->active || pool->capacity_bytes == 0 ||
                    pool->available_bytes > pool->capacity_bytes / 100 * (100 - POOL_FULL))
                        continue;
                add(survey, SEVERITY_WARNING, name, NULL, "pool %s is over %d %% full: %s left", pool->name, POOL_FULL,
                    units_format_size(pool->available_bytes, left));
        }
}

static void look_at_link(struct survey *survey, const struct fleet_host *host, const char *name) {
        char since[CLOCK_RFC3339_MAX];
        int64_t off = host->clock_offset_seconds;
        if (!host->online) {
                add(survey, SEVERITY_ERROR, name, memory_string("systemctl status drover-agent, on that host"),
                    "offline since %s", clock_rfc3339(host->offline_since, since));
                return;
        }
        if (host->facts && !host->facts->libvirt_connected)
                add(survey, SEVERITY_ERROR, name, memory_string("systemctl status libvirtd, on that host"),
                    "libvirt does not answer");
        if (host->facts && (off > CLOCK_OFF_MOST || off < -CLOCK_OFF_MOST))
                add(survey, SEVERITY_WARNING, name,
                    memory_string("systemctl enable --now systemd-timesyncd, on that host"),
                    "its clock is %" PRId64 " s %s", off < 0 ? -off : off, off < 0 ? "behind" : "ahead");
        if (host->n_skipped)
                add(survey, SEVERITY_WARNING, name,
                    memory_string("virsh domrename gives it a name that can be shown and moved"),
                    "%zu VM%s cannot be shown: %s", host->n_skipped, host->n_skipped == 1 ? "" : "s",
                    host->skipped_why);
}

// Once for each VM: where it comes first.
static void look_for_twins(struct survey *survey, const struct fleet_vm *vm, const char *name) {
        struct fleet_vm *all[4];
        const struct fleet_owner *owner = fleet_owner(survey->session->fleet, vm->domain->uuid);
        size_t n = fleet_vms_by_uuid(survey->session->fleet, vm->domain->uuid, all, ARRAY_SIZE(all));
        if (n < 2 || (owner && owner->job[0]))
                return;
        const struct fleet_vm *other = all[0] == vm ? all[1] : all[0];
        if (strcmp(other->host->uuid, vm->host->uuid) < 0)
                return;
        _cleanup_(free_p) char *object = memory_format("%s/%s", name, vm->domain->name);
        const struct fleet_vm *spare = owner && strcmp(owner->host_uuid, vm->host->uuid) == 0 ? other : vm;
        add(survey, SEVERITY_ERROR, object,
            memory_format("undefine the copy on %s/%s: virsh undefine %s", spare->host->site, spare->host->name,
                          spare->domain->name),
            "it is defined on %s/%s as well", other->host->site, other->host->name);
}

static void look_at_vms(struct survey *survey, const struct fleet_host *host, const char *name) {
        for (size_t i = 0; i < host->n_vms; i++) {
                const struct fleet_vm *vm = host->vms[i];
                look_for_twins(survey, vm, name);
                if (!fleet_vm_shown(survey->session->fleet, vm))
                        continue;
                survey->status.vms++;
                survey->status.vms_running += strcmp(vm->domain->state, "running") == 0;
        }
}

static void look_at_hosts(struct survey *survey) {
        size_t n;
        struct fleet_host *const *hosts = fleet_hosts(survey->session->fleet, &n);
        for (size_t i = 0; i < n; i++) {
                const struct fleet_host *host = hosts[i];
                char name[NAME_SITE_MAX + NAME_HOST_MAX + 2];
                if (!verb_may_see(survey->call, host->site))
                        continue;
                snprintf(name, sizeof(name), "%s/%s", host->site, host->name);
                survey->status.hosts++;
                survey->status.hosts_online += host->online;
                survey->status.memory_bytes += host->facts ? host->facts->memory_bytes : 0;
                for (size_t k = 0; k < host->n_retired; k++)
                        survey->status.retired_bytes += host->retired[k]->bytes;
                look_at_link(survey, host, name);
                look_at_certificate(survey, host, name);
                look_at_pools(survey, host, name);
                look_at_vms(survey, host, name);
        }
        const struct store_site *sites = fleet_sites(survey->session->fleet, &n);
        for (size_t i = 0; i < n; i++)
                survey->status.sites += verb_may_see(survey->call, sites[i].name);
}

// ---- jobs

static bool may_see(const struct survey *survey, const Drover__JobRecord *job) {
        return verb_may_see_host(survey->call, job->source) ||
               (job->target[0] && verb_may_see_host(survey->call, job->target));
}

static void look_at_unfinished(struct survey *survey, const Drover__JobRecord *job) {
        char since[CLOCK_RFC3339_MAX];
        if (strcmp(job->state, "needs-operator") == 0)
                add(survey, SEVERITY_ERROR, job->vm,
                    memory_format("mend the cause, then: drover job retry %s", job->id), "job %s needs an operator: %s",
                    job->id, job->error ? job->error->message : job->note);
        survey->status.jobs_running += strcmp(job->state, "running") == 0;
        if (strcmp(job->state, "waiting") != 0)
                return;
        survey->status.jobs_waiting++;
        if (survey->now - job->created_at >= WAITING_LONG)
                add(survey, SEVERITY_WARNING, job->vm, memory_format("drover job show %s", job->id),
                    "job %s of %s waits: %s", job->id, clock_rfc3339(job->created_at, since), job->note);
}

static void look_at_failed(struct survey *survey, const Drover__JobRecord *job) {
        if (survey->now - job->finished_at >= DAY)
                return;
        if (survey->status.jobs_failed_day++ < FAILED_SHOWN)
                add(survey, SEVERITY_WARNING, job->vm, memory_format("drover job show %s", job->id),
                    "job %s failed: %s", job->id, job->error ? job->error->message : "");
}

static int look_at_jobs(struct survey *survey, struct error *err) {
        Drover__JobRecords *jobs = runner_unfinished(survey->session->runner);
        for (size_t i = 0; i < jobs->n_jobs; i++)
                if (may_see(survey, jobs->jobs[i]))
                        look_at_unfinished(survey, jobs->jobs[i]);
        proto_free(&jobs->base);
        if (runner_jobs(survey->session->runner, "failed", FAILED_LOOKED_AT, &jobs, err) < 0)
                return -1;
        for (size_t i = 0; i < jobs->n_jobs; i++)
                if (may_see(survey, jobs->jobs[i]))
                        look_at_failed(survey, jobs->jobs[i]);
        proto_free(&jobs->base);
        unsigned n;
        if (survey->call->sites[0])
                return 0;
        if (store_jobs_failed_since(survey->session->store, (survey->now - DAY) * 1000, &n, err) < 0)
                return -1;
        survey->status.jobs_failed_day = n;
        return 0;
}

// ---- the answer

// In the place of the last warning that there is room for.
static void add_rest(struct survey *survey) {
        unsigned n = survey->left_out;
        if (survey->n[SEVERITY_WARNING] == PROBLEMS_MAX) {
                proto_free(&survey->problems[SEVERITY_WARNING][--survey->n[SEVERITY_WARNING]]->base);
                n++;
        }
        add(survey, SEVERITY_WARNING, "fleet", NULL, "%u more problems are not shown", n);
}

static int reply(struct verb_call *call, struct survey *survey, struct error *err) {
        Drover__OperatorReply message = DROVER__OPERATOR_REPLY__INIT;
        Drover__Problem *all[SEVERITIES * PROBLEMS_MAX];
        survey->status.problems = all;
        for (unsigned s = 0; s < SEVERITIES; s++)
                for (unsigned i = 0; i < survey->n[s]; i++)
                        all[survey->status.n_problems++] = survey->problems[s][i];
        survey->status.controller = (char *) authority_name(survey->session->authority);
        message.value_case = DROVER__OPERATOR_REPLY__VALUE_STATUS;
        message.status = &survey->status;
        return verb_reply(call, &message, true, err);
}

int verb_status_get(struct verb_call *call, struct error *err) {
        struct survey *survey = new (struct survey);
        survey->call = call;
        survey->session = call->session;
        survey->now = clock_wall(call->session->clock);
        drover__fleet_status__init(&survey->status);
        look_at_hosts(survey);
        int r = look_at_jobs(survey, err);
        if (survey->left_out)
                add_rest(survey);
        if (r == 0)
                r = reply(call, survey, err);
        for (unsigned s = 0; s < SEVERITIES; s++)
                for (unsigned i = 0; i < survey->n[s]; i++)
                        proto_free(&survey->problems[s][i]->base);
        free(survey);
        return r;
}
