// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Keeps the controller's picture of this host true: a whole picture when a link opens (in parts that fit a frame), then
 * numbered deltas. Lives on the loop; reads on workers, one at a time; changes that arrive meanwhile are merged (a
 * burst of events for one domain is one read); with a domain are read those whose images it shares or no longer shares,
 * of which no event tells. Every 60 s it reads what no event tells (sizes, bridges) and sends what
 * differs from what it last sent (it keeps a hash of each object, not the object).
 */
#include "agent/host/connection.h"
#include "agent/host/events.h"
#include "agent/journal/journal.h"
#include "proto/codec.h"
#include <uv.h>

struct inventory;
typedef int (*inventory_send_fn)(const Drover__InventoryPart *part,
                                 void *data);                    // -1: the link is gone; stop until restarted
typedef void (*inventory_told_fn)(uint64_t reading, void *data); // what it and all before it found has been sent
int inventory_new(uv_loop_t *loop, struct connection *connection, struct journal *journal, inventory_send_fn send,
                  inventory_told_fn told, void *data, struct inventory **ret, struct error *err);
void inventory_free(struct inventory *inventory);  // waits for no worker: cancels and frees when it returns
void inventory_begin(struct inventory *inventory); // the link is open (or a resync was asked): send the whole picture
void inventory_end(struct inventory *inventory);   // the link is gone
void inventory_event(struct inventory *inventory, enum event_kind kind, const char *uuid); // from agent/host/events
void inventory_touch(struct inventory *inventory,
                     const char *vm_uuid); // a step changed this VM (or, "", the retired list)
// Somebody waits for what is dirty by now: it is read at once, or as soon as the reading under way has ended. Returns
// the number of that reading, of which `told` will speak unless the link goes before; 0 without a link.
uint64_t inventory_hurry(struct inventory *inventory);
