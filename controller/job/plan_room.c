// SPDX-License-Identifier: LGPL-2.1-or-later
/* Room in pools (see plan_room.h). */
#include "controller/job/plan_room.h"
#include "controller/job/plan_format.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/units.h"

#include <string.h>

static const char hint[] = "--pool POOL chooses another pool, or make room there";

// Sizes are what an image says of itself: their sum need not fit.
static uint64_t sum(uint64_t one, uint64_t other) {
        return one > UINT64_MAX - other ? UINT64_MAX : one + other;
}

static uint64_t can_grow_to(const Drover__MoveDisk *disk) {
        if (plan_format_converts(disk)) // the old file's length says nothing about the new one's
                return disk->capacity_bytes;
        return disk->capacity_bytes > disk->file_bytes ? disk->capacity_bytes : disk->file_bytes;
}

static uint64_t needed_of(const Drover__MovePlan *plan, const char *pool) {
        uint64_t need = 0;
        for (size_t i = 0; i < plan->n_disks; i++)
                if (strcmp(plan->disks[i]->pool, pool) == 0)
                        need = sum(need, can_grow_to(plan->disks[i]));
        return need;
}

static uint64_t promised_of(const Drover__BatchPlan *batch, const char *pool) {
        uint64_t promised = 0;
        for (size_t i = 0; i < batch->n_plans; i++)
                if (batch->plans[i]->n_refusals == 0)
                        promised = sum(promised, needed_of(batch->plans[i], pool));
        return promised;
}

static bool has_room(const Drover__Pool *pool, uint64_t need) {
        return sum(need, pool->spare_bytes) <= pool->available_bytes;
}

// " of which so much stays free", as the host there has told; nothing where it keeps nothing free.
static char *spare_text(const Drover__Pool *pool, const char *before) {
        char size[UNITS_TEXT_MAX];
        if (pool->spare_bytes == 0)
                return memory_string("");
        return memory_format("%s%s stay free for the VMs there", before, units_format_size(pool->spare_bytes, size));
}

void plan_room_check(struct plan_context *context) {
        const Drover__MovePlan *plan = context->plan;
        char need_text[UNITS_TEXT_MAX], have_text[UNITS_TEXT_MAX];
        for (size_t i = 0; i < context->target->n_pools; i++) {
                const Drover__Pool *pool = context->target->pools[i];
                uint64_t need = needed_of(plan, pool->name);
                if (need == 0 || !pool->active || has_room(pool, need))
                        continue;
                _cleanup_(free_p) char *spare = spare_text(pool, ", of which ");
                plan_refuse(context, "no-space",
                            memory_format("its disks can grow to %s and pool %s at %s has %s free%s",
                                          units_format_size(need, need_text), pool->name, plan->target_name,
                                          units_format_size(pool->available_bytes, have_text), spare),
                            memory_string(hint));
        }
}

void plan_room_check_together(Drover__MovePlan *plan, const Drover__BatchPlan *batch, const struct fleet_host *target) {
        struct plan_context context = {.plan = plan};
        char need_text[UNITS_TEXT_MAX], have_text[UNITS_TEXT_MAX], all_text[UNITS_TEXT_MAX];
        for (size_t i = 0; i < target->n_pools; i++) {
                const Drover__Pool *pool = target->pools[i];
                uint64_t need = needed_of(plan, pool->name), promised = promised_of(batch, pool->name);
                if (need == 0 || !pool->active || !has_room(pool, need) || has_room(pool, sum(promised, need)))
                        continue;
                _cleanup_(free_p) char *spare = spare_text(pool, ", and ");
                plan_refuse(&context, "no-space",
                            memory_format("its disks can grow to %s, and of %s free in pool %s at %s the VMs before it "
                                          "can take %s%s",
                                          units_format_size(need, need_text),
                                          units_format_size(pool->available_bytes, all_text), pool->name,
                                          plan->target_name, units_format_size(promised, have_text), spare),
                            memory_string(hint));
        }
}
