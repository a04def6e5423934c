// SPDX-License-Identifier: LGPL-2.1-or-later
/* What all kinds of sources have in common: dealing out the ranges of an image in order (see source.h). */
#include "agent/blocks/source.h"
#include <string.h>

void source_init(struct source *source, const struct source_ops *ops, uint64_t bytes) {
        memset(source, 0, sizeof *source);
        source->ops = ops;
        source->bytes = bytes;
        source->unit = BLOCKS_BLOCK;
        pthread_mutex_init(&source->mutex, NULL);
}

void source_tell_same(struct source *source, uint64_t unit) {
        source->unit = unit;
        source->tells_same = true;
}

static uint64_t round_down(uint64_t offset, uint64_t unit) {
        return offset / unit * unit;
}

static int find_run(struct source *source, struct error *err) {
        if (source->next < source->run_end)
                return 0;
        if (source->ops->extent(source, source->next, &source->run_kind, &source->run_end, err) < 0)
                return -1;
        if (source->run_kind == SOURCE_SAME && !source->tells_same)
                source->run_kind = SOURCE_DATA;
        return 0;
}

// Up to the end of the block, or of the run: a unit that is data in part is read as a whole.
static uint64_t data_end(const struct source *source) {
        uint64_t unit = source->unit, end = source->next + unit;
        if (source->run_kind == SOURCE_DATA && source->run_end > end)
                end = round_down(source->run_end + unit - 1, unit);
        uint64_t block_end = round_down(source->next, BLOCKS_BLOCK) + BLOCKS_BLOCK;
        if (end > block_end)
                end = block_end;
        return end < source->bytes ? end : source->bytes;
}

static int next_locked(struct source *source, struct source_range *ret, struct error *err) {
        uint64_t begin = source->next;
        if (begin == source->bytes)
                return 0;
        if (find_run(source, err) < 0)
                return -1;
        uint64_t end = source->run_end < source->bytes ? round_down(source->run_end, source->unit) : source->bytes;
        enum source_kind kind = source->run_kind;
        if (kind == SOURCE_DATA || end <= begin) {
                kind = SOURCE_DATA;
                end = data_end(source);
        }
        *ret = (struct source_range){begin, end - begin, kind};
        source->next = end;
        return 1;
}

int source_next(struct source *source, struct source_range *ret, struct error *err) {
        pthread_mutex_lock(&source->mutex);
        int result = next_locked(source, ret, err);
        pthread_mutex_unlock(&source->mutex);
        return result;
}

int source_read(struct source *source, uint64_t offset, uint8_t *buffer, size_t length, struct error *err) {
        return source->ops->read(source, offset, buffer, length, err);
}

int source_version(struct source *source, uint8_t ret[SOURCE_VERSION_BYTES], struct error *err) {
        return source->ops->version(source, ret, err);
}

void source_free(struct source *source) {
        if (!source)
                return;
        pthread_mutex_destroy(&source->mutex);
        source->ops->free(source);
}
