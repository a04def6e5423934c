// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Restore points in their places (see point.h). No name is built of what was not checked. A VM's directory stays when
 * its last point goes, so that none can vanish under one that is being written. Any thread.
 */
#include "agent/repository/point.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_NAME_MAX (POINT_ID + 6)

DEFINE_CLEANUP(point_free, struct point *)

static void buffer_fini_p(struct buffer *buffer) {
        buffer_fini(buffer);
}

static int check_place(const char *vm, const char *id, char file[FILE_NAME_MAX], struct error *err) {
        if (name_check_uuid(vm, err) < 0 || point_check_id(id, err) < 0)
                return -1;
        snprintf(file, FILE_NAME_MAX, "%s.point", id);
        return 0;
}

static int no_point(const char *vm, const char *id, struct error *err) {
        return error_set(err, ERROR_NOT_FOUND, "there is no restore point %s of the VM %s", id, vm);
}

static int open_vm(const struct layout *layout, const char *vm, int *ret_fd) {
        *ret_fd = openat(layout_points(layout), vm, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return *ret_fd < 0 ? -1 : 0;
}

// ---- writing
static int make_vm(const struct layout *layout, const char *vm, int *ret_fd, struct error *err) {
        if (mkdirat(layout_points(layout), vm, 0700) < 0 && errno != EEXIST)
                return error_errno(err, errno, "make directory points/%s", vm);
        // Also when it was there: who made it may not have got as far as this.
        if (open_vm(layout, vm, ret_fd) < 0)
                return error_errno(err, errno, "open points/%s", vm);
        return file_sync_directory(layout_points(layout), err);
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

// 1: the same is there already and is durable now; 0: nothing is.
static int compare_existing(int dir, const char *file, const void *text, size_t length, struct error *err) {
        _cleanup_(close_p) int fd = -1;
        _cleanup_(buffer_fini_p) struct buffer there;
        struct error error = ERROR_INIT;
        buffer_init(&there, 0);
        if (layout_open_file(dir, file, O_RDONLY, file, &fd, &error) < 0 && error.code == ERROR_NOT_FOUND)
                return 0;
        if (fd < 0 || layout_read_file(fd, file, POINT_TEXT_MAX, &there, &error) < 0) {
                if (err)
                        *err = error;
                return -1;
        }
        if (there.length != length || memcmp(there.data, text, length) != 0)
                return error_set(err, ERROR_CONFLICT, "%s is there already, and is another one", file);
        if (fsync(fd) < 0)
                return error_errno(err, errno, "fsync %s", file);
        return file_sync_directory(dir, err) < 0 ? -1 : 1;
}

// Whoever has made the file in incoming/ is the only one that writes this point.
static int put(int dir, int incoming, const char *temporary, const char *file, const void *text, size_t length,
               struct error *err) {
        _cleanup_(close_p) int fd =
                openat(incoming, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0 && errno == EEXIST)
                return error_set(err, ERROR_BUSY, "%s is being written already", file);
        if (fd < 0)
                return error_errno(err, errno, "make incoming/%s", temporary);
        int there = compare_existing(dir, file, text, length, err);
        if (there != 0) {
                unlinkat(incoming, temporary, 0);
                return there < 0 ? -1 : 0;
        }
        if (write_all(fd, text, length) < 0 || fsync(fd) < 0 || renameat(incoming, temporary, dir, file) < 0) {
                error_errno(err, errno, "write %s", file);
                unlinkat(incoming, temporary, 0);
                return -1;
        }
        if (file_sync_directory(dir, err) < 0) {
                unlinkat(dir, file, 0); // nobody was told of it, and nobody is to find it by chance
                return error_prefix(err, "write %s", file);
        }
        return 0;
}

int point_write(const struct layout *layout, const char *vm, const void *text, size_t length, struct error *err) {
        _cleanup_(point_free_p) struct point *point = NULL;
        _cleanup_(close_p) int dir = -1;
        char file[FILE_NAME_MAX], temporary[NAME_UUID_LENGTH + 1 + FILE_NAME_MAX];
        if (point_parse(text, length, &point, err) < 0) {
                if (err && err->code == ERROR_CORRUPT)
                        err->code = ERROR_INVALID; // not the repository's
                return error_prefix(err, "restore point");
        }
        if (check_place(vm, point->id, file, err) < 0)
                return -1;
        if (strcmp(vm, point->vm) != 0)
                return error_set(err, ERROR_INVALID, "restore point %s is of the VM %s, not of %s", point->id,
                                 point->vm, vm);
        if (point->proven != layout_label(layout)->sealed)
                return error_set(err, ERROR_INVALID, "restore point %s has %s", point->id,
                                 point->proven ? "a proof, and the repository is not sealed"
                                               : "no proof, and the repository is sealed");
        snprintf(temporary, sizeof temporary, "%s.%s", vm, file);
        if (make_vm(layout, vm, &dir, err) < 0)
                return -1;
        return put(dir, layout_incoming(layout), temporary, file, text, length, err);
}

// ---- reading
static int read_text(const struct layout *layout, const char *vm, const char *id, const char *file, struct buffer *text,
                     struct error *err) {
        _cleanup_(close_p) int dir = -1;
        _cleanup_(close_p) int fd = -1;
        _cleanup_(free_p) char *place = memory_format("%s/points/%s/%s", layout_path(layout), vm, file);
        struct error error = ERROR_INIT;
        if (open_vm(layout, vm, &dir) < 0)
                return errno == ENOENT ? no_point(vm, id, err)
                                       : error_errno(err, errno, "open %s/points/%s", layout_path(layout), vm);
        if (layout_open_file(dir, file, O_RDONLY, place, &fd, &error) == 0)
                return layout_read_file(fd, place, POINT_TEXT_MAX, text, err);
        if (error.code == ERROR_NOT_FOUND)
                return no_point(vm, id, err);
        if (err)
                *err = error;
        return -1;
}

int point_read(const struct layout *layout, const char *vm, const char *id, struct point **ret_point,
               struct buffer *ret_text, struct error *err) {
        _cleanup_(point_free_p) struct point *point = NULL;
        _cleanup_(buffer_fini_p) struct buffer text;
        char file[FILE_NAME_MAX];
        buffer_init(&text, 0);
        if (check_place(vm, id, file, err) < 0 || read_text(layout, vm, id, file, &text, err) < 0)
                return -1;
        if (point_parse(text.data, text.length, &point, err) < 0)
                return error_prefix(err, "%s/points/%s/%s", layout_path(layout), vm, file);
        if (strcmp(point->id, id) != 0 || strcmp(point->vm, vm) != 0)
                return error_set(err, ERROR_CORRUPT, "%s/points/%s/%s: it is the restore point %s of the VM %s",
                                 layout_path(layout), vm, file, point->id, point->vm);
        *ret_point = steal(&point);
        if (ret_text) {
                struct buffer old = *ret_text;
                *ret_text = text;
                text = old;
        }
        return 0;
}

int point_remove(const struct layout *layout, const char *vm, const char *id, struct error *err) {
        _cleanup_(close_p) int dir = -1;
        char file[FILE_NAME_MAX];
        if (check_place(vm, id, file, err) < 0)
                return -1;
        if (open_vm(layout, vm, &dir) < 0 || unlinkat(dir, file, 0) < 0)
                return errno == ENOENT ? no_point(vm, id, err)
                                       : error_errno(err, errno, "remove points/%s/%s", vm, file);
        return file_sync_directory(dir, err);
}

// ---- what it needs
int point_visit(const struct point *point, const struct map_source *source, map_on_name visit, void *closure,
                struct error *err) {
        for (unsigned i = 0; i < point->n_files; i++) {
                const struct point_file *file = &point->files[i];
                uint64_t n = map_chunks(file->bytes);
                for (uint64_t k = 0; k < n; k++)
                        if (!chunk_name_is_zero(&file->names[k]) && visit(closure, &file->names[k], 0, err) < 0)
                                return error_prefix(err, "file %s", file->name);
        }
        for (unsigned i = 0; i < point->n_disks; i++)
                if (map_visit(&point->disks[i].root, source, visit, closure, err) < 0)
                        return error_prefix(err, "disk %s", point->disks[i].target);
        return 0;
}
