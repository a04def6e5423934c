// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Disks that are block devices, at either end of a plan: what a volume of a pool of type logical can take, and what it
 * is called. Pure, like the plan; internal to its files.
 */
#include "controller/job/plan_checks.h"

bool plan_device_pool(const struct fleet_host *host, const char *pool); // its volumes are block devices
bool plan_device_source(const struct plan_context *context, const Drover__Disk *disk);
// A volume's name as the pool that it comes to would have it: with the ending of its format, or none for a device,
// which also has few characters to choose from. Caller frees.
char *plan_device_name(const struct plan_context *context, const Drover__Disk *disk, const Drover__MoveDisk *move,
                       const char *volume);
// A name that nothing has, for when the first choice is taken. Caller frees.
char *plan_device_other_name(const struct plan_context *context, const Drover__MoveDisk *move);
void plan_device_check(struct plan_context *context, const Drover__MoveDisk *move);
