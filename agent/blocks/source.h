// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A source: the blocks of one image, dealt out in order to whoever asks. Kinds of sources fill in source_ops; the
 * engine (agent/transfer) knows only this. Owned by one transfer; source_next() and source_read() from any of its
 * threads.
 *
 *      source_file.h   an image file as it is, or a block device
 *      source_nbd.h    what the guest sees of an image of any format
 *      source_live.h   a disk of a running VM as it was at one moment
 */
#include "agent/blocks/blocks.h"
#include "common/error.h"
#include <stdbool.h>

struct source;
enum source_kind {
        SOURCE_DATA, // may hold something
        SOURCE_ZERO, // reads as zeros
        SOURCE_SAME, // has not changed since the base that the source knows of; only whoever asked for it is told
};
struct source_range {
        uint64_t offset, length; // begins at a multiple of the unit; of data: within one block, any length otherwise
        enum source_kind kind;
};
#define SOURCE_VERSION_BYTES 32
struct source_ops {
        const char *kind; // "file", "guest": for messages
        // What lies at `offset`: a run of one kind. *ret_end: where it ends, at most the end of the image. One thread
        // at a time.
        int (*extent)(struct source *source, uint64_t offset, enum source_kind *ret_kind, uint64_t *ret_end,
                      struct error *err);
        // Exactly `length` bytes; the buffer is aligned to BLOCKS_ALIGNMENT and has room up to the next multiple of it.
        // "read at 12.0 MiB: Input/output error" (fault 20). Any thread.
        int (*read)(struct source *source, uint64_t offset, uint8_t *buffer, size_t length, struct error *err);
        // Another value whenever the content may have changed since. 1, or 0: cannot be told (read everything again).
        int (*version)(struct source *source, uint8_t ret[SOURCE_VERSION_BYTES], struct error *err);
        void (*free)(struct source *source);
};
struct source { // the beginning of each kind's own struct
        const struct source_ops *ops;
        uint64_t bytes;
        uint64_t unit;
        bool tells_same;
        pthread_mutex_t mutex; // of what follows
        uint64_t next, run_end;
        enum source_kind run_kind;
};
void source_init(struct source *source, const struct source_ops *ops, uint64_t bytes);
// For one who has the base at hand (a repository), before the first range: SOURCE_SAME is told from now on, and ranges
// begin at multiples of `unit`, a power of two up to BLOCKS_BLOCK. Without it every block is dealt out whole, and what
// did not change is SOURCE_DATA like all else: a sink that has no base is never sent less than the image.
void source_tell_same(struct source *source, uint64_t unit);
// 1 and the next range, 0 at the end, -1 on failure.
int source_next(struct source *source, struct source_range *ret, struct error *err);
int source_read(struct source *source, uint64_t offset, uint8_t *buffer, size_t length, struct error *err);
int source_version(struct source *source, uint8_t ret[SOURCE_VERSION_BYTES], struct error *err);
void source_free(struct source *source); // NULL is fine
