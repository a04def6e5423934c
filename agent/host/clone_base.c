// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Images that linked clones are laid over: made ready for that, and let go once nothing is laid over them any more.
 * Workers only.
 */
#include "agent/host/clone.h"
#include "agent/host/capabilities.h"
#include "agent/host/custody_domain.h"
#include "agent/host/device.h"
#include "agent/host/mount.h"
#include "agent/host/hold_file.h"
#include "agent/host/neighbour.h"
#include "agent/host/reach.h"
#include "agent/host/sharing.h"
#include "common/log.h"
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

// What jobs are about to lay images over, or have and may give up; and what they are copying, of which another flag
// would be another version.
struct promises {
        char **paths;
        unsigned n;
};

static void promises_fini(struct promises *promises) {
        for (unsigned i = 0; i < promises->n; i++)
                free(promises->paths[i]);
        free(promises->paths);
}

typedef int (*promise_fn)(const struct custody *custody, const char *item, char **ret_path, struct error *err);

static int add_promise(const struct custody *custody, const char *item, promise_fn find, struct promises *promises,
                       struct error *err) {
        char *path = NULL;
        int found = find(custody, item, &path, err);
        if (found <= 0)
                return found;
        promises->paths = memory_grow(promises->paths, promises->n + 1, sizeof(*promises->paths));
        promises->paths[promises->n++] = path;
        return 0;
}

// Of all jobs, but for one item of this one (NULL: none).
static int read_promises(const struct custody *custody, const char *except_item, struct promises *ret,
                         struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0;
        if (journal_holds(custody->journal, NULL, 0, &holds, &n, err) < 0)
                return -1;
        for (unsigned i = 0; i < n; i++) {
                struct custody other = *custody;
                other.job = holds[i].job;
                if (except_item && strcmp(holds[i].job, custody->job) == 0 && strcmp(holds[i].item, except_item) == 0)
                        continue;
                if (add_promise(&other, holds[i].item, clone_base_of, ret, err) < 0 ||
                    add_promise(&other, holds[i].item, clone_image_of, ret, err) < 0)
                        return -1;
        }
        return 0;
}

static bool is_promised(const struct promises *promises, const char *path) {
        struct sharing_image one, other;
        bool known = sharing_image_of(path, &one);
        for (unsigned i = 0; i < promises->n; i++) {
                if (strcmp(promises->paths[i], path) == 0)
                        return true;
                // What cannot be looked at may be another name of it.
                if (!reach_answers(promises->paths[i]))
                        return true;
                if (known && sharing_image_of(promises->paths[i], &other) && one.device == other.device &&
                    one.inode == other.inode)
                        return true;
        }
        return false;
}

// The images of this host: those of its VMs and, for a VM that was undefined may be defined again, those of none.
static int read_images(const struct custody *custody, struct neighbours *ret, struct error *err) {
        struct neighbours images = {0};
        if (neighbours_read(custody->conn, custody->vm_uuid, &images, err) < 0)
                return -1;
        if (neighbours_add_files(custody->conn, &images, err) < 0) {
                neighbours_fini(&images);
                return -1;
        }
        *ret = images;
        return 0;
}

static bool is_marked(int fd) {
        char mark[1];
        return fgetxattr(fd, IMAGE_MARK, mark, sizeof(mark)) >= 0;
}

static int unprotect(const char *path, struct error *err) {
        int was;
        _cleanup_(close_p) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : error_errno(err, errno, "%s", path);
        // Without the mark it was somebody else's wish that nobody writes to it.
        if (!is_marked(fd))
                return 0;
        if (immutable(fd, false, &was) < 0 || fremovexattr(fd, IMAGE_MARK) < 0)
                return error_errno(err, errno, "let %s be written again", path);
        return 0;
}

static int release(const struct custody *custody, const char *item, const char *path, struct error *err) {
        _cleanup_(promises_fini) struct promises promises = {0};
        struct neighbours images = {0};
        if (read_promises(custody, item, &promises, err) < 0)
                return -1;
        if (is_promised(&promises, path))
                return 0;
        if (read_images(custody, &images, err) < 0)
                return -1;
        int used = neighbours_based_on(&images, custody->journal, path, err);
        neighbours_fini(&images);
        return used ? (used < 0 ? -1 : 0) : unprotect(path, err);
}

int clone_base_release(const struct custody *custody, const char *item, struct error *err) {
        _cleanup_(free_p) char *path = NULL;
        _cleanup_(free_p) char *key = base_key(item);
        struct error why = ERROR_INIT;
        int found = clone_base_of(custody, item, &path, err);
        if (found <= 0)
                return found;
        if (!reach_answers(path)) // tried again later
                return error_set(err, ERROR_UNREACHABLE, "the file system of %s does not answer", path);
        pthread_mutex_lock(&bases);
        int status = release(custody, item, path, err);
        // Before the next one looks: two that go at once would each find the other's, and none would be the last.
        if (status == 0)
                status = clone_image_forget(custody, item, err);
        if (status == 0)
                status = journal_fact_remove(custody->journal, custody->job, key, err);
        pthread_mutex_unlock(&bases);
        if (status == 0 && clone_base_sweep(custody->conn, custody->journal, &why) < 0)
                log_failure(LOG_LEVEL_DEBUG, "look for bases of no clone", &why, "job", custody->job, NULL);
        return status;
}

// ---- those that were left ----

// One that other hosts have as well may be the base of clones there.
static bool is_left(const Drover__Disk *disk) {
        struct mount mount;
        if (disk->path[0] != '/' || !mount_of(disk->path, &mount) || mount.remote)
                return false;
        _cleanup_(close_p) int fd = open(disk->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        struct stat status;
        return fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && is_marked(fd);
}

static int sweep_one(const struct custody *custody, const struct neighbours *images, const struct promises *promises,
                     const Drover__Disk *disk, struct error *err) {
        if (!is_left(disk) || is_promised(promises, disk->path))
                return 0;
        int used = neighbours_based_on(images, custody->journal, disk->path, err);
        return used ? (used < 0 ? -1 : 0) : unprotect(disk->path, err);
}

static int sweep(const struct custody *custody, struct error *err) {
        _cleanup_(promises_fini) struct promises promises = {0};
        struct neighbours images = {0};
        // A job that is done when it is asked for has its VM defined when that is read: in this order.
        if (read_promises(custody, NULL, &promises, err) < 0 || read_images(custody, &images, err) < 0)
                return -1;
        int status = 0;
        for (unsigned i = 0; i < images.n; i++)
                for (size_t k = 0; status == 0 && k < images.items[i].definition->n_disks; k++)
                        status = sweep_one(custody, &images, &promises, images.items[i].definition->disks[k], err);
        neighbours_fini(&images);
        return status;
}

int clone_base_sweep(virConnectPtr conn, struct journal *journal, struct error *err) {
        const struct custody custody = {.conn = conn, .journal = journal, .job = "", .vm_uuid = ""};
        // What lies in a pool that is not active cannot be ruled out.
        int inactive = virConnectNumOfDefinedStoragePools(conn);
        if (inactive)
                return inactive < 0 ? connection_error(err, "count the pools") : 0;
        pthread_mutex_lock(&bases);
        int status = sweep(&custody, err);
        pthread_mutex_unlock(&bases);
        return status;
}
