// SPDX-License-Identifier: LGPL-2.1-or-later
/* The controller's settings, as a table for common/config, and the checks of their ranges. Start only. */
#include "controller/settings.h"
#include "common/cleanup.h"
#include "common/config.h"
#include "common/log.h"
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

static int check(const struct settings *settings, struct error *err) {
        if (settings_log_level(settings) < 0)
                return error_set(err, ERROR_INVALID, "log_level is none of error, warning, info, debug");
        if (check_days("host_certificate", settings->host_certificate, err) < 0 ||
            check_days("user_certificate", settings->user_certificate, err) < 0 ||
            check_days("server_certificate", settings->server_certificate, err) < 0 ||
            check_range("certificate_seconds", settings->certificate_seconds, 0, 366 * DAY, err) < 0 ||
            check_range("connections", settings->connections, 8, 1u << 20, err) < 0 ||
            check_range("stall_seconds", settings->stall_seconds, 1, 3600, err) < 0 ||
            check_range("relay_connections", settings->relay_connections, 1, 1024, err) < 0)
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
