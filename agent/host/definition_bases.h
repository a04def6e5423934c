// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What a definition itself says that its images are laid over (<backingStore>). QEMU is told to use that, whatever the
 * images' own headers name. Pure; any thread.
 */
#include "agent/host/definition.h"

struct definition_base {
        char *target; // of the disk
        char *path;   // absolute; "": nothing is below from here on; anything else is no plain file of this host
        char *format; // "": not said
        bool remote;  // on another host
};
struct definition_bases {
        struct definition_base *items; // of each disk nearest first
        unsigned n;
};
void definition_bases_read(const struct definition *definition, struct definition_bases *ret);
void definition_bases_fini(struct definition_bases *bases);
