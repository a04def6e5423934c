// SPDX-License-Identifier: LGPL-2.1-or-later
/* Writing audit records. Loop thread. */
#include "controller/session/audit.h"
#include "common/log.h"
#include "controller/session/context.h"
#include <stdio.h>

#define KEEP(member, text) snprintf((member), sizeof(member), "%.*s", (int) sizeof(member) - 1, (text) ? (text) : "")

static const char *outcome_of(const struct audit_entry *entry) {
        if (entry->why && entry->why->code == ERROR_DENIED)
                return "denied";
        if (entry->why && entry->why->code != ERROR_NONE)
                return error_word(entry->why->code);
        return entry->starts ? "started" : "done";
}

void audit_add(struct session *session, const struct audit_entry *entry) {
        struct store_audit row = {.at = clock_wall(session->clock)};
        struct error err = ERROR_INIT;
        KEEP(row.user, entry->user);
        KEEP(row.role, entry->role);
        KEEP(row.address, entry->address);
        KEEP(row.verb, entry->verb);
        KEEP(row.object, entry->object);
        KEEP(row.job, entry->job);
        KEEP(row.outcome, outcome_of(entry));
        row.message = (char *) (entry->why ? entry->why->message : "");
        if (store_audit_add(session->store, &row, NULL, &err) < 0)
                log_failure(LOG_LEVEL_ERROR, "an audit record could not be written", &err, "user", row.user, "verb",
                            row.verb, "object", row.object, NULL);
}
