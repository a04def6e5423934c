// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The files of pools that belong to no VM: images of one that was undefined and may be defined again, or of one that is
 * started with another program. A pool that cannot be read fails the whole. Workers only.
 */
#include "agent/host/neighbour.h"
#include "agent/host/pool.h"
#include "agent/host/reach.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define FILES_MAX 65536u

static void close_directory_p(DIR **directory) {
        if (*directory)
                closedir(*directory);
}

static bool has(const Drover__Domain *domain, const char *path) {
        for (size_t i = 0; i < domain->n_disks; i++)
                if (strcmp(domain->disks[i]->path, path) == 0)
                        return true;
        return false;
}

static bool is_known(const struct neighbours *neighbours, const char *path) {
        for (unsigned i = 0; i < neighbours->n; i++)
                if (has(neighbours->items[i].definition, path))
                        return true;
        return false;
}

// Taken for a qcow2, as which it is only looked at (image_chain.h); one that is none is laid over nothing.
static void add(Drover__Domain *files, char *path) {
        Drover__Disk *disk = new (Drover__Disk);
        drover__disk__init(disk);
        disk->path = path;
        disk->type = memory_string("file");
        disk->device = memory_string("disk");
        disk->format = memory_string("qcow2");
        files->disks = memory_grow(files->disks, files->n_disks + 1, sizeof(*files->disks));
        files->disks[files->n_disks++] = disk;
}

// A link counts as what it leads to; hidden names are nobody's images, and the sidecar's are in the journal.
static int add_file(const struct neighbours *neighbours, const char *directory, const char *name, int directory_fd,
                    Drover__Domain *files, struct error *err) {
        struct stat status;
        if (name[0] == '.' || fstatat(directory_fd, name, &status, 0) < 0 || !S_ISREG(status.st_mode))
                return 0;
        if (files->n_disks == FILES_MAX)
                return error_set(err, ERROR_TOO_LARGE, "the pools of this host hold more than %u files", FILES_MAX);
        _cleanup_(free_p) char *path = memory_format("%s/%s", directory, name);
        if (!is_known(neighbours, path))
                add(files, steal(&path));
        return 0;
}

static int add_directory(const struct neighbours *neighbours, const char *path, Drover__Domain *files,
                         struct error *err) {
        if (reach_check(path, err) < 0)
                return -1;
        _cleanup_(close_directory_p) DIR *directory = opendir(path);
        if (!directory)
                return error_errno(err, errno, "%s", path);
        for (;;) {
                errno = 0;
                const struct dirent *entry = readdir(directory);
                if (!entry)
                        return errno ? error_errno(err, errno, "%s", path) : 0;
                if (add_file(neighbours, path, entry->d_name, dirfd(directory), files, err) < 0)
                        return -1;
        }
}

int neighbours_add_files(virConnectPtr conn, struct neighbours *neighbours, struct error *err) {
        _cleanup_(pool_table_free_p) struct pool_table *pools = NULL;
        const char *directory;
        if (pool_table_read(conn, &pools, err) < 0)
                return -1;
        Drover__Domain *files = new (Drover__Domain);
        drover__domain__init(files);
        int status = 0;
        for (unsigned i = 0; status == 0 && (directory = pool_table_directory(pools, i)); i++)
                status = add_directory(neighbours, directory, files, err);
        if (status < 0) {
                proto_free(&files->base);
                return -1;
        }
        neighbours->items = memory_grow(neighbours->items, neighbours->n + 1, sizeof(*neighbours->items));
        neighbours->items[neighbours->n++] = (struct neighbour){.definition = files};
        return 0;
}
