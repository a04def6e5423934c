// SPDX-License-Identifier: LGPL-2.1-or-later
/* sd_notify(3) and sd_watchdog_enabled(3); loop thread only. */
#include "controller/notify.h"
#include "common/memory.h"
#include "common/timer.h"
#include <stdlib.h>
#include <systemd/sd-daemon.h>

struct notify {
        struct timer *watchdog;
};

static void on_watchdog(void *data) {
        (void) data;
        sd_notify(0, "WATCHDOG=1");
}

struct notify *notify_new(uv_loop_t *loop) {
        struct notify *notify = new (struct notify);
        uint64_t usec = 0;
        notify->watchdog = timer_new(loop, on_watchdog, notify);
        if (sd_watchdog_enabled(0, &usec) > 0 && usec >= 2000)
                timer_every(notify->watchdog, usec / 2000);
        return notify;
}

void notify_free(struct notify *notify) {
        if (!notify)
                return;
        timer_free(notify->watchdog);
        free(notify);
}

void notify_ready(const char *status) {
        sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

void notify_stopping(void) {
        sd_notify(0, "STOPPING=1\nSTATUS=stopping");
}
