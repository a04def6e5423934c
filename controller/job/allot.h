// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Dealing out the sites' lines among the transfers that use them: max-min fair, so that nobody can have more without
 * somebody who has less having less still. A job's own rate is one more line, which only its transfers use. Pure.
 *
 * A line limits the sum of what leaves its site, and likewise of what enters it. A transfer within one site uses no
 * line, unless it goes through the controller.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct allot_line {
        const char *site;
        uint64_t bytes_per_second; // in each direction; 0: no limit
};
struct allot_transfer {
        const char *source_site, *target_site, *job;
        bool relayed;
        uint64_t job_rate; // bytes a second for all transfers of this job; 0: no limit
        uint64_t rate;     // result; 0: no limit
};

// A site without a line has no limit. Whatever is limited gets at least a byte a second: 0 would mean no limit.
void allot_rates(struct allot_transfer *transfers, size_t n, const struct allot_line *lines, size_t n_lines);
