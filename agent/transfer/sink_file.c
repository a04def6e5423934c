// SPDX-License-Identifier: LGPL-2.1-or-later
/* A file that becomes an image (see sink_file.h). */
#include "agent/transfer/sink_file.h"
#include "common/cleanup.h"
#include "common/units.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

// Buffered writing is pushed to the disk every so often, so that the sync at the end has little left to do.
#define PUSH (32u << 20)

int sink_open(struct sink *sink, int fd, struct error *err) {
        char path[32];
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0)
                return error_errno(err, errno, "open the image for writing");
        *sink = (struct sink){.fd = fd};
        // A description of our own: O_DIRECT on the caller's would change it for the caller as well.
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        sink->direct_fd = open(path, (flags & O_ACCMODE) | O_DIRECT | O_CLOEXEC);
        atomic_init(&sink->direct, sink->direct_fd >= 0);
        return 0;
}

void sink_close(struct sink *sink) {
        close_p(&sink->direct_fd);
}

int sink_begin(struct sink *sink, uint64_t bytes, struct error *err) {
        char text[UNITS_TEXT_MAX], most[UNITS_TEXT_MAX];
        if (bytes > SINK_BYTES_MAX)
                return error_set(err, ERROR_TOO_LARGE, "an image of %s is over the bound of %s",
                                 units_format_size(bytes, text), units_format_size(SINK_BYTES_MAX, most));
        sink->bytes = bytes;
        // The length comes first: writing beyond the end would extend the file again and again, one writer at a time.
        if (ftruncate(sink->fd, 0) < 0 || ftruncate(sink->fd, (off_t) bytes) < 0)
                return error_errno(err, errno, "make room for %s", units_format_size(bytes, text));
        return 0;
}

static ssize_t write_direct(struct sink *sink, uint64_t offset, uint8_t *buffer, size_t length) {
        size_t rounded = (length + SINK_ALIGNMENT - 1) / SINK_ALIGNMENT * SINK_ALIGNMENT;
        memset(buffer + length, 0, rounded - length); // only at the image's end, which sink_sync() cuts
        ssize_t n = pwrite(sink->direct_fd, buffer, rounded, (off_t) offset);
        return n > (ssize_t) length ? (ssize_t) length : n;
}

static ssize_t write_some(struct sink *sink, uint64_t offset, uint8_t *buffer, size_t length) {
        if (atomic_load_explicit(&sink->direct, memory_order_relaxed) && offset % SINK_ALIGNMENT == 0) {
                ssize_t n = write_direct(sink, offset, buffer, length);
                if (n >= 0 || errno != EINVAL)
                        return n;
                atomic_store(&sink->direct, false); // this file system wants another alignment, or none at all
        }
        ssize_t n = pwrite(sink->fd, buffer, length, (off_t) offset);
        if (n > 0)
                atomic_fetch_add(&sink->buffered, (uint64_t) n);
        return n;
}

static int push(struct sink *sink, uint64_t offset, struct error *err) {
        char text[UNITS_TEXT_MAX];
        if (atomic_load(&sink->buffered) < PUSH || atomic_exchange(&sink->buffered, 0) < PUSH)
                return 0;
        if (sync_file_range(sink->fd, 0, 0, SYNC_FILE_RANGE_WRITE) < 0 && errno != ESPIPE && errno != EINVAL &&
            errno != ENOSYS)
                return error_errno(err, errno, "write at %s", units_format_size(offset, text));
        return 0;
}

int sink_write(struct sink *sink, uint64_t offset, uint8_t *buffer, size_t length, struct error *err) {
        char text[UNITS_TEXT_MAX];
        while (length > 0) {
                ssize_t n = write_some(sink, offset, buffer, length);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_errno(err, errno, "write at %s", units_format_size(offset, text));
                offset += (uint64_t) n;
                buffer += n;
                length -= (size_t) n;
        }
        return push(sink, offset, err);
}

int sink_sync(struct sink *sink, struct error *err) {
        char text[UNITS_TEXT_MAX];
        if (ftruncate(sink->fd, (off_t) sink->bytes) < 0)
                return error_errno(err, errno, "cut to %s", units_format_size(sink->bytes, text));
        // Both descriptions: each reports the write-back errors since it was opened, and either may have been written
        // to.
        if (fsync(sink->fd) < 0 || (sink->direct_fd >= 0 && fsync(sink->direct_fd) < 0))
                return error_errno(err, errno, "sync");
        return 0;
}
