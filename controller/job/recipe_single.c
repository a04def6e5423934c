// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Jobs of one step: a request to one host, recorded before it is sent. The spec is the request itself, and the host is
 * the job's source.
 */
#include "controller/job/recipe.h"
#include "common/memory.h"

#include <stdio.h>
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

// What stays where it is, is said beside the step.
static int accept_purge(struct job *job, struct job_step *step, const Drover__AgentResult *result, struct error *err) {
        (void) job;
        (void) err;
        if (result->value_case == DROVER__AGENT_RESULT__VALUE_PURGE && result->purge->n_left > 0)
                snprintf(step->note, sizeof(step->note), "left as it is, since it is a volume of no pool: %s",
                         result->purge->left[0]);
        return 0;
}

#define SINGLE(identifier, word, take)                                                                                 \
        static const struct recipe_step identifier##_step = {                                                          \
                .name = word, .place = AT_SOURCE, .fill = fill, .accept = take};                                       \
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

SINGLE(start, "start", NULL)
SINGLE(shutdown, "shutdown", NULL)
SINGLE(stop, "stop", NULL)
SINGLE(reboot, "reboot", NULL)
SINGLE(suspend, "suspend", NULL)
SINGLE(resume, "resume", NULL)
SINGLE(autostart, "autostart", NULL)
SINGLE(purge, "purge", accept_purge)

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
