// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Whether the other side of a link is still there: a ping every so often, and the end of the link when no frame has
 * come for too long (ERROR_TIMEOUT). Belongs to the loop's thread.
 */
#include "common/clock.h"
#include "common/link.h"

struct heartbeat;
struct heartbeat *heartbeat_new(uv_loop_t *loop, void (*ping)(void *data), void *data);
void heartbeat_free(struct heartbeat *heartbeat);
void heartbeat_start(struct heartbeat *heartbeat, struct link *link, uint32_t ping_ms,
                     uint32_t dead_ms);           // ping_ms 0: none
void heartbeat_stop(struct heartbeat *heartbeat); // before the link is gone
