// SPDX-License-Identifier: LGPL-2.1-or-later
/* An image file or a block device that is read (see source_file.h). */
#include "agent/blocks/source_file.h"
#include "agent/blocks/file_version.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/units.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_LEAST 4096u // of any machine's memory

struct source_file {
        struct source source;
        int fd;             // the caller's
        int direct_fd;      // ours, O_DIRECT; -1: not to be had
        atomic_bool direct; // still of use
        bool seekable;      // the file system tells data from holes; guarded by the source's mutex
};

static int check_length(int fd, uint64_t bytes, struct error *err) {
        struct stat status;
        char is[UNITS_TEXT_MAX], ordered[UNITS_TEXT_MAX];
        if (fstat(fd, &status) < 0)
                return error_errno(err, errno, "read the image's length");
        uint64_t length = (uint64_t) status.st_size;
        if (S_ISBLK(status.st_mode)) {
                off_t end = lseek(fd, 0, SEEK_END);
                if (end < 0)
                        return error_errno(err, errno, "read the device's length");
                length = (uint64_t) end < bytes ? (uint64_t) end : bytes;
        }
        if (length == bytes)
                return 0;
        return error_set(err, ERROR_CONFLICT, "the image is %s (%llu bytes) long, not %s (%llu bytes)",
                         units_format_size(length, is), (unsigned long long) length, units_format_size(bytes, ordered),
                         (unsigned long long) bytes);
}

static int no_holes(struct source_file *file, enum source_kind *ret_kind, uint64_t *ret_end) {
        file->seekable = false;
        *ret_kind = SOURCE_DATA;
        *ret_end = file->source.bytes;
        return 0;
}

static int extent(struct source *source, uint64_t offset, enum source_kind *ret_kind, uint64_t *ret_end,
                  struct error *err) {
        struct source_file *file = (struct source_file *) source;
        char text[UNITS_TEXT_MAX];
        if (!file->seekable)
                return no_holes(file, ret_kind, ret_end);
        off_t begin = lseek(file->fd, (off_t) offset, SEEK_DATA);
        if (begin < 0 && errno == EINVAL)
                return no_holes(file, ret_kind, ret_end);
        if (begin < 0 && errno != ENXIO)
                return error_errno(err, errno, "read at %s", units_format_size(offset, text));
        if (begin < 0 || (uint64_t) begin > offset) {
                *ret_kind = SOURCE_ZERO;
                *ret_end = begin < 0 || (uint64_t) begin > source->bytes ? source->bytes : (uint64_t) begin;
                return 0;
        }
        off_t end = lseek(file->fd, begin, SEEK_HOLE);
        if (end < 0)
                return error_errno(err, errno, "read at %s", units_format_size(offset, text));
        *ret_kind = SOURCE_DATA;
        *ret_end = (uint64_t) end < source->bytes ? (uint64_t) end : source->bytes;
        return 0;
}

// Whether all of it lies in the page cache, as that of a VM that ran a moment ago may. Nothing of the mapping is
// touched.
static bool is_cached(const struct source_file *file, uint64_t offset, size_t length) {
        uint8_t pages[BLOCKS_BLOCK / PAGE_LEAST];
        if (length > BLOCKS_BLOCK)
                return false;
        void *map = mmap(NULL, length, PROT_READ, MAP_SHARED, file->fd, (off_t) offset);
        if (map == MAP_FAILED)
                return false;
        size_t n = 0, page = (size_t) sysconf(_SC_PAGESIZE), all = (length + page - 1) / page;
        if (mincore(map, length, pages) == 0)
                while (n < all && (pages[n] & 1))
                        n++;
        munmap(map, length);
        return n == all;
}

static ssize_t read_some(struct source_file *file, uint64_t offset, uint8_t *buffer, size_t length) {
        if (atomic_load_explicit(&file->direct, memory_order_relaxed) && offset % BLOCKS_ALIGNMENT == 0 &&
            !is_cached(file, offset, length)) {
                size_t rounded = (length + BLOCKS_ALIGNMENT - 1) / BLOCKS_ALIGNMENT * BLOCKS_ALIGNMENT;
                ssize_t n = pread(file->direct_fd, buffer, rounded, (off_t) offset);
                if (n >= 0)
                        return (size_t) n < length ? n : (ssize_t) length;
                if (errno != EINVAL)
                        return n;
                atomic_store(&file->direct, false); // this file system wants another alignment, or none at all
        }
        return pread(file->fd, buffer, length, (off_t) offset);
}

static int read_all(struct source *source, uint64_t offset, uint8_t *buffer, size_t length, struct error *err) {
        struct source_file *file = (struct source_file *) source;
        char text[UNITS_TEXT_MAX];
        size_t have = 0;
        while (have < length) {
                ssize_t n = read_some(file, offset + have, buffer + have, length - have);
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

static int version(struct source *source, uint8_t ret[SOURCE_VERSION_BYTES], struct error *err) {
        const struct source_file *file = (const struct source_file *) source;
        uint64_t facts[FILE_VERSION_FACTS];
        int known = file_version(file->fd, facts, err);
        if (known <= 0)
                return known;
        _Static_assert(SOURCE_VERSION_BYTES == SHA256_DIGEST_LENGTH, "a version is a SHA-256");
        SHA256((const uint8_t *) facts, sizeof facts, ret);
        return 1;
}

static void free_file(struct source *source) {
        struct source_file *file = (struct source_file *) source;
        close_p(&file->direct_fd);
        free(file);
}

static const struct source_ops ops = {
        .kind = "file", .extent = extent, .read = read_all, .version = version, .free = free_file};

int source_file_new(int fd, uint64_t bytes, struct source **ret, struct error *err) {
        char path[32];
        if (check_length(fd, bytes, err) < 0)
                return -1;
        struct source_file *file = new (struct source_file);
        source_init(&file->source, &ops, bytes);
        file->fd = fd;
        file->seekable = true;
        // A description of our own: O_DIRECT on the caller's would change it for the caller as well.
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        file->direct_fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
        atomic_init(&file->direct, file->direct_fd >= 0);
        *ret = &file->source;
        return 0;
}
