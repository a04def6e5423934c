// SPDX-License-Identifier: LGPL-2.1-or-later
/* What all kinds of sources have in common: dealing out the ranges of an image in order (see source.h). */
#include "agent/blocks/source.h"
#include <string.h>

void source_init(struct source *source, const struct source_ops *ops, uint64_t bytes) {
        memset(source, 0, sizeof *source);
        source->ops = ops;
        source->bytes = bytes;
        pthread_mutex_init(&source->mutex, NULL);
}

static uint64_t round_down(uint64_t offset) {
        return offset / BLOCKS_BLOCK * BLOCKS_BLOCK;
}

static int next_locked(struct source *source, struct source_range *ret, struct error *err) {
        uint64_t begin = source->next, left = source->bytes - begin;
        if (left == 0)
                return 0;
        if (begin >= source->run_end &&
            source->ops->extent(source, begin, &source->run_zero, &source->run_end, err) < 0)
                return -1;
        uint64_t zero_end = source->run_end < source->bytes ? round_down(source->run_end) : source->bytes;
        if (source->run_zero && zero_end > begin) {
                *ret = (struct source_range){begin, zero_end - begin, true};
                source->next = zero_end;
                return 1;
        }
        // A block that is zero in part is read as a whole.
        *ret = (struct source_range){begin, left < BLOCKS_BLOCK ? left : BLOCKS_BLOCK, false};
        source->next = begin + ret->length;
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
