// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What the controller tells systemd: that its loop runs, that it still runs (the watchdog, from a timer of the loop
 * itself, so that a loop that hangs is noticed), and its end. Does nothing when systemd did not start it. Loop thread.
 */
#include <uv.h>

struct notify;
struct notify *notify_new(uv_loop_t *loop);
void notify_free(struct notify *notify);
void notify_ready(const char *status);
void notify_stopping(void);
