// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Notices what libvirt writes down and tells no event of: a VM's definition that is changed while it is off (virsh
 * edit, attach-disk --config, change-media --config), snapshots, saved states. Watches the directories of the system's
 * QEMU driver for names that come, go or change; what has changed is then asked of libvirt, never read here. A
 * directory that does not exist (another driver, nothing defined yet) is looked for again at watch_again().
 */
#include <uv.h>

struct watch;
typedef void (*watch_fn)(void *data); // on the loop thread; many calls for one change
struct watch *watch_new(uv_loop_t *loop, watch_fn fn, void *data);
void watch_again(struct watch *watch); // libvirt has been reached: its directories may be there now
void watch_free(struct watch *watch);  // NULL is fine; no call of fn afterwards
