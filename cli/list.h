// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* What every list and show does: ask, turn each record of each reply into JSON, print. */
#include "cli/command.h"

typedef void (*list_collect_fn)(const Drover__OperatorReply *reply, json_t *rows); // append this reply's records
int list_run(struct invocation *call, Drover__OperatorRequest *request, list_collect_fn collect,
             const struct column *columns, const char *name_key, const char *empty, struct error *err);
// The one record that was asked for; ERROR_NOT_FOUND names `what`.
int list_show(struct invocation *call, Drover__OperatorRequest *request, list_collect_fn collect, const char *name_key,
              const char *what, struct error *err);
// For a request whose answer says nothing but that it was done.
int list_done(struct invocation *call, Drover__OperatorRequest *request, const char *said, struct error *err);
// "Really?" on a terminal; without one --yes is needed (ERROR_USAGE).
int list_confirm(const struct invocation *call, const char *question, struct error *err);
