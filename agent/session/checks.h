// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What is looked at on a host when it joins: whether it can do what drover will ask of it. Nothing here is fatal; each
 * check that does not hold gives one warning that says how to mend it. Blocking; events_init() has been called.
 */
#include <stdint.h>

#define CHECKS_WARNINGS_MAX 32
struct checks_config {
        const char *libvirt_uri;
        const char *state_directory;
        uint16_t data_port;      // 0: none is wanted
        int64_t clock_offset_ms; // ours minus the controller's
};
struct checks {
        unsigned n_ok, n_warnings;
        char *warnings[CHECKS_WARNINGS_MAX]; // "what is wrong: what to type"; those beyond are only counted
        int n_vms;                           // -1: not known
};
void checks_run(const struct checks_config *config, struct checks *ret);
void checks_fini(struct checks *checks);
