// SPDX-License-Identifier: LGPL-2.1-or-later
/* The table of images in use: an array, searched from the front; a host has some hundreds of entries. Any thread. */
#include "agent/host/sharing.h"
#include "common/memory.h"
#include "common/name.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ENTRIES_MAX 65536u

struct entry {
        struct sharing_image image;
        bool stale; // its domain is to be read again
        char uuid[NAME_UUID_LENGTH + 1];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *entries;
static unsigned n_entries;

bool sharing_image_of(const char *path, struct sharing_image *ret) {
        struct stat st;
        if (path[0] != '/' || stat(path, &st) < 0)
                return false;
        // Several nodes may be one device; no file has the inode 0.
        *ret = S_ISBLK(st.st_mode) ? (struct sharing_image){.device = st.st_rdev}
                                   : (struct sharing_image){.device = st.st_dev, .inode = st.st_ino};
        return true;
}

static bool same_file(const struct sharing_image *one, const struct sharing_image *other) {
        return one->device == other->device && one->inode == other->inode;
}

static void mark_owners(const char *uuid, const struct sharing_image *image) {
        for (unsigned i = 0; i < n_entries; i++)
                if (!entries[i].image.base && same_file(&entries[i].image, image) && strcmp(entries[i].uuid, uuid) != 0)
                        entries[i].stale = true;
}

static bool knows(const char *uuid, const struct sharing_image *image) {
        for (unsigned i = 0; i < n_entries; i++)
                if (entries[i].image.base == image->base && same_file(&entries[i].image, image) &&
                    strcmp(entries[i].uuid, uuid) == 0)
                        return true;
        return false;
}

static bool among(const struct sharing_image *image, const struct sharing_image *images, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                if (images[i].base == image->base && same_file(&images[i], image))
                        return true;
        return false;
}

// What of a domain's images is new, and what of those that it had is not there any more. Whether it is stale itself.
static bool mark_changes(const char *uuid, const struct sharing_image *images, unsigned n) {
        bool stale = false;
        for (unsigned i = 0; i < n; i++)
                if (!knows(uuid, &images[i]))
                        mark_owners(uuid, &images[i]);
        for (unsigned i = 0; i < n_entries; i++)
                if (strcmp(entries[i].uuid, uuid) == 0) {
                        stale = stale || entries[i].stale;
                        if (!among(&entries[i].image, images, n))
                                mark_owners(uuid, &entries[i].image);
                }
        return stale;
}

static void forget(const char *uuid) {
        unsigned kept = 0;
        for (unsigned i = 0; i < n_entries; i++)
                if (strcmp(entries[i].uuid, uuid) != 0)
                        entries[kept++] = entries[i];
        n_entries = kept;
}

void sharing_set(const char *uuid, const struct sharing_image *images, unsigned n) {
        pthread_mutex_lock(&lock);
        bool stale = mark_changes(uuid, images, n);
        forget(uuid);
        if (n > ENTRIES_MAX - n_entries)
                n = ENTRIES_MAX - n_entries;
        if (n > 0)
                entries = memory_grow(entries, n_entries + n, sizeof(*entries));
        for (unsigned i = 0; i < n; i++) {
                struct entry *entry = &entries[n_entries++];
                *entry = (struct entry){.image = images[i], .stale = stale};
                strncpy(entry->uuid, uuid, NAME_UUID_LENGTH);
        }
        pthread_mutex_unlock(&lock);
}

bool sharing_other(const char *uuid, const struct sharing_image *image, char *ret_uuid) {
        bool found = false;
        pthread_mutex_lock(&lock);
        for (unsigned i = 0; i < n_entries && !found; i++) {
                const struct entry *entry = &entries[i];
                found = same_file(&entry->image, image) && entry->image.base == image->base &&
                        strcmp(entry->uuid, uuid) != 0;
                if (found)
                        memcpy(ret_uuid, entry->uuid, sizeof(entry->uuid));
        }
        pthread_mutex_unlock(&lock);
        return found;
}

bool sharing_take_stale(char *ret_uuid) {
        bool found = false;
        pthread_mutex_lock(&lock);
        for (unsigned i = 0; i < n_entries; i++) {
                struct entry *entry = &entries[i];
                if (!entry->stale || (found && strcmp(entry->uuid, ret_uuid) != 0))
                        continue;
                found = true;
                entry->stale = false;
                memcpy(ret_uuid, entry->uuid, sizeof(entry->uuid));
        }
        pthread_mutex_unlock(&lock);
        return found;
}

void sharing_keep(const char *const *uuids, unsigned n) {
        pthread_mutex_lock(&lock);
        unsigned kept = 0;
        for (unsigned i = 0; i < n_entries; i++)
                for (unsigned j = 0; j < n; j++)
                        if (strcmp(entries[i].uuid, uuids[j]) == 0) {
                                entries[kept++] = entries[i];
                                break;
                        }
        n_entries = kept;
        if (n_entries == 0) {
                free(entries);
                entries = NULL;
        }
        pthread_mutex_unlock(&lock);
}
