// SPDX-License-Identifier: LGPL-2.1-or-later
/* Which files are the index: read when it is opened, replaced by rename with every flush and merge. The writer's. */
#include "agent/repository/index_parts.h"
#include "common/buffer.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/file.h"
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <xxhash.h>

#define MAGIC     "DROVRIX1"
#define NAME      "manifest"
#define TEMPORARY "manifest.new"

struct entry { // little endian
        uint32_t number, pages;
        uint64_t records, salt;
};
struct head {
        char magic[8];
        uint8_t repository[16];
        uint32_t generation, logged, next_number, n_segments;
};
struct content {
        struct head head;
        struct entry entries[INDEX_SEGMENTS_MAX];
        uint64_t room_for_check; // stands right behind the last entry
};

static size_t length_of(uint32_t n_segments) {
        return sizeof(struct head) + n_segments * sizeof(struct entry) + sizeof(uint64_t);
}

static size_t encode(const struct index *index, const struct index_manifest *manifest, struct content *ret) {
        *ret = (struct content){.head = {
                                        .generation = htole32(manifest->generation),
                                        .logged = htole32(manifest->logged),
                                        .next_number = htole32(manifest->next_number),
                                        .n_segments = htole32(manifest->n_segments),
                                }};
        memcpy(ret->head.magic, MAGIC, sizeof ret->head.magic);
        memcpy(ret->head.repository, index->repository, sizeof ret->head.repository);
        for (uint32_t i = 0; i < manifest->n_segments; i++) {
                const struct segment_head *segment = &manifest->segments[i];
                ret->entries[i] = (struct entry){.number = htole32(segment->number),
                                                 .pages = htole32(segment->pages),
                                                 .records = htole64(segment->records),
                                                 .salt = htole64(segment->salt)};
        }
        size_t length = length_of(manifest->n_segments);
        uint64_t check = htole64(XXH3_64bits(ret, length - sizeof check));
        memcpy((uint8_t *) ret + length - sizeof check, &check, sizeof check);
        return length;
}

static int write_temporary(int directory_fd, const void *bytes, size_t length, struct error *err) {
        _cleanup_(close_p) int fd =
                openat(directory_fd, TEMPORARY, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_errno(err, errno, "index: make " TEMPORARY);
        ssize_t n = write(fd, bytes, length);
        if (n < 0 || fsync(fd) < 0)
                return error_errno(err, errno, "index: write " TEMPORARY);
        if ((size_t) n != length)
                return error_set(err, ERROR_NO_SPACE, "index: write " TEMPORARY ": %zd of %zu bytes", n, length);
        return 0;
}

int index_manifest_write(struct index *index, const struct index_manifest *manifest, struct error *err) {
        struct content content;
        size_t length = encode(index, manifest, &content);
        // The segments' names are on disk before one file names them.
        if (file_sync_directory(index->directory_fd, err) < 0)
                return error_prefix(err, "index");
        if (write_temporary(index->directory_fd, &content, length, err) < 0 ||
            fault_point("repository.index.before-manifest", err) < 0)
                return -1;
        if (renameat(index->directory_fd, TEMPORARY, index->directory_fd, NAME) < 0)
                return error_errno(err, errno, "index: rename " TEMPORARY);
        struct error why = ERROR_INIT;
        if (fault_point("repository.index.after-manifest", &why) == 0 &&
            file_sync_directory(index->directory_fd, &why) == 0)
                return 0;
        // Either manifest may be the one on disk: what both name stays.
        index->stale = true;
        return error_set(err, ERROR_STALE, "index: %s: open it anew", why.message);
}

static bool decode(const struct index *index, const struct content *content, size_t length,
                   struct index_manifest *ret) {
        uint32_t n = le32toh(content->head.n_segments);
        uint64_t check;
        if (length < length_of(0) || n > INDEX_SEGMENTS_MAX || length != length_of(n))
                return false;
        memcpy(&check, (const uint8_t *) content + length - sizeof check, sizeof check);
        if (le64toh(check) != XXH3_64bits(content, length - sizeof check) ||
            memcmp(content->head.magic, MAGIC, sizeof content->head.magic) != 0 ||
            memcmp(content->head.repository, index->repository, sizeof content->head.repository) != 0)
                return false;
        *ret = (struct index_manifest){.generation = le32toh(content->head.generation),
                                       .logged = le32toh(content->head.logged),
                                       .next_number = le32toh(content->head.next_number),
                                       .n_segments = n};
        for (uint32_t i = 0; i < n; i++)
                ret->segments[i] = (struct segment_head){.number = le32toh(content->entries[i].number),
                                                         .pages = le32toh(content->entries[i].pages),
                                                         .records = le64toh(content->entries[i].records),
                                                         .salt = le64toh(content->entries[i].salt)};
        return true;
}

int index_manifest_read(struct index *index, struct index_manifest *ret, bool *ret_there, struct error *err) {
        struct content content = {0};
        _cleanup_(close_p) int fd = openat(index->directory_fd, NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT) {
                *ret_there = false;
                return 0;
        }
        struct stat status = {0};
        if (fd < 0 && errno != ELOOP && errno != ENXIO) // a link, a socket
                return error_errno(err, errno, "index: open " NAME);
        if (fd >= 0 && fstat(fd, &status) < 0)
                return error_errno(err, errno, "index: open " NAME);
        if (fd < 0 || !S_ISREG(status.st_mode))
                return error_set(err, ERROR_CORRUPT, "index: " NAME ": expected a regular file");
        ssize_t n = pread(fd, &content, sizeof content, 0);
        if (n < 0)
                return error_errno(err, errno, "index: read " NAME);
        if (!decode(index, &content, (size_t) n, ret))
                return error_set(err, ERROR_CORRUPT, "index: " NAME ": expected this repository's, with its check sum");
        *ret_there = true;
        return 0;
}

// ---- files that are nobody's
static bool is_leftover(const char *file, const struct index_manifest *manifest) {
        uint32_t number;
        if (strcmp(file, TEMPORARY) == 0)
                return true;
        if (index_packs_generation_of(file, &number))
                return !manifest || number != manifest->generation;
        if (!segment_number_of(file, &number))
                return false;
        for (uint32_t i = 0; manifest && i < manifest->n_segments; i++)
                if (manifest->segments[i].number == number)
                        return false;
        return true;
}

int index_manifest_sweep(int directory_fd, const struct index_manifest *manifest, struct error *err) {
        _cleanup_(close_p) int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
        if (!directory)
                return error_errno(err, errno, "index: list its files");
        steal_fd(&fd);
        int result = 0;
        errno = 0;
        for (struct dirent *entry; result == 0 && (errno = 0, entry = readdir(directory));)
                if (is_leftover(entry->d_name, manifest) && file_remove_at(directory_fd, entry->d_name, err) < 0)
                        result = error_prefix(err, "index");
        if (result == 0 && errno != 0)
                result = error_errno(err, errno, "index: list its files");
        closedir(directory);
        return result;
}

int index_clear(int directory_fd, struct error *err) {
        if (file_remove_at(directory_fd, NAME, err) < 0)
                return error_prefix(err, "index");
        if (file_sync_directory(directory_fd, err) < 0)
                return error_prefix(err, "index");
        return index_manifest_sweep(directory_fd, NULL, err);
}
