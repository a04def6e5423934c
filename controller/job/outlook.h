// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * How long a plan's copying will take, for the person who reads it: by the job's own rate, the rates of both sites in
 * the hours that it will run through, and what the line between them carried before. What lines carried is kept while
 * the controller runs. Part of the runner; loop thread.
 */
#include "controller/job/job.h"

struct runner;
struct outlook_line;
struct outlook {
        struct outlook_line *lines; // a pair of sites each
        unsigned n;
};

void outlook_fini(struct outlook *outlook);
// A sink's last attempt went well: content that came over, in the time that its step took.
void outlook_heard(struct job *job, const struct job_step *step, const Drover__TransferState *state);
// Seconds for so much content from one site to another, beginning now. `job_rate` 0: no limit of its own.
uint64_t outlook_seconds(struct runner *runner, const char *source_site, const char *target_site, uint64_t bytes,
                         uint64_t job_rate);
