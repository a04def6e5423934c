// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A qcow2 image that is made from guest-visible blocks, through a qemu-nbd of our own (nbd_server.h). What was flushed
 * is in the image whatever happens afterwards: qcow2 counts a cluster before it refers to it, so a server that was
 * killed leaves clusters that nobody refers to at most, and these are given back when the image is taken up again.
 */
#include "agent/blocks/sink.h"

// fd: read-write, the caller's, open for as long as the sink. Nothing is done to the file before begin().
// begin() with fresh = false: ERROR_CORRUPT when the file is not an image that can be gone on with; it is emptied then,
// and the next attempt must begin afresh.
int sink_nbd_new(int fd, struct sink **ret, struct error *err);
