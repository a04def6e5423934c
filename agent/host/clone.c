// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Holding a VM that is cloned: checked and noted, opened to be read, and looked at once more at the end. Workers only.
 */
#include "agent/host/clone.h"
#include "agent/host/custody_domain.h"
#include "agent/host/device.h"
#include "agent/host/hold_file.h"
#include "agent/host/image_lock.h"
#include "agent/host/neighbour.h"
#include "agent/host/version.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define FACT_CLONE       "clone"  // "<source's UUID> <SHA-256 of its definition>"
#define FACT_CLONE_IMAGE "clone." // with the item: "<version> <path>"

// The source while it is being held.
struct held {
        const struct custody *custody;
        struct custody source; // the same job, with the source's UUID
        virDomainPtr domain;
        char *xml;
        struct definition *definition;
        Drover__Domain *described;
        struct pool_table *pools;
        char sha256[65];
        bool local;
        const Drover__CloneHold *request;
        Drover__MoveFenceResult *result;
};

static void held_fini(struct held *held) {
        if (held->domain)
                virDomainFree(held->domain);
        free(held->xml);
        if (held->definition)
                definition_free(held->definition);
        proto_free((ProtobufCMessage *) held->described);
        pool_table_free(held->pools);
        proto_free((ProtobufCMessage *) held->result);
}

static const char *name_of(const struct held *held) {
        return virDomainGetName(held->domain);
}

static int planned_otherwise(const struct held *held, const char *what, struct error *err) {
        error_set(err, ERROR_STALE, "the %s of %s changed since the plan", what, name_of(held));
        error_hint(err, "clone it again");
        return -1;
}

// ---- the domain ----

static int require_off(const struct held *held, struct error *err) {
        char job[33];
        int active = custody_active(held->domain, err);
        if (active < 0 || journal_fenced_by(held->custody->journal, held->source.vm_uuid, job, err) < 0)
                return -1;
        if (*job)
                return error_set(err, ERROR_CONFLICT, "%s is held by job %s", name_of(held), job);
        if (!active)
                return custody_check_saved_state(held->domain, err);
        error_set(err, ERROR_CONFLICT, "%s runs: what is copied would be changing", name_of(held));
        error_hint(err, "shut it down, then clone it again: drover vm shutdown %s", name_of(held));
        return -1;
}

static int read_source(struct held *held, const char *planned, struct error *err) {
        if (custody_require(&held->source, &held->domain, err) < 0 || require_off(held, err) < 0 ||
            custody_definition(held->domain, &held->xml, err) < 0)
                return -1;
        if (definition_sha256(held->xml, strlen(held->xml), held->sha256) < 0)
                return error_set(err, ERROR_FAILED, "the digest of the definition cannot be had");
        if (*planned && strcmp(planned, held->sha256) != 0)
                return planned_otherwise(held, "definition", err);
        int same = custody_snapshots_unchanged(&held->source, held->domain, err);
        if (same <= 0)
                return same < 0 ? -1 : planned_otherwise(held, "list of snapshots", err);
        held->described = new (Drover__Domain);
        drover__domain__init(held->described);
        if (definition_parse(held->xml, strlen(held->xml), &held->definition, err) < 0 ||
            definition_describe(held->definition, held->described, err) < 0)
                return -1;
        return pool_table_read(held->custody->conn, &held->pools, err);
}

// ---- its images ----

static int open_file(const char *path, int *ret_fd, struct error *err) {
        struct hold place = {0};
        struct pool_directory directory = {.fd = -1};
        if (hold_file_split(&place, path, err) < 0 || pool_open_path(place.directory, &directory, err) < 0)
                return -1;
        _cleanup_(close_p) int fd =
                openat(directory.fd, place.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        int why = errno;
        pool_directory_fini(&directory);
        if (fd < 0 && why == ELOOP) {
                error_set(err, ERROR_REFUSED, "%s is a symbolic link", path);
                error_hint(err, "write the path of the image itself into the definition: virsh edit");
                return -1;
        }
        if (fd < 0)
                return error_errno(err, why, "%s", path);
        *ret_fd = steal_fd(&fd);
        return 0;
}

static int open_image(const char *path, int *ret_fd, struct version *ret, struct error *err) {
        _cleanup_(close_p) int fd = -1;
        uint64_t bytes;
        if ((device_is(path) ? device_open(path, O_RDONLY, &fd, &bytes, err) : open_file(path, &fd, err)) < 0)
                return -1;
        if (image_lock_reading(fd, path, err) < 0)
                return -1;
        if (version_of_fd(fd, ret, err) < 0)
                return error_prefix(err, "%s", path);
        *ret_fd = steal_fd(&fd);
        return 0;
}

static bool among(const char *target, char *const *targets, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(targets[i], target) == 0)
                        return true;
        return false;
}

// A name that stands in a copy must mean the same file there.
static int check_whole(const struct held *held, const char *item, const char *path, const struct image *image,
                       struct error *err) {
        if (image->has_data_file)
                return error_set(err, ERROR_REFUSED, "%s: %s is not whole without an external data file", item, path);
        if (among(item, held->request->converted, held->request->n_converted)) // what it is laid over is read with it
                return 0;
        if (!image->has_backing || (held->local && image->backing[0] == '/' && image->backing_format[0]))
                return 0;
        error_set(err, ERROR_REFUSED, "%s: %s is not whole without %s%s", item, path, image->backing,
                  held->local ? ", which it does not name by an absolute path and a format" : "");
        if (held->local)
                error_hint(err, "write it down whole: qemu-img rebase -u -f qcow2 -b /PATH -F FORMAT %s", path);
        else
                error_hint(err, "make it one file: qemu-img convert, or virsh blockpull %s %s", name_of(held), item);
        return -1;
}

static int note_image(const struct held *held, const char *item, const char *format, const char *path,
                      struct image *ret, struct error *err) {
        _cleanup_(close_p) int fd = -1;
        _cleanup_(free_p) char *key = memory_format(FACT_CLONE_IMAGE "%s", item);
        struct version version;
        char text[VERSION_TEXT_MAX];
        if ((device_is(path) && device_check_free(path, err) < 0) || open_image(path, &fd, &version, err) < 0 ||
            image_inspect(fd, path, format, ret, err) < 0)
                return error_prefix(err, "%s", item);
        if (check_whole(held, item, path, ret, err) < 0)
                return -1;
        version_format(&version, text);
        _cleanup_(free_p) char *fact = memory_format("%s %s", text, path);
        return custody_set_fact(held->custody, key, fact, err);
}

static int hold_disk(struct held *held, const Drover__Disk *described, const char *path, struct error *err) {
        struct image image;
        if (note_image(held, described->target, described->format, path, &image, err) < 0)
                return -1;
        Drover__MoveFenceResult *result = held->result;
        Drover__MoveDisk *disk = new (Drover__MoveDisk);
        drover__move_disk__init(disk);
        result->disks[result->n_disks++] = disk;
        disk->target = memory_string(described->target);
        disk->format = memory_string(described->format);
        disk->file_bytes = image.file_bytes;
        disk->allocation_bytes = image.allocated_bytes;
        disk->capacity_bytes = image.virtual_bytes;
        disk->bitmaps = image.bitmaps;
        return 0;
}

static int hold_disks(struct held *held, const Drover__CloneHold *request, struct error *err) {
        const Drover__Domain *described = held->described;
        held->result->disks = new_array(Drover__MoveDisk *, described->n_disks + 1);
        for (size_t i = 0; i < described->n_disks; i++) {
                const Drover__Disk *disk = described->disks[i];
                _cleanup_(free_p) char *path = NULL;
                if (strcmp(disk->device, "disk") != 0 && strcmp(disk->device, "lun") != 0)
                        continue;
                int found = neighbour_disk_path(held->pools, disk, &path, err);
                if (found < 0)
                        return -1;
                if (!found)
                        continue;
                if (!among(disk->target, request->targets, request->n_targets))
                        return planned_otherwise(held, "list of disks", err);
                if (hold_disk(held, disk, path, err) < 0)
                        return -1;
        }
        return held->result->n_disks == request->n_targets ? 0 : planned_otherwise(held, "list of disks", err);
}

static int hold_nvram(struct held *held, struct error *err) {
        _cleanup_(free_p) char *path = definition_nvram_file(held->definition);
        struct image image;
        struct stat status;
        if (!path || (lstat(path, &status) < 0 && errno == ENOENT)) // a VM that never ran has none yet
                return 0;
        if (note_image(held, NVRAM_ITEM, "raw", path, &image, err) < 0)
                return -1;
        held->result->has_nvram = true;
        held->result->nvram_bytes = image.file_bytes;
        return 0;
}

int clone_hold(const struct custody *custody, const Drover__CloneHold *request, Drover__MoveFenceResult **ret,
               struct error *err) {
        _cleanup_(held_fini) struct held held = {
                .custody = custody, .source = *custody, .local = request->local, .request = request};
        held.source.vm_uuid = request->source_uuid;
        held.result = new (Drover__MoveFenceResult);
        drover__move_fence_result__init(held.result);
        if (read_source(&held, request->definition_sha256, err) < 0 || hold_disks(&held, request, err) < 0 ||
            hold_nvram(&held, err) < 0)
                return -1;
        // Started after the first look: what was noted since is of no use.
        if (require_off(&held, err) < 0)
                return -1;
        _cleanup_(free_p) char *fact = memory_format("%s %s", request->source_uuid, held.sha256);
        if (custody_set_fact(custody, FACT_CLONE, fact, err) < 0)
                return -1;
        *ret = steal(&held.result);
        return 0;
}

// ---- what was held ----

// 1: held, 0: not, -1. The path is the caller's.
static int recall(const struct custody *custody, const char *item, struct version *ret, char **ret_path,
                  struct error *err) {
        _cleanup_(free_p) char *key = memory_format(FACT_CLONE_IMAGE "%s", item);
        _cleanup_(free_p) char *fact = NULL;
        int found = custody_fact(custody, key, &fact, err);
        if (found <= 0)
                return found;
        const char *path = strchr(fact, '/');
        if (!path || !version_parse(fact, ret))
                return error_set(err, ERROR_FAILED, "what was noted of %s cannot be read", item);
        *ret_path = memory_string(path);
        return 1;
}

static int changed(const char *what, struct error *err) {
        error_set(err, ERROR_STALE, "%s was started or changed while it was copied", what);
        error_hint(err, "leave it off, and clone it again");
        return -1;
}

// Owner and flags of a base change when another clone is laid over it; then nobody writes to it any more.
static bool is_immutable(int fd) {
        int flags = 0;
        return ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_IMMUTABLE_FL);
}

static int open_unchanged(const char *path, const struct version *held, int *ret_fd, struct error *err) {
        _cleanup_(close_p) int fd = -1;
        struct version now;
        struct error why = ERROR_INIT;
        if (open_image(path, &fd, &now, &why) < 0) {
                if (why.code == ERROR_CONFLICT || why.code == ERROR_NOT_FOUND)
                        return changed(path, err);
                if (err)
                        *err = why;
                return -1;
        }
        if (!version_same(&now, held) && !(version_same_content(&now, held) && is_immutable(fd)))
                return changed(path, err);
        *ret_fd = steal_fd(&fd);
        return 0;
}

static int check_source(const struct custody *custody, const char *source_uuid, struct error *err) {
        _cleanup_(free_p) char *fact = NULL;
        int found = custody_fact(custody, FACT_CLONE, &fact, err);
        if (found < 0)
                return -1;
        if (found && strncmp(fact, source_uuid, NAME_UUID_LENGTH) == 0)
                return 0;
        return error_set(err, ERROR_CONFLICT, "VM %s is not held by job %s", source_uuid, custody->job);
}

int clone_open(const struct custody *custody, const char *source_uuid, const char *item, int *ret_fd,
               uint64_t *ret_bytes, char **ret_path, struct error *err) {
        struct version version;
        _cleanup_(free_p) char *path = NULL;
        if (check_source(custody, source_uuid, err) < 0)
                return -1;
        int found = recall(custody, item, &version, &path, err);
        if (found < 0)
                return -1;
        if (!found)
                return error_set(err, ERROR_CONFLICT, "%s of VM %s is not held by job %s", item, source_uuid,
                                 custody->job);
        if (open_unchanged(path, &version, ret_fd, err) < 0)
                return -1;
        *ret_bytes = version.bytes;
        if (ret_path)
                *ret_path = steal(&path);
        return 0;
}

// ---- confirm ----

static int confirm_image(const struct custody *custody, const char *name, const char *item, bool required,
                         struct error *err) {
        struct version version;
        _cleanup_(free_p) char *path = NULL;
        _cleanup_(close_p) int fd = -1;
        struct error why = ERROR_INIT;
        int found = recall(custody, item, &version, &path, err);
        if (found < 0)
                return -1;
        if (!found)
                return required ? error_set(err, ERROR_CONFLICT, "%s of %s is not held by job %s", item, name,
                                            custody->job)
                                : 0;
        if (open_unchanged(path, &version, &fd, &why) == 0)
                return 0;
        if (why.code == ERROR_STALE)
                return changed(name, err);
        if (err)
                *err = why;
        return error_prefix(err, "%s", item);
}

int clone_confirm(const struct custody *custody, const Drover__CloneConfirm *request, struct error *err) {
        _cleanup_(held_fini) struct held held = {.custody = custody, .source = *custody};
        _cleanup_(free_p) char *fact = NULL;
        held.source.vm_uuid = request->source_uuid;
        if (check_source(custody, request->source_uuid, err) < 0 ||
            custody_require(&held.source, &held.domain, err) < 0)
                return -1;
        int active = custody_active(held.domain, err);
        if (active)
                return active < 0 ? -1 : changed(name_of(&held), err);
        if (custody_definition(held.domain, &held.xml, err) < 0 || custody_fact(custody, FACT_CLONE, &fact, err) < 0)
                return -1;
        if (definition_sha256(held.xml, strlen(held.xml), held.sha256) < 0 || !fact ||
            strcmp(fact + NAME_UUID_LENGTH + 1, held.sha256) != 0)
                return changed(name_of(&held), err);
        for (size_t i = 0; i < request->n_targets; i++)
                if (confirm_image(custody, name_of(&held), request->targets[i], true, err) < 0)
                        return -1;
        return confirm_image(custody, name_of(&held), NVRAM_ITEM, false, err);
}
