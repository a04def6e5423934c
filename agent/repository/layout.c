// SPDX-License-Identifier: LGPL-2.1-or-later
/* The directory of a repository (see layout.h). */
#include "agent/repository/layout.h"
#include "agent/repository/lines.h"
#include "agent/repository/point.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/name.h"
#include "common/random.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define LABEL_FILE      "repository"
#define LABEL_TEMPORARY ".repository.tmp" // as file_write() leaves it after a crash

enum part { PACKS, POINTS, INCOMING, INDEX, PARTS };
static const char *const part_names[PARTS] = {"packs", "points", "incoming", "index"};

struct layout {
        struct label label;
        char *path;
        int root, lock; // lock: of the file `repository`, -1 for readers
        int parts[PARTS];
};

static void buffer_fini_p(struct buffer *buffer) {
        buffer_fini(buffer);
}

static void closedir_p(DIR **dir) {
        if (*dir)
                closedir(*dir);
}

static int open_directory(int parent, const char *name, int *ret_fd) {
        *ret_fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return *ret_fd < 0 ? -1 : 0;
}

// To read it from its beginning; the descriptor that is given stays where it is.
static DIR *list(int fd) {
        _cleanup_(close_p) int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = own < 0 ? NULL : fdopendir(own);
        if (dir)
                steal_fd(&own);
        return dir;
}

// The next entry but "." and ".."; NULL with errno 0 at the end, with another on failure.
static const char *next_name(DIR *dir) {
        struct dirent *entry;
        do {
                errno = 0;
                entry = readdir(dir);
        } while (entry && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
        return entry ? entry->d_name : NULL;
}

int layout_open_file(int dir, const char *name, int mode, const char *path, int *ret_fd, struct error *err) {
        *ret_fd = openat(dir, name, mode | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (*ret_fd >= 0)
                return 0;
        if (errno == ELOOP || errno == EISDIR || errno == ENXIO) // a link, a directory, a socket
                return error_set(err, ERROR_CORRUPT, "open %s: not a regular file", path);
        return error_errno(err, errno, "open %s", path);
}

int layout_read_file(int fd, const char *path, size_t limit, struct buffer *text, struct error *err) {
        int status = file_read_fd(fd, path, limit, text, err);
        if (status < 0 && err && (err->code == ERROR_TOO_LARGE || err->code == ERROR_INVALID))
                err->code = ERROR_CORRUPT;
        return status;
}

// ---- making one
static bool is_part(const char *name) {
        for (unsigned i = 0; i < PARTS; i++)
                if (strcmp(name, part_names[i]) == 0)
                        return true;
        return false;
}

// Empty, so that it may be what an interrupted layout_make() has left. 1, 0, -1: errno.
static int part_is_empty(int root, const char *name) {
        _cleanup_(close_p) int fd = -1;
        if (open_directory(root, name, &fd) < 0)
                return errno == ENOTDIR || errno == ELOOP ? 0 : -1;
        _cleanup_(closedir_p) DIR *dir = list(fd);
        if (!dir)
                return -1;
        if (next_name(dir))
                return 0;
        return errno ? -1 : 1;
}

static int refuse_others(int root, const char *path, struct error *err) {
        _cleanup_(closedir_p) DIR *dir = list(root);
        const char *name;
        if (!dir)
                return error_errno(err, errno, "read %s", path);
        while ((name = next_name(dir))) {
                if (strcmp(name, LABEL_FILE) == 0)
                        return error_set(err, ERROR_CONFLICT, "%s is a repository already", path);
                if (strcmp(name, LABEL_TEMPORARY) == 0 || strcmp(name, "lost+found") == 0)
                        continue;
                int empty = is_part(name) ? part_is_empty(root, name) : 0;
                if (empty < 0)
                        return error_errno(err, errno, "read %s/%s", path, name);
                if (empty)
                        continue;
                error_set(err, ERROR_CONFLICT, "%s holds something else: %s", path, name);
                error_hint(err, "give a directory that is empty, or one that is not there yet");
                return -1;
        }
        return errno ? error_errno(err, errno, "read %s", path) : 0;
}

static int sync_parent(int root, const char *path, struct error *err) {
        _cleanup_(close_p) int parent = openat(root, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (parent < 0)
                return error_errno(err, errno, "open the directory above %s", path);
        return file_sync_directory(parent, err);
}

static int write_label(const char *path, const struct label *label, struct error *err) {
        _cleanup_(buffer_fini_p) struct buffer text;
        buffer_init(&text, LABEL_TEXT_MAX);
        struct label same;
        if (label_print(label, &text, err) < 0 || label_parse(text.data, text.length, &same, err) < 0)
                return error_prefix(err, "make the repository %s", path);
        _cleanup_(free_p) char *file = memory_format("%s/" LABEL_FILE, path);
        return file_write(file, text.data, text.length, 0644, err);
}

int layout_make(const char *path, const struct label *label, struct label *ret_label, struct error *err) {
        struct label made = *label;
        char now[CLOCK_RFC3339_MAX];
        uint8_t id[LABEL_ID];
        _cleanup_(close_p) int root = -1;
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
                return error_errno(err, errno, "make directory %s", path);
        root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (root < 0)
                return error_errno(err, errno, "open %s", path);
        if (flock(root, LOCK_EX | LOCK_NB) < 0)
                return error_set(err, ERROR_BUSY, "%s is being made a repository by another process", path);
        if (refuse_others(root, path, err) < 0)
                return -1;
        for (unsigned i = 0; i < PARTS; i++)
                if (mkdirat(root, part_names[i], 0700) < 0 && errno != EEXIST)
                        return error_errno(err, errno, "make directory %s/%s", path, part_names[i]);
        if (!made.id[0]) {
                random_bytes(id, sizeof id);
                lines_to_hex(id, sizeof id, made.id);
        }
        if (!made.created[0])
                memcpy(made.created, clock_rfc3339(clock_wall(&system_clock), now), sizeof made.created);
        if (sync_parent(root, path, err) < 0 || file_sync_directory(root, err) < 0 || write_label(path, &made, err) < 0)
                return -1;
        *ret_label = made;
        return 0;
}

// ---- opening one
void layout_free(struct layout *layout) {
        if (!layout)
                return;
        for (unsigned i = 0; i < PARTS; i++)
                close_p(&layout->parts[i]);
        close_p(&layout->lock);
        close_p(&layout->root);
        free(layout->path);
        free(layout);
}
DEFINE_CLEANUP(layout_free, struct layout *)

// The descriptor of `repository` is what the owner's lock stands on.
static int open_label(struct layout *layout, enum layout_use use, struct error *err) {
        _cleanup_(buffer_fini_p) struct buffer text;
        int mode = use == LAYOUT_OWN ? O_RDWR : O_RDONLY; // an exclusive lock over NFS asks for write access
        _cleanup_(close_p) int fd = -1;
        _cleanup_(free_p) char *file = memory_format("%s/" LABEL_FILE, layout->path);
        struct error error = ERROR_INIT;
        buffer_init(&text, 0);
        if (layout_open_file(layout->root, LABEL_FILE, mode, file, &fd, &error) < 0) {
                if (err)
                        *err = error;
                if (error.code != ERROR_NOT_FOUND)
                        return -1;
                error_clear(err);
                error_set(err, ERROR_NOT_FOUND, "%s is not a repository: there is no file \"" LABEL_FILE "\" in it",
                          layout->path);
                error_hint(err, "if it is on a file system of its own, see whether that is mounted: findmnt");
                return -1;
        }
        if (use == LAYOUT_OWN && flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return error_errno(err, errno, "lock %s", file);
                return error_set(err, ERROR_BUSY, "%s is in use by another process that owns it", layout->path);
        }
        if (layout_read_file(fd, file, LABEL_TEXT_MAX, &text, err) < 0)
                return -1;
        if (label_parse(text.data, text.length, &layout->label, err) < 0)
                return error_prefix(err, "%s", file);
        if (use == LAYOUT_OWN)
                layout->lock = steal_fd(&fd);
        return 0;
}

static int open_parts(struct layout *layout, enum layout_use use, struct error *err) {
        for (unsigned i = 0; i < PARTS; i++) {
                bool needed = i == PACKS || i == POINTS;
                if (!needed && use == LAYOUT_READ)
                        continue;
                // Only what a copy of the repository may lack is made again.
                if (!needed && mkdirat(layout->root, part_names[i], 0700) < 0 && errno != EEXIST)
                        return error_errno(err, errno, "make directory %s/%s", layout->path, part_names[i]);
                if (open_directory(layout->root, part_names[i], &layout->parts[i]) < 0)
                        return error_errno(err, errno, "open %s/%s", layout->path, part_names[i]);
        }
        return 0;
}

static int empty_incoming(const struct layout *layout, struct error *err) {
        int incoming = layout->parts[INCOMING];
        _cleanup_(closedir_p) DIR *dir = list(incoming);
        const char *name;
        if (!dir)
                return error_errno(err, errno, "read %s/incoming", layout->path);
        while ((name = next_name(dir)))
                if (unlinkat(incoming, name, 0) < 0 && errno != ENOENT && errno != EISDIR)
                        return error_errno(err, errno, "remove %s/incoming/%s", layout->path, name);
        return errno ? error_errno(err, errno, "read %s/incoming", layout->path) : 0;
}

int layout_open(const char *path, enum layout_use use, struct layout **ret_layout, struct error *err) {
        _cleanup_(layout_free_p) struct layout *layout = new (struct layout);
        layout->root = layout->lock = -1;
        for (unsigned i = 0; i < PARTS; i++)
                layout->parts[i] = -1;
        layout->path = memory_string(path);
        layout->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (layout->root < 0)
                return error_errno(err, errno, "open %s", path);
        if (open_label(layout, use, err) < 0 || open_parts(layout, use, err) < 0 ||
            (use == LAYOUT_OWN && empty_incoming(layout, err) < 0))
                return -1;
        *ret_layout = steal(&layout);
        return 0;
}

const struct label *layout_label(const struct layout *layout) {
        return &layout->label;
}
const char *layout_path(const struct layout *layout) {
        return layout->path;
}
int layout_root(const struct layout *layout) {
        return layout->root;
}
int layout_packs(const struct layout *layout) {
        return layout->parts[PACKS];
}
int layout_points(const struct layout *layout) {
        return layout->parts[POINTS];
}
int layout_incoming(const struct layout *layout) {
        return layout->parts[INCOMING];
}
int layout_index(const struct layout *layout) {
        return layout->parts[INDEX];
}

// ---- listing
struct listing {
        const struct layout *layout;
        layout_on_point on_point;
        void *closure;
        unsigned strange;
};

static int each_of_vm(struct listing *listing, const char *vm, struct error *err) {
        const char *path = listing->layout->path, *name;
        _cleanup_(close_p) int fd = -1;
        if (open_directory(listing->layout->parts[POINTS], vm, &fd) < 0) {
                if (errno != ENOTDIR && errno != ELOOP)
                        return error_errno(err, errno, "read %s/points/%s", path, vm);
                listing->strange++;
                return 0;
        }
        _cleanup_(closedir_p) DIR *dir = list(fd);
        if (!dir)
                return error_errno(err, errno, "read %s/points/%s", path, vm);
        while ((name = next_name(dir))) {
                char id[POINT_ID];
                if (!point_id_of_file(name, id)) {
                        listing->strange++;
                        continue;
                }
                if (listing->on_point(listing->closure, vm, id, err) < 0)
                        return -1;
        }
        return errno ? error_errno(err, errno, "read %s/points/%s", path, vm) : 0;
}

// A directory that was removed, or that another was put in the place of, reads as empty through its old descriptor.
static int check_still_there(const struct layout *layout, struct error *err) {
        struct stat opened, named;
        if (fstat(layout->parts[POINTS], &opened) < 0 ||
            fstatat(layout->root, part_names[POINTS], &named, AT_SYMLINK_NOFOLLOW) < 0)
                return error_errno(err, errno, "read %s/points", layout->path);
        if (opened.st_dev == named.st_dev && opened.st_ino == named.st_ino)
                return 0;
        return error_set(err, ERROR_STALE, "%s/points is no longer the directory that was opened", layout->path);
}

int layout_each_point(const struct layout *layout, layout_on_point on_point, void *closure, unsigned *ret_strange,
                      struct error *err) {
        struct listing listing = {.layout = layout, .on_point = on_point, .closure = closure};
        const char *name;
        if (check_still_there(layout, err) < 0)
                return -1;
        _cleanup_(closedir_p) DIR *dir = list(layout->parts[POINTS]);
        if (!dir)
                return error_errno(err, errno, "read %s/points", layout->path);
        while ((name = next_name(dir))) {
                if (name_check_uuid(name, NULL) < 0)
                        listing.strange++;
                else if (each_of_vm(&listing, name, err) < 0)
                        return -1;
        }
        if (errno)
                return error_errno(err, errno, "read %s/points", layout->path);
        if (check_still_there(layout, err) < 0)
                return -1;
        *ret_strange = listing.strange;
        return 0;
}
