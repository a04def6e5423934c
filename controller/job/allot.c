// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Max-min fairness by filling up: all transfers rise together until some limit is full; those that use it stay where
 * they are, and the others rise on. Each round fills one limit, so there are no more rounds than limits.
 */
#include "controller/job/allot.h"
#include "common/memory.h"

#include <stdlib.h>
#include <string.h>

enum limit_kind { LEAVES, ENTERS, OWN };
#define USES_MAX 3

struct limit {
        enum limit_kind kind;
        const char *name; // of the site, or the job
        uint64_t left;    // not given away yet
        size_t users;     // that still rise
        bool full;
};
struct flow {
        size_t uses[USES_MAX];
        unsigned n_uses;
        bool fixed;
};
struct allotment {
        struct limit *limits;
        size_t n_limits;
        struct flow *flows;
};

static void use(struct allotment *all, struct flow *flow, enum limit_kind kind, const char *name, uint64_t rate) {
        size_t i = 0;
        if (rate == 0)
                return;
        while (i < all->n_limits && (all->limits[i].kind != kind || strcmp(all->limits[i].name, name) != 0))
                i++;
        if (i == all->n_limits)
                all->limits[all->n_limits++] = (struct limit){.kind = kind, .name = name, .left = rate};
        all->limits[i].users++;
        flow->uses[flow->n_uses++] = i;
}

static uint64_t rate_of(const struct allot_line *lines, size_t n, const char *site) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(lines[i].site, site) == 0)
                        return lines[i].bytes_per_second;
        return 0;
}

static void set_up(struct allotment *all, const struct allot_transfer *transfers, size_t n,
                   const struct allot_line *lines, size_t n_lines) {
        all->limits = new_array(struct limit, n * USES_MAX + 1);
        all->flows = new_array(struct flow, n + 1);
        for (size_t i = 0; i < n; i++) {
                const struct allot_transfer *transfer = &transfers[i];
                struct flow *flow = &all->flows[i];
                if (transfer->relayed || strcmp(transfer->source_site, transfer->target_site) != 0) {
                        use(all, flow, LEAVES, transfer->source_site, rate_of(lines, n_lines, transfer->source_site));
                        use(all, flow, ENTERS, transfer->target_site, rate_of(lines, n_lines, transfer->target_site));
                }
                use(all, flow, OWN, transfer->job, transfer->job_rate);
                flow->fixed = flow->n_uses == 0;
        }
}

// The limit that is full first when all that use it rise alike.
static struct limit *tightest(struct allotment *all) {
        struct limit *found = NULL;
        for (size_t i = 0; i < all->n_limits; i++) {
                struct limit *limit = &all->limits[i];
                if (!limit->full && limit->users > 0 &&
                    (!found || limit->left / limit->users < found->left / found->users))
                        found = limit;
        }
        return found;
}

static bool uses(const struct allotment *all, const struct flow *flow, const struct limit *limit) {
        for (unsigned k = 0; k < flow->n_uses; k++)
                if (&all->limits[flow->uses[k]] == limit)
                        return true;
        return false;
}

static void fix(struct allotment *all, struct flow *flow, uint64_t share) {
        flow->fixed = true;
        for (unsigned k = 0; k < flow->n_uses; k++) {
                struct limit *limit = &all->limits[flow->uses[k]];
                limit->left -= share < limit->left ? share : limit->left;
                limit->users--;
        }
}

void allot_rates(struct allot_transfer *transfers, size_t n, const struct allot_line *lines, size_t n_lines) {
        struct allotment all = {0};
        struct limit *limit;
        set_up(&all, transfers, n, lines, n_lines);
        for (size_t i = 0; i < n; i++)
                transfers[i].rate = 0;
        while ((limit = tightest(&all))) {
                uint64_t share = limit->left / limit->users;
                for (size_t i = 0; i < n; i++) {
                        if (all.flows[i].fixed || !uses(&all, &all.flows[i], limit))
                                continue;
                        fix(&all, &all.flows[i], share);
                        transfers[i].rate = share > 0 ? share : 1;
                }
                limit->full = true;
        }
        free(all.limits);
        free(all.flows);
}
