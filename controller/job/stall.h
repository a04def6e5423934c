// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Transfers that stand still: said in the job's note after a minute (or what the settings say), begun again over the
 * next path after two, then after four, eight ... while nothing moves. Connections that are dead are noticed by the
 * agents themselves, sooner; this is for what looks alive. Part of the runner; loop thread.
 */
#include "controller/job/job.h"

struct runner;

void stall_begin(struct job *job, const struct job_step *step); // it has been asked
void stall_heard(struct job *job, const struct job_step *step, const Drover__TransferState *state);
void stall_tick(struct runner *runner);
// A step that was ended because it stood still failed for this reason, and not because somebody cancelled it.
void stall_explain(const struct job *job, const struct job_step *step, struct error *err);
