// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* "Did you mean": the few names of the fleet that are nearest to one that is not there. Loop thread. */
#include "controller/fleet/fleet.h"

#define NEAR_MAX 3u
struct near {
        const struct fleet_host *hosts[NEAR_MAX];
        const char *names[NEAR_MAX]; // VMs' names, borrowed; hosts: NULL
        unsigned scores[NEAR_MAX];
        unsigned n; // nearest first; equally near ones in the order of names
};
// Parts that were not typed are NULL.
void near_vms(const struct fleet *fleet, const char *site, const char *host, const char *vm, struct near *ret);
void near_hosts(const struct fleet *fleet, const char *site, const char *host, struct near *ret);
