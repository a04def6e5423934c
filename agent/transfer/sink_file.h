// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A sink: a file that becomes an image. What is not written stays a hole. Owned by one transfer; sink_write() from any
 * of its threads, the rest from its own. Writes around the page cache where the file system allows: buffered, the same
 * data takes several times as long until it is on the disk. The first failure is final: after a failed fsync nobody
 * knows what is on the disk, so a sink is never tried again (fault 23).
 */
#include "common/error.h"
#include <stdatomic.h>
#include <stdint.h>

#define SINK_ALIGNMENT 4096u         // of buffers, offsets and lengths
#define SINK_BYTES_MAX (64ull << 40) // longest image that is accepted (fault 55)

struct sink {
        int fd;        // the caller's
        int direct_fd; // ours, O_DIRECT; -1: not to be had
        atomic_bool direct;
        atomic_uint_least64_t buffered; // bytes that went through the page cache since the last push
        uint64_t bytes;
};
int sink_open(struct sink *sink, int fd, struct error *err);
void sink_close(struct sink *sink);
int sink_begin(struct sink *sink, uint64_t bytes, struct error *err); // empties it and gives it its length
// The buffer has room for `length` rounded up to SINK_ALIGNMENT; what lies beyond `length` is overwritten with zeros.
// "write at 3.2 GiB: No space left on device".
int sink_write(struct sink *sink, uint64_t offset, uint8_t *buffer, size_t length, struct error *err);
int sink_sync(struct sink *sink, struct error *err); // exact length, all on disk
