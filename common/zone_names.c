// SPDX-License-Identifier: LGPL-2.1-or-later
/* Which time zones there are; see zone_names.h. Read from the directory when somebody has mistyped one. */
#include "common/zone_names.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/name.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>

#define NAMES_MAX 2048u
#define DEPTH_MAX 3u

struct names {
        char **list;
        size_t n;
};

static void names_fini(struct names *names) {
        for (size_t i = 0; i < names->n; i++)
                free(names->list[i]);
        free(names->list);
}

// Zones begin with a capital; what does not is tables, and the same zones over again (posix, right).
static bool is_zone_entry(const struct dirent *entry) {
        return entry->d_name[0] >= 'A' && entry->d_name[0] <= 'Z' && !strchr(entry->d_name, '.');
}

static void collect(int parent, const char *directory, const char *prefix, unsigned depth, struct names *names) {
        int fd = openat(parent, directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
        if (!stream) {
                if (fd >= 0)
                        close(fd);
                return;
        }
        for (struct dirent *entry; names->n < NAMES_MAX && (entry = readdir(stream));) {
                if (!is_zone_entry(entry))
                        continue;
                char *name = memory_format("%s%s", prefix, entry->d_name);
                if (entry->d_type != DT_DIR) {
                        names->list = memory_grow(names->list, names->n + 1, sizeof(*names->list));
                        names->list[names->n++] = name;
                        continue;
                }
                char *inner = memory_format("%s/", name);
                if (depth < DEPTH_MAX)
                        collect(dirfd(stream), entry->d_name, inner, depth + 1, names);
                free(inner);
                free(name);
        }
        closedir(stream);
}

static int ends_in(const struct names *names, const char *ending) {
        int found = -1;
        for (size_t i = 0; i < names->n; i++) {
                const char *slash = strrchr(names->list[i], '/');
                if (strcasecmp(slash ? slash + 1 : names->list[i], ending) != 0 &&
                    strcasecmp(names->list[i], ending) != 0)
                        continue;
                if (found < 0 || strcmp(names->list[i], names->list[found]) < 0)
                        found = (int) i;
        }
        return found;
}

void zone_names_hint(const char *name, struct error *err) {
        _cleanup_(names_fini) struct names names = {0};
        collect(AT_FDCWD, ZONE_DIRECTORY, "", 1, &names);
        int nearest = ends_in(&names, name);
        if (nearest < 0)
                nearest = name_nearest(name, names.list, names.n);
        if (nearest >= 0)
                error_hint(err, "did you mean %s?", names.list[nearest]);
        else
                error_hint(err, "timedatectl list-timezones");
}
