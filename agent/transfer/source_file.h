// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A source: an image file as it is. Deals out, in order, what the streams are to send: blocks that may hold something,
 * and ranges that hold nothing (SEEK_DATA, SEEK_HOLE). Owned by one transfer; source_next() and source_read() from any
 * of its threads. Reads around the page cache where the file system allows, so that a transfer does not push out what
 * the guests of this host use.
 */
#include "common/error.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#define SOURCE_ALIGNMENT 4096u // of buffers, offsets and lengths

struct source {
        int fd;             // the caller's
        int direct_fd;      // ours, O_DIRECT; -1: not to be had
        atomic_bool direct; // still of use
        bool seekable;      // the file system tells data from holes
        uint64_t bytes;
        pthread_mutex_t mutex; // of what follows
        uint64_t next, data_end;
};
struct source_range {
        uint64_t offset, length;
        bool zero; // holds nothing; otherwise at most one block
};
// ERROR_CONFLICT when the image is not of this length.
int source_open(struct source *source, int fd, uint64_t bytes, struct error *err);
void source_close(struct source *source);
// 1 and the next range, 0 at the end, -1 on failure.
int source_next(struct source *source, struct source_range *ret, struct error *err);
// Fills the buffer, which has room for `length` rounded up to SOURCE_ALIGNMENT. Fails on the first byte that cannot be
// read: "read at 12.0 MiB: Input/output error" (fault 20).
int source_read(struct source *source, uint64_t offset, uint8_t *buffer, size_t length, struct error *err);
