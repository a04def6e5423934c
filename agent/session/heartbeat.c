// SPDX-License-Identifier: LGPL-2.1-or-later
/* Two timers on one link; loop thread only. */
#include "agent/session/heartbeat.h"
#include "common/memory.h"
#include "common/timer.h"

#include <stdio.h>
#include <stdlib.h>

struct heartbeat {
        struct timer *pinger, *watch;
        struct link *link;
        uint32_t dead_ms;
        void (*ping)(void *data);
        void *data;
};

static void on_ping(void *data) {
        struct heartbeat *heartbeat = data;
        heartbeat->ping(heartbeat->data);
}

// The watch sleeps until the moment at which the link would be dead if nothing came, and looks again then.
static void on_watch(void *data) {
        struct heartbeat *heartbeat = data;
        uint64_t silent = clock_ms(&system_clock) - link_last_received_ms(heartbeat->link);
        if (silent < heartbeat->dead_ms) {
                timer_once(heartbeat->watch, heartbeat->dead_ms - silent);
                return;
        }
        char why[96];
        snprintf(why, sizeof why, "%u s without a word from the controller", heartbeat->dead_ms / 1000);
        struct link *link = heartbeat->link;
        heartbeat_stop(heartbeat);
        link_abort(link, ERROR_TIMEOUT, why);
}

struct heartbeat *heartbeat_new(uv_loop_t *loop, void (*ping)(void *data), void *data) {
        struct heartbeat *heartbeat = new (struct heartbeat);
        heartbeat->pinger = timer_new(loop, on_ping, heartbeat);
        heartbeat->watch = timer_new(loop, on_watch, heartbeat);
        heartbeat->ping = ping;
        heartbeat->data = data;
        return heartbeat;
}

void heartbeat_free(struct heartbeat *heartbeat) {
        if (!heartbeat)
                return;
        timer_free(heartbeat->pinger);
        timer_free(heartbeat->watch);
        free(heartbeat);
}

void heartbeat_start(struct heartbeat *heartbeat, struct link *link, uint32_t ping_ms, uint32_t dead_ms) {
        heartbeat_stop(heartbeat);
        heartbeat->link = link;
        heartbeat->dead_ms = dead_ms;
        if (ping_ms)
                timer_every(heartbeat->pinger, ping_ms);
        timer_once(heartbeat->watch, dead_ms);
}

void heartbeat_stop(struct heartbeat *heartbeat) {
        timer_stop(heartbeat->pinger);
        timer_stop(heartbeat->watch);
        heartbeat->link = NULL;
}
