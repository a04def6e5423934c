// SPDX-License-Identifier: LGPL-2.1-or-later
/* Opening a chain of images (see image_files.h). Blocking, any worker. */
#include "agent/host/image_files.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void image_files_fini(struct image_files *files) {
        for (unsigned i = 0; i < files->n; i++)
                close_p(&files->fds[i]);
        files->n = 0;
}

// What QEMU could not read without more than this file and those below it.
static int check_member(const struct image *image, const char *path, struct error *err) {
        const char *why = image->has_data_file ? "its data lies in another file"
                          : image->encrypted   ? "it is encrypted with a key of this host"
                          : image->corrupt     ? "it is marked as corrupt"
                                               : NULL;
        return why ? error_set(err, ERROR_REFUSED, "%s: %s", path, why) : 0;
}

// Directories that are links are followed once, here; the file itself must be none.
static int open_member(const struct pool_table *pools, const char *named, char **ret_path, struct error *err) {
        char directory[PATH_MAX];
        _cleanup_(free_p) char *copy = memory_string(named);
        const char *slash = strrchr(named, '/');
        if (named[0] != '/')
                return error_set(err, ERROR_REFUSED, "the backing file %s is not a file of this host", named);
        if (!realpath(dirname(copy), directory))
                return error_errno(err, errno, "%s", named);
        _cleanup_(free_p) char *path = memory_format("%s/%s", directory, slash + 1);
        if (!pool_table_find(pools, path, NULL)) {
                error_set(err, ERROR_REFUSED, "the backing file %s stands in no pool of this host", path);
                error_hint(err, "make a pool of its directory: virsh pool-create-as NAME dir --target %s", directory);
                return -1;
        }
        _cleanup_(close_p) int dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int fd = dir_fd < 0 ? -1 : openat(dir_fd, slash + 1, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        struct stat status;
        if (fd < 0 || fstat(fd, &status) < 0) {
                error_errno(err, errno, "open the backing file %s", path);
                close_p(&fd);
                return -1;
        }
        if (!S_ISREG(status.st_mode)) {
                close(fd);
                return error_set(err, ERROR_REFUSED, "the backing file %s is not a regular file", path);
        }
        *ret_path = steal(&path);
        return fd;
}

static int check_stated(const struct image *image, const char *path, struct error *err) {
        const char *format = image->backing_format;
        if (strcmp(format, "raw") == 0 || strcmp(format, "qcow2") == 0)
                return 0;
        if (format[0])
                return error_set(err, ERROR_REFUSED, "%s: a backing file of format %s is not read", path, format);
        error_set(err, ERROR_REFUSED, "%s does not say of which format its backing file %s is", path, image->backing);
        error_hint(err, "write it down: qemu-img rebase -u -b %s -F FORMAT %s", image->backing, path);
        return -1;
}

static int add_below(const struct pool_table *pools, struct image_files *files, const struct image *image, char **path,
                     struct error *err) {
        if (files->n == IMAGE_FILES_MAX)
                return error_set(err, ERROR_TOO_LARGE, "%s: more than %u backing files", *path, IMAGE_FILES_MAX - 1);
        if (check_stated(image, *path, err) < 0)
                return -1;
        _cleanup_(free_p) char *named = image_backing_path(*path, image->backing), *below = NULL;
        int fd = open_member(pools, named, &below, err);
        if (fd < 0)
                return -1;
        files->fds[files->n] = fd;
        memcpy(files->formats[files->n++], image->backing_format, sizeof(image->backing_format));
        free(*path);
        *path = steal(&below);
        return 0;
}

int image_files_open(const struct pool_table *pools, int fd, const char *path, const char *format,
                     struct image_files *ret, struct error *err) {
        struct image_files files = {.fds = {fd}, .n = 1};
        _cleanup_(free_p) char *at = memory_string(path);
        struct image image;
        snprintf(files.formats[0], sizeof(files.formats[0]), "%s", format);
        for (;;) {
                unsigned last = files.n - 1;
                int status = image_inspect(files.fds[last], at, files.formats[last], &image, err);
                if (status == 0)
                        status = check_member(&image, at, err);
                if (status == 0 && last == 0)
                        files.virtual_bytes = image.virtual_bytes;
                if (status == 0 && image.has_backing)
                        status = add_below(pools, &files, &image, &at, err);
                if (status < 0) {
                        image_files_fini(&files);
                        return -1;
                }
                if (files.n == last + 1)
                        break;
        }
        *ret = files;
        return 0;
}

int image_files_of(virConnectPtr conn, int fd, const char *path, const char *format, struct image_files *ret,
                   struct error *err) {
        _cleanup_(pool_table_free_p) struct pool_table *pools = NULL;
        if (pool_table_read(conn, &pools, err) < 0) {
                close(fd);
                return -1;
        }
        return image_files_open(pools, fd, path, format, ret, err);
}
