// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * An image together with the images that it is laid over, each open, of a format that was said and not guessed, and
 * looked at (image.h). Members stand in pools of this host: a header written elsewhere cannot make us read a file that
 * no administrator gave to virtual machines (fault 53).
 */
#include "agent/host/image.h"
#include "agent/host/pool.h"

#define IMAGE_FILES_MAX 17u // an image and sixteen below it

struct image_files {
        int fds[IMAGE_FILES_MAX]; // the image first
        char formats[IMAGE_FILES_MAX][32];
        unsigned n;
        uint64_t virtual_bytes; // of the image's disk
};
// fd: the image, taken over whatever the outcome. path: where it was before it was put aside, for names that are
// relative to it, and for messages.
// ERROR_REFUSED for a member that is encrypted, corrupt, split over files, of no stated format, outside every pool, or
// reached by a protocol.
int image_files_open(const struct pool_table *pools, int fd, const char *path, const char *format,
                     struct image_files *ret, struct error *err);
int image_files_of(virConnectPtr conn, int fd, const char *path, const char *format, struct image_files *ret,
                   struct error *err); // with the pools as they are now
void image_files_fini(struct image_files *files);
