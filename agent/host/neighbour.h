// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The other VMs of this host, as far as they can stand in the way: their names, interfaces and images, from the
 * inactive definition and, while they run, from the live one as well. Read afresh by each step that asks. Workers only.
 */
#include "agent/host/connection.h"
#include "agent/host/definition_bases.h"
#include "agent/journal/journal.h"
#include "proto/codec.h"

struct neighbour {
        Drover__Domain *definition;    // name, uuid, disks with `path` resolved, interfaces; owned
        struct definition_bases bases; // what the definition lays its images over, beside what they say themselves
        char *nvram;                   // NULL: none
        char *why;                     // NULL, or why nobody can tell where one of its images lies
};
struct neighbours {
        struct neighbour *items; // a running VM stands here twice
        unsigned n;
};
int neighbours_read(virConnectPtr conn, const char *except_uuid, struct neighbours *ret, struct error *err);
void neighbours_fini(struct neighbours *neighbours);
// ERROR_CONFLICT with a hint when one of them uses the held file, itself or as the base of an image of its own, or an
// image that another job has put out of reach is laid over it, and when nobody can tell. A VM whose server does not
// answer, or whose image is gone, does not count: it holds up nobody else.
struct held_images;
int neighbours_check_unused(const struct neighbours *neighbours, const struct held_images *held,
                            const struct hold *hold, struct error *err);
// Whether an image of one of them, or one that a job has put out of reach, is laid over the file, or may be: what
// cannot be read cannot be ruled out. 1, 0, -1.
int neighbours_based_on(const struct neighbours *neighbours, struct journal *journal, const char *path,
                        struct error *err);
// The path of a disk that is a file or a device of this host, resolved through the active pools: 1, 0 when it is none,
// ERROR_REFUSED for a volume that is neither, ERROR_LIBVIRT when its pool cannot be read. Caller frees.
struct pool_table;
int neighbour_disk_path(const struct pool_table *pools, const Drover__Disk *disk, char **ret_path, struct error *err);
