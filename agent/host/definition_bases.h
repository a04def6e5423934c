// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What a definition itself says that its images are laid over (<backingStore>). QEMU is told to use that, whatever the
 * images' own headers name. Pure; any thread.
 */
#include "agent/host/definition.h"
#include "agent/host/pool.h"

enum definition_base_kind {
        BASE_NOTHING,   // nothing is below from here on
        BASE_FILE,      // a file or a block device, by its absolute name
        BASE_VOLUME,    // where its pool is, was not to be found
        BASE_ELSEWHERE, // neither a file nor a block device of this host
        BASE_UNKNOWN,   // none of these
};
struct definition_base {
        enum definition_base_kind kind;
        char *target;        // of the disk
        char *path;          // absolute for BASE_FILE; else for messages
        char *format;        // "": not said
        char *pool, *volume; // NULL: it is no volume
};
struct definition_bases {
        struct definition_base *items; // of each disk nearest first
        unsigned n;
};
void definition_bases_read(const struct definition *definition, struct definition_bases *ret);
// Volumes of active pools become files.
void definition_bases_resolve(struct definition_bases *bases, const struct pool_table *pools);
void definition_bases_fini(struct definition_bases *bases);
