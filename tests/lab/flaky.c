// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A disk that fails a sync once and then says that all is well, as Linux does. Loaded into a program by LD_PRELOAD:
 * when $LAB_FLAKY holds a file named "sync" with a piece of a path in it, the next fsync, fdatasync or syncfs of a file
 * with that in its path removes the file and gives EIO. Later ones succeed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool fails(int fd) {
        const char *folder = getenv("LAB_FLAKY");
        char name[4096], link[64], wanted[256] = "", path[4096] = "";
        if (!folder || snprintf(name, sizeof name, "%s/sync", folder) >= (int) sizeof name)
                return false;
        FILE *file = fopen(name, "re");
        if (!file)
                return false;
        if (!fgets(wanted, sizeof wanted, file))
                wanted[0] = 0;
        fclose(file);
        wanted[strcspn(wanted, "\n")] = 0;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (readlink(link, path, sizeof path - 1) < 0 || !strstr(path, wanted) || unlink(name) < 0)
                return false;
        errno = EIO;
        return true;
}

#define FLAKY(call)                                                                                                    \
        int call(int fd);                                                                                              \
        int call(int fd) {                                                                                             \
                int (*real)(int) = (int (*)(int)) dlsym(RTLD_NEXT, #call);                                             \
                return fails(fd) ? -1 : real(fd);                                                                      \
        }
FLAKY(fsync)
FLAKY(fdatasync)
FLAKY(syncfs)
