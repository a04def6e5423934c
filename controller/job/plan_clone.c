// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The plan of a clone: a move whose VM stays, under another name, with a UUID, MAC addresses and volumes of its own.
 * Nothing is changed or asked; only that identity is random.
 */
#include "controller/job/plan.h"
#include "controller/job/plan_checks.h"
#include "controller/job/plan_device.h"
#include "controller/job/plan_format.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/random.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define MAC_TRIES_MAX 1000u // of 2^24 addresses

// ---- volumes

// Where the original's volume bears its name, the clone's bears the clone's: "erp-vda.qcow2", "erp.img".
static char *renamed_volume(const struct plan_context *context, const char *volume) {
        const char *name = context->plan->vm_name;
        size_t length = strlen(name);
        if (strncmp(volume, name, length) != 0 || isalnum((unsigned char) volume[length]))
                return NULL;
        return memory_format("%s%s", context->plan->new_name, volume + length);
}

static bool fits(const struct plan_context *context, const Drover__MoveDisk *move, const char *volume) {
        // A linked clone of a raw image is qcow2, and its name does not say otherwise.
        bool misleads = move->backing_target[0] && strcmp(move->format, move->source_format) != 0;
        return !misleads && strlen(volume) <= NAME_VOLUME_MAX && !plan_volume_taken(context, move->pool, volume);
}

char *plan_clone_volume(const struct plan_context *context, const Drover__Disk *disk, const Drover__MoveDisk *move) {
        _cleanup_(free_p) char *renamed = renamed_volume(context, disk->volume);
        _cleanup_(free_p) char *volume = renamed ? plan_device_name(context, disk, move, renamed) : NULL;
        if (volume && fits(context, move, volume))
                return steal(&volume);
        return plan_device_other_name(context, move);
}

// ---- MAC addresses

static bool mac_is_free(const struct plan_context *context, const char *mac) {
        const Drover__CloneIdentity *identity = context->plan->identity;
        for (size_t i = 0; i < identity->n_macs; i++)
                if (strcmp(identity->macs[i]->to, mac) == 0)
                        return false;
        if (context->others && context->others->has_mac(mac, context->others->data))
                return false;
        return !fleet_mac_in_use(context->fleet, mac, NULL, NULL, NULL);
}

// Locally administered and unicast, and used nowhere in the fleet.
static char *new_mac(struct plan_context *context) {
        for (unsigned tries = 0;; tries++) {
                uint32_t random = random_u32();
                char *mac = memory_format("02:00:00:%02x:%02x:%02x", random >> 16 & 0xff, random >> 8 & 0xff,
                                          random & 0xff);
                if (mac_is_free(context, mac))
                        return mac;
                free(mac);
                if (tries < MAC_TRIES_MAX)
                        continue;
                plan_refuse(context, "mac-exists",
                            memory_format("no free MAC address was found in %u tries", MAC_TRIES_MAX), NULL);
                return memory_string("");
        }
}

char *plan_clone_mac(struct plan_context *context, const char *mac) {
        Drover__CloneIdentity *identity = context->plan->identity;
        for (size_t i = 0; i < identity->n_macs; i++)
                if (strcmp(identity->macs[i]->from, mac) == 0)
                        return memory_string(identity->macs[i]->to);
        Drover__NameMap *map = new (Drover__NameMap);
        drover__name_map__init(map);
        map->from = memory_string(mac);
        map->to = new_mac(context);
        identity->macs = memory_grow(identity->macs, identity->n_macs + 1, sizeof(*identity->macs));
        identity->macs[identity->n_macs++] = map;
        return memory_string(map->to);
}

// ---- the plan

static bool converts(const Drover__VmMove *move) {
        return move->format[0] && strcmp(move->format, "keep") != 0;
}

static int check_request(const Drover__VmClone *request, struct error *err) {
        const Drover__VmMove *move = request->move;
        if (!move || !move->new_name[0])
                return error_set(err, ERROR_INVALID, "a clone needs a name: SITE/HOST/NAME");
        if (name_check_vm(move->new_name, err) < 0)
                return error_prefix(err, "the clone's name");
        if (request->reset_identity && name_check_guest(move->new_name, err) < 0) {
                error_hint(err, "with --reset-identity the clone's name becomes its guest's host name");
                return -1;
        }
        if (move->purge_source)
                return error_set(err, ERROR_INVALID, "a clone keeps its original: --purge-source is not for it");
        if (request->linked && converts(move))
                return error_set(err, ERROR_INVALID, "--linked and --format exclude each other");
        if (request->linked && move->read_back)
                return error_set(err, ERROR_INVALID, "--linked copies nothing that --verify read-back could read");
        return 0;
}

// Blocks that are shared are read by nobody, so there would be no digest to compare what is read back with.
static Drover__CloneMode mode(const Drover__VmClone *request) {
        if (request->linked)
                return DROVER__CLONE_MODE__CLONE_LINKED;
        return converts(request->move) || request->move->read_back ? DROVER__CLONE_MODE__CLONE_COPY
                                                                   : DROVER__CLONE_MODE__CLONE_MODE_AUTO;
}

static void clone_head(struct plan_context *context) {
        const Drover__VmClone *request = context->clone;
        Drover__MovePlan *plan = context->plan;
        char uuid[NAME_UUID_LENGTH + 1];
        plan_head(context);
        name_new_uuid(uuid);
        plan->clone = true;
        plan->identity = new (Drover__CloneIdentity);
        drover__clone_identity__init(plan->identity);
        plan->identity->uuid = memory_string(uuid);
        plan->clone_mode = mode(request);
        plan->reset_identity = request->reset_identity;
        plan->start = request->move->start == DROVER__VM_MOVE__START__START_YES;
        plan->autostart = false; // whoever wants two of it says so
}

// Not told by an agent from before there was this fact: its step says then whether it can.
static void check_reset(struct plan_context *context) {
        const Drover__HostFacts *facts = context->target->facts;
        const Drover__IdentityResetFact *reset = facts ? facts->identity_reset : NULL;
        if (!context->plan->reset_identity || !reset || !reset->refusal[0])
                return;
        struct buffer hint;
        buffer_init(&hint, 0);
        for (size_t i = 0; i < reset->n_hints; i++)
                if (buffer_appendf(&hint, NULL, "%s; ", reset->hints[i]) < 0)
                        break;
        _cleanup_(free_p) char *hints = buffer_steal_text(&hint);
        plan_refuse(context, "identity-reset",
                    memory_format("--reset-identity at %s: %s", context->plan->target_name, reset->refusal),
                    memory_format("%s%sleave out --reset-identity", hints, hints[0] ? "or " : ""));
}

static void clone_steps(Drover__MovePlan *plan) {
        const char *source = plan->source_name, *target = plan->target_name;
        plan_add_step(plan, "check", source, memory_string("read the definition again and compare it with this plan"));
        plan_add_step(plan, "reserve", target,
                      memory_format("reserve the name %s, its new UUID, MACs, volumes and space", plan->new_name));
        plan_add_stop_step(plan);
        plan_add_step(plan, "hold", source, memory_string("note its images as they are, without touching them"));
        plan_add_copy_steps(plan);
        plan_add_step(plan, "define", target, memory_format("publish the disks and define %s", plan->new_name));
        plan_add_step(plan, "verify", target,
                      memory_string(plan->read_back ? "compare digests and read the disks back"
                                                    : "compare the digests of both sides"));
        plan_add_step(plan, "confirm", source, memory_string("make sure that the original has not changed meanwhile"));
        if (plan->reset_identity)
                plan_add_step(plan, "reset", target,
                              memory_string("empty the guest's machine-id, host keys, host name and network names"));
        if (plan->start)
                plan_add_step(plan, "start", target, memory_format("start %s", plan->new_name));
        plan_add_step(plan, "commit", "controller",
                      memory_format("%s becomes the owner of %s", target, plan->new_name));
        plan_add_step(plan, "settle", target, memory_string("forget the reservation"));
        if (plan->was_running)
                plan_add_step(plan, "restart", source, memory_format("start %s again", plan->vm_name));
}

// Of a snapshot its image must come along as it is.
static bool images_hold_snapshots(const Drover__MovePlan *plan) {
        for (size_t i = 0; i < plan->n_disks; i++)
                if (strcmp(plan->disks[i]->format, "qcow2") == 0 && !plan->disks[i]->source_format[0])
                        return true;
        return false;
}

static void warn_of(const struct plan_context *context, size_t n, const char *why) {
        if (n > 0)
                plan_warn(context, "%zu snapshot%s of %s stay%s with it: %s", n, n == 1 ? "" : "s",
                          context->plan->vm_name, n == 1 ? "s" : "", why);
}

// The clone gets those that it can go back to; which these are is decided, and said once more, where it is defined.
static void warn_of_snapshots(struct plan_context *context) {
        const Drover__Domain *domain = context->vm->domain;
        size_t with_memory = 0;
        for (size_t i = 0; i < domain->n_snapshots; i++)
                with_memory += strcmp(domain->snapshots[i]->state, "shut off") != 0;
        if (!images_hold_snapshots(context->plan))
                warn_of(context, domain->n_snapshots, "the clone's images are new and hold none");
        else
                warn_of(context, with_memory, "taken while it ran, they would wake up with its addresses");
}

int plan_clone(struct fleet *fleet, const Drover__VmClone *request, const struct plan_others *others,
               Drover__MovePlan **ret, struct error *err) {
        struct plan_context context = {.fleet = fleet, .request = request->move, .clone = request, .others = others};
        if (check_request(request, err) < 0 || plan_open(&context, err) < 0)
                return -1;
        clone_head(&context);
        plan_bridges(&context);
        plan_disks(&context);
        plan_interfaces(&context);
        plan_check_all(&context);
        check_reset(&context);
        warn_of_snapshots(&context);
        clone_steps(context.plan);
        *ret = context.plan;
        return 0;
}
