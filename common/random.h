// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Random bytes from the kernel, for secrets and for jitter; never fails (ends the process if the kernel has none). */
#include <stddef.h>
#include <stdint.h>
void random_bytes(void *bytes, size_t length);
uint32_t random_u32(void);
uint64_t random_u64(void);
