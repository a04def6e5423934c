// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A time zone of the tz database, read from its file (RFC 9636) and not through the process's TZ, so that several zones
 * can be asked at once and from any thread. Immutable once opened.
 */
#include "common/error.h"
#include <stdint.h>

#define ZONE_NAME_MAX 63

struct zone;
// "" and "UTC" need no file. ERROR_INVALID for what is no name, ERROR_NOT_FOUND "no such time zone" with the nearest
// names as hints; other codes when the database cannot be read.
int zone_open(const char *name, struct zone **ret, struct error *err);
void zone_free(struct zone *zone);
int32_t zone_offset(const struct zone *zone, int64_t at); // seconds east of UTC at that moment
// The first moment after `at` at which the offset becomes another one; INT64_MAX: never again.
int64_t zone_next_change(const struct zone *zone, int64_t at);
