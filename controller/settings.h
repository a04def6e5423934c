// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* /etc/drover/controller.yaml: every key has a default, so the file need not exist. Read once, at start. */
#include "common/config.h"
#include "common/error.h"
#include "controller/report/mail.h"
#include "controller/report/webhook.h"
#include <stdint.h>

#define SETTINGS_FILE "/etc/drover/controller.yaml"

struct settings {
        char *listen;              // ADDRESS:PORT; NULL: what `init` was told
        char *log_level;           // error, warning, info, debug
        uint64_t host_certificate; // seconds that certificates hold
        uint64_t user_certificate;
        uint64_t server_certificate;
        uint64_t certificate_seconds; // tests: for all three; 0: each its own
        uint64_t connections;         // open at once
        uint64_t relay_connections;   // pairs relayed at once
        uint64_t joins_per_minute;    // from one address
        uint64_t stall_seconds;       // without progress, until a transfer says so; twice that, another path is tried
        char *mail_server;            // NULL: no mail is sent; otherwise there are a sender and recipients
        char *mail_from;
        struct config_list mail_to;
        char *mail_user, *mail_password_file; // both or none
        char *mail_ca_file;                   // NULL: the system's authorities
        bool mail_starttls;
        struct config_list webhooks; // webhook_target_parse() takes each
        char *webhook_ca_file;       // NULL: the system's authorities
};
// path NULL: SETTINGS_FILE if it exists; a file that was named must exist. ERROR_INVALID with file and line.
int settings_load(const char *path, struct settings *ret, struct error *err);
void settings_fini(struct settings *settings);
int settings_log_level(const struct settings *settings); // enum log_level
// As mail_new() takes it; borrowed from the settings.
struct mail_server settings_mail_server(const struct settings *settings);
