// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Plans of several moves, asked for and shown: what would be done in which order, and every reason why not. */
#include "cli/command.h"

// The request has plan_only set. ERROR_PARTLY when some VMs cannot be moved, ERROR_REFUSED when none can.
int plan_batch_show(struct invocation *call, Drover__OperatorRequest *request, struct error *err);
