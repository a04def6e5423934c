// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Which content an image file has, without reading it: inode, length, and the times of its last change to the
 * nanosecond. Whatever writes to the file makes it another version; so does a start of its VM by libvirt, which changes
 * the owner. Of a block device the same is told by what the kernel counts, for as long as it is there. Blocking, any
 * thread.
 */
#include "common/error.h"
#include "proto/generated/inventory.pb-c.h"
#include <stdint.h>

struct version {
        uint64_t inode, bytes; // a device: its number
        int64_t modified_ns,
                changed_ns; // mtime, ctime; a device: sectors written, and in which of its lives (device.h)
        bool device;
};
#define VERSION_TEXT_MAX 96
// ERROR_REFUSED for what is neither a regular file nor a device of which the kernel counts what is written.
int version_of_fd(int fd, struct version *ret, struct error *err);
int version_of_device(const char *path, struct version *ret, struct error *err); // without opening it
void version_format(const struct version *version, char ret[VERSION_TEXT_MAX]);
bool version_parse(const char *text, struct version *ret);
bool version_same(const struct version *one, const struct version *other);
// False: counts of a device that has gone and come again in between, as with a reboot; these say nothing.
bool version_comparable(const struct version *one, const struct version *other);
// The same but for ctime, which a change of owner, mode or flags alone makes another.
bool version_same_content(const struct version *one, const struct version *other);

// Fills images_version from the domain's disks, whose paths are resolved, and its NVRAM (NULL: none). It stays empty
// for a domain that is active, has no disk, or has one that is no file and no device: nothing can be said about those.
void version_of_domain(Drover__Domain *domain, const char *nvram);
