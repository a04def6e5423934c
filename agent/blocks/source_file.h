// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * An image file as it is, format and all, or a block device. Holes are found with SEEK_DATA and SEEK_HOLE. Reads around
 * the page cache where the file system allows, so that a transfer does not push out what the guests of this host use;
 * but what lies in the cache already comes from there, and costs the disk nothing. Fails on the first byte that cannot
 * be read (fault 20).
 */
#include "agent/blocks/source.h"

// fd: read-only, the caller's, open for as long as the source. ERROR_CONFLICT when the image is not of this length
// (a device: is shorter).
int source_file_new(int fd, uint64_t bytes, struct source **ret, struct error *err);
