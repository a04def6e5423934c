// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A plan of something about erp in the fleet of fleet_fixture.h, and what tests of plans change there and assert of it.
 * Include after cmocka.h, in one file of a program.
 */
#include "controller/job/plan.h"
#include "fleet_fixture.h"

static Drover__MovePlan *plan;

static inline Drover__Domain *erp(void) {
        return fleet_vm_on(fleet, lyon, ERP)->domain;
}

static inline void set(char **text, const char *value) {
        if (*text != protobuf_c_empty_string) // what init() leaves in a member
                free(*text);
        *text = memory_string(value);
}

// erp has one snapshot, inside its images.
static inline void take_snapshot(void) {
        Drover__Snapshot *snapshot = new (Drover__Snapshot);
        drover__snapshot__init(snapshot);
        snapshot->name = memory_string("before");
        erp()->snapshots = new_array(Drover__Snapshot *, 1);
        erp()->snapshots[erp()->n_snapshots++] = snapshot;
}

static inline void done(void) {
        proto_free(&plan->base);
        plan = NULL;
}

static inline void assert_disk(unsigned i, const char *source_format, const char *format, const char *volume) {
        assert_true(i < plan->n_disks);
        assert_string_equal(plan->disks[i]->source_format, source_format);
        assert_string_equal(plan->disks[i]->format, format);
        assert_string_equal(plan->disks[i]->volume, volume);
}

static inline void assert_refusal(size_t i, const char *code, const char *message, const char *hint) {
        assert_true(i < plan->n_refusals);
        assert_string_equal(plan->refusals[i]->code, code);
        assert_string_equal(plan->refusals[i]->message, message);
        assert_string_equal(plan->refusals[i]->hint, hint);
}
