// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The agent's link to its controller: dial, hello, heartbeats, verbs, renewal, and dialling again with jitter.
 *
 *      idle -> dialling -> greeting -> online -> (lost) -> waiting -> dialling ...
 *
 * While offline it costs one timer. Verbs are looked up in the closed table of verbs.c and run by steps.c.
 */
#include "agent/host/connection.h"
#include "agent/inventory/inventory.h"
#include "agent/journal/journal.h"
#include "agent/transfer/transfer.h"
#include "common/clock.h"
#include <uv.h>

struct session;
struct session_config {
        const char *const *addresses; // controller's host:port, tried in turn
        unsigned n_addresses;
        const char *state_directory; // keys and certificates: host.key host.crt ca.crt
        const char *data_address;    // or NULL
        uint32_t retry_first_ms, retry_most_ms;
        const struct clock *clock;
};
int session_new(uv_loop_t *loop, const struct session_config *config, struct tls_credentials *credentials,
                struct connection *connection, struct journal *journal, struct transfers *transfers,
                struct session **ret, struct error *err);
void session_start(struct session *session);
void session_stop(struct session *session, void (*on_stopped)(void *data), void *data);
void session_free(struct session *session);
void session_libvirt_event(struct session *session, enum event_kind kind, const char *uuid);
bool session_online(const struct session *session);
