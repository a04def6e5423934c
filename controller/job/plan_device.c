// SPDX-License-Identifier: LGPL-2.1-or-later
/* Block devices in a plan (see plan_device.h). */
#include "controller/job/plan_device.h"
#include "controller/job/plan_format.h"
#include "common/cleanup.h"
#include "common/memory.h"

#include <ctype.h>
#include <string.h>

#define NAMES_MAX 100u // that are tried

bool plan_device_pool(const struct fleet_host *host, const char *pool) {
        for (size_t i = 0; i < host->n_pools; i++)
                if (strcmp(host->pools[i]->name, pool) == 0)
                        return strcmp(host->pools[i]->type, "logical") == 0;
        return false;
}

bool plan_device_source(const struct plan_context *context, const Drover__Disk *disk) {
        return strcmp(disk->type, "block") == 0 || plan_device_pool(context->vm->host, disk->pool);
}

// ---- names

// lvm(8), "Valid names".
static char *device_name(const char *name) {
        char *copy = memory_string(name);
        for (char *at = copy; *at; at++)
                if (!isalnum((unsigned char) *at) && !strchr("+_.-", *at))
                        *at = '_';
        if (copy[0] == '-' || copy[0] == '.')
                copy[0] = '_';
        return copy;
}

char *plan_device_name(const struct plan_context *context, const Drover__Disk *disk, const Drover__MoveDisk *move,
                       const char *volume) {
        _cleanup_(free_p) char *plain = plan_format_stem(volume);
        if (plan_device_pool(context->target, move->pool))
                return device_name(plain);
        if (plan_device_source(context, disk) && strlen(plain) == strlen(volume))
                return memory_format("%s.%s", plain, plan_suffix(move->format));
        return plan_format_volume(move, volume);
}

char *plan_device_other_name(const struct plan_context *context, const Drover__MoveDisk *move) {
        _cleanup_(free_p) char *plain = memory_format("%s-%s", context->plan->new_name, move->target);
        if (!plan_device_pool(context->target, move->pool))
                return memory_format("%s.%s", plain, plan_suffix(move->format));
        char *name = device_name(plain);
        for (unsigned n = 2; n < NAMES_MAX && plan_volume_taken(context, move->pool, name); n++) {
                _cleanup_(free_p) char *numbered = memory_format("%s-%u", plain, n);
                free(name);
                name = device_name(numbered);
        }
        return name;
}

// ---- checks

static const Drover__Disk *source_of(const struct plan_context *context, const Drover__MoveDisk *move) {
        const Drover__Domain *domain = context->vm->domain;
        for (size_t i = 0; i < domain->n_disks; i++)
                if (strcmp(domain->disks[i]->target, move->target) == 0)
                        return domain->disks[i];
        return NULL;
}

static void check_linked(struct plan_context *context, const Drover__Disk *disk, const Drover__MoveDisk *move) {
        if (plan_device_pool(context->target, move->pool))
                plan_refuse(context, "linked",
                            memory_format("%s: a linked clone is an image file, and pool %s holds logical volumes",
                                          move->target, move->pool),
                            memory_string("leave out --linked, or --pool POOL chooses a pool of files"));
        else if (plan_device_source(context, disk))
                plan_refuse(context, "linked",
                            memory_format("%s: %s is a block device, which cannot be kept from being written to "
                                          "while a linked clone lies over it",
                                          move->target, disk->path),
                            memory_string("leave out --linked"));
}

static void check_format(struct plan_context *context, const Drover__Disk *disk, const Drover__MoveDisk *move) {
        const char *wanted = context->request->format;
        bool keeps = strcmp(wanted, "keep") == 0 && strcmp(disk->format, "raw") == 0;
        if (!plan_device_pool(context->target, move->pool) || !wanted[0] || keeps || strcmp(wanted, "raw") == 0)
                return;
        plan_refuse(context, "format",
                    memory_format("%s: a logical volume holds a disk as it is (raw), not an image of format %s",
                                  move->target, strcmp(wanted, "keep") == 0 ? disk->format : wanted),
                    memory_string("leave out --format, or --pool POOL chooses a pool of files"));
}

static void warn_of_purge(const struct plan_context *context, const Drover__Disk *disk) {
        if (context->plan->purge_source && strcmp(disk->type, "block") == 0 && !disk->pool[0])
                plan_warn(context, "%s: %s is a volume of no pool at %s: it is left there as it is, with its content",
                          disk->target, disk->path, context->plan->source_name);
}

void plan_device_check(struct plan_context *context, const Drover__MoveDisk *move) {
        const Drover__Disk *disk = source_of(context, move);
        if (!disk)
                return;
        if (context->clone && context->clone->linked)
                check_linked(context, disk, move);
        else
                check_format(context, disk, move);
        warn_of_purge(context, disk);
}
