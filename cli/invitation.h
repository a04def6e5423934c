// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* What `host invite` and `user invite` share: one line on stdout to run elsewhere, how long it holds on stderr. */
#include "cli/command.h"
int invitation_print(struct invocation *call, Drover__OperatorRequest *request, struct error *err);
