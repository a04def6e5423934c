// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Configuration: a YAML file holding one mapping of scalars and of lists of scalars (libyaml events; no anchors, no
 * nesting, at most 64 KiB). A table says which keys exist; an unknown key is an error that names the nearest one.
 */
#include "common/error.h"
#include <stdint.h>

enum config_type { CONFIG_TEXT, CONFIG_INT, CONFIG_BOOL, CONFIG_SIZE, CONFIG_DURATION, CONFIG_LIST };
struct config_list {
        char **items;
        unsigned n;
};
struct config_option {
        const char *key;
        enum config_type type;
        // Of a char* (TEXT), uint64_t (INT, SIZE in bytes, DURATION in seconds), bool or struct config_list.
        size_t offset;
        const char *default_text; // parsed like the file's (a list: items between commas); NULL: zero
};
// Fill `target` with defaults, then with the file if it exists (path NULL: none). Unknown or repeated keys, wrong
// types: error with file:line, and nothing in target is left to free. What target held before is not looked at.
int config_load(const char *path, const struct config_option *options, unsigned n, void *target, struct error *err);
void config_free(const struct config_option *options, unsigned n, void *target);
