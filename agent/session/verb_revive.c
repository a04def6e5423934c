// SPDX-License-Identifier: LGPL-2.1-or-later
/* Verbs of an undo at the host that a VM left: each is one call of agent/host/revive. On workers. */
#include "agent/host/revive.h"
#include "agent/session/verb_runs.h"
#include "common/cleanup.h"

int verb_move_revive(struct verb_call *call, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        return revive_run(&custody, call->request->move_revive, err);
}

int verb_move_unrevive(struct verb_call *call, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0)
                return -1;
        struct custody custody;
        verb_custody(call, conn, &custody);
        return revive_undo(&custody, call->request->move_unrevive, err);
}
