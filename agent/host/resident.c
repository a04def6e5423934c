// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * An agent at rest runs little of what it has loaded: libvirt's client brings TLS, Kerberos, GLib and more, whose code
 * is touched once at the start and then stays resident, some 8 MiB of it. Only mappings that are executable, private,
 * of a file, and of which no page was ever written to (none anonymous in /proc/self/smaps) are let go: for those the
 * kernel reads the same bytes from the same file again. Failure of any part is no failure: nothing is lost but memory.
 */
#include "agent/host/resident.h"
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct mapping {
        uintptr_t start, end; // end 0: not one of those
};

// "7f01-7f02 r-xp 00001000 fe:00 123 /usr/lib/libc.so.6"
static struct mapping parse_head(const char *line) {
        unsigned long start, end;
        char permissions[8], path[8] = "";
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %7s", &start, &end, permissions, path) < 4)
                return (struct mapping){0};
        if (strcmp(permissions, "r-xp") != 0 || path[0] != '/')
                return (struct mapping){0};
        return (struct mapping){.start = start, .end = end};
}

static void drop_code(FILE *smaps) {
        char line[4352];
        struct mapping mapping = {0};
        while (fgets(line, sizeof(line), smaps)) {
                unsigned long kilobytes;
                size_t word = strcspn(line, " ");
                if (word > 0 && line[word - 1] != ':') // not "Rss:" and its like: the head of the next mapping
                        mapping = parse_head(line);
                else if (mapping.end && sscanf(line, "Anonymous: %lu kB", &kilobytes) == 1 && kilobytes == 0)
                        madvise((void *) mapping.start, mapping.end - mapping.start, MADV_DONTNEED);
        }
}

void resident_shrink(void) {
        malloc_trim(0);
        FILE *smaps = fopen("/proc/self/smaps", "re");
        if (!smaps)
                return;
        drop_code(smaps);
        fclose(smaps);
}
