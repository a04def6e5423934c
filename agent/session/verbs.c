// SPDX-License-Identifier: LGPL-2.1-or-later
/* The table of verbs and the checks that every request passes before a runner sees it. Pure; any thread. */
#include "agent/session/verbs.h"
#include "agent/session/parameters.h"
#include "agent/session/verb_runs.h"
#include "common/cleanup.h"
#include "common/name.h"

#define ROW(symbol, text) .verb = DROVER__AGENT_REQUEST__VERB_##symbol, .name = text
#define STEP              (VERB_JOB | VERB_VM | VERB_EPOCH | VERB_CHANGES)
#define LAST              (STEP | VERB_TELLS)

static const struct verb table[] = {
        {ROW(DOMAIN_POWER, "domain_power"), .flags = VERB_VM | VERB_CHANGES | VERB_TELLS, .thread = VERB_THREAD,
         .check = parameters_power, .run = verb_domain_power},
        {ROW(DOMAIN_XML, "domain_xml"), .flags = VERB_VM | VERB_READS, .thread = VERB_POOL, .run = verb_domain_xml},
        {ROW(MOVE_INSPECT, "move_inspect"), .flags = VERB_JOB | VERB_VM, .thread = VERB_POOL,
         .check = parameters_inspect, .run = verb_move_inspect},
        {ROW(MOVE_RESERVE, "move_reserve"), .flags = STEP, .thread = VERB_THREAD, .check = parameters_reserve,
         .run = verb_move_reserve},
        {ROW(MOVE_STOP, "move_stop"), .flags = STEP, .thread = VERB_THREAD, .check = parameters_stop,
         .run = verb_move_stop},
        {ROW(MOVE_FENCE, "move_fence"), .flags = STEP, .thread = VERB_POOL, .check = parameters_fence,
         .run = verb_move_fence},
        {ROW(TRANSFER_SEND, "transfer_send"), .flags = VERB_JOB | VERB_VM | VERB_EPOCH, .thread = VERB_THREAD,
         .check = parameters_send, .run = verb_transfer_send},
        {ROW(TRANSFER_RECEIVE, "transfer_receive"), .flags = VERB_JOB | VERB_VM | VERB_EPOCH, .thread = VERB_THREAD,
         .check = parameters_receive, .run = verb_transfer_receive},
        {ROW(MOVE_DEFINE, "move_define"), .flags = STEP, .thread = VERB_POOL, .check = parameters_define,
         .run = verb_move_define},
        {ROW(MOVE_VERIFY, "move_verify"), .flags = VERB_JOB | VERB_VM | VERB_EPOCH, .thread = VERB_THREAD,
         .check = parameters_verify, .run = verb_move_verify},
        {ROW(MOVE_CONFIRM, "move_confirm"), .flags = STEP, .thread = VERB_POOL, .run = verb_move_confirm},
        {ROW(MOVE_START, "move_start"), .flags = LAST, .thread = VERB_THREAD, .run = verb_move_start},
        {ROW(MOVE_RETIRE, "move_retire"), .flags = LAST, .thread = VERB_POOL, .run = verb_move_retire},
        {ROW(MOVE_SETTLE, "move_settle"), .flags = LAST, .thread = VERB_POOL, .run = verb_move_settle},
        {ROW(MOVE_DISCARD, "move_discard"), .flags = LAST | VERB_PREEMPTS, .thread = VERB_THREAD,
         .run = verb_move_discard},
        {ROW(MOVE_RELEASE, "move_release"), .flags = LAST | VERB_PREEMPTS, .thread = VERB_THREAD,
         .run = verb_move_release},
        {ROW(CLONE_HOLD, "clone_hold"), .flags = VERB_JOB | VERB_VM | VERB_EPOCH, .thread = VERB_POOL,
         .check = parameters_clone_hold, .run = verb_clone_hold},
        {ROW(CLONE_LOCAL, "clone_local"), .flags = STEP, .thread = VERB_THREAD, .check = parameters_clone_local,
         .run = verb_clone_local},
        {ROW(CLONE_CONFIRM, "clone_confirm"), .flags = VERB_JOB | VERB_VM | VERB_EPOCH, .thread = VERB_POOL,
         .check = parameters_clone_confirm, .run = verb_clone_confirm},
        {ROW(IDENTITY_RESET, "identity_reset"), .flags = STEP, .thread = VERB_THREAD,
         .check = parameters_identity_reset, .run = verb_identity_reset},
        {ROW(MOVE_REVIVE, "move_revive"), .flags = STEP, .thread = VERB_POOL, .check = parameters_revive,
         .run = verb_move_revive},
        {ROW(MOVE_UNREVIVE, "move_unrevive"), .flags = LAST | VERB_PREEMPTS, .thread = VERB_THREAD,
         .check = parameters_unrevive, .run = verb_move_unrevive},
        {ROW(RETIRED_PURGE, "retired_purge"), .flags = VERB_CHANGES | VERB_TELLS, .thread = VERB_POOL,
         .check = parameters_purge, .run = verb_retired_purge},
        {ROW(TRANSFER_RATE, "transfer_rate"), .flags = 0, .thread = VERB_LOOP, .check = parameters_rate},
        {ROW(CANCEL_STEP, "cancel_step"), .flags = 0, .thread = VERB_LOOP, .check = parameters_cancel},
};

const struct verb *verbs_table(size_t *ret_n) {
        *ret_n = ARRAY_SIZE(table);
        return table;
}

const struct verb *verbs_find(Drover__AgentRequest__VerbCase verb) {
        for (size_t i = 0; i < ARRAY_SIZE(table); i++)
                if (table[i].verb == verb)
                        return &table[i];
        return NULL;
}

static int check_job(const struct verb *verb, const Drover__AgentRequest *request, struct error *err) {
        if (!*request->job)
                return verb->flags & VERB_JOB ? error_set(err, ERROR_INVALID, "it is a step of a job, and names none")
                                              : 0;
        if (name_check_job(request->job, err) < 0)
                return error_prefix(err, "job");
        if (verb->thread != VERB_LOOP && parameters_step_name(request->step, err) < 0)
                return error_prefix(err, "step");
        return 0;
}

static int check_vm(const struct verb *verb, const Drover__AgentRequest *request, struct error *err) {
        if (*request->vm_uuid || verb->flags & VERB_VM)
                if (name_check_uuid(request->vm_uuid, err) < 0)
                        return error_prefix(err, "vm_uuid");
        if (request->epoch && !*request->vm_uuid)
                return error_set(err, ERROR_INVALID, "it has an epoch, and names no VM");
        if (verb->flags & VERB_EPOCH && !request->epoch)
                return error_set(err, ERROR_INVALID, "it acts for the VM's owner, and has no epoch");
        if (request->epoch > INT64_MAX)
                return error_set(err, ERROR_INVALID, "the epoch is out of range");
        return 0;
}

int verbs_check(const struct verb *verb, const Drover__AgentRequest *request, struct error *err) {
        if (check_job(verb, request, err) < 0 || check_vm(verb, request, err) < 0 ||
            (verb->check && verb->check(request, err) < 0))
                return error_prefix(err, "request %s", verb->name);
        return 0;
}
