// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* One process at a time in a state directory. Held by an open descriptor, so it ends with the process. */
#include "common/error.h"
#include <stdint.h>

// Tries for patience_ms, before the loop runs. ERROR_CONFLICT: another one has it.
int lock_take(const char *directory, uint32_t patience_ms, int *ret_fd, struct error *err);
