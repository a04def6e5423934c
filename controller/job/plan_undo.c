// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The plan of the way back. A VM that has not run or changed since it was moved, and whose images still lie aside at
 * its first host, is revived there and nothing is carried. Any other is moved back, to its first host, name, pools and
 * bridges. Pure, like every plan.
 */
#include "controller/job/plan.h"
#include "controller/job/plan_checks.h"
#include "common/memory.h"

#include <string.h>

static bool has_item(const Drover__Retired *retired, const char *item) {
        for (size_t i = 0; i < retired->n_disks; i++)
                if (strcmp(retired->disks[i], item) == 0)
                        return true;
        return false;
}

// A purge that could not remove all of it leaves the rest.
static bool is_whole(const Drover__Retired *retired, const Drover__MovePlan *done) {
        for (size_t i = 0; i < done->n_disks; i++)
                if (!has_item(retired, done->disks[i]->target))
                        return false;
        return !done->has_nvram || has_item(retired, "nvram");
}

// Of a move that has just ended it is there, told or not, if it was to stay.
static bool has_first_copy(const struct plan_context *context, const char *job, bool fresh) {
        const struct fleet_host *host = context->target;
        for (size_t i = 0; i < host->n_retired; i++)
                if (strcmp(host->retired[i]->job, job) == 0)
                        return is_whole(host->retired[i], context->back);
        return fresh && !context->back->purge_source;
}

static int vm_is_gone(struct fleet *fleet, const Drover__MovePlan *done, const char *job, bool fresh,
                      struct error *err) {
        struct fleet_vm *vms[1];
        const struct fleet_owner *owner = fleet_owner(fleet, done->vm_uuid);
        if (fresh && owner && strcmp(owner->host_uuid, done->target_host) == 0)
                return error_set(err, ERROR_BUSY,
                                 "%s has not told yet of %s, which has just arrived: try again in a moment",
                                 done->target_name, done->new_name);
        error_set(err, ERROR_CONFLICT, "%s is no longer at %s, where job %s brought it", done->new_name,
                  done->target_name, job);
        if (fleet_vms_by_uuid(fleet, done->vm_uuid, vms, 1) == 0) {
                error_hint(err, "drover vm list --retired shows what is left of it");
                return -1;
        }
        const struct fleet_host *host = vms[0]->host;
        error_hint(err, "it is %s/%s/%s now: undo the newer job first, or move it", host->site, host->name,
                   vms[0]->domain->name);
        return -1;
}

static int find(struct plan_context *context, const char *job, bool fresh, struct error *err) {
        const Drover__MovePlan *done = context->back;
        const struct fleet_host *now = fleet_host_by_uuid(context->fleet, done->target_host);
        context->target = fleet_host_by_uuid(context->fleet, done->source_host);
        context->vm = now ? fleet_vm_on(context->fleet, now, done->vm_uuid) : NULL;
        if (!context->target) {
                error_set(err, ERROR_NOT_FOUND, "%s, where %s was before, has been removed", done->source_name,
                          done->vm_name);
                error_hint(err, "drover vm move %s/%s SITE/HOST", done->target_name, done->new_name);
                return -1;
        }
        return context->vm ? 0 : vm_is_gone(context->fleet, done, job, fresh, err);
}

// An image that was laid over another one, which nothing keeps as it was: the first disk with one, or NULL.
static const Drover__MoveDisk *layered(const Drover__MovePlan *done) {
        for (size_t i = 0; i < done->n_disks; i++)
                if (done->disks[i]->layered)
                        return done->disks[i];
        return NULL;
}

// Every image as the move left it, the definition too, and the first ones still there.
static bool can_revive(const struct plan_context *context, const char *job, bool fresh) {
        const Drover__MovePlan *done = context->back;
        const Drover__Domain *domain = context->vm->domain;
        return done->images_version[0] && strcmp(domain->images_version, done->images_version) == 0 &&
               strcmp(domain->definition_sha256, done->target_definition_sha256) == 0 &&
               strcmp(domain->name, done->new_name) == 0 && !plan_domain_active(domain) && !layered(done) &&
               has_first_copy(context, job, fresh);
}

static void say_why_not(const struct plan_context *context, const char *job, bool fresh) {
        const Drover__MovePlan *done = context->back;
        const Drover__Domain *domain = context->vm->domain;
        if (!has_first_copy(context, job, fresh))
                plan_warn(context, "its first copy at %s has been purged: its images are carried back",
                          done->source_name);
        else if (layered(done))
                plan_warn(context,
                          "%s was laid over another image at %s, which may have changed since: its images are "
                          "carried back",
                          layered(done)->target, done->source_name);
        else if (plan_domain_active(domain))
                plan_warn(context, "it has run since: what was written meanwhile is carried back");
        else if (strcmp(domain->images_version, done->images_version) != 0)
                plan_warn(context,
                          "its images are not as the move left them: what was written meanwhile is carried back");
        else
                plan_warn(context, "its definition was changed since: it is carried back with its images");
}

// ---- revived

static void revival_steps(Drover__MovePlan *plan) {
        const char *source = plan->source_name, *target = plan->target_name;
        plan_add_step(plan, "check", source, memory_string("read the definition again and compare it with this plan"));
        plan_add_step(plan, "fence", source,
                      memory_string("make sure that it has not run, and put its disks out of libvirt's reach"));
        plan_add_step(plan, "revive", target, memory_string("put the first copy's disks back and define it again"));
        plan_add_step(plan, "confirm", source, memory_string("make sure that it is still fenced"));
        plan_add_step(plan, "commit", "controller",
                      memory_format("%s becomes its owner; from here on it only goes forwards", target));
        plan_add_step(plan, "settle", target, memory_string("restore autostart"));
        plan_add_step(plan, "retire", source, memory_string("undefine it and remove its disks"));
        if (plan->start)
                plan_add_step(plan, "start", target, memory_string("start it, as it ran before the move"));
}

static void plan_revival(struct plan_context *context) {
        const Drover__MovePlan *done = context->back;
        Drover__MovePlan *plan = context->plan;
        plan_head(context);
        plan_disks(context);
        plan->bytes_to_copy = 0; // what lies aside at the first host is whole
        plan->revives = true;
        plan->purge_source = true;
        plan->start = done->was_running;
        plan->autostart = done->autostart;
        plan->images_version = memory_string(done->images_version);
        plan_check_revival(context);
        revival_steps(plan);
}

// ---- moved back

// OLD=NEW the other way round, where that is one bridge only.
static void turn_bridges(const Drover__MovePlan *done, Drover__VmMove *request) {
        request->bridges = new_array(Drover__NameMap *, done->n_bridges + 1);
        for (size_t i = 0; i < done->n_bridges; i++) {
                bool known = false;
                for (size_t k = 0; k < request->n_bridges; k++)
                        known |= strcmp(request->bridges[k]->from, done->bridges[i]->to) == 0;
                if (known)
                        continue;
                Drover__NameMap *map = new (Drover__NameMap);
                drover__name_map__init(map);
                map->from = memory_string(done->bridges[i]->to);
                map->to = memory_string(done->bridges[i]->from);
                request->bridges[request->n_bridges++] = map;
        }
}

static Drover__VmMove *move_back(const Drover__MovePlan *done, const Drover__JobUndo *undo) {
        Drover__VmMove *request = new (Drover__VmMove);
        drover__vm_move__init(request);
        request->vm = memory_string(done->vm_uuid);
        request->host = memory_string(done->source_name);
        request->new_name = memory_string(done->vm_name);
        request->stop = undo->stop;
        request->stop_timeout_seconds = undo->stop_timeout_seconds;
        request->rate_bytes_per_second = undo->rate_bytes_per_second;
        request->path = done->path;
        request->read_back = done->read_back;
        turn_bridges(done, request);
        return request;
}

int plan_undo(struct fleet *fleet, const Drover__MovePlan *done, const char *job, bool fresh,
              const Drover__JobUndo *request, Drover__MovePlan **ret, struct error *err) {
        struct plan_context context = {.fleet = fleet, .back = done};
        if (find(&context, job, fresh, err) < 0)
                return -1;
        Drover__VmMove *move = move_back(done, request);
        context.request = move;
        int r = plan_check_request(move, err) < 0 || plan_check_held(&context, err) < 0 ? -1 : 0;
        if (r == 0) {
                context.plan = new (Drover__MovePlan);
                drover__move_plan__init(context.plan);
                if (can_revive(&context, job, fresh))
                        plan_revival(&context);
                else
                        plan_fill_move(&context);
                if (!context.plan->revives)
                        say_why_not(&context, job, fresh);
                context.plan->undoes = memory_string(job);
                *ret = context.plan;
        }
        proto_free(&move->base);
        return r;
}
