// SPDX-License-Identifier: LGPL-2.1-or-later
/* Where paths lie (see mount.h). The table is /proc/self/mountinfo: proc_pid_mountinfo(5). */
#include "agent/host/mount.h"
#include "common/cleanup.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TABLE     "/proc/self/mountinfo"
#define LINKS_MAX 40u // as the kernel follows

static void close_file_p(FILE **file) {
        if (*file)
                fclose(*file);
}

static bool is_remote(const char *type) {
        static const char *const types[] = {"nfs",  "nfs4", "cifs",  "smb3", "smbfs",  "9p",   "afs",
                                            "ceph", "coda", "ocfs2", "gfs2", "lustre", "fuse", "autofs"};
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

// ---- links ----

struct walk {
        char at[PATH_MAX];   // resolved so far; "": the root
        char rest[PATH_MAX]; // what follows
        unsigned links;
};

static void leave(struct walk *walk) {
        char *slash = strrchr(walk->at, '/');
        if (slash)
                *slash = 0;
}

// The next name of what follows goes behind what is resolved. false: there is none, or no room for it.
static bool enter(struct walk *walk) {
        const char *name = walk->rest + strspn(walk->rest, "/");
        size_t length = strcspn(name, "/"), used = strlen(walk->at);
        if (length == 0 || used + length + 2 > sizeof walk->at)
                return false;
        if (length == 2 && memcmp(name, "..", 2) == 0)
                leave(walk);
        else if (length != 1 || *name != '.')
                snprintf(walk->at + used, sizeof walk->at - used, "/%.*s", (int) length, name);
        memmove(walk->rest, name + length, strlen(name + length) + 1);
        return true;
}

// What is resolved may be a link: then it is taken away, and where it leads comes before what follows.
static bool follow(struct walk *walk) {
        char target[PATH_MAX], rest[PATH_MAX];
        ssize_t length = *walk->at ? readlink(walk->at, target, sizeof target - 1) : 0;
        if (length <= 0)
                return true;
        target[length] = 0;
        if (++walk->links > LINKS_MAX || snprintf(rest, sizeof rest, "%s/%s", target, walk->rest) >= (int) sizeof rest)
                return false;
        memcpy(walk->rest, rest, strlen(rest) + 1);
        if (target[0] == '/')
                walk->at[0] = 0;
        else
                leave(walk);
        return true;
}

// Below what another host keeps nothing is looked at: there the names count as they are.
static bool below_remote(const struct walk *walk, struct mount *ret) {
        char whole[2 * PATH_MAX];
        snprintf(whole, sizeof whole, "%s%s", walk->at, walk->rest);
        bool known = mount_in(TABLE, whole, ret);
        ret->remote = true;
        return known;
}

bool mount_of(const char *path, struct mount *ret) {
        struct walk walk = {0};
        if (path[0] != '/' || snprintf(walk.rest, sizeof walk.rest, "%s", path) >= (int) sizeof walk.rest)
                return false;
        do {
                if (!mount_in(TABLE, *walk.at ? walk.at : "/", ret))
                        return false;
                if (ret->remote)
                        return below_remote(&walk, ret);
        } while (follow(&walk) && enter(&walk));
        return mount_in(TABLE, *walk.at ? walk.at : "/", ret); // the last name may have been a link to the root
}
