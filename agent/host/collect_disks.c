// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Disks on the host. Images are looked at with our own code and stat(), not with a call to libvirt each; what cannot be
 * read becomes an obstacle, never a failure of the whole. Blocking, for workers.
 */
#include "agent/host/collect_disks.h"
#include "agent/host/device.h"
#include "agent/host/obstacle.h"
#include "agent/host/reach.h"
#include "agent/host/sharing.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/name.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static void replace(char **text, const char *with) {
        if (*text && *text != (char *) protobuf_c_empty_string)
                free(*text);
        *text = memory_string(with);
}

// A volume becomes a path, a path below a pool's directory becomes a volume as well.
static void resolve(const struct pool_table *pools, Drover__Domain *domain, Drover__Disk *disk) {
        if (strcmp(disk->type, "volume") == 0) {
                _cleanup_(free_p) char *path = pool_table_path(pools, disk->pool, disk->volume);
                if (path)
                        replace(&disk->path, path);
                else
                        obstacle_add(domain, "pool", "start the pool: virsh pool-start",
                                     "disk %s: its pool %s is not active, or holds neither files nor logical volumes",
                                     disk->target, disk->pool);
                return;
        }
        const char *volume = NULL, *pool = *disk->path ? pool_table_find(pools, disk->path, &volume) : NULL;
        if (!pool || strlen(pool) > NAME_VOLUME_MAX || strlen(volume) > NAME_VOLUME_MAX)
                return;
        replace(&disk->pool, pool);
        replace(&disk->volume, volume);
}

static void add_header_obstacles(Drover__Domain *domain, const Drover__Disk *disk, const struct image *image) {
        _cleanup_(free_p) char *repair = memory_format("qemu-img check -r all %s", disk->path);
        if (image->has_data_file)
                obstacle_add(domain, "data-file", "copy it into one file: qemu-img convert",
                             "disk %s: its data lies in another file than its image", disk->target);
        if (image->encrypted)
                obstacle_add(domain, "encryption", "decrypt it: qemu-img convert",
                             "disk %s: its image is encrypted with a key of this host", disk->target);
        if (image->corrupt)
                obstacle_add(domain, "corrupt", repair, "disk %s: its image is marked as corrupt", disk->target);
}

static void add_chain(Drover__Domain *domain, Drover__Disk *disk, const struct image_chain *chain, bool active) {
        if (chain->n == 0)
                return;
        disk->backing_chain = new_array(char *, chain->n);
        for (unsigned i = 0; i < chain->n; i++)
                disk->backing_chain[disk->n_backing_chain++] = memory_string(chain->paths[i]);
        _cleanup_(free_p) char *hint =
                active ? memory_format("virsh blockpull %s %s --wait", domain->name, disk->target)
                       : memory_format("qemu-img convert -O qcow2 %s NEW, and virsh edit %s", disk->path, domain->name);
        obstacle_add(domain, "backing-chain", hint, "disk %s: its image depends on %s", disk->target,
                     disk->backing_chain[0]);
}

// By either name, as far as it is there to be asked.
static bool is_one_file(const char *path, const char *other_path) {
        struct sharing_image one, other;
        if (strcmp(path, other_path) == 0)
                return true;
        return reach_answers(path) && reach_answers(other_path) && sharing_image_of(path, &one) &&
               sharing_image_of(other_path, &other) && one.device == other.device && one.inode == other.inode;
}

static void add_base(Drover__Disk *disk, const char *path) {
        for (size_t i = 0; i < disk->n_backing_chain; i++)
                if (is_one_file(disk->backing_chain[i], path))
                        return;
        disk->backing_chain = memory_grow(disk->backing_chain, disk->n_backing_chain + 1, sizeof(*disk->backing_chain));
        disk->backing_chain[disk->n_backing_chain++] = memory_string(path);
}

// Only what is known to its end and has plain names can be compared.
static bool can_be_compared(const struct image_chain *chain) {
        for (unsigned i = 0; i < chain->n; i++)
                if (chain->paths[i][0] != '/')
                        return false;
        return chain->end == IMAGE_CHAIN_WHOLE;
}

// Whether the image says something else of what is below it there. What cannot be compared does not count.
static bool differs(const struct image_chain *chain, unsigned depth, const struct definition_base *base) {
        if (base->kind == BASE_NOTHING)
                return depth != chain->n;
        if (depth >= chain->n || base->kind == BASE_ELSEWHERE)
                return true;
        const char *format = chain->formats[depth];
        if (*format && *base->format && strcmp(format, base->format) != 0)
                return true;
        return base->kind == BASE_FILE && reach_answers(base->path) && !is_one_file(chain->paths[depth], base->path);
}

// What is copied or converted is what the image says that it lies over. Where the definition says otherwise, the guest
// sees something else; nobody may take away either.
static void add_named(Drover__Domain *domain, Drover__Disk *disk, const struct definition_bases *bases,
                      const struct image_chain *chain) {
        bool compare = can_be_compared(chain), same = true;
        unsigned depth = 0;
        for (unsigned i = 0; i < bases->n; i++) {
                const struct definition_base *base = &bases->items[i];
                if (strcmp(base->target, disk->target) != 0)
                        continue;
                same = same && !(compare && differs(chain, depth, base));
                depth++;
                if (base->kind == BASE_FILE)
                        add_base(disk, base->path);
        }
        if (same)
                return;
        _cleanup_(free_p) char *hint =
                memory_format("let both say the same: virsh edit %s, and qemu-img rebase -u -b BASE -F FORMAT %s",
                              domain->name, disk->path);
        obstacle_add(domain, "backing-named", hint,
                     "disk %s: the definition and the image do not agree on what it is laid over", disk->target);
}

static void add_image_obstacle(Drover__Domain *domain, const Drover__Disk *disk, const struct error *why) {
        bool missing = why->code == ERROR_NOT_FOUND;
        _cleanup_(free_p) char *hint =
                missing ? memory_format("put the image in its place, or remove the disk: virsh edit %s", domain->name)
                : strcmp(disk->format, "vmdk") == 0
                        ? memory_format("qemu-img convert -f vmdk -O qcow2 %s NEW, and virsh edit %s", disk->path,
                                        domain->name)
                        : memory_format("let the disk name a file that is an image of format %s: virsh edit %s",
                                        disk->format, domain->name);
        obstacle_add(domain, missing ? "image-missing" : "image", hint, "disk %s: %s", disk->target, why->message);
}

static void measure_file(Drover__Domain *domain, Drover__Disk *disk, const struct definition_bases *bases, bool active,
                         bool fenced) {
        struct image image;
        struct image_chain chain = {.end = IMAGE_CHAIN_WHOLE};
        struct error error = ERROR_INIT;
        if (image_inspect_at(AT_FDCWD, disk->path, disk->format, &image, &error) < 0) {
                if (strcmp(disk->device, "disk") != 0 || (fenced && error.code == ERROR_NOT_FOUND))
                        return; // a medium is an obstacle by itself
                add_image_obstacle(domain, disk, &error);
                return;
        }
        disk->capacity_bytes = image.virtual_bytes;
        disk->allocation_bytes = image.allocated_bytes;
        disk->file_bytes = image.file_bytes;
        disk->bitmaps = image.bitmaps;
        add_header_obstacles(domain, disk, &image);
        if (image.has_backing)
                image_chain_read(disk->path, disk->format, &chain);
        add_chain(domain, disk, &chain, active);
        add_named(domain, disk, bases, &chain);
        image_chain_fini(&chain);
}

// All of a device is taken, and nothing stands in front of the guest's disk.
static void measure_device(Drover__Domain *domain, Drover__Disk *disk) {
        uint64_t bytes = 0;
        struct error error = ERROR_INIT;
        if (device_bytes(disk->path, &bytes, &error) == 0 && bytes > 0) {
                disk->capacity_bytes = disk->allocation_bytes = disk->file_bytes = bytes;
                return;
        }
        if (strcmp(disk->device, "disk") != 0)
                return; // a medium is an obstacle by itself
        obstacle_add(domain, "image-missing", "bring the device back, or remove the disk: virsh edit",
                     "disk %s: its block device cannot be had: %s", disk->target,
                     error.code ? error.message : "it is empty");
}

static void add_silent_obstacle(Drover__Domain *domain, const Drover__Disk *disk) {
        struct error why = ERROR_INIT;
        if (strcmp(disk->device, "disk") == 0 && reach_check(disk->path, &why) < 0) // a medium is one by itself
                obstacle_add(domain, "image", why.hints[0], "disk %s: %s", disk->target, why.message);
}

static void measure_other(virDomainPtr handle, Drover__Disk *disk) {
        virDomainBlockInfo info;
        if (virDomainGetBlockInfo(handle, disk->target, &info, 0) < 0)
                return; // a device that is away; the obstacle of its type has been told
        disk->capacity_bytes = info.capacity;
        disk->allocation_bytes = info.allocation;
}

static void look_for_job(virDomainPtr handle, Drover__Domain *domain, const Drover__Disk *disk) {
        virDomainBlockJobInfo info;
        if (virDomainGetBlockJobInfo(handle, disk->target, &info, 0) <= 0)
                return;
        _cleanup_(free_p) char *hint =
                memory_format("wait for its end, or: virsh blockjob %s %s --abort", domain->name, disk->target);
        obstacle_add(domain, "block-job", hint, "disk %s: a block job of libvirt is running", disk->target);
}

void collect_disks(virDomainPtr handle, const struct pool_table *pools, const struct definition_bases *bases,
                   bool active, bool fenced, Drover__Domain *domain) {
        for (size_t i = 0; i < domain->n_disks; i++) {
                Drover__Disk *disk = domain->disks[i];
                if (!*disk->type) // an empty drive
                        continue;
                resolve(pools, domain, disk);
                if (!reach_answers(disk->path)) {
                        add_silent_obstacle(domain, disk);
                        continue;
                }
                bool block = strcmp(disk->type, "block") == 0;
                bool file = strcmp(disk->type, "file") == 0 || strcmp(disk->type, "volume") == 0;
                if (*disk->path && (block || device_is(disk->path)))
                        measure_device(domain, disk);
                else if (file && *disk->path)
                        measure_file(domain, disk, bases, active, fenced);
                else if (!file && !block)
                        measure_other(handle, disk);
                if (active && strcmp(disk->device, "disk") == 0)
                        look_for_job(handle, domain, disk);
        }
}

// ---- who else ----

// A medium in a drive is only read, and commonly shared.
static bool is_own(const Drover__Disk *disk) {
        return strcmp(disk->device, "disk") == 0 || strcmp(disk->device, "lun") == 0;
}

// The images of a domain and all they depend on.
static unsigned images_of(const Drover__Domain *domain, struct sharing_image **ret) {
        struct sharing_image *images = NULL;
        unsigned n = 0;
        for (size_t i = 0; i < domain->n_disks; i++) {
                const Drover__Disk *disk = domain->disks[i];
                if (!is_own(disk))
                        continue;
                images = memory_grow(images, n + 1 + disk->n_backing_chain, sizeof(*images));
                n += sharing_image_of(disk->path, &images[n]);
                for (size_t j = 0; j < disk->n_backing_chain; j++)
                        if (sharing_image_of(disk->backing_chain[j], &images[n]))
                                images[n++].base = true;
        }
        *ret = images;
        return n;
}

// The table may be older than the other domain's end.
static char *name_of(virConnectPtr conn, const char *uuid) {
        _cleanup_(domain_free_p) virDomainPtr other = virDomainLookupByUUIDString(conn, uuid);
        if (other)
                return memory_string(virDomainGetName(other));
        if (virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
                sharing_set(uuid, NULL, 0);
        return NULL;
}

static void check_own(virConnectPtr conn, Drover__Domain *domain, Drover__Disk *disk,
                      const struct sharing_image *image) {
        char uuid[NAME_UUID_LENGTH + 1];
        if (!sharing_other(domain->uuid, image, uuid))
                return;
        _cleanup_(free_p) char *name = name_of(conn, uuid);
        if (!name)
                return;
        disk->in_use_elsewhere = true;
        _cleanup_(free_p) char *hint =
                memory_format("give %s an image of its own, or remove the disk there: virsh edit %s", name, name);
        obstacle_add(domain, "shared-disk", hint, "disk %s: %s uses the same image", disk->target, name);
}

// Renamed or written to, it would take the images that are laid over it with it.
static void check_base(virConnectPtr conn, Drover__Domain *domain, Drover__Disk *disk, struct sharing_image image) {
        char uuid[NAME_UUID_LENGTH + 1];
        image.base = true;
        if (!sharing_other(domain->uuid, &image, uuid))
                return;
        _cleanup_(free_p) char *name = name_of(conn, uuid);
        if (!name)
                return;
        disk->is_backing = true;
        _cleanup_(free_p) char *hint = memory_format(
                "make the images over it whole first, each with its VM running: virsh blockpull %s TARGET --wait",
                name);
        obstacle_add(domain, "is-backing", hint, "disk %s: an image of %s is laid over it", disk->target, name);
}

static bool is_among(const struct sharing_image *image, const struct image_chain *chain) {
        struct sharing_image other;
        for (unsigned i = 0; i < chain->n; i++)
                if (reach_answers(chain->paths[i]) && sharing_image_of(chain->paths[i], &other) &&
                    other.device == image->device && other.inode == image->inode)
                        return true;
        return false;
}

// The same of an image that is out of reach now, and may come back.
static void check_held(const struct held_images *held, Drover__Domain *domain, Drover__Disk *disk,
                       const struct sharing_image *image) {
        for (unsigned i = 0; !disk->is_backing && i < held->n; i++) {
                const struct hold *hold = &held->items[i].hold;
                if (strcmp(hold->vm_uuid, domain->uuid) == 0 || !is_among(image, &held->items[i].chain))
                        continue;
                disk->is_backing = true;
                _cleanup_(free_p) char *hint =
                        hold->kind == HOLD_RETIRED
                                ? memory_format(
                                          "if what %s left behind here is not needed any more: drover vm purge %s",
                                          hold->vm_name, hold->vm_name)
                                : memory_format("wait until the other job is done: drover job show %s", hold->job);
                obstacle_add(domain, "is-backing", hint, "disk %s: an image of %s is laid over it", disk->target,
                             hold->vm_name);
        }
}

static void check_disk(virConnectPtr conn, const struct held_images *held, Drover__Domain *domain, Drover__Disk *disk) {
        struct sharing_image image;
        if (!reach_answers(disk->path) || !sharing_image_of(disk->path, &image))
                return;
        check_own(conn, domain, disk, &image);
        check_base(conn, domain, disk, image);
        check_held(held, domain, disk, &image);
}

// Of images whose server is gone, what was known of them before still holds.
static bool all_answer(const Drover__Domain *domain) {
        for (size_t i = 0; i < domain->n_disks; i++) {
                const Drover__Disk *disk = domain->disks[i];
                if (!is_own(disk))
                        continue;
                if (!reach_answers(disk->path))
                        return false;
                for (size_t j = 0; j < disk->n_backing_chain; j++)
                        if (!reach_answers(disk->backing_chain[j]))
                                return false;
        }
        return true;
}

void collect_images(const Drover__Domain *domain) {
        if (!all_answer(domain))
                return;
        struct sharing_image *images = NULL;
        unsigned n = images_of(domain, &images);
        sharing_set(domain->uuid, images, n);
        free(images);
}

void collect_sharing(virConnectPtr conn, const struct held_images *held, Drover__Domain *domain) {
        collect_images(domain);
        for (size_t i = 0; i < domain->n_disks; i++)
                if (strcmp(domain->disks[i]->device, "disk") == 0)
                        check_disk(conn, held, domain, domain->disks[i]);
}
