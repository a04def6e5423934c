// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Small files of our own. Everything happens relative to a directory that is open, the last component is never a link
 * that is followed, and a write is on disk under its name or not there at all. Any thread; several writers of one file
 * take turns by a lock on the temporary file.
 */
#include "common/file.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define DEPTH_MAX 64 // of a tree to remove; each level holds a descriptor
#define TRIES_MAX 100

static void closedir_p(DIR **dir) {
        if (*dir)
                closedir(*dir);
}

static void buffer_fini_p(struct buffer *buffer) {
        buffer_fini(buffer);
}

// Open the directory that holds path; *ret_name points into path.
static int open_parent(const char *path, int *ret_fd, const char **ret_name, struct error *err) {
        const char *slash = strrchr(path, '/');
        const char *name = slash ? slash + 1 : path;
        if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                return error_set(err, ERROR_INVALID, "%s: not the name of a file", path);
        _cleanup_(free_p) char *parent = !slash          ? memory_string(".")
                                         : slash == path ? memory_string("/")
                                                         : memory_format("%.*s", (int) (slash - path), path);
        int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open %s", parent);
        *ret_fd = fd;
        *ret_name = name;
        return 0;
}

int file_read_fd(int fd, const char *path, size_t limit, struct buffer *content, struct error *err) {
        struct stat status;
        if (fstat(fd, &status) < 0)
                return error_errno(err, errno, "read %s", path);
        if (!S_ISREG(status.st_mode))
                return error_set(err, ERROR_INVALID, "read %s: not a regular file", path);
        _cleanup_(buffer_fini_p) struct buffer read_so_far;
        buffer_init(&read_so_far, 0);
        for (;;) {
                uint8_t *space;
                size_t room = limit - read_so_far.length; // one more is asked for, to see what is beyond the limit
                room = (room < 65536 ? room : 65536) + 1;
                if (buffer_reserve(&read_so_far, room, &space, err) < 0)
                        return error_prefix(err, "read %s", path);
                ssize_t n = read(fd, space, room);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_errno(err, errno, "read %s", path);
                if (n == 0) {
                        *space = '\0';
                        break;
                }
                buffer_commit(&read_so_far, (size_t) n);
                if (read_so_far.length > limit)
                        return error_set(err, ERROR_TOO_LARGE, "read %s: longer than %zu bytes", path, limit);
        }
        struct buffer old = *content;
        *content = read_so_far;
        content->limit = old.limit;
        read_so_far = old;
        return 0;
}

int file_read(const char *path, size_t limit, struct buffer *content, struct error *err) {
        // O_NONBLOCK: a FIFO in the place of a file is refused, not waited for.
        _cleanup_(close_p) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0 && errno == ELOOP)
                return error_set(err, ERROR_INVALID, "read %s: is a symbolic link", path);
        if (fd < 0)
                return error_errno(err, errno, "read %s", path);
        return file_read_fd(fd, path, limit, content, err);
}

static bool still_named(int dir, const char *name, int fd) {
        struct stat ours, there;
        return fstat(fd, &ours) == 0 && fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
               ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

static int lock(int fd) {
        int result;
        do
                result = flock(fd, LOCK_EX);
        while (result < 0 && errno == EINTR);
        return result;
}

// Something of that name is there: wait for its writer, and remove it if that one died.
static int clear_temporary(int dir, const char *name) {
        _cleanup_(close_p) int fd = openat(dir, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT || (errno == ELOOP && unlinkat(dir, name, 0) == 0) ? 0 : -1;
        if (lock(fd) < 0)
                return -1;
        return !still_named(dir, name, fd) || unlinkat(dir, name, 0) == 0 ? 0 : -1;
}

// A new, empty, locked file. One fixed name, so that a crash leaves at most one behind and the next write removes it;
// never the old file itself, which somebody may have open.
static int open_temporary(int dir, const char *name) {
        for (unsigned i = 0; i < TRIES_MAX; i++) {
                _cleanup_(close_p) int fd =
                        openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
                if (fd < 0) {
                        if (errno != EEXIST || clear_temporary(dir, name) < 0)
                                return -1;
                        continue;
                }
                if (lock(fd) < 0)
                        return -1;
                if (still_named(dir, name, fd)) // else another writer took it for a dead one's
                        return steal_fd(&fd);
        }
        errno = EBUSY;
        return -1;
}

static int write_all(int fd, const uint8_t *bytes, size_t length) {
        while (length > 0) {
                ssize_t n = write(fd, bytes, length);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -1;
                bytes += n;
                length -= (size_t) n;
        }
        return 0;
}

int file_sync_directory(int dir_fd, struct error *err) {
        if (fsync(dir_fd) < 0)
                return error_errno(err, errno, "fsync of a directory");
        return 0;
}

int file_write(const char *path, const void *bytes, size_t length, mode_t mode, struct error *err) {
        _cleanup_(close_p) int dir = -1;
        const char *name;
        if (open_parent(path, &dir, &name, err) < 0)
                return error_prefix(err, "write %s", path);
        _cleanup_(free_p) char *temporary = memory_format(".%s.tmp", name);
        _cleanup_(close_p) int fd = open_temporary(dir, temporary);
        if (fd < 0)
                return error_errno(err, errno, "write %s: make %s", path, temporary);
        // fchmod, because the umask does not decide who may read a key.
        if (write_all(fd, bytes, length) < 0 || fchmod(fd, mode) < 0 || fsync(fd) < 0 ||
            renameat(dir, temporary, dir, name) < 0) {
                error_errno(err, errno, "write %s", path);
                unlinkat(dir, temporary, 0);
                return -1;
        }
        if (file_sync_directory(dir, err) < 0)
                return error_prefix(err, "write %s", path);
        return 0;
}

int file_make_directories(const char *path, mode_t mode, struct error *err) {
        if (!*path)
                return error_set(err, ERROR_INVALID, "make a directory: the path is empty");
        _cleanup_(free_p) char *part = memory_string(path);
        for (char *end = part + 1;; end++) {
                char c = *end;
                if (c != '/' && c != '\0')
                        continue;
                *end = '\0';
                if (mkdir(part, mode) < 0 && errno != EEXIST)
                        return error_errno(err, errno, "make directory %s", part);
                *end = c;
                if (c == '\0')
                        break;
        }
        struct stat status;
        if (stat(path, &status) < 0)
                return error_errno(err, errno, "make directory %s", path);
        if (!S_ISDIR(status.st_mode))
                return error_errno(err, ENOTDIR, "make directory %s", path);
        return 0;
}

static int remove_at(int parent, const char *name, unsigned depth, struct error *err) {
        if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
                return 0;
        if (errno != EISDIR)
                return error_errno(err, errno, "remove %s", name);
        if (depth >= DEPTH_MAX)
                return error_set(err, ERROR_TOO_LARGE, "remove %s: more than %d levels deep", name, DEPTH_MAX);
        _cleanup_(close_p) int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        _cleanup_(closedir_p) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir)
                return error_errno(err, errno, "remove %s", name);
        steal_fd(&fd);
        for (struct dirent *entry; (errno = 0, entry = readdir(dir));)
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
                    remove_at(dirfd(dir), entry->d_name, depth + 1, err) < 0)
                        return error_prefix(err, "remove %s", name);
        if (errno != 0 || (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT))
                return error_errno(err, errno, "remove %s", name);
        return 0;
}

int file_remove_at(int dir_fd, const char *name, struct error *err) {
        return remove_at(dir_fd, name, 0, err);
}

int file_remove_tree(const char *path, struct error *err) {
        _cleanup_(close_p) int parent = -1;
        const char *name;
        struct error why = ERROR_INIT;
        if (open_parent(path, &parent, &name, &why) < 0) {
                if (why.code == ERROR_NOT_FOUND)
                        return 0;
                if (err)
                        *err = why;
                return error_prefix(err, "remove");
        }
        return remove_at(parent, name, 0, err);
}
