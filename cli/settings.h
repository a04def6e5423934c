// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Where an operator's credentials are, and config.yaml beside them: whom to dial, and as whom. */
#include "common/config.h"

struct settings {
        struct config_list controllers; // host:port
        char *user;
};
const char *settings_directory(void);                       // $DROVER_CONFIG, or ~/.config/drover
int settings_load(struct settings *ret, struct error *err); // ERROR_USAGE with a hint when there are none
void settings_fini(struct settings *settings);
int settings_write(const char *const *controllers, size_t n, const char *user, struct error *err);
