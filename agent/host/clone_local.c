// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Cloning an image on its own host without copying it: its blocks shared, or a new image laid over it. Workers only.
 */
#include "agent/host/clone.h"
#include "agent/host/capabilities.h"
#include "agent/host/custody_domain.h"
#include "agent/host/device.h"
#include "agent/host/hold_file.h"
#include "agent/host/neighbour.h"
#include "agent/host/reach.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define FACT_BASE    "base." // with the item: the path of what its image is laid over
#define IMAGE_MARK   "user.drover.base"
#define SECTOR_BYTES 512u

// One job at a time decides whether a base is used by anybody. A base whose server is gone is not waited for under it.
static pthread_mutex_t bases = PTHREAD_MUTEX_INITIALIZER;

// ---- shared blocks ----

// What is there is not touched before it is known that this can be done: it may be a copy that was cut.
int clone_reflink(int source_fd, int sink_fd, struct error *err) {
        struct stat status;
        if (fstat(source_fd, &status) < 0)
                return error_errno(err, errno, "look at the image");
        if (ioctl(sink_fd, FICLONE, source_fd) < 0) {
                static const int cannot[] = {EOPNOTSUPP, EXDEV, EINVAL, ENOTTY, ENOSYS, EPERM, ETXTBSY};
                for (unsigned i = 0; i < ARRAY_SIZE(cannot); i++)
                        if (errno == cannot[i])
                                return 0;
                return error_errno(err, errno, "share the image's blocks");
        }
        if (ftruncate(sink_fd, status.st_size) < 0 || fsync(sink_fd) < 0)
                return error_errno(err, errno, "write the new image");
        return 1;
}

// ---- the base ----

void clone_base_fini(struct clone_base *base) {
        if (base->fd >= 0)
                close(base->fd);
        free(base->path);
        free(base->format);
}

static int immutable(int fd, bool wanted, int *ret_was) {
        int flags = 0;
        if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
                return -1;
        *ret_was = (flags & FS_IMMUTABLE_FL) != 0;
        if (*ret_was == (int) wanted)
                return 0;
        flags = wanted ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
        return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

static int refuse_immutable(const char *path, int why, struct error *err) {
        if (why == EPERM || why == EACCES) {
                error_set(err, ERROR_REFUSED,
                          "%s cannot be made immutable, so that a linked clone of it would not be safe: %s", path,
                          strerrordesc_np(why));
                error_hint(err, "give the agent CAP_LINUX_IMMUTABLE, as its unit file does");
        } else if (why == ENOTTY || why == EOPNOTSUPP || why == ENOSYS || why == EINVAL) {
                error_set(err, ERROR_REFUSED,
                          "the file system of %s cannot make a file immutable, so that a linked clone of it would not "
                          "be safe",
                          path);
        } else {
                return error_errno(err, why, "make %s immutable", path);
        }
        error_hint(err, "clone it without --linked");
        return -1;
}

// libvirt changes owners when a VM starts, which it cannot any more once the file is immutable.
static int make_readable(const struct custody *custody, int fd, const char *path, struct error *err) {
        struct stat status;
        unsigned uid, gid;
        int known = capabilities_qemu_owner(custody->conn, &uid, &gid, err);
        if (known < 0)
                return -1;
        if (fstat(fd, &status) < 0)
                return error_errno(err, errno, "%s", path);
        bool readable = status.st_mode & S_IROTH || (status.st_uid == uid && status.st_mode & S_IRUSR) ||
                        (status.st_gid == gid && status.st_mode & S_IRGRP);
        if (!known || readable || uid == 0)
                return 0;
        if (fchown(fd, uid, gid) == 0)
                return 0;
        error_errno(err, errno, "let QEMU read %s", path);
        error_hint(err, "on the host: chown %u:%u %s", uid, gid, path);
        return -1;
}

static int protect(const struct custody *custody, const struct clone_base *base, struct error *err) {
        int was = 0, now;
        if (ioctl(base->fd, FS_IOC_GETFLAGS, &was) < 0)
                return refuse_immutable(base->path, errno, err);
        if (was & FS_IMMUTABLE_FL)
                return 0;
        if (make_readable(custody, base->fd, base->path, err) < 0)
                return -1;
        // A file system without such attributes keeps the flag until somebody takes it away.
        if (fsetxattr(base->fd, IMAGE_MARK, "1", 1, 0) < 0 && errno != EOPNOTSUPP)
                return error_errno(err, errno, "mark %s", base->path);
        if (immutable(base->fd, true, &now) < 0)
                return refuse_immutable(base->path, errno, err);
        return fsync(base->fd) == 0 ? 0 : error_errno(err, errno, "%s", base->path);
}

static char *base_key(const char *item) {
        return memory_format(FACT_BASE "%s", item);
}

// Noted before it is protected, so that a discard finds it.
static int note_and_protect(const struct custody *custody, const char *item, const struct clone_base *base,
                            struct error *err) {
        _cleanup_(free_p) char *key = base_key(item);
        if (reach_check(base->path, err) < 0)
                return -1;
        pthread_mutex_lock(&bases);
        int status = custody_set_fact(custody, key, base->path, err);
        if (status == 0)
                status = protect(custody, base, err);
        pthread_mutex_unlock(&bases);
        return status;
}

static const char *source_format(const Drover__MoveDisk *disk) {
        return disk->source_format[0] ? disk->source_format : disk->format;
}

int clone_base_prepare(const struct custody *custody, const Drover__CloneLocal *request, struct clone_base *ret,
                       struct error *err) {
        const char *item = request->disk->target;
        struct clone_base base = {.fd = -1};
        struct image image;
        uint64_t file_bytes;
        if (clone_open(custody, request->source_uuid, item, &base.fd, &file_bytes, &base.path, err) < 0)
                return -1;
        if (device_is(base.path)) {
                error_set(err, ERROR_REFUSED, "%s: %s is a block device, which cannot be kept from being written to",
                          item, base.path);
                error_hint(err, "clone it without --linked");
                clone_base_fini(&base);
                return -1;
        }
        base.format = memory_string(source_format(request->disk));
        int status = image_inspect_at(AT_FDCWD, base.path, base.format, &image, err);
        base.bytes = status == 0 ? (image.virtual_bytes + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES : 0;
        if (status == 0)
                status = note_and_protect(custody, item, &base, err);
        if (status < 0) {
                clone_base_fini(&base);
                return error_prefix(err, "%s", item);
        }
        *ret = base;
        return 0;
}

int clone_base_inherit(const struct custody *custody, const Drover__CloneLocal *request, const char *source_path,
                       struct error *err) {
        const char *item = request->disk->target;
        struct image image;
        struct clone_base base = {.fd = -1};
        if (strcmp(source_format(request->disk), "raw") == 0) // laid over nothing
                return 0;
        if (image_inspect_at(AT_FDCWD, source_path, source_format(request->disk), &image, err) < 0)
                return error_prefix(err, "%s", item);
        if (!image.has_backing)
                return 0;
        base.path = memory_string(image.backing);
        base.fd = open(base.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        int status =
                base.fd < 0 ? error_errno(err, errno, "%s", base.path) : note_and_protect(custody, item, &base, err);
        clone_base_fini(&base);
        return status < 0 ? error_prefix(err, "%s", item) : 0;
}

int clone_base_of(const struct custody *custody, const char *item, char **ret_path, struct error *err) {
        _cleanup_(free_p) char *key = base_key(item);
        return custody_fact(custody, key, ret_path, err);
}

// ---- no longer a base ----

// Whether another job is about to lay an image over it.
static int promised(const struct custody *custody, const char *path, const char *item, struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0;
        if (journal_holds(custody->journal, NULL, 0, &holds, &n, err) < 0)
                return -1;
        for (unsigned i = 0; i < n; i++) {
                struct custody other = *custody;
                _cleanup_(free_p) char *used = NULL;
                other.job = holds[i].job;
                if (strcmp(holds[i].job, custody->job) == 0 && strcmp(holds[i].item, item) == 0)
                        continue;
                int found = clone_base_of(&other, holds[i].item, &used, err);
                if (found < 0 || (found && strcmp(used, path) == 0))
                        return found;
        }
        return 0;
}

static int used_by_vm(const struct custody *custody, const char *path, struct error *err) {
        struct neighbours neighbours = {0};
        struct hold place = {0};
        if (hold_file_split(&place, path, err) < 0 ||
            neighbours_read(custody->conn, custody->vm_uuid, &neighbours, err) < 0)
                return -1;
        int used = neighbours_based_on(&neighbours, custody->journal, path, err);
        neighbours_fini(&neighbours);
        return used;
}

static int unprotect(const char *path, struct error *err) {
        char mark[1];
        int was;
        _cleanup_(close_p) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : error_errno(err, errno, "%s", path);
        // Without the mark it was somebody else's wish that nobody writes to it.
        if (fgetxattr(fd, IMAGE_MARK, mark, sizeof(mark)) < 0)
                return 0;
        if (immutable(fd, false, &was) < 0 || fremovexattr(fd, IMAGE_MARK) < 0)
                return error_errno(err, errno, "let %s be written again", path);
        return 0;
}

int clone_base_release(const struct custody *custody, const char *item, struct error *err) {
        _cleanup_(free_p) char *path = NULL;
        _cleanup_(free_p) char *key = base_key(item);
        int found = clone_base_of(custody, item, &path, err);
        if (found <= 0)
                return found;
        if (!reach_answers(path)) // tried again later
                return error_set(err, ERROR_UNREACHABLE, "the file system of %s does not answer", path);
        pthread_mutex_lock(&bases);
        int used = promised(custody, path, item, err);
        if (!used)
                used = used_by_vm(custody, path, err);
        int status = used ? (used < 0 ? -1 : 0) : unprotect(path, err);
        // Before the next one looks: two that go at once would each find the other's, and none would be the last.
        if (status == 0)
                status = journal_fact_remove(custody->journal, custody->job, key, err);
        pthread_mutex_unlock(&bases);
        return status;
}
