// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* The names in the tz database, for "did you mean". Internal to zone.c. */
#include "common/error.h"

#define ZONE_DIRECTORY "/usr/share/zoneinfo"
// Adds the nearest names as a hint: what ends in this name ("paris": Europe/Paris), else what is written like it.
void zone_names_hint(const char *name, struct error *err);
