// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Bytes between two sockets, both ways, on a thread of its own: what the two agents say to each other is sealed, and
 * is neither read nor copied into this process (splice through a pipe). Ends when both sides have ended, one has
 * broken off, or nothing has moved for idle_ms.
 */
#include "common/error.h"
#include <stdint.h>

struct relay_pump;
// Takes both descriptors (non-blocking sockets) and copies what each side has already sent for the other. `ended` is
// called on the pump's thread, as the last thing it does.
int relay_pump_start(int one, int other, const uint8_t *from_one, size_t from_one_length, const uint8_t *from_other,
                     size_t from_other_length, uint32_t idle_ms, void (*ended)(void *data), void *data,
                     struct relay_pump **ret, struct error *err);
void relay_pump_break(struct relay_pump *pump); // any thread; it ends soon
// After `ended`: joins the thread, closes the descriptors, and gives how many bytes went either way.
uint64_t relay_pump_finish(struct relay_pump *pump);
