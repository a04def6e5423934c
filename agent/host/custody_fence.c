// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Fencing: everything is checked first, then each file is noted in the journal and renamed into the sidecar, then the
 * domain is looked at once more. Whatever the moment of a crash, the holds name every file that may have been moved, so
 * that either a repetition or custody_release() finds them all. Workers only.
 */
#include "agent/host/collect.h"
#include "agent/host/custody.h"
#include "agent/host/custody_device.h"
#include "agent/host/custody_domain.h"
#include "agent/host/definition.h"
#include "agent/host/device.h"
#include "agent/host/held.h"
#include "agent/host/hold_file.h"
#include "agent/host/neighbour.h"
#include "agent/host/tree.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/memory.h"
#include <stdio.h>
#include <string.h>

// One VM while it is being fenced.
struct fence {
        const struct custody *custody;
        const Drover__MoveFence *request;
        virDomainPtr domain; // NULL: undefined by an earlier run
        char *name;
        char *xml;
        struct definition *definition;
        Drover__Domain *described;
        struct pool_table *pools;
        struct hold *holds;      // disks in the order of the definition, then the NVRAM
        const char **formats;    // of each; borrowed
        enum hold_place *places; // as found before anything was moved
        unsigned n;
        bool undefine; // it has a device, or no file of it is one that libvirt insists on
};

static void fence_fini(struct fence *fence) {
        if (fence->domain)
                virDomainFree(fence->domain);
        free(fence->name);
        free(fence->xml);
        if (fence->definition)
                definition_free(fence->definition);
        proto_free((ProtobufCMessage *) fence->described);
        pool_table_free(fence->pools);
        free(fence->holds);
        free(fence->formats);
        free(fence->places);
}

static int changed(const struct fence *fence, const char *what, struct error *err) {
        error_set(err, ERROR_STALE, "the %s of %s changed since the plan", what, fence->name);
        error_hint(err, "run the move again");
        return -1;
}

static int require_inactive(const struct fence *fence, struct error *err) {
        int active = custody_active(fence->domain, err);
        if (active <= 0)
                return active;
        error_set(err, ERROR_CONFLICT, "%s runs", fence->name);
        error_hint(err, "stop it, then run the move again");
        return -1;
}

// ---- what the definition says ----

static int read_definition(struct fence *fence, struct error *err) {
        fence->described = new (Drover__Domain);
        drover__domain__init(fence->described);
        if (custody_definition(fence->domain, &fence->xml, err) < 0 ||
            definition_parse(fence->xml, strlen(fence->xml), &fence->definition, err) < 0 ||
            definition_describe(fence->definition, fence->described, err) < 0)
                return -1;
        return pool_table_read(fence->custody->conn, &fence->pools, err);
}

static struct hold *add(struct fence *fence, const char *item, const char *format) {
        fence->holds = memory_grow(fence->holds, fence->n + 1, sizeof(*fence->holds));
        fence->formats = memory_grow(fence->formats, fence->n + 1, sizeof(*fence->formats));
        fence->places = memory_grow(fence->places, fence->n + 1, sizeof(*fence->places));
        struct hold *hold = &fence->holds[fence->n];
        memset(hold, 0, sizeof(*hold));
        snprintf(hold->job, sizeof(hold->job), "%s", fence->custody->job);
        snprintf(hold->vm_uuid, sizeof(hold->vm_uuid), "%s", fence->custody->vm_uuid);
        snprintf(hold->vm_name, sizeof(hold->vm_name), "%s", fence->name ? fence->name : "");
        snprintf(hold->item, sizeof(hold->item), "%s", item);
        hold->kind = HOLD_FENCED;
        hold->at = clock_wall(&system_clock);
        fence->formats[fence->n] = format;
        fence->places[fence->n++] = HOLD_NOWHERE;
        return hold;
}

static int add_disks(struct fence *fence, struct error *err) {
        for (size_t i = 0; i < fence->described->n_disks; i++) {
                const Drover__Disk *disk = fence->described->disks[i];
                _cleanup_(free_p) char *path = NULL;
                if (strcmp(disk->device, "disk") != 0 && strcmp(disk->device, "lun") != 0)
                        continue;
                int found = neighbour_disk_path(fence->pools, disk, &path, err);
                if (found < 0)
                        return -1;
                if (!found)
                        continue;
                struct hold *hold = add(fence, disk->target, disk->format);
                hold->device = device_is(path);
                fence->undefine = fence->undefine || hold->device;
                if (hold_file_split(hold, path, err) < 0)
                        return -1;
        }
        return 0;
}

static int add_nvram(struct fence *fence, struct error *err) {
        _cleanup_(free_p) char *path = definition_nvram_file(fence->definition);
        enum hold_place place = HOLD_NOWHERE;
        if (!path)
                return 0;
        struct hold *hold = add(fence, NVRAM_ITEM, "raw");
        if (hold_file_split(hold, path, err) < 0)
                return -1;
        struct error why = ERROR_INIT;
        if (hold_file_find(hold, &place, &why) < 0 && why.code != ERROR_NOT_FOUND) {
                if (err)
                        *err = why;
                return -1;
        }
        // A VM that never ran has none yet; the target will make its own.
        if (place == HOLD_NOWHERE)
                fence->n--;
        return 0;
}

// Without such a disk a start would not fail: libvirt drops a missing disk whose startupPolicy is "optional".
static bool has_disk_that_must_exist(const xmlNode *root) {
        const xmlNode *devices = tree_child(root, "devices");
        for (const xmlNode *disk = devices ? tree_child(devices, "disk") : NULL; disk; disk = tree_next(disk, "disk")) {
                const xmlNode *source = tree_child(disk, "source");
                _cleanup_(free_p) char *device = tree_attribute(disk, "device");
                bool removable = device && (strcmp(device, "cdrom") == 0 || strcmp(device, "floppy") == 0);
                if (source && !removable && !tree_attribute_is(source, "startupPolicy", "optional"))
                        return true;
        }
        return false;
}

static int list_files(struct fence *fence, const Drover__MoveFence *request, struct error *err) {
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        if (add_disks(fence, err) < 0)
                return -1;
        bool same = fence->n == request->n_targets;
        for (unsigned i = 0; same && i < fence->n; i++) {
                same = false;
                for (size_t k = 0; !same && k < request->n_targets; k++)
                        same = strcmp(fence->holds[i].item, request->targets[k]) == 0;
        }
        if (!same)
                return changed(fence, "list of disks", err);
        if (tree_parse("the definition", fence->xml, strlen(fence->xml), &doc, err) < 0)
                return -1;
        fence->undefine = fence->undefine || !has_disk_that_must_exist(xmlDocGetRootElement(doc));
        return add_nvram(fence, err);
}

// ---- checks ----

static int check_definition(struct fence *fence, const char *planned, struct error *err) {
        char sha256[65];
        if (definition_sha256(fence->xml, strlen(fence->xml), sha256) < 0)
                return error_set(err, ERROR_FAILED, "the digest of the definition cannot be had");
        if (planned[0] && strcmp(planned, sha256) != 0)
                return changed(fence, "definition", err);
        return 0;
}

static bool is_converted(const struct fence *fence, const char *item) {
        for (size_t i = 0; i < fence->request->n_converted; i++)
                if (strcmp(fence->request->converted[i], item) == 0)
                        return true;
        return false;
}

// What only the old file can hold would be lost; what it is laid over is read where it is, and stays.
static int check_convertible(const struct fence *fence, const struct hold *hold, const char *format,
                             const struct image *image, struct error *err) {
        int fd = -1;
        uint64_t bytes;
        struct image_files files;
        if (image->snapshots > 0) {
                error_set(err, ERROR_REFUSED, "%s: %s/%s holds %u snapshot%s, which would be lost in another format",
                          hold->item, hold->directory, hold->name, image->snapshots, image->snapshots == 1 ? "" : "s");
                error_hint(err,
                           "leave the format as it is (--format keep), or see them with: qemu-img snapshot -l %s/%s",
                           hold->directory, hold->name);
                return -1;
        }
        _cleanup_(free_p) char *path = memory_format("%s/%s", hold->directory, hold->name);
        if (hold_file_open(hold, HOLD_IN_PLACE, &fd, &bytes, err) < 0 ||
            image_files_open(fence->pools, fd, path, format, &files, err) < 0)
                return error_prefix(err, "%s", hold->item);
        image_files_fini(&files);
        return 0;
}

static int check_image(const struct fence *fence, unsigned i, struct error *err) {
        struct image image;
        const struct hold *hold = &fence->holds[i];
        if (hold_file_check(hold, err) < 0 ||
            hold_file_inspect(hold, HOLD_IN_PLACE, fence->formats[i], &image, err) < 0)
                return error_prefix(err, "%s", hold->item);
        if (is_converted(fence, hold->item))
                return check_convertible(fence, hold, fence->formats[i], &image, err);
        if (!image.has_backing && !image.has_data_file)
                return 0;
        error_set(err, ERROR_REFUSED, "%s: %s/%s is not whole without %s", hold->item, hold->directory, hold->name,
                  image.has_backing ? image.backing : "an external data file");
        error_hint(err, "make it one file: qemu-img convert, or virsh blockpull %s %s", hold->vm_name, hold->item);
        return -1;
}

// A device is always where it is: what an earlier run has noted of it tells that it was there.
static int find_place(struct fence *fence, unsigned i, struct error *err) {
        struct hold known;
        if (hold_file_find(&fence->holds[i], &fence->places[i], err) < 0)
                return -1;
        if (!fence->holds[i].device || fence->places[i] != HOLD_ASIDE)
                return 0;
        int found = custody_hold(fence->custody, fence->holds[i].item, &known, err);
        if (found == 0)
                fence->places[i] = HOLD_IN_PLACE;
        return found < 0 ? -1 : 0;
}

// Files that an earlier run has moved already were checked then.
static int check_files(struct fence *fence, struct error *err) {
        struct neighbours neighbours = {0};
        _cleanup_(held_images_fini) struct held_images held = {0};
        if (neighbours_read(fence->custody->conn, fence->custody->vm_uuid, &neighbours, err) < 0)
                return -1;
        int status = held_images_read(fence->custody->journal, &held, err);
        for (unsigned i = 0; status == 0 && i < fence->n; i++) {
                const struct hold *hold = &fence->holds[i];
                status = find_place(fence, i, err);
                if (status == 0 && fence->places[i] == HOLD_NOWHERE)
                        status = error_set(err, ERROR_NOT_FOUND, "%s: %s/%s does not exist", hold->item,
                                           hold->directory, hold->name);
                if (status == 0 && fence->places[i] == HOLD_BOTH && strcmp(hold->item, NVRAM_ITEM) != 0)
                        status = error_set(err, ERROR_CONFLICT, "%s: %s/%s exists again, beside the one held by job %s",
                                           hold->item, hold->directory, hold->name, hold->job);
                if (status == 0)
                        status = neighbours_check_unused(&neighbours, &held, hold, err);
                if (status == 0 && fence->places[i] == HOLD_IN_PLACE)
                        status = check_image(fence, i, err);
        }
        neighbours_fini(&neighbours);
        return status;
}

static void collected_free_p(Drover__Domain **domain) {
        proto_free((ProtobufCMessage *) *domain);
}

// Whether the images are still what they were when a move was settled. Once the first one has been renamed, which
// changes its ctime, this has been found already.
static int check_version(const struct fence *fence, const char *expected, struct error *err) {
        _cleanup_(collected_free_p) Drover__Domain *now = NULL;
        for (unsigned i = 0; i < fence->n; i++)
                if (fence->places[i] != HOLD_IN_PLACE)
                        return 0;
        if (!*expected)
                return 0;
        if (collect_domain(fence->custody->conn, fence->domain, NULL, &now, err) < 0)
                return -1;
        if (strcmp(now->images_version, expected) == 0)
                return 0;
        error_set(err, ERROR_STALE, "%s has run, or its images were changed, since it was moved", fence->name);
        error_hint(err, "move it back instead, which sends little: drover vm move %s HOST", fence->name);
        return -1;
}

static int check_holder(const struct custody *custody, struct error *err) {
        char job[33];
        _cleanup_(free_p) char *retired = NULL;
        int found = custody_fact(custody, FACT_RETIRED, &retired, err);
        if (found < 0)
                return -1;
        if (found)
                return error_set(err, ERROR_CONFLICT, "job %s is committed: VM %s is no longer here", custody->job,
                                 custody->vm_uuid);
        if (journal_fenced_by(custody->journal, custody->vm_uuid, job, err) < 0)
                return -1;
        if (job[0] && strcmp(job, custody->job) != 0)
                return error_set(err, ERROR_CONFLICT, "VM %s is held by job %s", custody->vm_uuid, job);
        return 0;
}

static int check(struct fence *fence, const Drover__MoveFence *request, struct error *err) {
        int persistent = virDomainIsPersistent(fence->domain);
        if (persistent < 0)
                return connection_error(err, "ask whether the VM is persistent");
        if (!persistent)
                return error_set(err, ERROR_REFUSED, "%s is transient", fence->name);
        if (require_inactive(fence, err) < 0 || read_definition(fence, err) < 0 ||
            check_definition(fence, request->definition_sha256, err) < 0)
                return -1;
        int same = custody_snapshots_unchanged(fence->custody, fence->domain, err);
        if (same <= 0)
                return same < 0 ? -1 : changed(fence, "list of snapshots", err);
        if (custody_check_saved_state(fence->domain, err) < 0 || list_files(fence, request, err) < 0 ||
            check_files(fence, err) < 0)
                return -1;
        return check_version(fence, request->images_version, err);
}

// ---- acting ----

static int put_aside(struct fence *fence, unsigned i, struct error *err) {
        struct image image;
        struct hold *hold = &fence->holds[i];
        bool in_place = fence->places[i] == HOLD_IN_PLACE;
        if (hold_file_inspect(hold, in_place ? HOLD_IN_PLACE : HOLD_ASIDE, "raw", &image, err) < 0)
                return -1;
        hold->bytes = image.allocated_bytes;
        if (hold->device && in_place && custody_device_note(fence->custody, hold, err) < 0)
                return error_prefix(err, "%s", hold->item);
        if (journal_hold_put(fence->custody->journal, hold, err) < 0 ||
            fault_point("agent.fence.before-rename", err) < 0)
                return -1;
        if ((in_place || fence->places[i] == HOLD_TWINS) && hold_file_put_aside(hold, err) < 0)
                return error_prefix(err, "%s", hold->item);
        return fault_point("agent.fence.after-rename", err);
}

// The VM's files do not keep it from starting, so its definition is taken away until the end of the job.
static int undefine(struct fence *fence, struct error *err) {
        struct hold *hold = add(fence, HOLD_DOMAIN, "");
        fence->n--; // it has no file
        if (journal_hold_put(fence->custody->journal, hold, err) < 0 ||
            fault_point("agent.fence.before-undefine", err) < 0)
                return -1;
        return custody_undefine(fence->domain, err);
}

// Somebody was faster than the renaming: QEMU has the images open, whatever they are called now (fault 31).
static int give_way(const struct fence *fence, struct error *err) {
        struct error started = ERROR_INIT;
        error_set(&started, ERROR_CONFLICT, "%s was started while it was being fenced", fence->name);
        error_hint(&started, "stop it, then run the move again");
        if (custody_put_back(fence->custody, err) < 0)
                return error_prefix(err, "%s", started.message);
        if (err)
                *err = started;
        return -1;
}

// Started between the last look and the undefining, it runs on without a definition.
static int undefine_off(struct fence *fence, struct error *err) {
        _cleanup_(domain_free_p) virDomainPtr still = NULL;
        if (undefine(fence, err) < 0)
                return -1;
        int found = custody_lookup(fence->custody, &still, err);
        return found > 0 ? give_way(fence, err) : found;
}

static int act(struct fence *fence, struct error *err) {
        for (unsigned i = 0; i < fence->n; i++)
                if (put_aside(fence, i, err) < 0)
                        return -1;
        if (fault_point("agent.fence.renamed", err) < 0)
                return -1;
        int active = custody_active(fence->domain, err);
        if (active)
                return active < 0 ? -1 : give_way(fence, err);
        if (fence->undefine && undefine_off(fence, err) < 0)
                return -1;
        return fault_point("agent.fence.done", err);
}

// ---- the answer ----

static int describe_disk(const struct hold *hold, const char *format, Drover__MoveDisk **ret, struct error *err) {
        struct image image;
        if (hold_file_inspect(hold, HOLD_ASIDE, format, &image, err) < 0)
                return error_prefix(err, "%s", hold->item);
        Drover__MoveDisk *disk = new (Drover__MoveDisk);
        drover__move_disk__init(disk);
        disk->target = memory_string(hold->item);
        disk->format = memory_string(format);
        disk->file_bytes = image.file_bytes;
        disk->allocation_bytes = image.allocated_bytes;
        disk->capacity_bytes = image.virtual_bytes;
        disk->bitmaps = image.bitmaps;
        *ret = disk;
        return 0;
}

static void result_free_p(Drover__MoveFenceResult **result) {
        proto_free((ProtobufCMessage *) *result);
}

static int answer(const struct fence *fence, Drover__MoveFenceResult **ret, struct error *err) {
        _cleanup_(result_free_p) Drover__MoveFenceResult *result = new (Drover__MoveFenceResult);
        drover__move_fence_result__init(result);
        result->disks = new_array(Drover__MoveDisk *, fence->n + 1);
        for (unsigned i = 0; i < fence->n; i++) {
                struct image image;
                if (strcmp(fence->holds[i].item, NVRAM_ITEM) != 0) {
                        if (describe_disk(&fence->holds[i], fence->formats[i], &result->disks[result->n_disks], err) <
                            0)
                                return -1;
                        result->n_disks++;
                        continue;
                }
                if (hold_file_inspect(&fence->holds[i], HOLD_ASIDE, "raw", &image, err) < 0)
                        return error_prefix(err, NVRAM_ITEM);
                result->has_nvram = true;
                result->nvram_bytes = image.file_bytes;
        }
        *ret = steal(&result);
        return 0;
}

static const char *format_of(const struct fence *fence, const char *item) {
        for (size_t i = 0; i < fence->described->n_disks; i++)
                if (strcmp(fence->described->disks[i]->target, item) == 0)
                        return fence->described->disks[i]->format;
        return "raw";
}

// An earlier run went so far as to undefine the VM: what there is to tell stands in the kept definition.
static int resume_undefined(struct fence *fence, struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        unsigned n = 0;
        if (custody_fact(fence->custody, FACT_DEFINITION, &fence->xml, err) < 0 ||
            custody_holds(fence->custody, HOLD_FENCED, &holds, &n, err) < 0)
                return -1;
        bool undefined = false;
        for (unsigned i = 0; i < n; i++)
                undefined = undefined || strcmp(holds[i].item, HOLD_DOMAIN) == 0;
        if (!undefined || !fence->xml)
                return error_set(err, ERROR_NOT_FOUND, "no VM with UUID %s is defined on this host",
                                 fence->custody->vm_uuid);
        fence->described = new (Drover__Domain);
        drover__domain__init(fence->described);
        if (definition_parse(fence->xml, strlen(fence->xml), &fence->definition, err) < 0 ||
            definition_describe(fence->definition, fence->described, err) < 0)
                return -1;
        for (unsigned i = 0; i < n; i++)
                if (holds[i].directory[0])
                        *add(fence, holds[i].item, format_of(fence, holds[i].item)) = holds[i];
        return 0;
}

int custody_fence(const struct custody *custody, const Drover__MoveFence *request, Drover__MoveFenceResult **ret,
                  struct error *err) {
        _cleanup_(fence_fini) struct fence fence = {.custody = custody, .request = request};
        if (check_holder(custody, err) < 0)
                return -1;
        int found = custody_lookup(custody, &fence.domain, err);
        if (found < 0)
                return -1;
        fence.name = found ? custody_name(fence.domain) : NULL;
        if (!found)
                return resume_undefined(&fence, err) < 0 ? -1 : answer(&fence, ret, err);
        if (check(&fence, request, err) < 0 || custody_keep(custody, fence.domain, fence.xml, err) < 0)
                return -1;
        if (act(&fence, err) < 0)
                return -1;
        return answer(&fence, ret, err);
}
