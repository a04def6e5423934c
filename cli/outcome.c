// SPDX-License-Identifier: LGPL-2.1-or-later
/* What came of a job; see outcome.h. */
#include "cli/outcome.h"

#include <stdio.h>
#include <string.h>

static int explain(const Drover__JobRecord *job, struct error *err) {
        if (!job->error)
                return error_set(err, ERROR_FAILED, "%s %s: job %s %s", job->kind, job->vm, job->id, job->state);
        proto_error(job->error, err);
        if (strcmp(job->error->message, job->state) == 0) { // "cancelled" says it once; what is hinted stays
                snprintf(err->message, sizeof(err->message), "%s %s: job %s was %s", job->kind, job->vm, job->id,
                         job->state);
                return -1;
        }
        if (strcmp(job->state, "needs-operator") == 0)
                error_hint(err, "%s", job->note);
        return error_prefix(err, "%s %s: job %s %s", job->kind, job->vm, job->id, job->state);
}

int outcome_of(const Drover__JobRecord *job, struct invocation *call, struct error *err) {
        if (strcmp(job->state, "done") == 0)
                return 0;
        int r = explain(job, err);
        call->exit_code = error_exit_code(err->code == ERROR_PARTLY ? ERROR_PARTLY : ERROR_FAILED);
        return r;
}
