// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Obstacles of a Domain: why a move would be refused. Each is told once; at most OBSTACLES_MAX. Pure. */
#include "proto/generated/inventory.pb-c.h"

#define OBSTACLES_MAX 64u
void obstacle_add(Drover__Domain *domain, const char *code, const char *hint, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
