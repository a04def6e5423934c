// SPDX-License-Identifier: LGPL-2.1-or-later
/* Writing a pack (see pack.h): in incoming/ under its own name, and by rename, when it is on the disk, to its place. */
#include "agent/repository/bytes.h"
#include "agent/repository/pack_parts.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/random.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/stat.h>

struct pack_writer {
        int incoming, packs; // not ours
        int fd;
        struct pack_id id;
        char hex[PACK_ID_HEX];
        char name[PACK_FILE];
        uint64_t at;           // where the next group begins
        struct buffer trailer; // so far
        uint32_t groups, chunks;
        bool there;  // in incoming/
        bool failed; // what is on the disk is not known any more
};

static int broken(struct pack_writer *writer, struct error *err) {
        writer->failed = true;
        return error_prefix(err, "pack %s", writer->hex);
}

static int write_at(struct pack_writer *writer, const uint8_t *bytes, size_t length, uint64_t offset,
                    struct error *err) {
        while (length > 0) {
                ssize_t n = pwrite(writer->fd, bytes, length, (off_t) offset);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return error_errno(err, n < 0 ? errno : EIO, "write at %llu", (unsigned long long) offset);
                bytes += n;
                length -= (size_t) n;
                offset += (uint64_t) n;
        }
        return 0;
}

static int create(struct pack_writer *writer, struct error *err) {
        uint8_t head[PACK_HEAD] = PACK_MAGIC, trailer[PACK_TRAILER_HEAD] = PACK_TRAILER_MAGIC;
        writer->fd = openat(writer->incoming, writer->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (writer->fd < 0)
                return error_errno(err, errno, "make the file in incoming/");
        writer->there = true;
        memcpy(head + 8, writer->id.bytes, PACK_ID);
        writer->at = PACK_HEAD;
        if (buffer_append(&writer->trailer, trailer, sizeof trailer, err) < 0)
                return -1;
        return write_at(writer, head, sizeof head, 0, err);
}

int pack_writer_new(int incoming, int packs, struct pack_writer **ret, struct error *err) {
        struct pack_writer *writer = new (struct pack_writer);
        *writer = (struct pack_writer){.incoming = incoming, .packs = packs, .fd = -1};
        random_bytes(writer->id.bytes, sizeof writer->id.bytes);
        pack_id_to_hex(&writer->id, writer->hex);
        snprintf(writer->name, sizeof writer->name, "%s.pack", writer->hex);
        buffer_init(&writer->trailer, 0);
        if (create(writer, err) < 0) {
                broken(writer, err);
                pack_writer_free(writer);
                return -1;
        }
        *ret = writer;
        return 0;
}

void pack_writer_free(struct pack_writer *writer) {
        if (!writer)
                return;
        if (writer->there)
                unlinkat(writer->incoming, writer->name, 0);
        close_p(&writer->fd);
        buffer_fini(&writer->trailer);
        free(writer);
}

const struct pack_id *pack_writer_id(const struct pack_writer *writer) {
        return &writer->id;
}

uint64_t pack_writer_size(const struct pack_writer *writer) {
        return writer->at + writer->trailer.length + PACK_TRAILER_TAIL;
}

bool pack_writer_full(const struct pack_writer *writer) {
        return pack_writer_size(writer) >= PACK_FULL || writer->chunks >= PACK_FULL_CHUNKS;
}

static int check_usable(struct pack_writer *writer, struct error *err) {
        if (writer->there && !writer->failed)
                return 0;
        return error_set(err, ERROR_FAILED, "pack %s: it is closed, or an earlier write failed", writer->hex);
}

// What the trailer says of a group: its offset, its header as far as it is needed, its table.
static int note(struct pack_writer *writer, const uint8_t *bytes, const struct group_header *header,
                struct error *err) {
        uint8_t group[PACK_TRAILER_GROUP];
        bytes_put64(group, writer->at);
        bytes_put32(group + 8, header->stored);
        group[12] = header->coding;
        group[13] = header->flags;
        bytes_put16(group + 14, header->chunks);
        if (buffer_append(&writer->trailer, group, sizeof group, err) < 0)
                return -1;
        return buffer_append(&writer->trailer, bytes + GROUP_HEAD, group_header_bytes(header) - GROUP_HEAD, err);
}

int pack_writer_add(struct pack_writer *writer, const uint8_t *bytes, size_t length, uint32_t *ret_offset,
                    struct error *err) {
        struct group_header header;
        if (check_usable(writer, err) < 0)
                return -1;
        if (group_read_header(bytes, length, &header, err) < 0 || length != group_bytes(&header))
                return error_set(err, ERROR_INVALID, "pack %s: %zu bytes that are no group", writer->hex, length);
        if (pack_writer_size(writer) + length + PACK_TRAILER_GROUP + GROUP_HEADER_MAX > PACK_MAX)
                return error_set(err, ERROR_TOO_LARGE, "pack %s: is full", writer->hex);
        if (write_at(writer, bytes, length, writer->at, err) < 0 || note(writer, bytes, &header, err) < 0)
                return broken(writer, err);
        *ret_offset = (uint32_t) writer->at;
        writer->at += length;
        writer->groups++;
        writer->chunks += header.chunks;
        return 0;
}

static int write_trailer(struct pack_writer *writer, struct error *err) {
        uint8_t tail[PACK_TRAILER_TAIL];
        struct buffer *trailer = &writer->trailer;
        bytes_put32(trailer->data + 4, writer->groups);
        if (EVP_Digest(trailer->data, trailer->length, tail, NULL, EVP_sha256(), NULL) != 1)
                return error_set(err, ERROR_NO_MEMORY, "no memory to hash with");
        bytes_put32(tail + 32, (uint32_t) (trailer->length + sizeof tail));
        memcpy(tail + 36, (const uint8_t[]) PACK_END, 8);
        if (buffer_append(trailer, tail, sizeof tail, err) < 0)
                return -1;
        return write_at(writer, trailer->data, trailer->length, writer->at, err);
}

static int sync_file(struct pack_writer *writer, struct error *err) {
        return fsync(writer->fd) < 0 ? error_errno(err, errno, "fsync") : 0;
}

// NFS and a few others cannot refuse to replace. The id is random: nothing has its name.
static int move(struct pack_writer *writer, int to) {
        if (renameat2(writer->incoming, writer->name, to, writer->name, RENAME_NOREPLACE) == 0)
                return 0;
        if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP)
                return -1;
        return renameat(writer->incoming, writer->name, to, writer->name);
}

// By rename to its place. If that cannot be synced, it goes: it would count for some and not for others.
static int publish(struct pack_writer *writer, struct error *err) {
        char directory[3] = {writer->hex[0], writer->hex[1]};
        if (mkdirat(writer->packs, directory, 0700) < 0 && errno != EEXIST)
                return error_errno(err, errno, "make the directory packs/%s", directory);
        _cleanup_(close_p) int fd = openat(writer->packs, directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open the directory packs/%s", directory);
        if (move(writer, fd) < 0)
                return error_errno(err, errno, "rename it into packs/%s", directory);
        writer->there = false;
        if (file_sync_directory(fd, err) == 0 && file_sync_directory(writer->packs, err) == 0)
                return 0;
        unlinkat(fd, writer->name, 0);
        return error_prefix(err, "packs/%s", directory);
}

int pack_writer_close(struct pack_writer *writer, struct error *err) {
        if (check_usable(writer, err) < 0)
                return -1;
        if (writer->groups == 0)
                return error_set(err, ERROR_INVALID, "pack %s: there is nothing in it", writer->hex);
        if (write_trailer(writer, err) < 0 || sync_file(writer, err) < 0 || publish(writer, err) < 0)
                return broken(writer, err);
        return 0;
}
