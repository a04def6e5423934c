// SPDX-License-Identifier: LGPL-2.1-or-later
/* An image file that is read (see source_file.h). */
#include "agent/transfer/source_file.h"
#include "agent/transfer/transfer.h"
#include "common/cleanup.h"
#include "common/units.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int check_length(int fd, uint64_t bytes, struct error *err) {
        struct stat status;
        char is[UNITS_TEXT_MAX], ordered[UNITS_TEXT_MAX];
        if (fstat(fd, &status) < 0)
                return error_errno(err, errno, "read the image's length");
        if (!S_ISREG(status.st_mode) || (uint64_t) status.st_size == bytes)
                return 0;
        return error_set(err, ERROR_CONFLICT, "the image is %s (%llu bytes) long, not %s (%llu bytes)",
                         units_format_size((uint64_t) status.st_size, is), (unsigned long long) status.st_size,
                         units_format_size(bytes, ordered), (unsigned long long) bytes);
}

int source_open(struct source *source, int fd, uint64_t bytes, struct error *err) {
        char path[32];
        if (check_length(fd, bytes, err) < 0)
                return -1;
        memset(source, 0, sizeof *source);
        source->fd = fd;
        source->bytes = bytes;
        source->seekable = true;
        // A description of our own: O_DIRECT on the caller's would change it for the caller as well.
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        source->direct_fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
        atomic_init(&source->direct, source->direct_fd >= 0);
        pthread_mutex_init(&source->mutex, NULL);
        return 0;
}

void source_close(struct source *source) {
        close_p(&source->direct_fd);
        pthread_mutex_destroy(&source->mutex);
}

// Where the next data at or after `next` begins and ends, whole blocks; at the end of the image when there is none.
static int find_data(struct source *source, uint64_t *ret_begin, struct error *err) {
        char text[UNITS_TEXT_MAX];
        off_t begin = lseek(source->fd, (off_t) source->next, SEEK_DATA);
        off_t end = begin >= 0 ? lseek(source->fd, begin, SEEK_HOLE) : -1;
        if (begin < 0 && errno == ENXIO) {
                *ret_begin = source->bytes;
                return 0;
        }
        if (end < 0 && errno == EINVAL) {
                source->seekable = false;
                source->data_end = source->bytes;
                *ret_begin = source->next;
                return 0;
        }
        if (end < 0)
                return error_errno(err, errno, "read at %s", units_format_size(source->next, text));
        *ret_begin = (uint64_t) begin / TRANSFER_BLOCK * TRANSFER_BLOCK;
        source->data_end = (uint64_t) end;
        return 0;
}

static int next_locked(struct source *source, struct source_range *ret, struct error *err) {
        uint64_t begin = source->next;
        if (source->next >= source->bytes)
                return 0;
        if (source->next >= source->data_end && find_data(source, &begin, err) < 0)
                return -1;
        if (begin > source->bytes)
                begin = source->bytes;
        bool zero = begin > source->next;
        uint64_t left = source->bytes - source->next;
        uint64_t length = zero ? begin - source->next : left < TRANSFER_BLOCK ? left : TRANSFER_BLOCK;
        *ret = (struct source_range){.offset = source->next, .length = length, .zero = zero};
        source->next += length;
        return 1;
}

int source_next(struct source *source, struct source_range *ret, struct error *err) {
        pthread_mutex_lock(&source->mutex);
        int result = next_locked(source, ret, err);
        pthread_mutex_unlock(&source->mutex);
        return result;
}

static ssize_t read_some(struct source *source, uint64_t offset, uint8_t *buffer, size_t length) {
        if (atomic_load_explicit(&source->direct, memory_order_relaxed) && offset % SOURCE_ALIGNMENT == 0) {
                size_t rounded = (length + SOURCE_ALIGNMENT - 1) / SOURCE_ALIGNMENT * SOURCE_ALIGNMENT;
                ssize_t n = pread(source->direct_fd, buffer, rounded, (off_t) offset);
                if (n >= 0)
                        return (size_t) n < length ? n : (ssize_t) length;
                if (errno != EINVAL)
                        return n;
                atomic_store(&source->direct, false); // this file system wants another alignment, or none at all
        }
        return pread(source->fd, buffer, length, (off_t) offset);
}

int source_read(struct source *source, uint64_t offset, uint8_t *buffer, size_t length, struct error *err) {
        char text[UNITS_TEXT_MAX];
        size_t have = 0;
        while (have < length) {
                ssize_t n = read_some(source, offset + have, buffer + have, length - have);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_errno(err, errno, "read at %s", units_format_size(offset + have, text));
                if (n == 0)
                        return error_set(err, ERROR_IO, "read at %s: the image ends there",
                                         units_format_size(offset + have, text));
                have += (size_t) n;
        }
        return 0;
}
