// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Following a job: bars on a terminal, a line a step without one, events with -o jsonl. */
#include "cli/command.h"
// Shows the job until it ends, and says what came of it (outcome.h). Ctrl-C detaches (exit code 9).
int follow_job(struct client *client, const char *id, struct invocation *call, struct error *err);
// For a request that answers with a job: sends it, then follows, or with --detach prints the id.
int follow_request(Drover__OperatorRequest *request, struct invocation *call, struct error *err);
// With `rows` the job that -o json would print is appended to them: one command may ask several times.
int follow_request_into(Drover__OperatorRequest *request, struct invocation *call, json_t *rows, struct error *err);
