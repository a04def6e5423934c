// SPDX-License-Identifier: LGPL-2.1-or-later
/* What `--format` makes of a plan (see plan_format.h). */
#include "controller/job/plan_format.h"
#include "controller/job/plan_device.h"
#include "common/cleanup.h"
#include "common/memory.h"

#include <string.h>

const char *plan_format_wanted(const struct plan_context *context) {
        const char *format = context->request->format;
        return format[0] && strcmp(format, "keep") != 0 ? format : NULL;
}

static bool is_linked(const struct plan_context *context) {
        return context->clone && context->clone->linked;
}

void plan_format_disk(const struct plan_context *context, const Drover__Disk *disk, Drover__MoveDisk *move) {
        const char *wanted = plan_format_wanted(context);
        move->allocation_bytes = disk->allocation_bytes;
        if (is_linked(context)) { // laid over the original's image, whatever that is
                move->format = memory_string("qcow2");
                move->source_format = memory_string(disk->format);
                move->backing_target = memory_string(disk->target);
                return;
        }
        bool layered = disk->n_backing_chain > 0;
        move->layered = layered;
        if (plan_device_pool(context->target, move->pool))
                wanted = "raw";
        if (!wanted || (strcmp(wanted, disk->format) == 0 && !layered)) {
                move->format = memory_string(disk->format);
                return;
        }
        move->format = memory_string(wanted);
        move->source_format = memory_string(disk->format);
        // What lies below it comes along, and what was compressed is not any more: nobody knows more than the bound.
        if (layered || strcmp(disk->format, "vmdk") == 0)
                move->allocation_bytes = disk->capacity_bytes;
        if (layered && !context->clone)
                plan_warn(context, "%s: %s, which it is laid over, stays at %s: other images may need it", disk->target,
                          disk->backing_chain[0], context->plan->source_name);
}

bool plan_format_converts(const Drover__MoveDisk *disk) {
        return disk->source_format[0] && !disk->backing_target[0];
}

bool plan_format_any(const Drover__MovePlan *plan) {
        for (size_t i = 0; i < plan->n_disks; i++)
                if (plan_format_converts(plan->disks[i]))
                        return true;
        return false;
}

char *plan_format_stem(const char *volume) {
        static const char *const endings[] = {".qcow2", ".qcow", ".img", ".raw", ".vmdk"};
        size_t length = strlen(volume);
        for (unsigned i = 0; i < ARRAY_SIZE(endings); i++) {
                size_t ending = strlen(endings[i]);
                if (length > ending && strcasecmp(volume + length - ending, endings[i]) == 0)
                        return memory_format("%.*s", (int) (length - ending), volume);
        }
        return memory_string(volume);
}

char *plan_format_volume(const Drover__MoveDisk *move, const char *volume) {
        _cleanup_(free_p) char *stem = plan_format_stem(volume);
        if (!plan_format_converts(move) || strcmp(move->format, move->source_format) == 0 ||
            strlen(stem) == strlen(volume))
                return memory_string(volume);
        return memory_format("%s.%s", stem, plan_suffix(move->format));
}

bool plan_format_mends(const Drover__Obstacle *obstacle) {
        return strcmp(obstacle->code, "backing-chain") == 0 || strcmp(obstacle->code, "format") == 0;
}

char *plan_format_hint(const Drover__Obstacle *obstacle) {
        static const char option[] = "--format qcow2, or raw, makes it one image on the way";
        return obstacle->hint[0] ? memory_format("%s; or: %s", option, obstacle->hint) : memory_string(option);
}

static bool is_among(const char *format, const char *const *formats, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(formats[i], format) == 0)
                        return true;
        return false;
}

// An image that could not be looked into, whose size is unknown for that reason.
static bool has_obstacle(const Drover__Domain *domain, const char *code) {
        for (size_t i = 0; i < domain->n_obstacles; i++)
                if (strncmp(domain->obstacles[i]->code, code, strlen(code)) == 0)
                        return true;
        return false;
}

static void check_converted(struct plan_context *context, const Drover__MoveDisk *disk) {
        static const char *const read[] = {"raw", "qcow2", "vmdk"};
        size_t snapshots = context->vm->domain->n_snapshots;
        if (!is_among(disk->source_format, read, ARRAY_SIZE(read)))
                plan_refuse(context, "format",
                            memory_format("%s: images of format %s are not read, only raw, qcow2 and vmdk",
                                          disk->target, disk->source_format),
                            memory_format("convert it first: qemu-img convert -f %s -O qcow2, with the VM off",
                                          disk->source_format));
        if (snapshots > 0 && !context->clone && strcmp(disk->source_format, "qcow2") == 0)
                plan_refuse(context, "snapshot",
                            memory_format("%s: %zu snapshot%s in the image would be lost in another format",
                                          disk->target, snapshots, snapshots == 1 ? "" : "s"),
                            memory_format("%s, or: virsh snapshot-delete %s NAME",
                                          plan_device_pool(context->target, disk->pool)
                                                  ? "--pool POOL chooses a pool of files, which keeps them"
                                                  : "--format keep",
                                          context->vm->domain->name));
        if (disk->capacity_bytes == 0 && !has_obstacle(context->vm->domain, "image"))
                plan_refuse(context, "format",
                            memory_format("%s: its image is empty, so there is nothing to convert", disk->target),
                            memory_string("--format keep"));
}

char *plan_format_lost_bitmaps(const Drover__MovePlan *plan, const Drover__MoveDisk *disk, uint32_t bitmaps) {
        const char *plural = bitmaps == 1 ? "" : "s";
        if (bitmaps == 0 || !disk->source_format[0]) // an image that travels as it is keeps them
                return NULL;
        if (plan->clone)
                return memory_format("%s: %u dirty bitmap%s of %s stay%s with it: the clone's image is new and holds "
                                     "none",
                                     disk->target, bitmaps, plural, plan->vm_name, bitmaps == 1 ? "s" : "");
        return memory_format(
                "%s: its image is made anew, without its %u dirty bitmap%s: a backup that follows them has "
                "to begin with all of it",
                disk->target, bitmaps, plural);
}

void plan_format_check(struct plan_context *context, const Drover__MoveDisk *disk) {
        static const char *const carried[] = {"raw", "qcow2"};
        _cleanup_(free_p) char *lost = plan_format_lost_bitmaps(context->plan, disk, disk->bitmaps);
        if (lost)
                plan_warn(context, "%s", lost);
        if (plan_format_converts(disk))
                check_converted(context, disk);
        else if (!is_among(disk->format, carried, ARRAY_SIZE(carried)))
                plan_refuse(context, "format",
                            memory_format("%s: an image of format %s does not travel as it is, only qcow2 and raw do",
                                          disk->target, disk->format),
                            strcmp(disk->format, "vmdk") == 0
                                    ? memory_string("--format qcow2, or raw, converts it on the way")
                                    : memory_format("convert it first: qemu-img convert -f %s -O qcow2, with the VM "
                                                    "off",
                                                    disk->format));
}
