// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* How much of what was written to a TCP socket has arrived at the other host. Apart because the C library's headers
 * know an older struct tcp_info than the kernel's, and no file can have both. */
#include <stdint.h>

uint64_t delivered_bytes(int fd); // acknowledged; 0 for what is no TCP socket
