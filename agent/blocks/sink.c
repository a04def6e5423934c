// SPDX-License-Identifier: LGPL-2.1-or-later
/* What all kinds of sinks have in common: bounds, and that a failure is final (see sink.h). */
#include "agent/blocks/sink.h"
#include "common/units.h"
#include <string.h>

void sink_init(struct sink *sink, const struct sink_ops *ops) {
        memset(sink, 0, sizeof *sink);
        sink->ops = ops;
        atomic_init(&sink->failed, false);
}

static int note(struct sink *sink, int result) {
        if (result < 0)
                atomic_store(&sink->failed, true);
        return result;
}

static int check_alive(const struct sink *sink, struct error *err) {
        if (!atomic_load_explicit(&sink->failed, memory_order_relaxed))
                return 0;
        return error_set(err, ERROR_CANCELLED, "the image could not be written before"); // who met that says why
}

bool sink_keeps(const struct sink *sink, uint64_t bytes) {
        return sink->ops->keeps(sink, bytes);
}

int sink_begin(struct sink *sink, uint64_t bytes, bool fresh, struct error *err) {
        char text[UNITS_TEXT_MAX], most[UNITS_TEXT_MAX];
        if (bytes > BLOCKS_BYTES_MAX)
                return error_set(err, ERROR_TOO_LARGE, "an image of %s is over the bound of %s",
                                 units_format_size(bytes, text), units_format_size(BLOCKS_BYTES_MAX, most));
        sink->bytes = bytes;
        return note(sink, sink->ops->begin(sink, bytes, fresh, err));
}

int sink_write(struct sink *sink, uint64_t offset, uint8_t *buffer, size_t length, struct error *err) {
        return check_alive(sink, err) < 0 ? -1 : note(sink, sink->ops->write(sink, offset, buffer, length, err));
}

int sink_zero(struct sink *sink, uint64_t offset, uint64_t length, struct error *err) {
        return check_alive(sink, err) < 0 ? -1 : note(sink, sink->ops->zero(sink, offset, length, err));
}

int sink_read(struct sink *sink, uint64_t offset, uint8_t *buffer, size_t length, struct error *err) {
        return sink->ops->read(sink, offset, buffer, length, err);
}

int sink_flush(struct sink *sink, struct error *err) {
        return check_alive(sink, err) < 0 ? -1 : note(sink, sink->ops->flush(sink, err));
}

void sink_free(struct sink *sink) {
        if (sink)
                sink->ops->free(sink);
}
