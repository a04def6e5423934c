// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What tells whether a file has been written to since: which one it is, its length, and the times of its last changes.
 * Pure apart from looking; any thread.
 */
#include "common/error.h"
#include <stdint.h>

#define FILE_VERSION_FACTS 7u
// 1; 0: it is a device, which keeps no time of its changes. Of a file that was written to just now it waits, some
// milliseconds at most, until whatever is written next bears a later time.
int file_version(int fd, uint64_t ret[FILE_VERSION_FACTS], struct error *err);
