// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * VMDK headers: images that are one file with everything in it (monolithicSparse, streamOptimized). Those whose
 * descriptor names other files, or that are laid over another image, are refused: QEMU would follow the names
 * (fault 51). Used by image.c alone.
 */
#include "agent/host/image.h"

// image->file_bytes is filled in; fills in virtual_bytes.
int image_vmdk_read(int fd, const char *name, struct image *image, struct error *err);
