// SPDX-License-Identifier: LGPL-2.1-or-later
/* Timers whose owners may go before the loop has closed them; loop thread only. */
#include "common/timer.h"
#include "common/memory.h"

#include <stdlib.h>

struct timer {
        uv_timer_t handle;
        timer_fn fn;
        void *data;
};

static void on_timer(uv_timer_t *handle) {
        struct timer *timer = handle->data;
        timer->fn(timer->data);
}

static void on_closed(uv_handle_t *handle) {
        free(handle->data);
}

struct timer *timer_new(uv_loop_t *loop, timer_fn fn, void *data) {
        struct timer *timer = new (struct timer);
        timer->fn = fn;
        timer->data = data;
        uv_timer_init(loop, &timer->handle); // cannot fail, says libuv's manual
        timer->handle.data = timer;
        return timer;
}

void timer_once(struct timer *timer, uint64_t after_ms) {
        uv_update_time(uv_handle_get_loop((uv_handle_t *) &timer->handle));
        uv_timer_start(&timer->handle, on_timer, after_ms, 0);
}

void timer_every(struct timer *timer, uint64_t every_ms) {
        uv_update_time(uv_handle_get_loop((uv_handle_t *) &timer->handle));
        uv_timer_start(&timer->handle, on_timer, every_ms, every_ms);
}

void timer_stop(struct timer *timer) {
        uv_timer_stop(&timer->handle);
}

void timer_free(struct timer *timer) {
        if (!timer)
                return;
        uv_timer_stop(&timer->handle);
        uv_close((uv_handle_t *) &timer->handle, on_closed);
}
