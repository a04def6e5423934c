// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Plans, asked for and shown: what would be done, or every reason why not. */
#include "cli/command.h"

// The request has plan_only set. ERROR_REFUSED, with a hint for each, when there are reasons.
int plan_show(struct invocation *call, Drover__OperatorRequest *request, struct error *err);
