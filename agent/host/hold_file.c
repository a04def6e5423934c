// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Moving one held file between its place and the sidecar. Called by custody (source) and placement (target) on workers.
 * A lock a directory serialises what happens in its sidecar, so that it is not removed as empty while another job is
 * about to use it. Whoever waits for a directory whose server is gone holds up nobody else's.
 */
#include "agent/host/hold_file.h"
#include "agent/host/device.h"
#include "agent/host/hold_lock.h"
#include "agent/host/image_lock.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

// What is done with the two directories: only looked at; changed, under their lock; the same, with a sidecar made.
enum use { LOOK, CHANGE, MAKE };
// The two directories of a hold, open. sidecar is -1 where there is none.
struct sides {
        struct pool_directory directory;
        struct hold_lock *lock; // NULL: only looked at
        int sidecar;
        char aside[64], ranges[64];
};

static bool is_source(const struct hold *hold) {
        return hold->kind == HOLD_FENCED || hold->kind == HOLD_RETIRED || hold->kind == HOLD_REVIVED;
}

static void sides_fini(struct sides *sides) {
        hold_lock_release(sides->lock);
        if (sides->sidecar >= 0)
                close(sides->sidecar);
        if (sides->directory.fd >= 0)
                pool_directory_fini(&sides->directory);
}

static int sides_open(struct sides *sides, const struct hold *hold, enum use use, struct error *err) {
        *sides = (struct sides){.directory = {.fd = -1}, .sidecar = -1};
        if (pool_open_path(hold->directory, &sides->directory, err) < 0)
                return -1;
        if (use == LOOK || hold_lock_take(sides->directory.fd, &sides->lock, err) == 0)
                return 0;
        return error_prefix(err, "%s", hold->directory);
}

static int sides_init(struct sides *sides, const struct hold *hold, enum use use, struct error *err) {
        if (sides_open(sides, hold, use, err) < 0)
                return -1;
        snprintf(sides->aside, sizeof(sides->aside), "%s.%s.%s", hold->job, hold->item,
                 is_source(hold) ? "held" : "part");
        snprintf(sides->ranges, sizeof(sides->ranges), "%s.%s.ranges", hold->job, hold->item);
        struct error missing = ERROR_INIT;
        sides->sidecar = pool_sidecar(&sides->directory, use == MAKE, &missing);
        if (sides->sidecar >= 0 || (use != MAKE && missing.code == ERROR_NOT_FOUND))
                return 0;
        if (err)
                *err = missing;
        return -1;
}

int hold_file_split(struct hold *hold, const char *path, struct error *err) {
        const char *slash = strrchr(path, '/');
        size_t length = slash ? (size_t) (slash - path) : 0;
        if (path[0] != '/' || !slash[1] || length >= sizeof(hold->directory) || strlen(slash + 1) >= sizeof(hold->name))
                return error_set(err, ERROR_INVALID, "%s is not the absolute path of a file", path);
        snprintf(hold->directory, sizeof(hold->directory), "%.*s", length ? (int) length : 1, path);
        snprintf(hold->name, sizeof(hold->name), "%s", slash + 1);
        return 0;
}

// 1: there, 0: not, -1.
static int look(int dir_fd, const char *name, struct stat *ret, struct error *err) {
        if (dir_fd < 0)
                return 0;
        if (fstatat(dir_fd, name, ret, AT_SYMLINK_NOFOLLOW) == 0)
                return 1;
        return errno == ENOENT ? 0 : error_errno(err, errno, "%s", name);
}

static int find(const struct sides *sides, const struct hold *hold, enum hold_place *ret, struct error *err) {
        struct stat in_place, aside;
        int has_place = look(sides->directory.fd, hold->name, &in_place, err);
        int has_aside = has_place < 0 ? -1 : look(sides->sidecar, sides->aside, &aside, err);
        if (has_aside < 0)
                return error_prefix(err, "%s", hold->directory);
        if (has_place && has_aside)
                *ret = in_place.st_ino == aside.st_ino && in_place.st_dev == aside.st_dev ? HOLD_TWINS : HOLD_BOTH;
        else
                *ret = has_place ? HOLD_IN_PLACE : has_aside ? HOLD_ASIDE : HOLD_NOWHERE;
        return 0;
}

static enum hold_place find_device(const struct hold *hold) {
        _cleanup_(free_p) char *path = memory_format("%s/%s", hold->directory, hold->name);
        if (!device_is(path))
                return HOLD_NOWHERE;
        return is_source(hold) ? HOLD_ASIDE : HOLD_IN_PLACE;
}

int hold_file_find(const struct hold *hold, enum hold_place *ret, struct error *err) {
        if (hold->device) {
                *ret = find_device(hold);
                return 0;
        }
        _cleanup_(sides_fini) struct sides sides = {.directory = {.fd = -1}, .sidecar = -1};
        return sides_init(&sides, hold, LOOK, err) < 0 ? -1 : find(&sides, hold, ret, err);
}

static int check_kind(const struct hold *hold, const struct stat *status, struct error *err) {
        if (S_ISLNK(status->st_mode)) {
                error_set(err, ERROR_REFUSED, "%s/%s is a symbolic link", hold->directory, hold->name);
                error_hint(err, "write the path of the image itself into the definition: virsh edit %s", hold->vm_name);
                return -1;
        }
        if (!S_ISREG(status->st_mode))
                return error_set(err, ERROR_REFUSED, "%s/%s is not a regular file", hold->directory, hold->name);
        if (status->st_nlink != 1) {
                error_set(err, ERROR_REFUSED, "%s/%s has %lu names (hard links)", hold->directory, hold->name,
                          (unsigned long) status->st_nlink);
                error_hint(err, "remove the other names: find %s -xdev -samefile %s/%s", hold->directory,
                           hold->directory, hold->name);
                return -1;
        }
        return 0;
}

// QEMU and its tools lock bytes of an image that they have open; libvirt does not know of a qemu-nbd or a qemu-img.
static int check_locks(const struct hold *hold, int fd, struct error *err) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        if (fcntl(fd, F_OFD_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
                return 0; // a file system without locks tells nothing
        error_set(err, ERROR_CONFLICT, "%s/%s is in use by another program", hold->directory, hold->name);
        error_hint(err, "find it with: lsof %s/%s", hold->directory, hold->name);
        return -1;
}

// One that linked clones were laid over, or that somebody protected: it cannot be renamed, and should not be.
static int check_mutable(const struct hold *hold, int fd, struct error *err) {
        int flags = 0;
        if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 || !(flags & FS_IMMUTABLE_FL))
                return 0; // a file system without flags has no such file
        error_set(err, ERROR_REFUSED, "%s/%s is immutable", hold->directory, hold->name);
        error_hint(err, "if no image is laid over it any more: chattr -i %s/%s", hold->directory, hold->name);
        return -1;
}

static int check_writable(const struct hold *hold, int dir_fd, struct error *err) {
        struct statvfs fs;
        if (fstatvfs(dir_fd, &fs) < 0)
                return error_errno(err, errno, "%s", hold->directory);
        if (!(fs.f_flag & ST_RDONLY) && faccessat(dir_fd, ".", W_OK, AT_EACCESS) == 0)
                return 0;
        error_set(err, ERROR_REFUSED, "%s cannot be written to, so %s cannot be put out of reach there",
                  hold->directory, hold->name);
        error_hint(err, "see why with: findmnt -T %s", hold->directory);
        return -1;
}

static int check_device(const struct hold *hold, struct error *err) {
        _cleanup_(free_p) char *path = memory_format("%s/%s", hold->directory, hold->name);
        _cleanup_(close_p) int fd = -1;
        uint64_t bytes;
        if (device_check_free(path, err) < 0 || device_open(path, O_RDONLY, &fd, &bytes, err) < 0)
                return -1;
        return check_locks(hold, fd, err);
}

int hold_file_check(const struct hold *hold, struct error *err) {
        if (hold->device)
                return check_device(hold, err);
        _cleanup_(sides_fini) struct sides sides = {.directory = {.fd = -1}, .sidecar = -1};
        struct stat status;
        if (sides_init(&sides, hold, LOOK, err) < 0)
                return -1;
        if (fstatat(sides.directory.fd, hold->name, &status, AT_SYMLINK_NOFOLLOW) < 0)
                return error_errno(err, errno, "%s/%s", hold->directory, hold->name);
        if (check_kind(hold, &status, err) < 0 || check_writable(hold, sides.directory.fd, err) < 0)
                return -1;
        _cleanup_(close_p) int fd =
                openat(sides.directory.fd, hold->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &status) < 0)
                return error_errno(err, errno, "%s/%s", hold->directory, hold->name);
        if (check_kind(hold, &status, err) < 0 || check_mutable(hold, fd, err) < 0)
                return -1;
        return check_locks(hold, fd, err);
}

static int move(int from_fd, const char *from, int to_fd, const char *to, bool replace) {
        if (renameat2(from_fd, from, to_fd, to, replace ? 0 : RENAME_NOREPLACE) == 0)
                return 0;
        if (replace || (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP))
                return -1;
        // NFS and a few others: a link refuses as well to replace. Cut short between the two, it leaves twins.
        return linkat(from_fd, from, to_fd, to, 0) < 0 ? -1 : unlinkat(from_fd, from, 0);
}

static int sync_both(const struct sides *sides, struct error *err) {
        if (sides->sidecar >= 0 && file_sync_directory(sides->sidecar, err) < 0)
                return -1;
        return file_sync_directory(sides->directory.fd, err);
}

int hold_file_put_aside(const struct hold *hold, struct error *err) {
        if (hold->device)
                return 0;
        _cleanup_(sides_fini) struct sides sides = {.directory = {.fd = -1}, .sidecar = -1};
        enum hold_place place;
        if (sides_init(&sides, hold, MAKE, err) < 0 || find(&sides, hold, &place, err) < 0)
                return -1;
        int result = place == HOLD_TWINS ? unlinkat(sides.directory.fd, hold->name, 0)
                                         : move(sides.directory.fd, hold->name, sides.sidecar, sides.aside, false);
        if (result < 0)
                return error_errno(err, errno, "put %s/%s out of reach", hold->directory, hold->name);
        return sync_both(&sides, err);
}

// The record of a partial image. Gone is gone, synced: it must never be found beside another image.
static int remove_ranges(const struct sides *sides, struct error *err) {
        if (sides->sidecar < 0)
                return 0;
        if (unlinkat(sides->sidecar, sides->ranges, 0) == 0)
                return file_sync_directory(sides->sidecar, err);
        return errno == ENOENT ? 0 : error_errno(err, errno, "remove %s", sides->ranges);
}

int hold_file_put_in_place(const struct hold *hold, bool replace, struct error *err) {
        if (hold->device)
                return 0;
        _cleanup_(sides_fini) struct sides sides = {.directory = {.fd = -1}, .sidecar = -1};
        enum hold_place place;
        if (sides_init(&sides, hold, MAKE, err) < 0 || find(&sides, hold, &place, err) < 0)
                return -1;
        if (remove_ranges(&sides, err) < 0)
                return -1;
        int result = place == HOLD_TWINS ? unlinkat(sides.sidecar, sides.aside, 0)
                                         : move(sides.sidecar, sides.aside, sides.directory.fd, hold->name, replace);
        if (result == 0)
                return sync_both(&sides, err);
        if (errno != EEXIST)
                return error_errno(err, errno, "put %s/%s in its place", hold->directory, hold->name);
        error_set(err, ERROR_CONFLICT, "%s/%s exists: ours stays at %s/" POOL_SIDECAR "/%s", hold->directory,
                  hold->name, hold->directory, sides.aside);
        error_hint(err, "move the other file out of the way, then: drover job retry %s", hold->job);
        return -1;
}

// A file of ours in the sidecar, read-write, made when absent.
static int open_ours(const struct sides *sides, const struct hold *hold, const char *name, int *ret_fd,
                     struct error *err) {
        struct stat status;
        _cleanup_(close_p) int fd =
                openat(sides->sidecar, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
        if (fd < 0 || fstat(fd, &status) < 0)
                return error_errno(err, errno, "%s/" POOL_SIDECAR "/%s", hold->directory, name);
        if (!S_ISREG(status.st_mode) || status.st_nlink != 1)
                return error_set(err, ERROR_REFUSED, "%s/" POOL_SIDECAR "/%s is not a file of ours", hold->directory,
                                 name);
        *ret_fd = steal_fd(&fd);
        return 0;
}

int hold_file_create(const struct hold *hold, int *ret_fd, struct error *err) {
        _cleanup_(sides_fini) struct sides sides = {.directory = {.fd = -1}, .sidecar = -1};
        _cleanup_(close_p) int fd = -1;
        if (sides_init(&sides, hold, MAKE, err) < 0 || open_ours(&sides, hold, sides.aside, &fd, err) < 0 ||
            remove_ranges(&sides, err) < 0)
                return -1;
        if (ftruncate(fd, 0) < 0)
                return error_errno(err, errno, "%s/" POOL_SIDECAR "/%s", hold->directory, sides.aside);
        if (file_sync_directory(sides.sidecar, err) < 0)
                return -1;
        *ret_fd = steal_fd(&fd);
        return 0;
}

void hold_partial_fini(struct hold_partial *partial) {
        close_p(&partial->fd);
        close_p(&partial->ranges_fd);
}

// The directory and the name within it that stand for a place.
static int side_of(const struct sides *sides, const struct hold *hold, enum hold_place place, const char **ret_name) {
        *ret_name = place == HOLD_ASIDE ? sides->aside : hold->name;
        return place == HOLD_ASIDE ? sides->sidecar : sides->directory.fd;
}

// Locked for as long as it is open: libvirt gives a QEMU its own node of the device, but others use this one.
static int open_device(const struct hold *hold, int *ret_fd, uint64_t *ret_bytes, struct error *err) {
        _cleanup_(free_p) char *path = memory_format("%s/%s", hold->directory, hold->name);
        _cleanup_(close_p) int fd = -1;
        if (device_open(path, O_RDONLY, &fd, ret_bytes, err) < 0 || image_lock_reading(fd, path, err) < 0)
                return -1;
        *ret_fd = steal_fd(&fd);
        return 0;
}

int hold_file_open(const struct hold *hold, enum hold_place place, int *ret_fd, uint64_t *ret_bytes,
                   struct error *err) {
        if (hold->device)
                return open_device(hold, ret_fd, ret_bytes, err);
        _cleanup_(sides_fini) struct sides sides = {.directory = {.fd = -1}, .sidecar = -1};
        const char *name;
        struct stat status;
        if (sides_init(&sides, hold, LOOK, err) < 0)
                return -1;
        int dir_fd = side_of(&sides, hold, place, &name);
        if (dir_fd < 0)
                return error_set(err, ERROR_NOT_FOUND, "%s/" POOL_SIDECAR "/%s does not exist", hold->directory, name);
        _cleanup_(close_p) int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &status) < 0)
                return error_errno(err, errno, "%s/%s%s", hold->directory, place == HOLD_ASIDE ? POOL_SIDECAR "/" : "",
                                   name);
        if (!S_ISREG(status.st_mode))
                return error_set(err, ERROR_REFUSED, "%s/%s is not a regular file", hold->directory, name);
        *ret_bytes = (uint64_t) status.st_size;
        *ret_fd = steal_fd(&fd);
        return 0;
}

static int inspect_device(const struct hold *hold, const char *format, struct image *ret, struct error *err) {
        _cleanup_(free_p) char *path = memory_format("%s/%s", hold->directory, hold->name);
        _cleanup_(close_p) int fd = -1;
        uint64_t bytes;
        return device_open(path, O_RDONLY, &fd, &bytes, err) < 0 ? -1 : image_inspect(fd, path, format, ret, err);
}

int hold_file_inspect(const struct hold *hold, enum hold_place place, const char *format, struct image *ret,
                      struct error *err) {
        _cleanup_(sides_fini) struct sides sides = {.directory = {.fd = -1}, .sidecar = -1};
        const char *name;
        if (hold->device)
                return inspect_device(hold, format, ret, err);
        if (sides_init(&sides, hold, LOOK, err) < 0)
                return -1;
        int dir_fd = side_of(&sides, hold, place, &name);
        if (dir_fd < 0)
                return error_set(err, ERROR_NOT_FOUND, "%s/" POOL_SIDECAR "/%s does not exist", hold->directory, name);
        return image_inspect_at(dir_fd, name, format, ret, err);
}

#define NEVER_BORN ":0.0" // how an identity ends that has no time of birth

bool hold_file_identity_lasts(const char *identity) {
        size_t length = strlen(identity), end = strlen(NEVER_BORN);
        return length < end || strcmp(identity + length - end, NEVER_BORN) != 0;
}

// 1: there, 0: not, -1. The device is left out: its number may be another one after a reboot.
static int identify(int dir_fd, const char *name, char ret[HOLD_IDENTITY_MAX], struct error *err) {
        struct statx status;
        if (dir_fd < 0)
                return 0;
        if (statx(dir_fd, name, AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &status) < 0)
                return errno == ENOENT ? 0 : error_errno(err, errno, "%s", name);
        bool born = status.stx_mask & STATX_BTIME;
        snprintf(ret, HOLD_IDENTITY_MAX, "%llu:%lld.%u", (unsigned long long) status.stx_ino,
                 born ? (long long) status.stx_btime.tv_sec : 0, born ? status.stx_btime.tv_nsec : 0);
        return 1;
}

int hold_file_identity(const struct hold *hold, enum hold_place place, char ret[HOLD_IDENTITY_MAX], struct error *err) {
        _cleanup_(sides_fini) struct sides sides = {.directory = {.fd = -1}, .sidecar = -1};
        const char *name;
        if (sides_init(&sides, hold, LOOK, err) < 0)
                return -1;
        int dir_fd = side_of(&sides, hold, place, &name);
        int found = identify(dir_fd, name, ret, err);
        if (found == 0)
                return error_set(err, ERROR_NOT_FOUND, "%s/%s%s does not exist", hold->directory,
                                 place == HOLD_ASIDE ? POOL_SIDECAR "/" : "", name);
        return found < 0 ? -1 : 0;
}

int hold_file_resume(const struct hold *hold, struct hold_partial *ret, struct error *err) {
        _cleanup_(sides_fini) struct sides sides = {.directory = {.fd = -1}, .sidecar = -1};
        struct hold_partial partial = {.fd = -1, .ranges_fd = -1};
        if (sides_init(&sides, hold, MAKE, err) < 0)
                return -1;
        if (open_ours(&sides, hold, sides.aside, &partial.fd, err) < 0 ||
            open_ours(&sides, hold, sides.ranges, &partial.ranges_fd, err) < 0 ||
            identify(sides.sidecar, sides.aside, partial.identity, err) < 0 ||
            file_sync_directory(sides.sidecar, err) < 0) {
                hold_partial_fini(&partial);
                return -1;
        }
        *ret = partial;
        return 0;
}

int hold_file_remove_aside(const struct hold *hold, uint64_t *ret_bytes, struct error *err) {
        _cleanup_(sides_fini) struct sides sides = {.directory = {.fd = -1}, .sidecar = -1};
        struct stat status;
        if (sides_init(&sides, hold, CHANGE, err) < 0)
                return -1;
        int found = remove_ranges(&sides, err) < 0 ? -1 : look(sides.sidecar, sides.aside, &status, err);
        if (found > 0 && unlinkat(sides.sidecar, sides.aside, 0) < 0)
                found = error_errno(err, errno, "remove %s", sides.aside);
        if (found > 0 && file_sync_directory(sides.sidecar, err) < 0)
                found = -1;
        if (found < 0)
                return error_prefix(err, "%s", hold->directory);
        if (ret_bytes)
                *ret_bytes = found ? (uint64_t) status.st_blocks * 512 : 0;
        return 0;
}

// Opens the sides; 1: there is a file of the hold's name, and *ret_same tells whether it has this identity; 0: none.
static int look_in_place(struct sides *sides, const struct hold *hold, const char *identity, bool *ret_same,
                         struct error *err) {
        char present[HOLD_IDENTITY_MAX];
        if (sides_init(sides, hold, LOOK, err) < 0)
                return -1;
        int found = identify(sides->directory.fd, hold->name, present, err);
        if (found > 0)
                *ret_same = strcmp(present, identity) == 0;
        return found;
}

int hold_file_remove_in_place(const struct hold *hold, const char *identity, struct error *err) {
        _cleanup_(sides_fini) struct sides sides = {.directory = {.fd = -1}, .sidecar = -1};
        bool same = false;
        int found = look_in_place(&sides, hold, identity, &same, err);
        if (found <= 0)
                return found;
        if (!same)
                return error_set(err, ERROR_CONFLICT, "%s/%s is not the file that job %s made: it was left alone",
                                 hold->directory, hold->name, hold->job);
        if (unlinkat(sides.directory.fd, hold->name, 0) < 0)
                return error_errno(err, errno, "remove %s/%s", hold->directory, hold->name);
        return file_sync_directory(sides.directory.fd, err);
}

int hold_file_take_back(const struct hold *hold, const char *identity, struct error *err) {
        _cleanup_(sides_fini) struct sides sides = {.directory = {.fd = -1}, .sidecar = -1};
        enum hold_place place;
        bool same = false;
        int found = look_in_place(&sides, hold, identity, &same, err);
        if (found <= 0 || !same)
                return found < 0 ? -1 : 0;
        // A copy that was begun again when the first had its name already.
        if (find(&sides, hold, &place, err) < 0 || (place == HOLD_BOTH && hold_file_remove_aside(hold, NULL, err) < 0))
                return -1;
        return hold_file_put_aside(hold, err);
}

int hold_file_tidy(const struct hold *hold, struct journal *journal, struct error *err) {
        if (hold->device)
                return 0;
        _cleanup_(free_p) struct hold *holds = NULL;
        _cleanup_(sides_fini) struct sides sides = {.directory = {.fd = -1}, .sidecar = -1};
        unsigned n = 0;
        if (sides_open(&sides, hold, CHANGE, err) < 0 || journal_holds(journal, NULL, 0, &holds, &n, err) < 0)
                return -1;
        for (unsigned i = 0; i < n; i++)
                if (strcmp(holds[i].directory, hold->directory) == 0 && strcmp(holds[i].job, hold->job) != 0)
                        return 0;
        if (unlinkat(sides.directory.fd, POOL_SIDECAR, AT_REMOVEDIR) == 0)
                return file_sync_directory(sides.directory.fd, err);
        if (errno == ENOENT || errno == ENOTEMPTY || errno == EEXIST)
                return 0;
        return error_errno(err, errno, "remove %s/" POOL_SIDECAR, hold->directory);
}
