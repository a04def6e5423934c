// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A source: the blocks of one image, dealt out in order to whoever asks. Kinds of sources fill in source_ops; the
 * engine (agent/transfer) knows only this. Owned by one transfer; source_next() and source_read() from any of its
 * threads.
 *
 *      source_file.h   an image file as it is, or a block device
 *      source_nbd.h    what the guest sees of an image of any format
 */
#include "agent/blocks/blocks.h"
#include "common/error.h"
#include <stdbool.h>

struct source;
struct source_range {
        uint64_t offset, length; // begins at a multiple of BLOCKS_BLOCK
        bool zero;               // reads as zeros, any length; otherwise at most one block
};
#define SOURCE_VERSION_BYTES 32
struct source_ops {
        const char *kind; // "file", "guest": for messages
        // What lies at `offset`: a run that is zero, or one that may hold something. *ret_end: where it ends, at most
        // the end of the image. One thread at a time.
        int (*extent)(struct source *source, uint64_t offset, bool *ret_zero, uint64_t *ret_end, struct error *err);
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
        pthread_mutex_t mutex; // of what follows
        uint64_t next, run_end;
        bool run_zero;
};
void source_init(struct source *source, const struct source_ops *ops, uint64_t bytes);
// 1 and the next range, 0 at the end, -1 on failure.
int source_next(struct source *source, struct source_range *ret, struct error *err);
int source_read(struct source *source, uint64_t offset, uint8_t *buffer, size_t length, struct error *err);
int source_version(struct source *source, uint8_t ret[SOURCE_VERSION_BYTES], struct error *err);
void source_free(struct source *source); // NULL is fine
