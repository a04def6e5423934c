// SPDX-License-Identifier: LGPL-2.1-or-later
/* Where paths lie (see mount.h). The table is /proc/self/mountinfo: proc_pid_mountinfo(5). */
#include "agent/host/mount.h"
#include "common/cleanup.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINKS_MAX 8u

static void close_file_p(FILE **file) {
        if (*file)
                fclose(*file);
}

static bool is_remote(const char *type) {
        static const char *const types[] = {"nfs",  "nfs4", "cifs",  "smb3", "smbfs",  "9p",  "afs",
                                            "ceph", "coda", "ocfs2", "gfs2", "lustre", "fuse"};
        if (strncmp(type, "fuse.", 5) == 0)
                return true;
        for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
                if (strcmp(type, types[i]) == 0)
                        return true;
        return false;
}

// Blanks and the like stand as three octal digits.
static void unescape(char *text) {
        char *to = text;
        for (const char *from = text; *from; to++) {
                if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] && from[3]) {
                        *to = (char) ((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
                        from += 4;
                } else {
                        *to = *from++;
                }
        }
        *to = 0;
}

// How many characters of the path the mount point covers; 0: it does not lie below it.
static size_t covers(const char *point, const char *path) {
        size_t length = strlen(point);
        if (length == 1)
                return 1;
        return strncmp(point, path, length) == 0 && (path[length] == '/' || !path[length]) ? length : 0;
}

// "36 35 98:0 /root /point options optional - type source super": what counts of it.
static bool read_line(char *line, struct mount *ret, char **ret_point) {
        char *field = NULL, *rest = line, *type = strstr(line, " - ");
        if (!type)
                return false;
        *type = 0;
        type += 3;
        type[strcspn(type, " \n")] = 0;
        for (unsigned i = 0; i < 5; i++) {
                if (!(field = strsep(&rest, " ")))
                        return false;
                if (i == 0)
                        ret->number = atoi(field);
        }
        unescape(field);
        ret->remote = is_remote(type);
        *ret_point = field;
        return true;
}

bool mount_in(const char *table, const char *path, struct mount *ret) {
        _cleanup_(close_file_p) FILE *file = fopen(table, "re");
        _cleanup_(free_p) char *line = NULL;
        size_t room = 0, best = 0;
        if (!file || path[0] != '/')
                return false;
        while (getline(&line, &room, file) > 0) {
                struct mount mount;
                char *point;
                size_t length = read_line(line, &mount, &point) ? covers(point, path) : 0;
                if (length == 0 || length < best) // of two at one place, the later one covers the other
                        continue;
                best = length;
                *ret = mount;
        }
        return best > 0;
}

bool mount_of(const char *path, struct mount *ret) {
        char at[PATH_MAX], target[PATH_MAX];
        if (snprintf(at, sizeof at, "%s", path) >= (int) sizeof at)
                return false;
        for (unsigned links = 0; links < LINKS_MAX; links++) {
                if (!mount_in("/proc/self/mountinfo", at, ret))
                        return false;
                if (ret->remote)
                        break;
                ssize_t length = readlink(at, target, sizeof target - 1); // the link itself is on a disk of this host
                if (length <= 0 || target[0] != '/')
                        break;
                target[length] = 0;
                memcpy(at, target, (size_t) length + 1);
        }
        return true;
}
