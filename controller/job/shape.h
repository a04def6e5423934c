// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Keeping transfers within their sites' lines: what each may send now, by the sites' rates at this hour (timetable) and
 * fairly (allot), told to its source's agent, with its order and again whenever it changes. Part of the runner; loop
 * thread.
 */
#include "controller/job/job.h"

struct runner;
struct shape_line;
struct shape {
        struct shape_line *lines; // sites, as they were last looked at
        unsigned n;
};

void shape_fini(struct shape *shape);
// What the site's line may carry at that moment, 0: no limit, and until when.
uint64_t shape_site_rate(struct runner *runner, const char *site, int64_t at, int64_t *ret_until);
// The rate for a transfer that is about to be asked of its source. 0: no limit.
uint64_t shape_first(struct job *job, struct job_step *step);
int shape_set_rate(struct job *job, uint64_t rate, struct error *err); // its own, on disk
void shape_tick(struct runner *runner); // tells every source whose rate is another one now
// What a source says it keeps to: told again when it is not what it was told.
void shape_heard(struct job *job, struct job_step *step, const Drover__TransferState *state);
