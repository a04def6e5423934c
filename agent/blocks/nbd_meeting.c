// SPDX-License-Identifier: LGPL-2.1-or-later
/* The socket on which qemu-nbd finds its clients waiting (see nbd_meeting.h). */
#include "agent/blocks/nbd_meeting.h"
#include "common/cleanup.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define PLACE  "/tmp"
#define PREFIX "drover-nbd-"
#define SOCKET "nbd"
#define TRIES  10 // another agent that starts may take a new directory for a left one, for a moment

// Locked, and still there. A directory is removed only by who has locked it.
static int lock_directory(const char *path) {
        _cleanup_(close_p) int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct stat status;
        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &status) < 0 || status.st_nlink == 0)
                return -1;
        return steal_fd(&fd);
}

static int make_directory(struct nbd_meeting *meeting, struct error *err) {
        for (unsigned i = 0; i < TRIES; i++) {
                char directory[sizeof(meeting->directory)] = PLACE "/" PREFIX "XXXXXX"; // mkdtemp: 0700, and new
                if (!mkdtemp(directory))
                        break;
                meeting->lock = lock_directory(directory);
                if (meeting->lock >= 0) {
                        memcpy(meeting->directory, directory, sizeof(directory));
                        return 0;
                }
                rmdir(directory);
        }
        return error_errno(err, errno, "make a directory in " PLACE);
}

int nbd_meeting_init(struct nbd_meeting *meeting, unsigned connections, struct error *err) {
        *meeting = (struct nbd_meeting){.address = {.sun_family = AF_UNIX}, .lock = -1, .fd = -1};
        struct sockaddr_un *address = &meeting->address;
        if (make_directory(meeting, err) < 0)
                return -1;
        snprintf(address->sun_path, sizeof(address->sun_path), "%s/" SOCKET, meeting->directory);
        meeting->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (meeting->fd < 0 || bind(meeting->fd, (struct sockaddr *) address, sizeof(*address)) < 0 ||
            listen(meeting->fd, (int) connections) < 0)
                return error_errno(err, errno, "listen on %s", address->sun_path);
        return 0;
}

int nbd_meeting_connect(const struct nbd_meeting *meeting, int *ret_fd, struct error *err) {
        _cleanup_(close_p) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (const struct sockaddr *) &meeting->address, sizeof(meeting->address)) < 0)
                return error_errno(err, errno, "connect to %s", meeting->address.sun_path);
        *ret_fd = steal_fd(&fd);
        return 0;
}

void nbd_meeting_fini(struct nbd_meeting *meeting) {
        close_p(&meeting->fd);
        if (meeting->address.sun_path[0])
                unlink(meeting->address.sun_path);
        if (meeting->directory[0])
                rmdir(meeting->directory);
        close_p(&meeting->lock);
}

// Ours: so named, of our user, that nobody else may enter, and not in use.
static bool remove_left(int place, const char *name) {
        struct stat status;
        _cleanup_(close_p) int fd = openat(place, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &status) < 0 || status.st_uid != geteuid() || (status.st_mode & 07777) != 0700 ||
            flock(fd, LOCK_EX | LOCK_NB) < 0)
                return false;
        if (fstatat(fd, SOCKET, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(status.st_mode))
                unlinkat(fd, SOCKET, 0);
        return unlinkat(place, name, AT_REMOVEDIR) == 0;
}

unsigned nbd_meeting_collect(void) {
        unsigned n = 0;
        DIR *place = opendir(PLACE);
        if (!place)
                return 0;
        for (struct dirent *entry; (entry = readdir(place));)
                if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) == 0)
                        n += remove_left(dirfd(place), entry->d_name);
        closedir(place);
        return n;
}
