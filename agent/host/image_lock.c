// SPDX-License-Identifier: LGPL-2.1-or-later
/* Locking an image against writers as QEMU does. Any thread. */
#include "agent/host/image_lock.h"
#include <errno.h>
#include <fcntl.h>

// The numbers are QEMU's, and have not changed since 2.10.
#define USED       100
#define NOT_SHARED 200
enum { PERMISSION_WRITE = 1, PERMISSION_WRITE_UNCHANGED = 2, PERMISSION_RESIZE = 3 };

// 1: no locks here.
static int take(int fd, int byte, const char *path, struct error *err) {
        struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
                return 0;
        if (errno == EINVAL || errno == ENOLCK || errno == EOPNOTSUPP || errno == ENOSYS)
                return 1;
        return error_errno(err, errno, "lock %s", path);
}

static int refuse_use(int fd, int byte, const char *path, struct error *err) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
        if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
                return error_errno(err, errno, "lock %s", path);
        if (lock.l_type == F_UNLCK)
                return 0;
        error_set(err, ERROR_CONFLICT, "%s is being written by another program", path);
        error_hint(err, "find it with: lsof %s", path);
        return -1;
}

// First the locks, then the look: whoever comes in between finds them.
int image_lock_reading(int fd, const char *path, struct error *err) {
        static const int bytes[] = {NOT_SHARED + PERMISSION_WRITE, NOT_SHARED + PERMISSION_RESIZE};
        static const int uses[] = {USED + PERMISSION_WRITE, USED + PERMISSION_WRITE_UNCHANGED,
                                   USED + PERMISSION_RESIZE};
        for (unsigned i = 0; i < sizeof(bytes) / sizeof(*bytes); i++) {
                int r = take(fd, bytes[i], path, err);
                if (r)
                        return r < 0 ? -1 : 0;
        }
        for (unsigned i = 0; i < sizeof(uses) / sizeof(*uses); i++)
                if (refuse_use(fd, uses[i], path, err) < 0)
                        return -1;
        return 0;
}
