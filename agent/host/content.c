// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What this host has that may be wanted again (see content.h). Everything is looked at by name first, without being
 * opened; the likeliest are opened then, and must still be what they were.
 */
#include "agent/host/content.h"
#include "agent/host/hold_file.h"
#include "agent/host/mount.h"
#include "agent/host/pool.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

// What speaks for a file, in points. Whose it is counts more than all the rest.
enum {
        SAME_VM_LEFT = 8000, // this VM's own image, from the last time that it was here
        SAME_VM_PARTIAL = 6000,
        SAME_ITEM = 1000, // the disk of the same name
        SAME_NAME = 800,
        SAME_BYTES = 400,
        ALIKE_NAME_MAX = 320, // 40 for each character that is the same from the beginning on
        ALIKE_CHARACTER = 40,
        SAME_DIRECTORY = 50,
};

struct entry {
        int points;
        int64_t at; // newer first among equals
        dev_t device;
        ino_t inode;
        const struct hold *hold; // a file aside; or
        unsigned directory;      // one in place
        char name[NAME_MAX + 1];
};
struct content {
        const struct hold *wanted;
        uint64_t bytes;
        struct hold *holds;
        unsigned n_holds;
        struct pool_directory *directories;
        unsigned n_directories;
        struct entry *entries; // the best ones so far
        unsigned n;
};

static void content_fini(struct content *content) {
        for (unsigned i = 0; i < content->n_directories; i++)
                pool_directory_fini(&content->directories[i]);
        free(content->directories);
        free(content->entries);
        free(content->holds);
}

static bool better(const struct entry *one, const struct entry *other) {
        return one->points != other->points ? one->points > other->points : one->at > other->at;
}

static int by_promise(const void *a, const void *b) {
        return better(a, b) ? -1 : better(b, a);
}

// Keeps the best CONTENT_MAX.
static void consider(struct content *content, const struct entry *entry) {
        unsigned worst = 0;
        for (unsigned i = 0; i < content->n; i++) {
                if (content->entries[i].device == entry->device && content->entries[i].inode == entry->inode)
                        return;
                if (better(&content->entries[worst], &content->entries[i]))
                        worst = i;
        }
        if (content->n < CONTENT_MAX)
                content->entries[content->n++] = *entry;
        else if (better(entry, &content->entries[worst]))
                content->entries[worst] = *entry;
}

static int points_of_name(const char *name, const char *wanted) {
        int same = 0;
        if (strcmp(name, wanted) == 0)
                return SAME_NAME;
        while (name[same] && name[same] == wanted[same])
                same++;
        return same * ALIKE_CHARACTER < ALIKE_NAME_MAX ? same * ALIKE_CHARACTER : ALIKE_NAME_MAX;
}

static int points_of_bytes(const struct content *content, uint64_t bytes) {
        return content->bytes && bytes == content->bytes ? SAME_BYTES : 0;
}

static int64_t newest(const struct stat *status) {
        return status->st_mtim.tv_sec;
}

static bool is_content(const struct stat *status) {
        return S_ISREG(status->st_mode) && status->st_size >= (off_t) CONTENT_SMALLEST;
}

// Where another host keeps the files, looking at them and reading them hangs for as long as that one is gone, and
// nothing ends a thread that hangs so. Only where the image itself goes there that is no further harm.
static bool may_hang(const struct content *content, const char *directory) {
        struct mount there, home;
        if (!mount_of(directory, &there) || !there.remote)
                return false;
        return !mount_of(content->wanted->directory, &home) || home.number != there.number;
}

// ---- what jobs have in hand, or left
static void consider_hold(struct content *content, const struct hold *hold) {
        struct stat status;
        int fd = -1;
        uint64_t bytes;
        bool same_vm = strcmp(hold->vm_uuid, content->wanted->vm_uuid) == 0;
        bool same_item = strcmp(hold->item, content->wanted->item) == 0;
        if ((strcmp(hold->job, content->wanted->job) == 0 && same_item) || hold->kind == HOLD_PUBLISHED ||
            strcmp(hold->item, HOLD_DOMAIN) == 0 || hold->device || may_hang(content, hold->directory) ||
            hold_file_open(hold, HOLD_ASIDE, &fd, &bytes, NULL) < 0)
                return;
        if (fstat(fd, &status) == 0 && is_content(&status)) {
                struct entry entry = {.hold = hold, .at = hold->at, .device = status.st_dev, .inode = status.st_ino};
                entry.points = points_of_name(hold->name, content->wanted->name) + points_of_bytes(content, bytes);
                if (same_vm)
                        entry.points += hold->kind == HOLD_INCOMING ? SAME_VM_PARTIAL : SAME_VM_LEFT;
                if (same_vm && same_item)
                        entry.points += SAME_ITEM;
                consider(content, &entry);
        }
        close(fd);
}

// ---- what stands in the pools
static void consider_name(struct content *content, unsigned directory, const char *name) {
        struct stat status;
        if (name[0] == '.' || strlen(name) > NAME_MAX ||
            fstatat(content->directories[directory].fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0 || !is_content(&status))
                return;
        struct entry entry = {
                .directory = directory,
                .at = newest(&status),
                .device = status.st_dev,
                .inode = status.st_ino,
                .points = points_of_name(name, content->wanted->name) +
                          points_of_bytes(content, (uint64_t) status.st_size) + (directory == 0 ? SAME_DIRECTORY : 0),
        };
        memcpy(entry.name, name, strlen(name) + 1);
        consider(content, &entry);
}

static void consider_directory(struct content *content, const char *path) {
        struct stat status, other;
        struct pool_directory *directory = &content->directories[content->n_directories];
        if (content->n_directories == CONTENT_DIRECTORIES_MAX || may_hang(content, path) ||
            pool_open_path(path, directory, NULL) < 0)
                return;
        bool known = fstat(directory->fd, &status) < 0;
        for (unsigned i = 0; i < content->n_directories && !known; i++)
                known = fstat(content->directories[i].fd, &other) == 0 && other.st_dev == status.st_dev &&
                        other.st_ino == status.st_ino;
        int fd = known ? -1 : openat(directory->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;
        if (!listing) {
                close_p(&fd);
                pool_directory_fini(directory);
                return;
        }
        unsigned number = content->n_directories++;
        struct dirent *item;
        for (unsigned n = 0; n < CONTENT_ENTRIES_MAX && (item = readdir(listing)); n++)
                consider_name(content, number, item->d_name);
        closedir(listing);
}

static void consider_pools(struct content *content, virConnectPtr conn) {
        _cleanup_(pool_table_free_p) struct pool_table *pools = NULL;
        const char *path;
        if (!conn || pool_table_read(conn, &pools, NULL) < 0)
                return;
        for (unsigned i = 0; (path = pool_table_directory(pools, i)); i++)
                consider_directory(content, path);
}

// ----
// What was looked at, or -1.
static int open_entry(const struct content *content, const struct entry *entry) {
        struct stat status;
        uint64_t bytes;
        int fd = -1;
        if (!entry->hold)
                fd = openat(content->directories[entry->directory].fd, entry->name,
                            O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        else if (hold_file_open(entry->hold, HOLD_ASIDE, &fd, &bytes, NULL) < 0)
                return -1;
        if (fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_dev == entry->device &&
            status.st_ino == entry->inode)
                return fd;
        close_p(&fd);
        return -1;
}

static const struct hold *find_wanted(const struct content *content, const char *job, const char *item) {
        for (unsigned i = 0; i < content->n_holds; i++)
                if (strcmp(content->holds[i].job, job) == 0 && strcmp(content->holds[i].item, item) == 0)
                        return &content->holds[i];
        return NULL;
}

int content_find(virConnectPtr conn, struct journal *journal, const char *job, const char *item, uint64_t bytes,
                 int ret_fds[CONTENT_MAX], unsigned *ret_n, struct error *err) {
        _cleanup_(content_fini) struct content content = {.bytes = bytes};
        if (journal_holds(journal, NULL, 0, &content.holds, &content.n_holds, err) < 0)
                return -1;
        content.wanted = find_wanted(&content, job, item);
        if (!content.wanted)
                return error_set(err, ERROR_NOT_FOUND, "nothing is held for %s", item);
        content.directories = new_array(struct pool_directory, CONTENT_DIRECTORIES_MAX + 1);
        content.entries = new_array(struct entry, CONTENT_MAX);
        for (unsigned i = 0; i < content.n_holds; i++)
                consider_hold(&content, &content.holds[i]);
        consider_directory(&content, content.wanted->directory);
        consider_pools(&content, conn);
        qsort(content.entries, content.n, sizeof *content.entries, by_promise);
        *ret_n = 0;
        for (unsigned i = 0; i < content.n; i++) {
                int fd = open_entry(&content, &content.entries[i]);
                if (fd >= 0)
                        ret_fds[(*ret_n)++] = fd;
        }
        return 0;
}
