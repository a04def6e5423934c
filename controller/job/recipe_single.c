// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Jobs of one step: a request to one host, recorded before it is sent. The spec is the request itself, and the host is
 * the job's source.
 */
#include "controller/job/recipe.h"
#include "common/memory.h"

#include <string.h>

static int load(struct job *job, struct error *err) {
        return PROTO_UNPACK(agent_request, job->row.spec, job->row.spec_length, &job->single, err);
}

static int fill(const struct job *job, const struct job_step *step, Drover__AgentRequest *request, struct error *err) {
        (void) step;
        (void) err;
        Drover__AgentRequest *copy = (Drover__AgentRequest *) proto_copy(&job->single->base);
        request->verb_case = copy->verb_case;
        request->domain_power = copy->domain_power; // every member of the oneof is a pointer
        copy->verb_case = DROVER__AGENT_REQUEST__VERB__NOT_SET;
        copy->domain_power = NULL;
        proto_free(&copy->base);
        return 0;
}

// A one-step job keeps its host where a request would name the step: nobody else reads that member of a spec.
static const char *host(const struct job *job, enum recipe_place place) {
        return place == AT_CONTROLLER ? "" : job->single->step;
}

#define SINGLE(identifier, word)                                                                                       \
        static const struct recipe_step identifier##_step = {.name = word, .place = AT_SOURCE, .fill = fill};          \
        static const struct recipe_step *const identifier##_all[] = {&identifier##_step, NULL};                        \
        static void identifier##_steps(struct job *job) {                                                              \
                job_add_step(job, &identifier##_step, 0, 0, false);                                                    \
        }                                                                                                              \
        static const struct recipe recipe_##identifier = {                                                             \
                .kind = "vm." word,                                                                                    \
                .load = load,                                                                                          \
                .steps = identifier##_steps,                                                                           \
                .host = host,                                                                                          \
                .all = identifier##_all,                                                                               \
                .needs_answer_soon = true,                                                                             \
        };

SINGLE(start, "start")
SINGLE(shutdown, "shutdown")
SINGLE(stop, "stop")
SINGLE(reboot, "reboot")
SINGLE(suspend, "suspend")
SINGLE(resume, "resume")
SINGLE(autostart, "autostart")
SINGLE(purge, "purge")

const struct recipe *const recipe_singles[] = {&recipe_start,     &recipe_shutdown, &recipe_stop,
                                               &recipe_reboot,    &recipe_suspend,  &recipe_resume,
                                               &recipe_autostart, &recipe_purge,    NULL};

const char *recipe_power_kind(Drover__PowerAction action) {
        switch (action) {
        case DROVER__POWER_ACTION__POWER_START:
                return recipe_start.kind;
        case DROVER__POWER_ACTION__POWER_SHUTDOWN:
                return recipe_shutdown.kind;
        case DROVER__POWER_ACTION__POWER_STOP:
                return recipe_stop.kind;
        case DROVER__POWER_ACTION__POWER_REBOOT:
                return recipe_reboot.kind;
        case DROVER__POWER_ACTION__POWER_SUSPEND:
                return recipe_suspend.kind;
        case DROVER__POWER_ACTION__POWER_RESUME:
                return recipe_resume.kind;
        case DROVER__POWER_ACTION__POWER_AUTOSTART_ON:
        case DROVER__POWER_ACTION__POWER_AUTOSTART_OFF:
                return recipe_autostart.kind;
        default:
                return NULL;
        }
}
