// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Starting and stopping domains. Blocking, for workers; each waits until the state it asks for is reached. All are
 * idempotent: what is already so is success. `cancelled` is polled at least four times a second while waiting.
 */
#include "agent/host/connection.h"
#include "proto/generated/control.pb-c.h"

typedef bool (*power_cancelled_fn)(void *data);
int power_start(virDomainPtr domain, struct error *err);
// By guest agent if it is connected, else ACPI, the request repeated every 10 s; ERROR_TIMEOUT after timeout_seconds
// (0: 120) with hints (longer --timeout, or --stop).
int power_shutdown(virDomainPtr domain, unsigned timeout_seconds, power_cancelled_fn cancelled, void *data,
                   struct error *err);
int power_stop(virDomainPtr domain, struct error *err); // destroy
int power_act(virDomainPtr domain, Drover__PowerAction action, unsigned timeout_seconds, power_cancelled_fn cancelled,
              void *data, struct error *err);
bool power_is_active(virDomainPtr domain);
