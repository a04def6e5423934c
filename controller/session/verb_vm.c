// SPDX-License-Identifier: LGPL-2.1-or-later
/* Verbs about VMs: definition, power, and moving one or several. Loop thread. */
#include "common/buffer.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/utf8.h"
#include "controller/job/plan.h"
#include "controller/job/plan_batch.h"
#include "controller/session/agent_link.h"
#include "controller/session/hub.h"
#include "controller/session/operator_link.h"
#include "controller/session/verbs.h"
#include <stdio.h>

#define TIMEOUT_MAX_SECONDS 86400u

// ---- xml: asked of the host, which knows best; without what is secret in it

struct reading {
        struct stream *stream;
        struct question *question; // NULL: answered
};

static int read_more(struct stream *stream, enum stream_state *ret, struct error *err) {
        (void) stream;
        (void) err;
        *ret = STREAM_IDLE; // on_xml() sends
        return 0;
}

static void read_end(struct stream *stream) {
        struct reading *reading = stream->data;
        if (reading->question)
                question_forget(reading->question);
        free(reading);
}

static const struct stream_kind read_kind = {.more = read_more, .end = read_end};

static void on_xml(const Drover__AgentResult *result, const struct error *why, void *data) {
        struct reading *reading = data;
        Drover__OperatorReply reply = DROVER__OPERATOR_REPLY__INIT;
        Drover__Xml xml = DROVER__XML__INIT;
        struct error err = ERROR_INIT;
        int r = 0;
        reading->question = NULL;
        if (!result)
                err = *why;
        else if (result->failure)
                r = proto_error(result->failure, &err);
        else if (result->value_case != DROVER__AGENT_RESULT__VALUE_DOMAIN_XML)
                error_set(&err, ERROR_PROTOCOL, "the host's answer holds no definition");
        if (r < 0 || err.code != ERROR_NONE) {
                stream_fail(reading->stream, &err);
                return;
        }
        xml.xml = result->domain_xml->xml;
        reply.value_case = DROVER__OPERATOR_REPLY__VALUE_XML;
        reply.xml = &xml;
        if (stream_reply(reading->stream, &reply, true, &err) < 0)
                stream_fail(reading->stream, &err);
        else
                stream_end(reading->stream);
}

static int find_link(const struct session *session, const struct fleet_host *host, struct agent_link **ret,
                     struct error *err) {
        char at[CLOCK_RFC3339_MAX];
        *ret = hub_link(session->hub, host->uuid);
        if (*ret)
                return 0;
        error_set(err, ERROR_UNREACHABLE, "%s/%s is offline since %s", host->site, host->name,
                  clock_rfc3339(host->offline_since, at));
        error_hint(err, "systemctl status drover-agent, on that host");
        return -1;
}

int verb_vm_xml(struct verb_call *call, struct error *err) {
        Drover__AgentRequest request = DROVER__AGENT_REQUEST__INIT;
        Drover__DomainXml verb = DROVER__DOMAIN_XML__INIT;
        struct agent_link *link;
        struct stream *stream;
        if (find_link(call->session, call->vm->host, &link, err) < 0)
                return -1;
        struct reading *reading = new (struct reading);
        if (stream_open(call->link, call->request->id, &read_kind, reading, &stream, err) < 0) {
                free(reading);
                return -1;
        }
        reading->stream = stream;
        verb.live = true;
        request.vm_uuid = call->vm->domain->uuid;
        request.verb_case = DROVER__AGENT_REQUEST__VERB_DOMAIN_XML;
        request.domain_xml = &verb;
        if (agent_link_ask(link, &request, on_xml, reading, &reading->question, err) < 0) {
                stream_end(stream);
                return -1;
        }
        call->answered = true;
        return 0;
}

// ---- power

const char *verb_power_label(const struct verb_call *call) {
        switch (call->request->vm_power->action) {
        case DROVER__POWER_ACTION__POWER_START:
                return "vm start";
        case DROVER__POWER_ACTION__POWER_SHUTDOWN:
                return "vm shutdown";
        case DROVER__POWER_ACTION__POWER_STOP:
                return "vm stop";
        case DROVER__POWER_ACTION__POWER_REBOOT:
                return "vm reboot";
        case DROVER__POWER_ACTION__POWER_SUSPEND:
                return "vm suspend";
        case DROVER__POWER_ACTION__POWER_RESUME:
                return "vm resume";
        case DROVER__POWER_ACTION__POWER_AUTOSTART_ON:
        case DROVER__POWER_ACTION__POWER_AUTOSTART_OFF:
                return "vm autostart";
        default:
                return "vm power";
        }
}

int verb_vm_power(struct verb_call *call, struct error *err) {
        const Drover__VmPower *power = call->request->vm_power;
        const struct runner_caller caller = verb_caller(call);
        char job[33];
        if (power->timeout_seconds > TIMEOUT_MAX_SECONDS)
                return error_set(err, ERROR_INVALID, "--timeout is longer than a day");
        if (runner_power(call->session->runner, call->vm, power->action, power->timeout_seconds, &caller, job, err) < 0)
                return -1;
        return verb_reply_started(call, job, err);
}

// ---- move

static int start_move(struct verb_call *call, const Drover__MovePlan *plan, struct error *err) {
        const struct runner_caller caller = verb_caller(call);
        char job[33];
        if (plan_refused(plan, err) < 0 || runner_move(call->session->runner, plan, &caller, job, err) < 0)
                return -1;
        return verb_reply_started(call, job, err);
}

int verb_vm_move(struct verb_call *call, struct error *err) {
        const Drover__VmMove *move = call->request->vm_move;
        Drover__MovePlan *plan;
        call->unrecorded = move->plan_only;
        if (plan_move(call->session->fleet, move, &plan, err) < 0)
                return -1;
        runner_estimate(call->session->runner, plan);
        int r = move->plan_only ? verb_reply_plan(call, plan, err) : start_move(call, plan, err);
        proto_free(&plan->base);
        return r;
}

// ---- several moves

static bool sees(const char *site, void *data) {
        return verb_may_see(data, site);
}

// A pattern finds only what the operator may see; somebody who names another site's VM is told.
static int check_sources(const struct verb_call *call, const Drover__BatchPlan *plan, struct error *err) {
        for (size_t i = 0; i < plan->n_plans; i++)
                if (!verb_may_see_host(call, plan->plans[i]->source_name))
                        return verb_refuse_site(call, plan->plans[i]->source_name, err);
        return 0;
}

static int reply_batch_plan(struct verb_call *call, Drover__BatchPlan *plan, struct error *err) {
        Drover__OperatorReply reply = DROVER__OPERATOR_REPLY__INIT;
        reply.value_case = DROVER__OPERATOR_REPLY__VALUE_BATCH_PLAN;
        reply.batch_plan = plan;
        return verb_reply(call, &reply, true, err);
}

static int start_batch(struct verb_call *call, const Drover__BatchPlan *plan, const char *what, struct error *err) {
        const struct runner_caller caller = verb_caller(call);
        char job[33];
        if (plan_batch_refused(plan, err) < 0 || runner_batch(call->session->runner, plan, what, &caller, job, err) < 0)
                return -1;
        return verb_reply_started(call, job, err);
}

int verb_move_many(struct verb_call *call, const Drover__VmMoveMany *many, const char *what, struct error *err) {
        Drover__BatchPlan *plan;
        call->unrecorded = many->move->plan_only;
        snprintf(call->object, sizeof(call->object), "%s to %s", what, many->move->host);
        if (plan_batch(call->session->fleet, many, sees, call, &plan, err) < 0)
                return -1;
        runner_estimate_batch(call->session->runner, plan);
        int r = check_sources(call, plan, err);
        if (r == 0)
                r = many->move->plan_only ? reply_batch_plan(call, plan, err) : start_batch(call, plan, what, err);
        proto_free(&plan->base);
        return r;
}

// Under the words that were given: "lyon/kvm1/* nantes/kvm1/web".
int verb_vm_move_many(struct verb_call *call, struct error *err) {
        const Drover__VmMoveMany *many = call->request->vm_move_many;
        char what[sizeof(((struct store_job *) NULL)->vm)];
        struct buffer words;
        buffer_init(&words, 0);
        for (size_t i = 0; i < many->n_vms; i++)
                buffer_appendf(&words, NULL, "%s%s", i ? " " : "", many->vms[i]);
        _cleanup_(free_p) char *text = buffer_steal_text(&words);
        snprintf(what, sizeof(what), "%.*s", (int) utf8_cut(text, sizeof(what) - 1), text);
        return verb_move_many(call, many, what, err);
}
