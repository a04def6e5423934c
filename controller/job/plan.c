// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Building the plan of a cold move: where each disk goes, which steps there will be, what it will cost. What stands
 * against it is found by plan_checks.c. Pure: the fleet is read and nothing is changed or asked.
 */
#include "controller/job/plan.h"
#include "controller/job/plan_checks.h"
#include "controller/job/plan_device.h"
#include "controller/job/plan_format.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/units.h"

#include <stdio.h>
#include <string.h>

// For estimates only.
#define ASSUMED_READ_BACK    (400u << 20) // bytes a second
#define ASSUMED_STOP_SECONDS 5u
#define ASSUMED_REST_SECONDS 1u

static bool disk_is_carried(const Drover__Disk *disk) {
        bool ours = strcmp(disk->type, "file") == 0 || strcmp(disk->type, "block") == 0 ||
                    strcmp(disk->type, "volume") == 0;
        return ours && strcmp(disk->device, "disk") == 0;
}

const char *plan_suffix(const char *format) {
        return strcmp(format, "qcow2") == 0 ? "qcow2" : "img";
}

static const char *base_name(const char *path) {
        const char *slash = strrchr(path, '/');
        return slash ? slash + 1 : path;
}

// Back to the pool that it came from, if that is known.
static const char *first_pool(const struct plan_context *context, const Drover__Disk *disk) {
        for (size_t i = 0; context->back && i < context->back->n_disks; i++)
                if (strcmp(context->back->disks[i]->target, disk->target) == 0 &&
                    context->back->disks[i]->source_pool[0])
                        return context->back->disks[i]->source_pool;
        return disk->pool[0] ? disk->pool : "default";
}

static char *plan_volume(const struct plan_context *context, const Drover__Disk *disk, const Drover__MoveDisk *move) {
        if (context->clone)
                return plan_clone_volume(context, disk, move);
        // The name of a device outside every pool is its host's: sdb, dm-3.
        if (!disk->volume[0] && strcmp(disk->type, "block") == 0)
                return plan_device_other_name(context, move);
        _cleanup_(free_p) char *volume =
                plan_device_name(context, disk, move, disk->volume[0] ? disk->volume : base_name(disk->path));
        if (!plan_volume_taken(context, move->pool, volume))
                return steal(&volume);
        char *other = plan_device_other_name(context, move);
        plan_warn(context, "%s: volume %s exists in pool %s at %s; the copy will be named %s", disk->target, volume,
                  move->pool, context->plan->target_name, other);
        return other;
}

static Drover__MoveDisk *plan_disk(const struct plan_context *context, const Drover__Disk *disk) {
        Drover__MoveDisk *move = new (Drover__MoveDisk);
        drover__move_disk__init(move);
        move->target = memory_string(disk->target);
        move->file_bytes = disk->file_bytes;
        move->capacity_bytes = disk->capacity_bytes;
        move->bitmaps = disk->bitmaps;
        move->source_pool = memory_string(disk->pool);
        move->pool = memory_string(context->request->pool[0] ? context->request->pool : first_pool(context, disk));
        plan_format_disk(context, disk, move);
        move->volume = plan_volume(context, disk, move);
        return move;
}

void plan_disks(struct plan_context *context) {
        const Drover__Domain *domain = context->vm->domain;
        Drover__MovePlan *plan = context->plan;
        plan->disks = new_array(Drover__MoveDisk *, domain->n_disks + 1);
        for (size_t i = 0; i < domain->n_disks; i++) {
                if (!disk_is_carried(domain->disks[i]))
                        continue;
                plan->disks[plan->n_disks] = plan_disk(context, domain->disks[i]);
                if (!context->clone || !context->clone->linked)
                        plan->bytes_to_copy += plan->disks[plan->n_disks]->allocation_bytes;
                plan->n_disks++;
        }
}

void plan_interfaces(struct plan_context *context) {
        const Drover__Domain *domain = context->vm->domain;
        Drover__MovePlan *plan = context->plan;
        plan->macs = new_array(char *, domain->n_interfaces + 1);
        plan->target_bridges = new_array(char *, domain->n_interfaces + 1);
        plan->target_networks = new_array(char *, domain->n_interfaces + 1);
        for (size_t i = 0; i < domain->n_interfaces; i++) {
                const Drover__Interface *interface = domain->interfaces[i];
                plan->macs[plan->n_macs++] =
                        context->clone ? plan_clone_mac(context, interface->mac) : memory_string(interface->mac);
                const char *source = plan_mapped_bridge(context, interface->source);
                if (strcmp(interface->type, "bridge") == 0)
                        plan->target_bridges[plan->n_target_bridges++] = memory_string(source);
                else if (strcmp(interface->type, "network") == 0)
                        plan->target_networks[plan->n_target_networks++] = memory_string(source);
        }
}

void plan_bridges(struct plan_context *context) {
        const Drover__VmMove *request = context->request;
        Drover__MovePlan *plan = context->plan;
        plan->bridges = new_array(Drover__NameMap *, request->n_bridges + 1);
        for (size_t i = 0; i < request->n_bridges; i++) {
                Drover__NameMap *map = new (Drover__NameMap);
                drover__name_map__init(map);
                map->from = memory_string(request->bridges[i]->from);
                map->to = memory_string(request->bridges[i]->to);
                plan->bridges[plan->n_bridges++] = map;
        }
}

void plan_add_step(Drover__MovePlan *plan, const char *name, const char *host, char *text) {
        Drover__PlannedStep *step = new (Drover__PlannedStep);
        drover__planned_step__init(step);
        step->name = memory_string(name);
        step->host = memory_string(host);
        step->text = text;
        plan->steps = memory_grow(plan->steps, plan->n_steps + 1, sizeof(*plan->steps));
        plan->steps[plan->n_steps++] = step;
}

void plan_add_stop_step(Drover__MovePlan *plan) {
        if (plan->was_running)
                plan_add_step(plan, "stop", plan->source_name,
                              plan->stop == DROVER__STOP_MODE__STOP_HARD
                                      ? memory_string("stop it hard")
                                      : memory_format("shut it down, within %u s", plan->stop_timeout_seconds));
}

static char *copy_text(const Drover__MovePlan *plan, const Drover__MoveDisk *disk) {
        char size[UNITS_TEXT_MAX];
        bool converts = plan_format_converts(disk);
        units_format_size(disk->allocation_bytes, size);
        if (plan->clone && plan->clone_mode == DROVER__CLONE_MODE__CLONE_LINKED)
                return memory_format("lay %s/%s over the original's %s (%s, %s)", disk->pool, disk->volume,
                                     disk->target, disk->source_format, size);
        return memory_format("%s %s (%s%s%s, %s) to %s/%s", converts ? "convert" : "copy", disk->target,
                             converts ? disk->source_format : "", converts ? " to " : "", disk->format, size,
                             disk->pool, disk->volume);
}

void plan_add_copy_steps(Drover__MovePlan *plan) {
        for (size_t i = 0; i < plan->n_disks; i++)
                plan_add_step(plan, "copy", plan->target_name, copy_text(plan, plan->disks[i]));
        if (plan->has_nvram)
                plan_add_step(plan, "copy", plan->target_name, memory_string("copy its NVRAM"));
}

static void plan_steps_before_copy(Drover__MovePlan *plan) {
        const char *source = plan->source_name, *target = plan->target_name;
        plan_add_step(plan, "check", source, memory_string("read the definition again and compare it with this plan"));
        plan_add_step(plan, "reserve", target,
                      memory_format("reserve the name %s, its UUID, MACs, volumes and space", plan->new_name));
        plan_add_stop_step(plan);
        plan_add_step(plan, "fence", source, memory_string("put it out of libvirt's reach, with its disks"));
}

static void plan_steps(Drover__MovePlan *plan) {
        const char *source = plan->source_name, *target = plan->target_name;
        plan_steps_before_copy(plan);
        plan_add_copy_steps(plan);
        plan_add_step(plan, "define", target, memory_string("publish the disks and define it"));
        plan_add_step(plan, "verify", target,
                      memory_string(plan->read_back ? "compare digests and read the disks back"
                                                    : "compare the digests of both sides"));
        plan_add_step(plan, "confirm", source, memory_string("make sure that it is still fenced"));
        if (plan->start)
                plan_add_step(plan, "start", target, memory_string("start it"));
        plan_add_step(plan, "commit", "controller",
                      memory_format("%s becomes its owner; from here on it only goes forwards", target));
        plan_add_step(plan, "retire", source,
                      memory_string(plan->purge_source ? "undefine it and remove its disks"
                                                       : "undefine it, keep its disks until purged"));
        plan_add_step(plan, "settle", target, memory_string("restore autostart and forget the reservation"));
}

void plan_estimate(Drover__MovePlan *plan, uint64_t copy_seconds) {
        uint64_t all = copy_seconds + ASSUMED_REST_SECONDS + (plan->was_running ? ASSUMED_STOP_SECONDS : 0);
        if (plan->read_back)
                all += plan->bytes_to_copy / ASSUMED_READ_BACK;
        plan->estimated_seconds = all > UINT32_MAX ? UINT32_MAX : (uint32_t) all;
        // A clone's original stands still for as long as it is off, wherever the clone goes.
        bool is_missed = plan->was_running && (plan->start || plan->clone);
        plan->estimated_downtime_seconds = is_missed ? plan->estimated_seconds : 0;
}

bool plan_domain_active(const Drover__Domain *domain) {
        return strcmp(domain->state, "shut off") != 0 && strcmp(domain->state, "crashed") != 0;
}

void plan_head(struct plan_context *context) {
        const Drover__VmMove *request = context->request;
        const Drover__Domain *domain = context->vm->domain;
        const struct fleet_host *source = context->vm->host, *target = context->target;
        Drover__MovePlan *plan = context->plan;
        plan->vm_uuid = memory_string(domain->uuid);
        plan->vm_name = memory_string(domain->name);
        plan->new_name = memory_string(request->new_name[0] ? request->new_name : domain->name);
        plan->source_host = memory_string(source->uuid);
        plan->target_host = memory_string(target->uuid);
        plan->source_name = memory_format("%s/%s", source->site, source->name);
        plan->target_name = memory_format("%s/%s", target->site, target->name);
        plan->definition_sha256 = memory_string(domain->definition_sha256);
        plan->was_running = plan_domain_active(domain);
        plan->start = request->start == DROVER__VM_MOVE__START__START_YES ||
                      (request->start == DROVER__VM_MOVE__START__START_AS_BEFORE && plan->was_running);
        plan->autostart = domain->autostart;
        plan->stop = plan->was_running ? request->stop : DROVER__STOP_MODE__STOP_MODE_NONE;
        plan->stop_timeout_seconds =
                request->stop_timeout_seconds ? request->stop_timeout_seconds : PLAN_STOP_TIMEOUT_SECONDS;
        plan->rate_bytes_per_second = request->rate_bytes_per_second;
        plan->path = request->path;
        plan->read_back = request->read_back;
        plan->purge_source = request->purge_source;
        plan->has_nvram = domain->has_nvram && domain->nvram_bytes > 0;
        plan->nvram_bytes = domain->nvram_bytes;
}

int plan_open(struct plan_context *context, struct error *err) {
        if (plan_check_request(context->request, err) < 0 ||
            fleet_resolve_vm(context->fleet, context->request->vm, &context->vm, err) < 0 ||
            fleet_resolve_host(context->fleet, context->request->host, &context->target, err) < 0 ||
            plan_check_held(context, err) < 0)
                return -1;
        context->plan = new (Drover__MovePlan);
        drover__move_plan__init(context->plan);
        return 0;
}

void plan_fill_move(struct plan_context *context) {
        plan_head(context);
        plan_bridges(context);
        plan_disks(context);
        plan_interfaces(context);
        plan_check_all(context);
        plan_steps(context->plan);
}

int plan_move(struct fleet *fleet, const Drover__VmMove *request, Drover__MovePlan **ret, struct error *err) {
        struct plan_context context = {.fleet = fleet, .request = request};
        if (plan_open(&context, err) < 0)
                return -1;
        plan_fill_move(&context);
        *ret = context.plan;
        return 0;
}

int plan_refused(const Drover__MovePlan *plan, struct error *err) {
        if (plan->n_refusals == 0)
                return 0;
        const Drover__Refusal *first = plan->refusals[0];
        const char *verb = plan->clone ? "clone" : "move";
        if (plan->n_refusals == 1)
                error_set(err, ERROR_REFUSED, "cannot %s %s to %s: %s", verb, plan->vm_name, plan->target_name,
                          first->message);
        else
                error_set(err, ERROR_REFUSED, "cannot %s %s to %s, for %zu reasons: %s", verb, plan->vm_name,
                          plan->target_name, plan->n_refusals, first->message);
        if (plan->n_refusals == 1 && first->hint[0])
                error_hint(err, "%s", first->hint);
        for (size_t i = 0; plan->n_refusals > 1 && i < plan->n_refusals; i++)
                error_hint(err, "%s%s%s", plan->refusals[i]->message, plan->refusals[i]->hint[0] ? ": " : "",
                           plan->refusals[i]->hint);
        return -1;
}
