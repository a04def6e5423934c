// SPDX-License-Identifier: LGPL-2.1-or-later
/* The controller's settings, as a table for common/config, and the checks of their ranges. Start only. */
#include "controller/settings.h"
#include "common/cleanup.h"
#include "common/config.h"
#include "common/log.h"
#include "controller/report/message.h"
#include <errno.h>
#include <stddef.h>
#include <string.h>

#define DAY 86400u

static const struct config_option options[] = {
        {"listen", CONFIG_TEXT, offsetof(struct settings, listen), NULL},
        {"log_level", CONFIG_TEXT, offsetof(struct settings, log_level), "info"},
        {"host_certificate", CONFIG_DURATION, offsetof(struct settings, host_certificate), "90d"},
        {"user_certificate", CONFIG_DURATION, offsetof(struct settings, user_certificate), "365d"},
        {"server_certificate", CONFIG_DURATION, offsetof(struct settings, server_certificate), "90d"},
        {"certificate_seconds", CONFIG_INT, offsetof(struct settings, certificate_seconds), "0"},
        {"connections", CONFIG_INT, offsetof(struct settings, connections), "16384"},
        {"relay_connections", CONFIG_INT, offsetof(struct settings, relay_connections), "64"},
        {"joins_per_minute", CONFIG_INT, offsetof(struct settings, joins_per_minute), "20"},
        {"stall_seconds", CONFIG_INT, offsetof(struct settings, stall_seconds), "60"},
        {"mail_server", CONFIG_TEXT, offsetof(struct settings, mail_server), NULL},
        {"mail_from", CONFIG_TEXT, offsetof(struct settings, mail_from), NULL},
        {"mail_to", CONFIG_LIST, offsetof(struct settings, mail_to), NULL},
        {"mail_user", CONFIG_TEXT, offsetof(struct settings, mail_user), NULL},
        {"mail_password_file", CONFIG_TEXT, offsetof(struct settings, mail_password_file), NULL},
        {"mail_ca_file", CONFIG_TEXT, offsetof(struct settings, mail_ca_file), NULL},
        {"mail_starttls", CONFIG_BOOL, offsetof(struct settings, mail_starttls), "true"},
        {"webhooks", CONFIG_LIST, offsetof(struct settings, webhooks), NULL},
        {"webhook_ca_file", CONFIG_TEXT, offsetof(struct settings, webhook_ca_file), NULL},
};

static const struct {
        const char *word;
        enum log_level level;
} levels[] = {
        {"error", LOG_LEVEL_ERROR},
        {"warning", LOG_LEVEL_WARNING},
        {"info", LOG_LEVEL_INFO},
        {"debug", LOG_LEVEL_DEBUG},
};

void settings_fini(struct settings *settings) {
        config_free(options, ARRAY_SIZE(options), settings);
}

int settings_log_level(const struct settings *settings) {
        for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
                if (strcmp(settings->log_level, levels[i].word) == 0)
                        return (int) levels[i].level;
        return -1;
}

static int check_range(const char *key, uint64_t value, uint64_t least, uint64_t most, struct error *err) {
        if (value >= least && value <= most)
                return 0;
        return error_set(err, ERROR_INVALID, "%s is out of range: %llu to %llu", key, (unsigned long long) least,
                         (unsigned long long) most);
}

static int check_days(const char *key, uint64_t seconds, struct error *err) {
        if (seconds >= DAY && seconds <= 3650ull * DAY && seconds % DAY == 0)
                return 0;
        return error_set(err, ERROR_INVALID, "%s is out of range: 1d to 3650d, in whole days", key);
}

struct mail_server settings_mail_server(const struct settings *settings) {
        return (struct mail_server){.url = settings->mail_server,
                                    .user = settings->mail_user,
                                    .password_file = settings->mail_password_file,
                                    .ca_file = settings->mail_ca_file,
                                    .starttls = settings->mail_starttls};
}

// The files are read when they are needed: they may come later, and change.
static int check_path(const char *key, const char *path, struct error *err) {
        if (!path || path[0] == '/')
                return 0;
        return error_set(err, ERROR_INVALID, "%s is not a whole path, from / on", key);
}

static int check_mail(const struct settings *settings, struct error *err) {
        const struct mail_server server = settings_mail_server(settings);
        if (check_path("mail_password_file", server.password_file, err) < 0 ||
            check_path("mail_ca_file", server.ca_file, err) < 0)
                return -1;
        if (!server.url) {
                if (settings->mail_from || settings->mail_to.n || server.user || server.password_file || server.ca_file)
                        return error_set(err, ERROR_INVALID,
                                         "mail_server is missing, which the other keys of mail need");
                return 0;
        }
        if (mail_server_check(&server, err) < 0)
                return -1;
        if (!settings->mail_from || settings->mail_to.n == 0)
                return error_set(err, ERROR_INVALID, "mail_server wants mail_from and mail_to, too");
        if (settings->mail_to.n > MESSAGE_RECIPIENTS_MAX)
                return error_set(err, ERROR_INVALID, "mail_to has more than %u recipients", MESSAGE_RECIPIENTS_MAX);
        if (message_address(settings->mail_from, NULL, NULL, err) < 0)
                return error_prefix(err, "mail_from");
        for (unsigned i = 0; i < settings->mail_to.n; i++)
                if (message_address(settings->mail_to.items[i], NULL, NULL, err) < 0)
                        return error_prefix(err, "mail_to");
        return 0;
}

static int check_webhooks(const struct settings *settings, struct error *err) {
        if (settings->webhooks.n > WEBHOOKS_MAX)
                return error_set(err, ERROR_INVALID, "webhooks has more than %u items", WEBHOOKS_MAX);
        for (unsigned i = 0; i < settings->webhooks.n; i++) {
                struct webhook_target target;
                if (webhook_target_parse(settings->webhooks.items[i], &target, err) < 0)
                        return error_prefix(err, "webhooks");
                webhook_target_fini(&target);
        }
        return check_path("webhook_ca_file", settings->webhook_ca_file, err);
}

static int check(const struct settings *settings, struct error *err) {
        if (settings_log_level(settings) < 0)
                return error_set(err, ERROR_INVALID, "log_level is none of error, warning, info, debug");
        if (check_days("host_certificate", settings->host_certificate, err) < 0 ||
            check_days("user_certificate", settings->user_certificate, err) < 0 ||
            check_days("server_certificate", settings->server_certificate, err) < 0 ||
            check_range("certificate_seconds", settings->certificate_seconds, 0, 366 * DAY, err) < 0 ||
            check_range("connections", settings->connections, 8, 1u << 20, err) < 0 ||
            check_range("stall_seconds", settings->stall_seconds, 1, 3600, err) < 0 ||
            check_range("relay_connections", settings->relay_connections, 1, 1024, err) < 0 ||
            check_mail(settings, err) < 0 || check_webhooks(settings, err) < 0)
                return -1;
        return check_range("joins_per_minute", settings->joins_per_minute, 1, 100000, err);
}

int settings_load(const char *path, struct settings *ret, struct error *err) {
        const char *file = path ? path : SETTINGS_FILE;
        if (path && access(path, R_OK) < 0)
                return error_errno(err, errno, "%s", path);
        struct settings settings = {0};
        if (config_load(file, options, ARRAY_SIZE(options), &settings, err) < 0)
                return -1;
        if (check(&settings, err) < 0) {
                settings_fini(&settings);
                return error_prefix(err, "%s", file);
        }
        *ret = settings;
        return 0;
}
