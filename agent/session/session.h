// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The agent's link to its controller: dial, hello, heartbeats, verbs, renewal, and dialling again with jitter.
 *
 *      idle -> dialling -> greeting -> online -> waiting -> dialling ...      any -> stopped
 *
 * While offline it costs one timer. Verbs are looked up in the closed table of verbs.c and run by steps.c, which goes
 * on while the link is away. Belongs to the loop's thread.
 */
#include "agent/host/connection.h"
#include "agent/inventory/inventory.h"
#include "agent/journal/journal.h"
#include "agent/transfer/transfer.h"
#include "common/clock.h"
#include <uv.h>

struct session;
struct session_config {
        const char *const *addresses; // controller's host:port, tried in turn; copied
        unsigned n_addresses;
        const char *state_directory; // keys and certificates: host.key host.crt ca.crt; copied
        const char *data_address;    // or NULL; copied
        uint32_t retry_first_ms, retry_most_ms;
        const struct clock *clock;
        void (*on_status)(const char *text, void *data); // one line for people at each change; may be NULL
        void *on_status_data;
};
// Takes its own reference of the credentials and hands them to `transfers`, now and after each renewal. The rest must
// outlive the session.
int session_new(uv_loop_t *loop, const struct session_config *config, struct tls_credentials *credentials,
                struct connection *connection, struct journal *journal, struct transfers *transfers,
                struct session **ret, struct error *err);
void session_start(struct session *session);
// Closes the link, cancels what runs, and tells when the last step has ended. Intents stay in the journal, and no
// result is sent: the controller asks again when the agent is back.
void session_stop(struct session *session, void (*on_stopped)(void *data), void *data);
void session_free(struct session *session); // never started, or stopped
void session_libvirt_event(struct session *session, enum event_kind kind, const char *uuid);
bool session_online(const struct session *session);
