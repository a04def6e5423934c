// SPDX-License-Identifier: LGPL-2.1-or-later
/* An operator's settings; see settings.h. */
#include "cli/settings.h"
#include "common/buffer.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/memory.h"

#include <stdio.h>

static const struct config_option options[] = {
        {"controller", CONFIG_LIST, offsetof(struct settings, controllers), NULL},
        {"user", CONFIG_TEXT, offsetof(struct settings, user), NULL},
};

const char *settings_directory(void) {
        static char directory[4096];
        const char *given = getenv("DROVER_CONFIG"), *home = getenv("HOME"), *xdg = getenv("XDG_CONFIG_HOME");
        if (given && *given)
                snprintf(directory, sizeof(directory), "%s", given);
        else if (xdg && *xdg)
                snprintf(directory, sizeof(directory), "%s/drover", xdg);
        else
                snprintf(directory, sizeof(directory), "%s/.config/drover", home && *home ? home : "");
        return directory;
}

static void config_path(char *path, size_t size) {
        snprintf(path, size, "%s/config.yaml", settings_directory());
}

int settings_load(struct settings *ret, struct error *err) {
        char path[4200];
        config_path(path, sizeof(path));
        *ret = (struct settings){0};
        if (access(path, R_OK) < 0) {
                error_set(err, ERROR_USAGE, "no credentials in %s", settings_directory());
                error_hint(err, "ask an administrator for: drover user invite NAME --role ROLE");
                error_hint(err, "then, here: drover login TOKEN");
                return -1;
        }
        return config_load(path, options, ARRAY_SIZE(options), ret, err);
}

void settings_fini(struct settings *settings) {
        config_free(options, ARRAY_SIZE(options), settings);
}

int settings_write(const char *const *controllers, size_t n, const char *user, struct error *err) {
        char path[4200];
        struct buffer text;
        config_path(path, sizeof(path));
        buffer_init(&text, 64 << 10);
        int r = buffer_append_text(&text, "controller:\n", err);
        for (size_t i = 0; r == 0 && i < n; i++)
                r = buffer_appendf(&text, err, "  - \"%s\"\n", controllers[i]);
        if (r == 0)
                r = buffer_appendf(&text, err, "user: \"%s\"\n", user);
        if (r == 0)
                r = file_write(path, text.data, text.length, 0600, err);
        buffer_fini(&text);
        return r;
}
