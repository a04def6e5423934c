// SPDX-License-Identifier: LGPL-2.1-or-later
/* A file that becomes an image, or a block device (see sink_file.h). */
#include "agent/blocks/sink_file.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/units.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

// Buffered writing is pushed to the disk every so often, so that the sync at the end has little left to do.
#define PUSH (32u << 20)
// What a device is asked to zero at a time, so that a cancel does not wait for all of it.
#define ZERO_AT_ONCE (1ull << 30)

struct sink_file {
        struct sink sink;
        int fd;        // the caller's
        int direct_fd; // ours, O_DIRECT; -1: not to be had
        bool device;
        uint64_t room; // a device's length
        atomic_bool direct;
        atomic_uint_least64_t buffered; // bytes that went through the page cache since the last push
};

// It got its whole length before anything else; a direct write at the end may have made it a little longer.
static bool keeps(const struct sink *sink, uint64_t bytes) {
        const struct sink_file *file = (const struct sink_file *) sink;
        struct stat status;
        return file->device || (fstat(file->fd, &status) == 0 && (uint64_t) status.st_size >= bytes);
}

static bool fits_direct(const struct sink_file *file, uint64_t offset, size_t rounded) {
        return atomic_load_explicit(&file->direct, memory_order_relaxed) && offset % BLOCKS_ALIGNMENT == 0 &&
               (!file->device || offset + rounded <= file->room);
}

static ssize_t write_some(struct sink_file *file, uint64_t offset, uint8_t *buffer, size_t length) {
        size_t rounded = (length + BLOCKS_ALIGNMENT - 1) / BLOCKS_ALIGNMENT * BLOCKS_ALIGNMENT;
        if (fits_direct(file, offset, rounded)) {
                memset(buffer + length, 0, rounded - length); // only at the image's end, which flush() cuts
                ssize_t n = pwrite(file->direct_fd, buffer, rounded, (off_t) offset);
                if (n >= 0)
                        return (size_t) n < length ? n : (ssize_t) length;
                if (errno != EINVAL)
                        return n;
                atomic_store(&file->direct, false); // this file system wants another alignment, or none at all
        }
        ssize_t n = pwrite(file->fd, buffer, length, (off_t) offset);
        if (n > 0)
                atomic_fetch_add(&file->buffered, (uint64_t) n);
        return n;
}

static int push(struct sink_file *file, uint64_t offset, struct error *err) {
        char text[UNITS_TEXT_MAX];
        if (atomic_load_explicit(&file->buffered, memory_order_relaxed) < PUSH ||
            atomic_exchange(&file->buffered, 0) < PUSH)
                return 0;
        if (sync_file_range(file->fd, 0, 0, SYNC_FILE_RANGE_WRITE) < 0 && errno != ESPIPE && errno != EINVAL &&
            errno != ENOSYS)
                return error_errno(err, errno, "write at %s", units_format_size(offset, text));
        return 0;
}

static int write_all(struct sink *sink, uint64_t offset, uint8_t *buffer, size_t length, struct error *err) {
        struct sink_file *file = (struct sink_file *) sink;
        char text[UNITS_TEXT_MAX];
        while (length > 0) {
                ssize_t n = write_some(file, offset, buffer, length);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_errno(err, errno, "write at %s", units_format_size(offset, text));
                if (n == 0)
                        return error_set(err, ERROR_IO, "write at %s: nothing was taken",
                                         units_format_size(offset, text));
                offset += (uint64_t) n;
                buffer += n;
                length -= (size_t) n;
        }
        return push(file, offset, err);
}

static int write_zeros(struct sink *sink, uint64_t offset, uint64_t length, struct error *err) {
        uint8_t *zeros = blocks_buffer();
        int result = 0;
        memset(zeros, 0, BLOCKS_BLOCK);
        while (length > 0 && result == 0) {
                size_t n = length < BLOCKS_BLOCK ? (size_t) length : BLOCKS_BLOCK;
                result = write_all(sink, offset, zeros, n, err);
                offset += n;
                length -= n;
        }
        free(zeros);
        return result;
}

static int zero(struct sink *sink, uint64_t offset, uint64_t length, struct error *err) {
        struct sink_file *file = (struct sink_file *) sink;
        char text[UNITS_TEXT_MAX];
        while (length > 0) {
                uint64_t n = length < ZERO_AT_ONCE ? length : ZERO_AT_ONCE;
                if (fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t) offset, (off_t) n) < 0) {
                        if (errno == EINTR)
                                continue;
                        // EINVAL: a device whose sectors are larger than the image's last grain.
                        if (errno == EOPNOTSUPP || errno == ENOSYS || (file->device && errno == EINVAL))
                                return write_zeros(sink, offset, length, err);
                        return error_errno(err, errno, "write at %s", units_format_size(offset, text));
                }
                offset += n;
                length -= n;
        }
        return 0;
}

static int begin_device(struct sink_file *file, uint64_t bytes, struct error *err) {
        char text[UNITS_TEXT_MAX], has[UNITS_TEXT_MAX];
        off_t end = lseek(file->fd, 0, SEEK_END);
        if (end < 0)
                return error_errno(err, errno, "read the device's length");
        file->room = (uint64_t) end;
        if (bytes > file->room)
                return error_set(err, ERROR_NO_SPACE, "the image has %s, the device only %s",
                                 units_format_size(bytes, text), units_format_size(file->room, has));
        // The guest sees the whole device: what others left beyond the image is not for it.
        return zero(&file->sink, bytes, file->room - bytes, err);
}

static int begin(struct sink *sink, uint64_t bytes, bool fresh, struct error *err) {
        struct sink_file *file = (struct sink_file *) sink;
        char text[UNITS_TEXT_MAX];
        if (file->device)
                return begin_device(file, bytes, err);
        // The length comes first: writing beyond the end would extend the file again and again, one writer at a time.
        if ((fresh && ftruncate(file->fd, 0) < 0) || ftruncate(file->fd, (off_t) bytes) < 0)
                return error_errno(err, errno, "make room for %s", units_format_size(bytes, text));
        sink->starts_zero = fresh;
        return 0;
}

static int read_all(struct sink *sink, uint64_t offset, uint8_t *buffer, size_t length, struct error *err) {
        struct sink_file *file = (struct sink_file *) sink;
        char text[UNITS_TEXT_MAX];
        while (length > 0) {
                ssize_t n = pread(file->fd, buffer, length, (off_t) offset);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_errno(err, errno, "read at %s", units_format_size(offset, text));
                if (n == 0)
                        return error_set(err, ERROR_IO, "read at %s: the image ends there",
                                         units_format_size(offset, text));
                offset += (uint64_t) n;
                buffer += n;
                length -= (size_t) n;
        }
        return 0;
}

static int flush(struct sink *sink, struct error *err) {
        struct sink_file *file = (struct sink_file *) sink;
        char text[UNITS_TEXT_MAX];
        if (!file->device && ftruncate(file->fd, (off_t) sink->bytes) < 0)
                return error_errno(err, errno, "cut to %s", units_format_size(sink->bytes, text));
        // Both descriptions: each reports the write-back errors since it was opened, and either may have been written
        // to.
        if (fsync(file->fd) < 0 || (file->direct_fd >= 0 && fsync(file->direct_fd) < 0))
                return error_errno(err, errno, "sync");
        return 0;
}

static void free_file(struct sink *sink) {
        struct sink_file *file = (struct sink_file *) sink;
        close_p(&file->direct_fd);
        free(file);
}

static const struct sink_ops ops = {.kind = "file",
                                    .keeps = keeps,
                                    .begin = begin,
                                    .write = write_all,
                                    .zero = zero,
                                    .read = read_all,
                                    .flush = flush,
                                    .free = free_file};

int sink_file_new(int fd, struct sink **ret, struct error *err) {
        char path[32];
        struct stat status;
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fstat(fd, &status) < 0)
                return error_errno(err, errno, "open the image for writing");
        struct sink_file *file = new (struct sink_file);
        sink_init(&file->sink, &ops);
        file->fd = fd;
        file->device = S_ISBLK(status.st_mode);
        // A description of our own: O_DIRECT on the caller's would change it for the caller as well.
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        file->direct_fd = open(path, (flags & O_ACCMODE) | O_DIRECT | O_CLOEXEC);
        atomic_init(&file->direct, file->direct_fd >= 0);
        *ret = &file->sink;
        return 0;
}
