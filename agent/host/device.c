// SPDX-License-Identifier: LGPL-2.1-or-later
/* Block devices: opened, measured, and what the kernel counts of them (see device.h). Any thread. */
#include "agent/host/device.h"
#include "common/buffer.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#define ATTRIBUTE_MAX  4096u
#define SECTOR_BYTES   512u
#define CLAIM_TRIES    20u
#define CLAIM_PAUSE_NS 50000000

// ---- what the kernel says ----

static char *attribute(dev_t device, const char *name) {
        _cleanup_(free_p) char *path = memory_format("/sys/dev/block/%u:%u/%s", major(device), minor(device), name);
        struct buffer text;
        buffer_init(&text, 0);
        if (file_read(path, ATTRIBUTE_MAX, &text, NULL) < 0) {
                buffer_fini(&text);
                return NULL;
        }
        return buffer_steal_text(&text);
}

static uint64_t number(dev_t device, const char *name) {
        _cleanup_(free_p) char *text = attribute(device, name);
        return text ? strtoull(text, NULL, 10) : 0;
}

// A partition's queue is that of its disk.
static bool counts(dev_t device) {
        _cleanup_(free_p) char *own = attribute(device, "queue/iostats");
        _cleanup_(free_p) char *disk = own ? NULL : attribute(device, "../queue/iostats");
        const char *text = own ? own : disk;
        return text && strtoul(text, NULL, 10) != 0;
}

static uint64_t mix(uint64_t sum, const char *text) {
        for (; *text; text++)
                sum = (sum ^ (unsigned char) *text) * UINT64_C(0x100000001b3); // FNV-1a
        return sum;
}

// The numbers are those of Documentation/block/stat.rst: the seventh is sectors written, the fourteenth discarded.
int device_count(dev_t device, uint64_t *ret_written, uint64_t *ret_life, struct error *err) {
        _cleanup_(free_p) char *stat = attribute(device, "stat"), *sequence = attribute(device, "diskseq"),
                               *disk_sequence = sequence ? NULL : attribute(device, "../diskseq");
        uint64_t written = 0, discarded = 0;
        struct buffer boot;
        buffer_init(&boot, 0);
        int known = file_read("/proc/sys/kernel/random/boot_id", ATTRIBUTE_MAX, &boot, NULL);
        _cleanup_(free_p) char *boot_id = buffer_steal_text(&boot);
        if (known < 0 || !stat || !counts(device) ||
            sscanf(stat, "%*s %*s %*s %*s %*s %*s %" SCNu64 " %*s %*s %*s %*s %*s %*s %" SCNu64, &written, &discarded) <
                    1) {
                error_set(err, ERROR_REFUSED, "the kernel does not count what is written to it");
                error_hint(err, "on the host: echo 1 > /sys/dev/block/%u:%u/queue/iostats", major(device),
                           minor(device));
                return -1;
        }
        uint64_t life = mix(UINT64_C(0xcbf29ce484222325), boot_id);
        life = mix(life, sequence ? sequence : disk_sequence ? disk_sequence : "");
        *ret_written = written + discarded;
        *ret_life = life >> 1; // kept in a signed number
        return 0;
}

// ---- by path ----

// The device behind the path, which may be a link: /dev/vg/lv is one.
static int resolve(const char *path, char ret_real[PATH_MAX], struct stat *ret, struct error *err) {
        if (path[0] != '/' || !realpath(path, ret_real) || stat(ret_real, ret) < 0)
                return error_errno(err, errno, "%s", path);
        if (!S_ISBLK(ret->st_mode))
                return error_set(err, ERROR_REFUSED, "%s is not a block device", path);
        if (strncmp(ret_real, "/dev/", 5) != 0)
                return error_set(err, ERROR_REFUSED, "%s is not a device below /dev", path);
        return 0;
}

bool device_is(const char *path) {
        char real[PATH_MAX];
        struct stat status;
        return path[0] == '/' && resolve(path, real, &status, NULL) == 0;
}

int device_bytes(const char *path, uint64_t *ret, struct error *err) {
        char real[PATH_MAX];
        struct stat status;
        if (resolve(path, real, &status, err) < 0)
                return -1;
        *ret = number(status.st_rdev, "size") * SECTOR_BYTES;
        return 0;
}

static int busy(const char *path, struct error *err) {
        error_set(err, ERROR_CONFLICT, "%s is mounted here, or belongs to another device", path);
        error_hint(err, "see what has it: lsblk %s", path);
        return -1;
}

// Somebody who only looks at it claims it for a moment as well: another job of ours, blkid, LVM.
static int open_patiently(const char *real, int flags) {
        const struct timespec pause = {.tv_nsec = CLAIM_PAUSE_NS};
        for (unsigned tries = 1;; tries++) {
                int fd = open(real, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
                if (fd >= 0 || errno != EBUSY || tries == CLAIM_TRIES)
                        return fd;
                nanosleep(&pause, NULL);
        }
}

int device_open(const char *path, int flags, int *ret_fd, uint64_t *ret_bytes, struct error *err) {
        char real[PATH_MAX];
        struct stat status, opened;
        if (resolve(path, real, &status, err) < 0)
                return -1;
        _cleanup_(close_p) int fd = open_patiently(real, flags);
        if (fd < 0 && errno == EBUSY)
                return busy(path, err);
        if (fd < 0 || fstat(fd, &opened) < 0)
                return error_errno(err, errno, "open %s", path);
        if (!S_ISBLK(opened.st_mode) || opened.st_rdev != status.st_rdev)
                return error_set(err, ERROR_CONFLICT, "%s became another device", path);
        uint64_t bytes = 0;
        if (ioctl(fd, BLKGETSIZE64, &bytes) < 0)
                return error_errno(err, errno, "read the length of %s", path);
        *ret_fd = steal_fd(&fd);
        *ret_bytes = bytes;
        return 0;
}

int device_check_free(const char *path, struct error *err) {
        _cleanup_(close_p) int fd = -1;
        uint64_t bytes;
        if (device_open(path, O_RDONLY | O_EXCL, &fd, &bytes, err) < 0)
                return -1;
        if (bytes == 0)
                return error_set(err, ERROR_REFUSED, "%s is empty: it holds no disk", path);
        return 0;
}
