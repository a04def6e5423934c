// SPDX-License-Identifier: LGPL-2.1-or-later
/* Verbs of the host that a VM leaves: each is one call of agent/host/custody. On workers. */
#include "agent/host/custody.h"
#include "agent/session/verb_runs.h"
#include "common/cleanup.h"

void verb_custody(const struct verb_call *call, virConnectPtr conn, struct custody *ret) {
        *ret = (struct custody){.conn = conn,
                                .journal = call->host->journal,
                                .job = call->request->job,
                                .vm_uuid = call->request->vm_uuid,
                                .cancelled = call->cancelled,
                                .cancelled_data = call->data};
}

int verb_move_inspect(struct verb_call *call, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        if (custody_inspect(&custody, call->request->move_inspect, &call->result->inspect, err) < 0)
                return -1;
        call->result->value_case = DROVER__AGENT_RESULT__VALUE_INSPECT;
        return 0;
}

int verb_move_stop(struct verb_call *call, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        if (custody_stop(&custody, call->request->move_stop, &call->result->stop, err) < 0)
                return -1;
        call->result->value_case = DROVER__AGENT_RESULT__VALUE_STOP;
        return 0;
}

int verb_move_fence(struct verb_call *call, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        if (custody_fence(&custody, call->request->move_fence, &call->result->fence, err) < 0)
                return -1;
        call->result->value_case = DROVER__AGENT_RESULT__VALUE_FENCE;
        return 0;
}

int verb_move_confirm(struct verb_call *call, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        return custody_confirm(&custody, err);
}

int verb_move_retire(struct verb_call *call, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        return custody_retire(&custody, call->request->move_retire, err);
}

int verb_move_release(struct verb_call *call, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        return custody_release(&custody, call->request->move_release, err);
}

int verb_retired_purge(struct verb_call *call, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        if (custody_purge(&custody, call->request->retired_purge, &call->result->purge, err) < 0)
                return -1;
        call->result->value_case = DROVER__AGENT_RESULT__VALUE_PURGE;
        return 0;
}
