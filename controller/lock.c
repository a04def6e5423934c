// SPDX-License-Identifier: LGPL-2.1-or-later
/* flock(2) on a file of its own. The main thread, at start. */
#include "controller/lock.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>

#define TRY_MS 50

int lock_take(const char *directory, uint32_t patience_ms, int *ret_fd, struct error *err) {
        _cleanup_(free_p) char *path = memory_format("%s/controller.lock", directory);
        _cleanup_(close_p) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        uint64_t until = clock_ms(&system_clock) + patience_ms;
        if (fd < 0)
                return error_errno(err, errno, "%s", path);
        while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (clock_ms(&system_clock) >= until) {
                        error_set(err, ERROR_CONFLICT, "another drover-controller works in %s", directory);
                        error_hint(err, "systemctl status drover-controller");
                        return -1;
                }
                poll(NULL, 0, TRY_MS);
        }
        *ret_fd = steal_fd(&fd);
        return 0;
}
