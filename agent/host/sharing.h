// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Which domain of this host uses which image file, as last read: so that reading one domain can tell that another one
 * has the same image without reading all of them. One table for the process (it is about the one libvirt of this host),
 * behind a lock; files are known by device and inode, so that two paths to one file are one. Any thread.
 */
#include <stdbool.h>
#include <sys/types.h>

struct sharing_image {
        dev_t device;
        ino_t inode;
        bool base; // not the domain's own image, but one that it is laid over
};
bool sharing_image_of(const char *path, struct sharing_image *ret); // false: there is no such file
// Replace what is known of one domain. Whoever has as its own one of the images that come or go here is to be read
// again: what is told of it has changed.
void sharing_set(const char *uuid, const struct sharing_image *images, unsigned n);
// The UUID of another domain that has the image as its own, or with image->base as one that its own is laid over;
// false: none. ret: 37 bytes.
bool sharing_other(const char *uuid, const struct sharing_image *image, char *ret_uuid);
// Forget every domain that is not in the list.
void sharing_keep(const char *const *uuids, unsigned n);
// One of the domains that are to be read again, which from now on it is no more; false: none. ret: 37 bytes.
bool sharing_take_stale(char *ret_uuid);
