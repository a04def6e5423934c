// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* /etc/drover/agent.yaml: every key has a default, so the file need not exist. Read once, at start. */
#include "common/error.h"
#include <stdint.h>

#define SETTINGS_FILE "/etc/drover/agent.yaml"

struct settings {
        char *libvirt_uri;       // qemu:///system
        uint64_t data_port;      // 7444; 0: no data connections come in, images go by the other paths
        char *data_listen;       // address to listen on; NULL: "::", or "0.0.0.0" where there is no IPv6
        char *data_address;      // what other hosts dial; NULL: the address that the controller sees
        char *log_level;         // error, warning, info, debug
        uint64_t retry_first_ms; // to the controller: the first wait, which doubles
        uint64_t retry_most;     // seconds: the longest
};
// path NULL: SETTINGS_FILE if it exists; a file that was named must exist. ERROR_INVALID with file and line.
int settings_load(const char *path, struct settings *ret, struct error *err);
void settings_fini(struct settings *settings);
int settings_log_level(const struct settings *settings); // enum log_level
