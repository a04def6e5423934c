// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Near names: the sum of the edits in the parts that were typed, at most FAR in all and less than half of each part; a
 * VM of the right name on another host counts as FAR. One pass over the fleet, and only when a name was not found.
 */
#include "controller/fleet/near.h"
#include "controller/fleet/fleet_private.h"
#include <string.h>

#define FAR 3u

static void keep(struct near *near, const struct fleet_host *host, const char *name, unsigned score) {
        unsigned place = near->n;
        while (place > 0 && score < near->scores[place - 1])
                place--;
        if (place == NEAR_MAX)
                return;
        for (unsigned i = near->n < NEAR_MAX ? near->n : NEAR_MAX - 1; i > place; i--) {
                near->hosts[i] = near->hosts[i - 1];
                near->names[i] = near->names[i - 1];
                near->scores[i] = near->scores[i - 1];
        }
        near->hosts[place] = host;
        near->names[place] = name;
        near->scores[place] = score;
        if (near->n < NEAR_MAX)
                near->n++;
}

// Edits from `typed` to `name`; more than FAR when they are not alike. Lengths first: they are cheap.
static unsigned edits(const char *typed, size_t typed_length, const char *name) {
        if (!typed)
                return 0;
        size_t length = strlen(name);
        if (length > typed_length + FAR || typed_length > length + FAR)
                return FAR + 1;
        unsigned distance = name_distance(typed, name);
        return distance * 2 < typed_length || distance == 0 ? distance : FAR + 1;
}

static unsigned host_edits(const struct fleet_host *host, const char *site, const char *name) {
        unsigned sum = edits(site, site ? strlen(site) : 0, host->site);
        return sum > FAR ? sum : sum + edits(name, name ? strlen(name) : 0, host->name);
}

void near_vms(const struct fleet *fleet, const char *site, const char *host, const char *vm, struct near *ret) {
        size_t length = strlen(vm);
        *ret = (struct near){0};
        for (size_t i = 0; i < fleet->n_hosts; i++) {
                const struct fleet_host *at = fleet->hosts[i];
                unsigned from = host_edits(at, site, host);
                for (size_t k = 0; k < at->n_vms; k++) {
                        const char *name = at->vms[k]->domain->name;
                        bool elsewhere = from > FAR && strcmp(name, vm) == 0;
                        unsigned score = elsewhere ? FAR : from > FAR ? from : from + edits(vm, length, name);
                        if (score <= FAR && fleet_vm_shown(fleet, at->vms[k]))
                                keep(ret, at, name, score);
                }
        }
}

void near_hosts(const struct fleet *fleet, const char *site, const char *host, struct near *ret) {
        *ret = (struct near){0};
        for (size_t i = 0; i < fleet->n_hosts; i++) {
                unsigned score = host_edits(fleet->hosts[i], site, host);
                if (score > FAR && site && strcmp(fleet->hosts[i]->name, host) == 0)
                        score = FAR;
                if (score <= FAR)
                        keep(ret, fleet->hosts[i], NULL, score);
        }
}
