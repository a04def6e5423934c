// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Image files looked at by our own bounded code. What stands in a header was written by whoever had the image before:
 * every number is checked against the file's length before it is used, and nothing that it names is opened here. Pure
 * apart from reading; any thread.
 */
#include "agent/host/image.h"
#include "agent/host/image_vmdk.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

// The layout is docs/interop/qcow2.txt of QEMU; all numbers are big-endian.
#define QCOW2_MAGIC             0x514649fbu
#define QCOW2_HEADER_V2         72u
#define QCOW2_HEADER_V3         104u
#define QCOW2_EXTENSION_FORMAT  0xe2792acau
#define QCOW2_EXTENSION_BITMAPS 0x23852875u
#define QCOW2_AUTOCLEAR_BITMAPS (1ull << 0) // unset: what the extension says is older than the image
#define QCOW2_DIRTY             (1ull << 0)
#define QCOW2_CORRUPT           (1ull << 1)
#define QCOW2_DATA_FILE         (1ull << 2)
#define QCOW2_COMPRESSION       (1ull << 3)
#define QCOW2_EXTENDED_L2       (1ull << 4)
#define QCOW2_KNOWN             (QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_DATA_FILE | QCOW2_COMPRESSION | QCOW2_EXTENDED_L2)
#define HEADER_MAX              (64u << 10) // header, extensions and backing name, far below the first MiB

struct header {
        const char *name; // of the file, for messages
        const uint8_t *bytes;
        size_t length;
};

static uint32_t u32_at(const struct header *header, size_t offset) {
        uint32_t value;
        memcpy(&value, header->bytes + offset, sizeof(value));
        return be32toh(value);
}

static uint64_t u64_at(const struct header *header, size_t offset) {
        uint64_t value;
        memcpy(&value, header->bytes + offset, sizeof(value));
        return be64toh(value);
}

static int read_backing(const struct header *header, struct image *image, struct error *err) {
        uint64_t offset = u64_at(header, 8);
        uint32_t length = u32_at(header, 16);
        if (offset == 0 || length == 0)
                return 0;
        if (length >= sizeof(image->backing) || offset > header->length || length > header->length - offset)
                return error_set(err, ERROR_REFUSED, "%s: the name of its backing file lies outside the header",
                                 header->name);
        if (memchr(header->bytes + offset, 0, length))
                return error_set(err, ERROR_REFUSED, "%s: the name of its backing file holds a NUL", header->name);
        image->has_backing = true;
        memcpy(image->backing, header->bytes + offset, length);
        image->backing[length] = 0;
        return 0;
}

static bool bitmaps_hold(const struct header *header) {
        return u32_at(header, 4) >= 3 && (u64_at(header, 88) & QCOW2_AUTOCLEAR_BITMAPS);
}

// Header extensions: type, length, data padded to 8; ended by type 0.
static int read_extensions(const struct header *header, size_t offset, struct image *image, struct error *err) {
        while (offset + 8 <= header->length) {
                uint32_t type = u32_at(header, offset), length = u32_at(header, offset + 4);
                offset += 8;
                if (type == 0)
                        return 0;
                if (length > header->length - offset)
                        return error_set(err, ERROR_REFUSED, "%s: a header extension is longer than the header",
                                         header->name);
                if (type == QCOW2_EXTENSION_FORMAT && length < sizeof(image->backing_format)) {
                        memcpy(image->backing_format, header->bytes + offset, length);
                        image->backing_format[length] = 0;
                }
                if (type == QCOW2_EXTENSION_BITMAPS && length >= sizeof(image->bitmaps) && bitmaps_hold(header))
                        image->bitmaps = u32_at(header, offset);
                offset += (length + 7u) & ~7u;
        }
        return 0;
}

static int read_features(const struct header *header, struct image *image, struct error *err) {
        uint64_t features = u64_at(header, 72);
        if (features & ~QCOW2_KNOWN)
                return error_set(err, ERROR_REFUSED, "%s: unknown qcow2 features 0x%llx", header->name,
                                 (unsigned long long) (features & ~QCOW2_KNOWN));
        image->dirty = features & QCOW2_DIRTY;
        image->corrupt = features & QCOW2_CORRUPT;
        image->has_data_file = features & QCOW2_DATA_FILE;
        image->extended_l2 = features & QCOW2_EXTENDED_L2;
        return 0;
}

static int read_qcow2(const struct header *header, struct image *image, struct error *err) {
        if (header->length < QCOW2_HEADER_V2 || u32_at(header, 0) != QCOW2_MAGIC)
                return error_set(err, ERROR_REFUSED, "%s is not a qcow2 image, although the definition says so",
                                 header->name);
        uint32_t version = u32_at(header, 4), cluster_bits = u32_at(header, 20);
        if (version != 2 && version != 3)
                return error_set(err, ERROR_REFUSED, "%s: unknown qcow2 version %u", header->name, version);
        if (cluster_bits < 9 || cluster_bits > 21)
                return error_set(err, ERROR_REFUSED, "%s: impossible qcow2 cluster size 2^%u", header->name,
                                 cluster_bits);
        uint64_t virtual_bytes = u64_at(header, 24);
        if (virtual_bytes > INT64_MAX)
                return error_set(err, ERROR_REFUSED, "%s: impossible qcow2 disk size", header->name);
        uint32_t header_length = QCOW2_HEADER_V2;
        if (version == 3) {
                if (header->length < QCOW2_HEADER_V3)
                        return error_set(err, ERROR_REFUSED, "%s: the qcow2 header is cut short", header->name);
                header_length = u32_at(header, 100);
                if (header_length < QCOW2_HEADER_V3 || header_length > header->length || header_length % 8)
                        return error_set(err, ERROR_REFUSED, "%s: impossible qcow2 header length %u", header->name,
                                         header_length);
                if (read_features(header, image, err) < 0)
                        return -1;
        }
        image->virtual_bytes = virtual_bytes;
        image->encrypted = u32_at(header, 32) != 0;
        image->snapshots = u32_at(header, 60);
        if (read_backing(header, image, err) < 0)
                return -1;
        return read_extensions(header, header_length, image, err);
}

static int read_header(int fd, const char *name, struct image *image, struct error *err) {
        _cleanup_(free_p) uint8_t *bytes = memory_new(HEADER_MAX);
        size_t length = 0;
        while (length < HEADER_MAX) {
                ssize_t n = pread(fd, bytes + length, HEADER_MAX - length, (off_t) length);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_errno(err, errno, "read %s", name);
                if (n == 0)
                        break;
                length += (size_t) n;
        }
        struct header header = {.name = name, .bytes = bytes, .length = length};
        return read_qcow2(&header, image, err);
}

int image_read_qcow2(int fd, const char *name, struct image *ret, struct error *err) {
        struct image image = {0};
        uint32_t magic;
        ssize_t n;
        while ((n = pread(fd, &magic, sizeof(magic), 0)) < 0 && errno == EINTR)
                continue;
        if (n < 0)
                return error_errno(err, errno, "read %s", name);
        if ((size_t) n < sizeof(magic) || be32toh(magic) != QCOW2_MAGIC)
                return 0;
        if (read_header(fd, name, &image, err) < 0)
                return -1;
        *ret = image;
        return 1;
}

// A device takes all of its room, and has nothing but the disk itself in it.
static int inspect_device(int fd, const char *name, const char *format, struct image *ret, struct error *err) {
        off_t bytes = lseek(fd, 0, SEEK_END);
        if (bytes < 0)
                return error_errno(err, errno, "read the length of %s", name);
        if (strcmp(format, "raw") != 0)
                return error_set(err, ERROR_REFUSED, "%s is a block device of format %s, and only raw ones are carried",
                                 name, format);
        *ret = (struct image){
                .virtual_bytes = (uint64_t) bytes, .file_bytes = (uint64_t) bytes, .allocated_bytes = (uint64_t) bytes};
        return 0;
}

int image_inspect(int fd, const char *name, const char *format, struct image *ret, struct error *err) {
        struct stat st;
        if (fstat(fd, &st) < 0)
                return error_errno(err, errno, "stat %s", name);
        if (S_ISBLK(st.st_mode))
                return inspect_device(fd, name, format, ret, err);
        if (!S_ISREG(st.st_mode))
                return error_set(err, ERROR_REFUSED, "%s is not a regular file", name);
        struct image image = {
                .virtual_bytes = (uint64_t) st.st_size,
                .file_bytes = (uint64_t) st.st_size,
                .allocated_bytes = (uint64_t) st.st_blocks * 512,
        };
        // A raw image is whatever its bytes are: nothing in them is a header (fault 34).
        if (strcmp(format, "qcow2") == 0 && read_header(fd, name, &image, err) < 0)
                return -1;
        if (strcmp(format, "vmdk") == 0 && image_vmdk_read(fd, name, &image, err) < 0)
                return -1;
        *ret = image;
        return 0;
}

int image_inspect_at(int dir_fd, const char *name, const char *format, struct image *ret, struct error *err) {
        // O_NONBLOCK: a fifo in the place of an image must not hold us.
        _cleanup_(close_p) int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0 && errno == ELOOP)
                return error_set(err, ERROR_REFUSED, "%s is a symbolic link", name);
        if (fd < 0)
                return error_errno(err, errno, "open %s", name);
        return image_inspect(fd, name, format, ret, err);
}

// Where a backing file's name leads: relative names start at the image's own directory; protocols ("json:", "nbd://")
// lead nowhere that is followed. As in QEMU a colon makes a protocol of what stands before it, unless that has a slash.
char *image_backing_path(const char *image_path, const char *backing) {
        bool file = strncmp(backing, "file:", 5) == 0;
        if (file)
                backing += 5;
        if (backing[0] == '/' || (!file && backing[strcspn(backing, ":/")] == ':'))
                return memory_string(backing);
        const char *slash = strrchr(image_path, '/');
        return memory_format("%.*s/%s", slash ? (int) (slash - image_path) : 1, slash ? image_path : ".", backing);
}
