// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The record of who asked for what: every verb that changes something, and every one that was denied. Loop thread.
 */
#include "controller/session/session.h"

struct audit_entry {
        const char *user, *role, *address, *verb, *object, *job; // NULL: empty
        const struct error *why;                                 // NULL or code ERROR_NONE: it was done
        bool starts; // the job begins with it: "started", until the job's end says more
};
// A record that cannot be written is an error in the log.
void audit_add(struct session *session, const struct audit_entry *entry);
