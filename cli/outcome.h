// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * How a job that has ended is told: 0, or -1 with its error and call->exit_code. The error keeps its own code, for it
 * says why; the exit code is that of a job that was begun and did not succeed, 1, or 3 when a part of it did. The
 * others mean that nothing was begun.
 */
#include "cli/command.h"
int outcome_of(const Drover__JobRecord *job, struct invocation *call, struct error *err);
