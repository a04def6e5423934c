// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A libuv timer on the heap, so that its owner can be freed at any moment: the handle's memory goes in its close
 * callback. Belongs to the loop's thread. `fn` may start, stop or free its own timer.
 */
#include <stdint.h>
#include <uv.h>

struct timer;
typedef void (*timer_fn)(void *data);
struct timer *timer_new(uv_loop_t *loop, timer_fn fn, void *data);
void timer_once(struct timer *timer, uint64_t after_ms);  // replaces what was set before
void timer_every(struct timer *timer, uint64_t every_ms); // the first time after every_ms, too
void timer_stop(struct timer *timer);
void timer_free(struct timer *timer); // NULL is fine; no call of fn afterwards
