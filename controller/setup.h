// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* `drover-controller init`: authority, database and the first operator, or nothing at all. The main thread. */
#include "common/error.h"

#define SETUP_ADDRESSES_MAX 8u

struct setup {
        const char *state_directory;
        const char *name;                           // NULL: the machine's host name
        const char *listen;                         // NULL: LISTEN_DEFAULT
        const char *addresses[SETUP_ADDRESSES_MAX]; // HOST:PORT, at which hosts and operators reach it
        unsigned n_addresses;                       // 0: the machine's host name and the port of `listen`
        const char *operator_directory;             // where the command line looks for its credentials
        const char *user;
};
// ERROR_CONFLICT when there is an authority already, or somebody's credentials in the way; nothing is changed then.
int setup_run(const struct setup *setup, char ret_fingerprint[65], struct error *err);
const char *setup_operator_directory(void); // $DROVER_CONFIG, or below $XDG_CONFIG_HOME or $HOME
const char *setup_user(void);               // $SUDO_USER, or "admin"
