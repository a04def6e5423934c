// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * libvirt's events reach the loop through this one bridge. libvirt's own event loop runs on a thread of its own; what
 * it hears is put in a bounded queue and the loop is woken. On overflow one EVENT_LOST is given instead: read all
 * again.
 */
#include "agent/host/connection.h"
#include <uv.h>

enum event_kind {
        EVENT_DOMAIN_CHANGED = 1, // any lifecycle, device or metadata change of this domain
        EVENT_DOMAIN_REMOVED,     // undefined and gone
        EVENT_POOL_CHANGED,
        EVENT_NETWORK_CHANGED,
        EVENT_CONNECTED, // libvirt has (again) been reached: read all
        EVENT_DISCONNECTED,
        EVENT_LOST, // events were dropped, or something changed that no event tells: read all
};
struct events;
typedef void (*events_fn)(enum event_kind kind, const char *uuid, void *data); // on the loop thread; uuid "" where none
// Starts the thread; it keeps trying to connect (1 s to 15 s apart, costs nothing meanwhile) for as long as it lives.
int events_start(uv_loop_t *loop, struct connection *connection, events_fn fn, void *data, struct events **ret,
                 struct error *err);
void events_stop(struct events *events); // joins the thread; no call to fn afterwards
// Must be called once before any libvirt call of the process.
int events_init(struct error *err);
