// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* How much of what was written to a TCP socket has arrived at the other host, what it waited for, and whether anything
 * comes back. Apart because the C library's headers know an older struct tcp_info than the kernel's, and no file can
 * have both. */
#include <stdbool.h>
#include <stdint.h>

struct delivered {
        uint64_t bytes;   // acknowledged
        uint64_t busy_us; // for which something was on its way
        uint64_t held_us; // of these, for which only the other end's window kept more back
        uint64_t trip_us; // the shortest round trip
        uint32_t opening; // segments that may be on the way, while TCP still doubles that each round trip; 0: not any
                          // more
        bool queued;      // round trips take much longer than they could: a queue on the way is long
};
void delivered_look(int fd, struct delivered *ret); // zeros for what is no TCP socket
// A number that becomes another one when the other end says something, without reading it. When what is unread leaves
// it no room to say more: when its host, or whoever stands between, answers at all.
uint64_t delivered_heard(int fd);
