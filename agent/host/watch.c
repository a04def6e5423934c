// SPDX-License-Identifier: LGPL-2.1-or-later
/* Watching libvirt's directories (see watch.h). Belongs to the loop's thread; handles go in their close callbacks. */
#include "agent/host/watch.h"
#include "common/cleanup.h"
#include "common/memory.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#define PLACES_MAX 512u // beyond that the regular reading of everything has to do

// Those with children have one directory for each VM, which come and go.
static const struct {
        const char *path;
        bool children;
} roots[] = {
        {"/etc/libvirt", false}, // where the next one appears with the first VM
        {"/etc/libvirt/qemu", false},
        {"/var/lib/libvirt/qemu/save", false},
        {"/var/lib/libvirt/qemu/snapshot", true},
        {"/var/lib/libvirt/qemu/checkpoint", true},
};

struct place {
        uv_fs_event_t handle;
        struct watch *watch;
        struct place *next;
        char *path;
};

struct watch {
        uv_loop_t *loop;
        watch_fn fn;
        void *data;
        struct place *places;
        unsigned n_places;
};

static void on_closed(uv_handle_t *handle) {
        struct place *place = handle->data;
        free(place->path);
        free(place);
}

static void on_change(uv_fs_event_t *handle, const char *name, int events, int status) {
        struct watch *watch = ((struct place *) handle->data)->watch;
        (void) name;
        (void) events;
        (void) status;
        watch_again(watch);
        watch->fn(watch->data);
}

static bool is_watched(const struct watch *watch, const char *path) {
        for (const struct place *place = watch->places; place; place = place->next)
                if (strcmp(place->path, path) == 0)
                        return true;
        return false;
}

static void add(struct watch *watch, const char *path) {
        struct stat status;
        if (watch->n_places >= PLACES_MAX || is_watched(watch, path) || lstat(path, &status) < 0 ||
            !S_ISDIR(status.st_mode))
                return;
        struct place *place = new (struct place);
        place->watch = watch;
        place->path = memory_string(path);
        uv_fs_event_init(watch->loop, &place->handle);
        place->handle.data = place;
        if (uv_fs_event_start(&place->handle, on_change, path, 0) != 0) {
                uv_close((uv_handle_t *) &place->handle, on_closed);
                return;
        }
        place->next = watch->places;
        watch->places = place;
        watch->n_places++;
}

static void add_children(struct watch *watch, const char *path) {
        DIR *directory = opendir(path);
        if (!directory)
                return;
        for (const struct dirent *entry; (entry = readdir(directory));) {
                if (entry->d_name[0] == '.')
                        continue;
                _cleanup_(free_p) char *child = memory_format("%s/%s", path, entry->d_name);
                add(watch, child);
        }
        closedir(directory);
}

// One that is made again under the same name is another directory.
static void drop_gone(struct watch *watch) {
        struct stat status;
        for (struct place **at = &watch->places; *at;) {
                struct place *place = *at;
                if (lstat(place->path, &status) == 0) {
                        at = &place->next;
                        continue;
                }
                *at = place->next;
                watch->n_places--;
                uv_close((uv_handle_t *) &place->handle, on_closed);
        }
}

void watch_again(struct watch *watch) {
        drop_gone(watch);
        for (size_t i = 0; i < ARRAY_SIZE(roots); i++) {
                add(watch, roots[i].path);
                if (roots[i].children)
                        add_children(watch, roots[i].path);
        }
}

struct watch *watch_new(uv_loop_t *loop, watch_fn fn, void *data) {
        struct watch *watch = new (struct watch);
        watch->loop = loop;
        watch->fn = fn;
        watch->data = data;
        watch_again(watch);
        return watch;
}

void watch_free(struct watch *watch) {
        if (!watch)
                return;
        while (watch->places) {
                struct place *place = watch->places;
                watch->places = place->next;
                uv_close((uv_handle_t *) &place->handle, on_closed);
        }
        free(watch);
}
