// SPDX-License-Identifier: LGPL-2.1-or-later
/* The plan of several moves at once; see plan_batch.h. */
#include "controller/job/plan_batch.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "controller/job/bounds.h"
#include "controller/job/plan_checks.h"
#include "controller/job/plan_room.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

// ---- which VMs

struct chosen {
        struct fleet_vm **vms;
        size_t n;
};

static void chosen_fini(struct chosen *chosen) {
        free(chosen->vms);
}

static int choose(struct chosen *chosen, struct fleet_vm *vm, struct error *err) {
        for (size_t i = 0; i < chosen->n; i++)
                if (chosen->vms[i] == vm)
                        return 0;
        if (chosen->n == BOUNDS_MOVES_PER_BATCH)
                return error_set(err, ERROR_TOO_LARGE, "more than %u VMs at once", BOUNDS_MOVES_PER_BATCH);
        chosen->vms = memory_grow(chosen->vms, chosen->n + 1, sizeof(*chosen->vms));
        chosen->vms[chosen->n++] = vm;
        return 0;
}

// As with names, the parts that are not given are the first ones: "web*" is a VM on any host.
static bool fits(const char *pattern, const struct fleet_vm *vm) {
        char name[NAME_SITE_MAX + NAME_HOST_MAX + NAME_VM_MAX + 3];
        const char *at = name;
        unsigned slashes = 0;
        snprintf(name, sizeof(name), "%s/%s/%s", vm->host->site, vm->host->name, vm->domain->name);
        for (const char *c = pattern; *c; c++)
                slashes += *c == '/';
        for (; slashes < 2; slashes++)
                at = strchr(at, '/') + 1;
        return fnmatch(pattern, at, FNM_PATHNAME | FNM_NOESCAPE) == 0;
}

static int choose_by_pattern(struct fleet *fleet, const char *pattern, const struct fleet_host *target,
                             plan_batch_sees_fn sees, void *data, struct chosen *chosen, struct error *err) {
        size_t n, found = 0;
        struct fleet_host *const *hosts = fleet_hosts(fleet, &n);
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; sees(hosts[i]->site, data) && k < hosts[i]->n_vms; k++) {
                        struct fleet_vm *vm = hosts[i]->vms[k];
                        if (!fleet_vm_shown(fleet, vm) || !fits(pattern, vm))
                                continue;
                        found++;
                        if (hosts[i] != target && choose(chosen, vm, err) < 0)
                                return -1;
                }
        if (found > 0)
                return 0;
        error_set(err, ERROR_NOT_FOUND, "no VM fits %.200s", pattern);
        for (size_t i = 0; i < n; i++) { // "lyon/*" is HOST/NAME
                size_t length = strlen(hosts[i]->site);
                if (strncmp(pattern, hosts[i]->site, length) != 0 || strcmp(pattern + length, "/*") != 0)
                        continue;
                error_hint(err, "all of a site: '%s/*/*'", hosts[i]->site);
                break;
        }
        error_hint(err, "drover vm list");
        return -1;
}

// A VM may have a name that looks like a pattern: the name goes first.
static int choose_all(struct fleet *fleet, const Drover__VmMoveMany *request, const struct fleet_host *target,
                      plan_batch_sees_fn sees, void *data, struct chosen *chosen, struct error *err) {
        for (size_t i = 0; i < request->n_vms; i++) {
                const char *word = request->vms[i];
                struct fleet_vm *vm;
                struct error why = ERROR_INIT;
                bool named = fleet_resolve_vm(fleet, word, &vm, &why) == 0;
                if (named && choose(chosen, vm, err) < 0)
                        return -1;
                if (!named && !strpbrk(word, "*?[")) {
                        if (err)
                                *err = why;
                        return -1;
                }
                if (!named && choose_by_pattern(fleet, word, target, sees, data, chosen, err) < 0)
                        return -1;
        }
        if (chosen->n > 0)
                return 0;
        return error_set(err, ERROR_REFUSED, "all of them are on %s/%s already", target->site, target->name);
}

// ---- each by itself

static void refuse(Drover__MovePlan *plan, const char *code, char *message, const char *hint) {
        struct plan_context context = {.plan = plan};
        plan_refuse(&context, code, message, memory_string(hint));
}

// What could not even be planned is a refusal like any other.
static Drover__MovePlan *unplanned(const struct fleet_vm *vm, const struct fleet_host *target,
                                   const struct error *why) {
        Drover__MovePlan *plan = new (Drover__MovePlan);
        drover__move_plan__init(plan);
        plan->vm_uuid = memory_string(vm->domain->uuid);
        plan->vm_name = memory_string(vm->domain->name);
        plan->new_name = memory_string(vm->domain->name);
        plan->source_host = memory_string(vm->host->uuid);
        plan->target_host = memory_string(target->uuid);
        plan->source_name = memory_format("%s/%s", vm->host->site, vm->host->name);
        plan->target_name = memory_format("%s/%s", target->site, target->name);
        refuse(plan, error_word(why->code), memory_string(why->message), why->n_hints ? why->hints[0] : "");
        return plan;
}

static Drover__MovePlan *plan_one(struct fleet *fleet, const Drover__VmMove *move, const struct fleet_vm *vm,
                                  const struct fleet_host *target, const Drover__BatchPlan *batch) {
        Drover__VmMove request = *move;
        char name[NAME_SITE_MAX + NAME_HOST_MAX + NAME_VM_MAX + 3];
        struct plan_context context = {
                .fleet = fleet, .request = &request, .earlier = batch->plans, .n_earlier = batch->n_plans};
        struct error why = ERROR_INIT;
        snprintf(name, sizeof(name), "%s/%s/%s", vm->host->site, vm->host->name, vm->domain->name);
        request.vm = name;
        if (plan_open(&context, &why) < 0)
                return unplanned(vm, target, &why);
        plan_fill_move(&context);
        return context.plan;
}

// ---- what they do to each other

static void check_names(Drover__MovePlan *plan, const Drover__MovePlan *earlier) {
        if (strcmp(plan->vm_uuid, earlier->vm_uuid) == 0)
                refuse(plan, "uuid-exists",
                       memory_format("its UUID %s is also that of %s/%s, which goes there before it", plan->vm_uuid,
                                     earlier->source_name, earlier->vm_name),
                       "one of the two is an old copy: undefine it with virsh");
        else if (strcmp(plan->new_name, earlier->new_name) == 0)
                refuse(plan, "name-exists",
                       memory_format("%s/%s, which goes there before it, is named %s too", earlier->source_name,
                                     earlier->vm_name, plan->new_name),
                       "move it by itself, and --as NAME gives it another name there");
        for (size_t i = 0; i < plan->n_macs; i++)
                for (size_t k = 0; k < earlier->n_macs; k++)
                        if (strcasecmp(plan->macs[i], earlier->macs[k]) == 0)
                                refuse(plan, "mac-exists",
                                       memory_format("its MAC address %s is also that of %s/%s, which goes there "
                                                     "before it",
                                                     plan->macs[i], earlier->source_name, earlier->vm_name),
                                       "give one of the two another with virsh edit");
}

static void check_together(Drover__MovePlan *plan, const Drover__BatchPlan *batch, const struct fleet_host *target) {
        for (size_t k = 0; k < batch->n_plans; k++)
                if (batch->plans[k]->n_refusals == 0)
                        check_names(plan, batch->plans[k]);
        plan_room_check_together(plan, batch, target);
}

// ---- waves

static bool same_link(const Drover__MovePlan *one, const Drover__MovePlan *other) {
        size_t source = strcspn(one->source_name, "/") + 1, target = strcspn(one->target_name, "/") + 1;
        return strncmp(one->source_name, other->source_name, source) == 0 &&
               strncmp(one->target_name, other->target_name, target) == 0;
}

static bool within_site(const Drover__MovePlan *plan) {
        size_t length = strcspn(plan->source_name, "/") + 1;
        return strncmp(plan->source_name, plan->target_name, length) == 0;
}

const Drover__MovePlan *plan_batch_next(const Drover__BatchPlan *plan, uint32_t wave, size_t *at) {
        while (*at < plan->n_plans) {
                const Drover__MovePlan *one = plan->plans[(*at)++];
                if (one->wave == wave)
                        return one;
        }
        return NULL;
}

static bool wave_has_room(const Drover__BatchPlan *batch, const Drover__MovePlan *plan, uint32_t wave) {
        unsigned at_source = 0, at_target = 0, on_link = 0;
        size_t at = 0;
        for (const Drover__MovePlan *other; (other = plan_batch_next(batch, wave, &at));) {
                at_source += strcmp(other->source_host, plan->source_host) == 0;
                at_target += strcmp(other->target_host, plan->target_host) == 0;
                on_link += same_link(other, plan);
        }
        return at_source < BOUNDS_MOVES_PER_HOST && at_target < BOUNDS_MOVES_PER_HOST &&
               (within_site(plan) || on_link < BOUNDS_MOVES_PER_LINK);
}

static void add(Drover__BatchPlan *batch, Drover__MovePlan *plan) {
        if (plan->n_refusals == 0) {
                plan->wave = 1;
                while (!wave_has_room(batch, plan, plan->wave))
                        plan->wave++;
                if (plan->wave > batch->waves)
                        batch->waves = plan->wave;
                batch->bytes_to_copy += plan->bytes_to_copy;
        }
        batch->plans[batch->n_plans++] = plan;
}

static int by_wave(const void *one, const void *other) {
        const Drover__MovePlan *a = *(Drover__MovePlan *const *) one, *b = *(Drover__MovePlan *const *) other;
        if (a->wave != b->wave) // what is refused has none, and comes last
                return !a->wave ? 1 : !b->wave ? -1 : a->wave < b->wave ? -1 : 1;
        int r = strcmp(a->source_name, b->source_name);
        return r ? r : strcmp(a->vm_name, b->vm_name);
}

static int check_request(const Drover__VmMoveMany *request, struct error *err) {
        if (!request->move || request->n_vms == 0)
                return error_set(err, ERROR_INVALID, "no VM is named");
        if (!request->move->new_name[0])
                return plan_check_request(request->move, err);
        error_set(err, ERROR_INVALID, "--as gives one VM another name, and these are several");
        error_hint(err, "move it by itself");
        return -1;
}

int plan_batch(struct fleet *fleet, const Drover__VmMoveMany *request, plan_batch_sees_fn sees, void *data,
               Drover__BatchPlan **ret, struct error *err) {
        _cleanup_(chosen_fini) struct chosen chosen = {0};
        struct fleet_host *target;
        if (check_request(request, err) < 0 || fleet_resolve_host(fleet, request->move->host, &target, err) < 0 ||
            choose_all(fleet, request, target, sees, data, &chosen, err) < 0)
                return -1;
        Drover__BatchPlan *batch = new (Drover__BatchPlan);
        drover__batch_plan__init(batch);
        batch->request = (Drover__VmMoveMany *) proto_copy(&request->base);
        batch->plans = new_array(Drover__MovePlan *, chosen.n + 1);
        for (size_t i = 0; i < chosen.n; i++) {
                Drover__MovePlan *plan = plan_one(fleet, request->move, chosen.vms[i], target, batch);
                check_together(plan, batch, target);
                add(batch, plan);
        }
        qsort(batch->plans, batch->n_plans, sizeof(*batch->plans), by_wave);
        *ret = batch;
        return 0;
}

size_t plan_batch_accepted(const Drover__BatchPlan *plan) {
        size_t n = 0;
        for (size_t i = 0; i < plan->n_plans; i++)
                n += plan->plans[i]->n_refusals == 0;
        return n;
}

int plan_batch_refused(const Drover__BatchPlan *plan, struct error *err) {
        if (plan_batch_accepted(plan) > 0)
                return 0;
        error_set(err, ERROR_REFUSED, "none of the %zu VMs can be moved", plan->n_plans);
        for (size_t i = 0; i < plan->n_plans; i++) {
                const Drover__MovePlan *one = plan->plans[i];
                const Drover__Refusal *first = one->refusals[0];
                error_hint(err, "%s/%s: %s%s%s", one->source_name, one->vm_name, first->message,
                           first->hint[0] ? ": " : "", first->hint);
        }
        return -1;
}
