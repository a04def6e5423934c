// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* What qemu-img does for us, confined, on a descriptor. Blocking, any worker. */
#include "common/error.h"
#include <stdint.h>

// Makes the file an empty qcow2 image with a disk of so many bytes (whole sectors), whatever it held.
int image_tool_create(int fd, uint64_t bytes, struct error *err);
// The same, laid over another image of this host: what is not written here is read there. `base` is the absolute path
// of one that libvirt knows and `format` its own; it is written down, and not opened.
int image_tool_create_over(int fd, uint64_t bytes, const char *base, const char *format, struct error *err);
// Gives back what a killed writer left over in a qcow2 image. ERROR_CORRUPT when more than that is wrong with it;
// ERROR_BUSY while another program has it open. err is not NULL.
int image_tool_repair(int fd, struct error *err);
