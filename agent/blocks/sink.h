// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A sink: takes the blocks of an image. Kinds of sinks fill in sink_ops; the engine (agent/transfer) knows only this.
 * Owned by one transfer; write, zero and read from any of its threads, at different places; flush from one thread
 * beside them. The first failure is final: after a failed flush nobody knows what is on the disk, so a sink is not
 * tried again (fault 23).
 *
 *      sink_file.h     a file that becomes an image, or a block device
 *      sink_nbd.h      guest-visible blocks of an image of any format
 */
#include "agent/blocks/blocks.h"
#include "common/error.h"
#include <stdatomic.h>
#include <stdbool.h>

struct sink;
struct sink_ops {
        const char *kind;
        // Before begin(): whether what an earlier attempt left can still hold all that it wrote of an image of this
        // length. Somebody may have cut it or emptied it since.
        bool (*keeps)(const struct sink *sink, uint64_t bytes);
        // The image is to have this length. fresh: nothing of what is there counts, and it reads as zeros afterwards.
        int (*begin)(struct sink *sink, uint64_t bytes, bool fresh, struct error *err);
        // offset and length are multiples of BLOCKS_GRAIN, but for the end of the image; the buffer is aligned and has
        // room up to the next multiple of BLOCKS_ALIGNMENT. "write at 3.2 GiB: No space left on device".
        int (*write)(struct sink *sink, uint64_t offset, uint8_t *buffer, size_t length, struct error *err);
        // The range reads as zeros afterwards, and takes no room where that can be had.
        int (*zero)(struct sink *sink, uint64_t offset, uint64_t length, struct error *err);
        int (*read)(struct sink *sink, uint64_t offset, uint8_t *buffer, size_t length, struct error *err);
        int (*flush)(struct sink *sink, struct error *err); // what was written before is on the disk
        void (*free)(struct sink *sink);
};
struct sink { // the beginning of each kind's own struct
        const struct sink_ops *ops;
        uint64_t bytes;
        bool starts_zero;   // after begin(fresh) ranges that nobody wrote read as zeros: zero() need not be called
        atomic_bool failed; // finally
};
void sink_init(struct sink *sink, const struct sink_ops *ops);
bool sink_keeps(const struct sink *sink, uint64_t bytes); // see sink_ops
int sink_begin(struct sink *sink, uint64_t bytes, bool fresh, struct error *err);
int sink_write(struct sink *sink, uint64_t offset, uint8_t *buffer, size_t length, struct error *err);
int sink_zero(struct sink *sink, uint64_t offset, uint64_t length, struct error *err);
int sink_read(struct sink *sink, uint64_t offset, uint8_t *buffer, size_t length, struct error *err);
int sink_flush(struct sink *sink, struct error *err);
void sink_free(struct sink *sink); // NULL is fine
