// SPDX-License-Identifier: LGPL-2.1-or-later
/* The agent's settings, as a table for common/config, and the checks of their ranges. Start only. */
#include "agent/settings.h"
#include "common/cleanup.h"
#include "common/config.h"
#include "common/log.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static const struct config_option options[] = {
        {"libvirt_uri", CONFIG_TEXT, offsetof(struct settings, libvirt_uri), "qemu:///system"},
        {"data_port", CONFIG_INT, offsetof(struct settings, data_port), "7444"},
        {"data_listen", CONFIG_TEXT, offsetof(struct settings, data_listen), NULL},
        {"data_address", CONFIG_TEXT, offsetof(struct settings, data_address), NULL},
        {"log_level", CONFIG_TEXT, offsetof(struct settings, log_level), "info"},
        {"retry_first_ms", CONFIG_INT, offsetof(struct settings, retry_first_ms), "500"},
        {"retry_most", CONFIG_DURATION, offsetof(struct settings, retry_most), "30s"},
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
                if (!strcmp(settings->log_level, levels[i].word))
                        return (int) levels[i].level;
        return -1;
}

static int check(const struct settings *settings, struct error *err) {
        if (settings->data_port > UINT16_MAX)
                return error_set(err, ERROR_INVALID, "data_port is not a port: 0 to 65535");
        if (settings->retry_first_ms < 1 || settings->retry_first_ms > 60000)
                return error_set(err, ERROR_INVALID, "retry_first_ms is out of range: 1 to 60000");
        if (settings->retry_most < 1 || settings->retry_most > 3600)
                return error_set(err, ERROR_INVALID, "retry_most is out of range: 1s to 1h");
        if (settings_log_level(settings) < 0)
                return error_set(err, ERROR_INVALID, "log_level is none of error, warning, info, debug");
        return 0;
}

int settings_load(const char *path, struct settings *ret, struct error *err) {
        const char *file = path ? path : SETTINGS_FILE;
        if (path && access(path, R_OK) < 0)
                return error_errno(err, errno, "%s", path);
        struct settings settings = {0};
        if (config_load(file, options, ARRAY_SIZE(options), &settings, err) < 0) {
                settings_fini(&settings);
                return -1;
        }
        if (check(&settings, err) < 0) {
                settings_fini(&settings);
                return error_prefix(err, "%s", file);
        }
        *ret = settings;
        return 0;
}
