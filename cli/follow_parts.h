// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* A batch that is followed: a line for each part that has ended, and live ones for those under way. */
#include "proto/codec.h"

// What has ended since `before` (NULL: nothing was known).
void follow_parts_say(const Drover__JobRecord *before, const Drover__JobRecord *job);
unsigned follow_parts_draw(const Drover__JobRecord *job); // the number of lines
