// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * One command for several objects: a failure of one does not stop the others and is told at once. When some have failed
 * the end says how many, with exit code 3; when all have, with that of the first. Ctrl-C ends the whole.
 */
#include "cli/command.h"

struct several {
        const char *what; // "VMs", of which the end counts those that failed
        size_t n;
        // The i-th. With `rows` the job that -o json would print is appended to them.
        int (*one)(size_t i, struct invocation *call, json_t *rows, void *data, struct error *err);
        void *data;
};
// With -o json prints one array for all, be there one only.
int several_run(const struct several *several, struct invocation *call, struct error *err);
