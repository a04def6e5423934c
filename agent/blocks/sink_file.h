// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A file that becomes an image, or a block device. In a file, what is zero stays or becomes a hole; a device zeroes it.
 * Writes around the page cache where the file system allows: buffered, the same data takes several times as long until
 * it is on the disk.
 */
#include "agent/blocks/sink.h"

// fd: read-write, the caller's, open for as long as the sink.
int sink_file_new(int fd, struct sink **ret, struct error *err);
