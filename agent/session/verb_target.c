// SPDX-License-Identifier: LGPL-2.1-or-later
/* Verbs of the host that a VM comes to: each is one call of agent/host/placement. On workers. */
#include "agent/host/placement.h"
#include "agent/session/verb_runs.h"
#include "common/cleanup.h"

int verb_move_reserve(struct verb_call *call, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        return placement_reserve(&custody, call->request->move_reserve, err);
}

int verb_move_define(struct verb_call *call, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        if (placement_define(&custody, call->request->move_define, &call->result->define, err) < 0)
                return -1;
        call->result->value_case = DROVER__AGENT_RESULT__VALUE_DEFINE;
        return 0;
}

int verb_move_start(struct verb_call *call, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        return placement_start(&custody, err);
}

int verb_move_settle(struct verb_call *call, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        if (placement_settle(&custody, call->request->move_settle, &call->result->settle, err) < 0)
                return -1;
        call->result->value_case = DROVER__AGENT_RESULT__VALUE_SETTLE;
        return 0;
}

int verb_move_discard(struct verb_call *call, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        return placement_discard(&custody, err);
}
