// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * `--format`: which images travel as they are, and which are made anew from what the guest sees of them. Pure, like the
 * plan; internal to the files of the plan and the recipes.
 */
#include "controller/job/plan_checks.h"

// The format that images are to have at the target; NULL: that which they have.
const char *plan_format_wanted(const struct plan_context *context);
// Sets format and source_format, and what the image may take there.
void plan_format_disk(const struct plan_context *context, const Drover__Disk *disk, Drover__MoveDisk *move);
// Whether guest-visible blocks travel, and not the file as it is.
bool plan_format_converts(const Drover__MoveDisk *disk);
bool plan_format_any(const Drover__MovePlan *plan);
char *plan_format_stem(const char *volume); // its name without the ending of a format; caller frees
// The name of a volume with the ending that its format has; caller frees.
char *plan_format_volume(const Drover__MoveDisk *move, const char *volume);
// Whether what stands in the way is gone once the images are made anew; and what to type to have that done.
bool plan_format_mends(const Drover__Obstacle *obstacle);
char *plan_format_hint(const Drover__Obstacle *obstacle); // caller frees
// What is to be said of an image that keeps `bitmaps` dirty bitmaps, when that of the plan will have none of them;
// NULL: nothing. Caller frees.
char *plan_format_lost_bitmaps(const Drover__MovePlan *plan, const Drover__MoveDisk *disk, uint32_t bitmaps);
void plan_format_check(struct plan_context *context, const Drover__MoveDisk *disk);
