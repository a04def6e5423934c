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

static void forget(const char *uuid) {
        unsigned kept = 0;
        for (unsigned i = 0; i < n_entries; i++)
                if (strcmp(entries[i].uuid, uuid) != 0)
                        entries[kept++] = entries[i];
        n_entries = kept;
}

void sharing_set(const char *uuid, const struct sharing_image *images, unsigned n) {
        pthread_mutex_lock(&lock);
        forget(uuid);
        if (n > ENTRIES_MAX - n_entries)
                n = ENTRIES_MAX - n_entries;
        if (n > 0)
                entries = memory_grow(entries, n_entries + n, sizeof(*entries));
        for (unsigned i = 0; i < n; i++) {
                struct entry *entry = &entries[n_entries++];
                *entry = (struct entry){.image = images[i]};
                strncpy(entry->uuid, uuid, NAME_UUID_LENGTH);
        }
        pthread_mutex_unlock(&lock);
}

bool sharing_other(const char *uuid, const struct sharing_image *image, char *ret_uuid) {
        bool found = false;
        pthread_mutex_lock(&lock);
        for (unsigned i = 0; i < n_entries && !found; i++) {
                const struct entry *entry = &entries[i];
                found = entry->image.device == image->device && entry->image.inode == image->inode &&
                        entry->image.base == image->base && strcmp(entry->uuid, uuid) != 0;
                if (found)
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
