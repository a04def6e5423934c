// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Results that go behind what they changed: whoever hears that a step has been done finds it in the inventory. Each is
 * held until the reading that shows the change has been sent, and goes out on the same link after it. A result that has
 * waited for ANSWERS_HOLD_MS (libvirt hangs) goes without it, and so does the oldest when ANSWERS_MAX are held.
 * Belongs to the session; the loop's thread.
 */
#include "proto/codec.h"
#include <uv.h>

#define ANSWERS_HOLD_MS 2000u
#define ANSWERS_MAX     96u // what the runner takes at once

struct answers;
typedef void (*answers_send_fn)(const Drover__AgentResult *result, void *data);
struct answers *answers_new(uv_loop_t *loop, answers_send_fn send, void *data);
void answers_free(struct answers *answers);
// Takes a copy; `reading` as inventory_hurry() gave it, not lower than that of the call before.
void answers_hold(struct answers *answers, const Drover__AgentResult *result, uint64_t reading);
void answers_release(struct answers *answers, uint64_t reading); // it and all before it have been sent
void answers_drop(struct answers *answers);                      // the link is gone: nobody waits any more
