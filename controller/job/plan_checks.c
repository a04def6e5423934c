// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The checks before a move. Each adds a refusal with its mending and none stops at the first: a person gets every
 * reason at once. Pure, like the plan.
 */
#include "controller/job/plan_checks.h"
#include "controller/job/plan_device.h"
#include "controller/job/plan_format.h"
#include "controller/job/plan_room.h"
#include "common/memory.h"
#include "common/units.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void plan_refuse(struct plan_context *context, const char *code, char *message, char *hint) {
        Drover__MovePlan *plan = context->plan;
        Drover__Refusal *refusal = new (Drover__Refusal);
        drover__refusal__init(refusal);
        refusal->code = memory_string(code);
        refusal->message = message;
        refusal->hint = hint ? hint : memory_string("");
        plan->refusals = memory_grow(plan->refusals, plan->n_refusals + 1, sizeof(*plan->refusals));
        plan->refusals[plan->n_refusals++] = refusal;
}

void plan_warn(const struct plan_context *context, const char *format, ...) {
        Drover__MovePlan *plan = context->plan;
        char text[512];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        plan->warnings = memory_grow(plan->warnings, plan->n_warnings + 1, sizeof(*plan->warnings));
        plan->warnings[plan->n_warnings++] = memory_string(text);
}

int plan_check_request(const Drover__VmMove *request, struct error *err) {
        if (request->new_name[0] && name_check_vm(request->new_name, err) < 0)
                return error_prefix(err, "--as");
        if (request->pool[0] && name_check_volume(request->pool, err) < 0)
                return error_prefix(err, "--pool");
        if (request->n_bridges > PLAN_BRIDGES_MAX)
                return error_set(err, ERROR_INVALID, "more than %u --bridge mappings", PLAN_BRIDGES_MAX);
        for (size_t i = 0; i < request->n_bridges; i++)
                if (name_check_volume(request->bridges[i]->from, err) < 0 ||
                    name_check_volume(request->bridges[i]->to, err) < 0)
                        return error_prefix(err, "--bridge");
        if (request->stop_timeout_seconds > PLAN_STOP_TIMEOUT_MAX_SECONDS)
                return error_set(err, ERROR_INVALID, "--timeout is longer than a day");
        const char *format = request->format;
        if (format[0] && strcmp(format, "keep") != 0 && strcmp(format, "qcow2") != 0 && strcmp(format, "raw") != 0)
                return error_set(err, ERROR_INVALID, "--format %s: it is keep, qcow2 or raw", format);
        return 0;
}

int plan_check_held(const struct plan_context *context, struct error *err) {
        const Drover__Domain *domain = context->vm->domain;
        const struct fleet_owner *owner = fleet_owner(context->fleet, domain->uuid);
        if (owner && owner->clones > 0 && !owner->job[0] && (!context->clone || plan_domain_active(domain))) {
                error_set(err, ERROR_CONFLICT, "%s is being cloned by job %s", domain->name, owner->clone_job);
                error_hint(err, "drover job follow %s", owner->clone_job);
                return -1;
        }
        if (!owner || !owner->job[0])
                return 0;
        error_set(err, ERROR_CONFLICT, "%s is held by job %s", domain->name, owner->job);
        error_hint(err, "drover job follow %s", owner->job);
        return -1;
}

bool plan_obstacle_counts(const Drover__Obstacle *obstacle, bool clone, bool same_host) {
        if (!clone)
                return true;
        return strcmp(obstacle->code, "is-backing") != 0 &&
               (!same_host || strcmp(obstacle->code, "backing-chain") != 0);
}

const char *plan_mapped_bridge(const struct plan_context *context, const char *source) {
        for (size_t i = 0; i < context->request->n_bridges; i++)
                if (strcmp(context->request->bridges[i]->from, source) == 0)
                        return context->request->bridges[i]->to;
        return source;
}

static const Drover__Pool *pool_named(const struct fleet_host *host, const char *name) {
        for (size_t i = 0; i < host->n_pools; i++)
                if (strcmp(host->pools[i]->name, name) == 0)
                        return host->pools[i];
        return NULL;
}

static bool plan_takes(const Drover__MovePlan *plan, const char *pool, const char *volume) {
        for (size_t i = 0; i < plan->n_disks; i++)
                if (strcmp(plan->disks[i]->pool, pool) == 0 && strcmp(plan->disks[i]->volume, volume) == 0)
                        return true;
        return false;
}

bool plan_volume_taken(const struct plan_context *context, const char *pool_name, const char *volume) {
        const Drover__Pool *pool = pool_named(context->target, pool_name);
        for (size_t i = 0; pool && i < pool->n_volumes; i++)
                if (strcmp(pool->volumes[i], volume) == 0)
                        return true;
        for (size_t i = 0; i < context->n_earlier; i++)
                if (context->earlier[i]->n_refusals == 0 && plan_takes(context->earlier[i], pool_name, volume))
                        return true;
        return plan_takes(context->plan, pool_name, volume);
}

static void check_host_online(struct plan_context *context, const struct fleet_host *host) {
        if (host->online)
                return;
        char at[CLOCK_RFC3339_MAX];
        plan_refuse(context, "host-offline",
                    host->offline_since ? memory_format("%s/%s is offline since %s", host->site, host->name,
                                                        clock_rfc3339(host->offline_since, at))
                                        : memory_format("%s/%s is offline", host->site, host->name),
                    memory_string("systemctl status drover-agent, on that host"));
}

static void check_hosts(struct plan_context *context) {
        check_host_online(context, context->vm->host);
        if (context->vm->host == context->target && context->clone)
                return;
        if (context->vm->host == context->target) {
                plan_refuse(context, "same-host", memory_format("it is on %s already", context->plan->target_name),
                            NULL);
                return;
        }
        check_host_online(context, context->target);
        const Drover__HostFacts *facts = context->target->facts;
        if (context->target->online && (!facts || !facts->libvirt_connected))
                plan_refuse(context, "no-libvirt",
                            memory_format("libvirt does not answer on %s", context->plan->target_name),
                            memory_string("systemctl status libvirtd, on that host"));
}

static void check_owner(struct plan_context *context) {
        const struct fleet_owner *owner = fleet_owner(context->fleet, context->plan->vm_uuid);
        if (!owner || strcmp(owner->host_uuid, context->vm->host->uuid) == 0)
                return;
        const struct fleet_host *host = fleet_host_by_uuid(context->fleet, owner->host_uuid);
        if (!host || !fleet_vm_on(context->fleet, host, context->plan->vm_uuid))
                return; // it was carried here by other means; the move's grant adopts it
        plan_refuse(context, "not-owner",
                    memory_format("%s/%s is its owner, and defines it too", host->site, host->name),
                    memory_format("undefine the copy on %s: virsh undefine %s", context->plan->source_name,
                                  context->plan->vm_name));
}

static void check_running(struct plan_context *context) {
        const char *state = context->vm->domain->state;
        if (!context->plan->was_running)
                return;
        if (context->clone && context->clone->linked) {
                plan_refuse(
                        context, "running",
                        memory_format("it is %s, and a VM may not run while linked clones lie over its images", state),
                        memory_string("shut it down for good and keep it as a template, or leave out --linked"));
                return;
        }
        if (context->request->stop == DROVER__STOP_MODE__STOP_MODE_NONE)
                plan_refuse(context, "running", memory_format("it is %s", state),
                            memory_string("--shutdown asks the guest to shut down first, --stop stops it hard"));
        else if (context->request->stop == DROVER__STOP_MODE__STOP_SHUTDOWN && strcmp(state, "running") != 0)
                plan_refuse(context, "running", memory_format("it is %s and cannot shut itself down", state),
                            memory_format("drover vm resume %s, or --stop", context->plan->vm_name));
}

static void check_obstacles(struct plan_context *context) {
        const Drover__Domain *domain = context->vm->domain;
        bool same_host = context->vm->host == context->target;
        for (size_t i = 0; i < domain->n_obstacles; i++) {
                const Drover__Obstacle *obstacle = domain->obstacles[i];
                bool mends = plan_format_mends(obstacle);
                // Formats are looked at disk by disk.
                if (!plan_obstacle_counts(obstacle, context->clone != NULL, same_host) ||
                    strcmp(obstacle->code, "format") == 0 || (mends && plan_format_wanted(context)))
                        continue;
                plan_refuse(context, obstacle->code, memory_string(obstacle->message),
                            mends ? plan_format_hint(obstacle) : memory_string(obstacle->hint));
        }
}

static void check_clone_name(struct plan_context *context) {
        static const char hint[] = "the clone's name is the last part of SITE/HOST/NAME: choose another";
        const struct fleet_host *target = context->target;
        const Drover__MovePlan *plan = context->plan;
        const struct plan_others *others = context->others;
        for (size_t i = 0; i < target->n_vms; i++)
                if (strcmp(target->vms[i]->domain->name, plan->new_name) == 0) {
                        plan_refuse(context, "name-exists",
                                    memory_format("a VM named %s exists at %s", plan->new_name, plan->target_name),
                                    memory_string(hint));
                        return;
                }
        const char *job = others ? others->has_name(target->uuid, plan->new_name, others->data) : NULL;
        if (job)
                plan_refuse(
                        context, "name-exists",
                        memory_format("job %s is bringing a VM named %s to %s", job, plan->new_name, plan->target_name),
                        memory_string(hint));
}

static void check_names(struct plan_context *context) {
        const struct fleet_host *target = context->target;
        const Drover__MovePlan *plan = context->plan;
        if (context->clone) { // its UUID and MAC addresses were chosen so that they are free
                check_clone_name(context);
                return;
        }
        if (target == context->vm->host)
                return;
        for (size_t i = 0; i < target->n_vms; i++) {
                const Drover__Domain *there = target->vms[i]->domain;
                // The host that it came from may not have told yet that it left; the agent there looks again.
                if (strcmp(there->uuid, plan->vm_uuid) == 0 && context->back)
                        continue;
                if (strcmp(there->uuid, plan->vm_uuid) == 0)
                        plan_refuse(
                                context, "uuid-exists",
                                memory_format("its UUID %s exists at %s, as %s", plan->vm_uuid, plan->target_name,
                                              there->name),
                                memory_format("if that is an old copy: virsh undefine %s, on that host", there->name));
                else if (strcmp(there->name, plan->new_name) == 0)
                        plan_refuse(context, "name-exists",
                                    memory_format("a VM named %s exists at %s", plan->new_name, plan->target_name),
                                    memory_string("--as NAME gives it another name there"));
        }
        for (size_t i = 0; i < plan->n_macs; i++) {
                struct fleet_vm *by = NULL;
                if (fleet_mac_in_use(context->fleet, plan->macs[i], target, plan->vm_uuid, &by))
                        plan_refuse(context, "mac-exists",
                                    memory_format("its MAC address %s is in use at %s, by %s", plan->macs[i],
                                                  plan->target_name, by->domain->name),
                                    memory_format("give one of the two another: virsh edit %s", by->domain->name));
        }
}

static char *nearest_hint(const char *name, char *const *candidates, size_t n, const char *option) {
        int nearest = name_nearest(name, candidates, n);
        if (nearest >= 0)
                return memory_format("did you mean %s? %s", candidates[nearest], option);
        struct buffer text;
        buffer_init(&text, 200);
        for (size_t i = 0; i < n; i++)
                if (buffer_appendf(&text, NULL, "%s%s", i ? ", " : "", candidates[i]) < 0)
                        break;
        char *list = buffer_steal_text(&text);
        char *hint = n ? memory_format("there are: %s; %s", list, option) : memory_string(option);
        free(list);
        return hint;
}

static void check_pool_exists(struct plan_context *context, const Drover__MoveDisk *disk) {
        const struct fleet_host *target = context->target;
        const Drover__Pool *pool = pool_named(target, disk->pool);
        const char *where = context->plan->target_name;
        if (!pool) {
                char **names = new_array(char *, target->n_pools + 1);
                for (size_t i = 0; i < target->n_pools; i++)
                        names[i] = target->pools[i]->name;
                plan_refuse(context, "no-pool", memory_format("%s: no pool %s at %s", disk->target, disk->pool, where),
                            nearest_hint(disk->pool, names, target->n_pools, "--pool POOL chooses"));
                free(names);
        } else if (!pool->active) {
                plan_refuse(context, "pool-inactive",
                            memory_format("%s: pool %s at %s is not active", disk->target, pool->name, where),
                            memory_format("virsh pool-start %s, on that host", pool->name));
        } else if (strcmp(pool->type, "dir") != 0 && strcmp(pool->type, "fs") != 0 &&
                   strcmp(pool->type, "netfs") != 0 && strcmp(pool->type, "logical") != 0) {
                plan_refuse(context, "pool-type",
                            memory_format("%s: pool %s at %s is of type %s, which takes no disks", disk->target,
                                          pool->name, where, pool->type),
                            memory_string("--pool POOL chooses one of type dir, fs, netfs or logical"));
        } else if (plan_volume_taken(&(struct plan_context){.target = context->target,
                                                            .plan = &(Drover__MovePlan) DROVER__MOVE_PLAN__INIT},
                                     disk->pool, disk->volume)) {
                plan_refuse(context, "volume-exists",
                            memory_format("%s: volume %s exists in pool %s at %s", disk->target, disk->volume,
                                          disk->pool, where),
                            memory_string(context->clone
                                                  ? "--pool POOL chooses another pool; or give the clone another name"
                                                  : "--pool POOL chooses another pool, --as NAME another name"));
        }
}

static void check_linked(struct plan_context *context) {
        const Drover__MovePlan *plan = context->plan;
        if (!context->clone || !context->clone->linked)
                return;
        if (context->vm->host != context->target)
                plan_refuse(context, "linked",
                            memory_format("a linked clone lies over its original's images, and these are at %s",
                                          plan->source_name),
                            memory_format("leave out --linked, or name %s/%s", plan->source_name, plan->new_name));
        for (size_t i = 0; i < plan->n_disks; i++)
                if (strcmp(plan->disks[i]->source_format, "qcow2") != 0 &&
                    strcmp(plan->disks[i]->source_format, "raw") != 0)
                        plan_refuse(context, "linked",
                                    memory_format("%s: a linked clone lies over qcow2 or raw, and this image is %s",
                                                  plan->disks[i]->target, plan->disks[i]->source_format),
                                    memory_string("leave out --linked"));
}

static void check_disks(struct plan_context *context) {
        for (size_t i = 0; i < context->plan->n_disks; i++) {
                plan_format_check(context, context->plan->disks[i]);
                plan_device_check(context, context->plan->disks[i]);
                check_pool_exists(context, context->plan->disks[i]);
        }
        plan_room_check(context);
}

static bool contains(char *const *names, size_t n, const char *name) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(names[i], name) == 0)
                        return true;
        return false;
}

static void check_networks(struct plan_context *context) {
        const struct fleet_host *target = context->target;
        const Drover__MovePlan *plan = context->plan;
        static const char option[] = "--bridge OLD=NEW maps it to another";
        const Drover__HostFacts *facts = target->facts;
        for (size_t i = 0; facts && i < plan->n_target_bridges; i++)
                if (!contains(facts->bridges, facts->n_bridges, plan->target_bridges[i]))
                        plan_refuse(context, "no-bridge",
                                    memory_format("no bridge %s at %s", plan->target_bridges[i], plan->target_name),
                                    nearest_hint(plan->target_bridges[i], facts->bridges, facts->n_bridges, option));
        char **names = new_array(char *, target->n_networks + 1);
        for (size_t i = 0; i < target->n_networks; i++)
                names[i] = target->networks[i]->name;
        for (size_t i = 0; i < plan->n_target_networks; i++) {
                const char *name = plan->target_networks[i];
                if (!contains(names, target->n_networks, name)) {
                        plan_refuse(context, "no-network",
                                    memory_format("no network %s at %s", name, plan->target_name),
                                    nearest_hint(name, names, target->n_networks, option));
                        continue;
                }
                for (size_t j = 0; j < target->n_networks; j++)
                        if (strcmp(target->networks[j]->name, name) == 0 && !target->networks[j]->active)
                                plan_refuse(context, "network-inactive",
                                            memory_format("network %s at %s is not active", name, plan->target_name),
                                            memory_format("virsh net-start %s, on that host", name));
        }
        free(names);
}

static void check_mappings(struct plan_context *context) {
        const Drover__Domain *domain = context->vm->domain;
        for (size_t i = 0; i < context->request->n_bridges; i++) {
                bool used = false;
                for (size_t j = 0; j < domain->n_interfaces; j++)
                        used |= strcmp(domain->interfaces[j]->source, context->request->bridges[i]->from) == 0;
                if (!used)
                        plan_refuse(context, "no-bridge",
                                    memory_format("--bridge %s=%s: no interface of %s is on %s",
                                                  context->request->bridges[i]->from, context->request->bridges[i]->to,
                                                  domain->name, context->request->bridges[i]->from),
                                    NULL);
        }
}

static void check_platform(struct plan_context *context) {
        const Drover__Domain *domain = context->vm->domain;
        const Drover__HostFacts *facts = context->target->facts;
        if (!facts || !facts->libvirt_connected)
                return;
        if (domain->machine[0] && facts->n_machine_types > 0 &&
            !contains(facts->machine_types, facts->n_machine_types, domain->machine))
                plan_refuse(context, "machine-type",
                            memory_format("the emulator at %s does not know machine type %s",
                                          context->plan->target_name, domain->machine),
                            memory_string("update QEMU there, or choose an older machine type with virsh edit"));
        if (domain->loader[0] && !contains(facts->firmwares, facts->n_firmwares, domain->loader))
                plan_refuse(
                        context, "no-firmware",
                        memory_format("firmware %s is not installed at %s", domain->loader, context->plan->target_name),
                        memory_string("apt install ovmf, on that host"));
        if (domain->domain_type[0] && facts->n_domain_types > 0 &&
            !contains(facts->domain_types, facts->n_domain_types, domain->domain_type))
                plan_refuse(context, "domain-type",
                            memory_format("%s offers no domains of type %s", context->plan->target_name,
                                          domain->domain_type),
                            memory_string("is virtualisation switched on in that host's firmware?"));
}

void plan_check_all(struct plan_context *context) {
        check_hosts(context);
        check_owner(context);
        check_running(context);
        check_obstacles(context);
        check_names(context);
        check_linked(context);
        check_disks(context);
        check_mappings(context);
        check_networks(context);
        check_platform(context);
}

void plan_check_revival(struct plan_context *context) {
        check_hosts(context);
        check_owner(context);
        check_obstacles(context);
        check_names(context);
}
