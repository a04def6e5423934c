// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What an agent keeps in its state directory: host.key, host.crt, ca.crt, controller.yaml, and agent.db (the
 * journal's). controller.yaml is written last and removed first: a host has joined when it is there, so half a join is
 * none. A renewal replaces key and certificate by two renames; state_load() finishes one that was cut in between. Used
 * by one thread at a time; state_lock() keeps other processes out.
 */
#include "common/config.h"
#include "common/pki.h"
#include "common/tls.h"

#define STATE_DIRECTORY "/var/lib/drover/agent"
#define STATE_NAME      "host" // of key and certificate, for tls_credentials_load()

struct state {
        struct config_list addresses; // of the controller, host:port
        char *site, *host, *uuid;
};

// One process at a time works with a state directory: made if absent (0700), locked until the descriptor is closed.
int state_lock(const char *directory, int *ret_fd, struct error *err); // ERROR_CONFLICT when another one has it
bool state_joined(const char *directory);
// ERROR_USAGE with what to type when this host has not joined. *ret must be zeroed or finished.
int state_load(const char *directory, struct state *ret, struct error *err);
void state_fini(struct state *state);
// Removes what an earlier identity left, the journal included: a host that joins again inherits nothing (fault 47).
int state_discard(const char *directory, struct error *err);
// The directory must be discarded or new.
int state_store_join(const char *directory, const struct state *state, EVP_PKEY *key, X509 *certificate,
                     X509 *authority, struct error *err);
// Fault point between the two renames: agent.renew.half
int state_store_renewal(const char *directory, EVP_PKEY *key, X509 *certificate, struct error *err);
char *state_path(const char *directory, const char *file); // the caller's
