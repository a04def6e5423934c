// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What an image file is, read from at most its first MiB by our own bounded code: a format is told by the definition
 * and only checked here, never guessed (faults 34, 53, 54). Opens with O_NOFOLLOW relative to a directory descriptor.
 */
#include "common/error.h"
#include <stdint.h>

struct image {
        uint64_t virtual_bytes;   // what the guest sees
        uint64_t file_bytes;      // length
        uint64_t allocated_bytes; // st_blocks * 512
        bool has_backing;
        char backing[1024];      // as written in the header; may be relative, may be json:...
        char backing_format[32]; // as written in the header; empty where it does not say
        bool has_data_file, encrypted, dirty, corrupt, extended_l2;
        uint32_t snapshots; // internal
        uint32_t bitmaps;   // dirty bitmaps that are kept in it
};
// format: "qcow2", "raw" or "vmdk" (others: sizes only). A qcow2 with unknown incompatible features, a VMDK of more
// than one file, a file that is not what it should be, a link, anything but a regular file or a raw block device:
// ERROR_REFUSED.
int image_inspect_at(int dir_fd, const char *name, const char *format, struct image *ret, struct error *err);
int image_inspect(int fd, const char *name, const char *format, struct image *ret, struct error *err); // an open one
// Where the name of a backing file in the header of the image at `image_path` leads. Protocols ("json:", "nbd://") lead
// nowhere: what is returned for them is no absolute path. Caller frees.
char *image_backing_path(const char *image_path, const char *backing);
// What the header says, of a file or a device, when it begins like a qcow2: 1, 0 when it does not, -1. Sizes of the
// file are left 0.
int image_read_qcow2(int fd, const char *name, struct image *ret, struct error *err);
