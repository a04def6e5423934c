// SPDX-License-Identifier: LGPL-2.1-or-later
/* drover vm move: plan it, show the plan, or do it and follow. */
#include "cli/move_options.h"
#include "cli/plan.h"
#include "cli/plan_batch.h"
#include "cli/verb.h"

#include <string.h>

static int move_one(struct invocation *call, Drover__VmMove *move, struct error *err) {
        Drover__OperatorRequest request = DROVER__OPERATOR_REQUEST__INIT;
        request.verb_case = DROVER__OPERATOR_REQUEST__VERB_VM_MOVE;
        request.vm_move = move;
        move->vm = (char *) call->objects[0];
        return move->plan_only ? plan_show(call, &request, err) : follow_request(&request, call, err);
}

static int move_many(struct invocation *call, Drover__VmMove *move, struct error *err) {
        VERB(vm_move_many, VM_MOVE_MANY, vm_move_many, VmMoveMany)
        verb.move = move;
        verb.vms = (char **) call->objects;
        verb.n_vms = call->n_objects - 1;
        return move->plan_only ? plan_batch_show(call, &request, err) : follow_request(&request, call, err);
}

static int move(struct invocation *call, struct error *err) {
        struct move_options options = {0};
        Drover__VmMove verb = DROVER__VM_MOVE__INIT;
        bool many = call->n_objects > 2 || strpbrk(call->objects[0], "*?[");
        verb.host = (char *) call->objects[call->n_objects - 1];
        int r = move_options_take(call, &options, &verb, err);
        if (r == 0)
                r = (many ? move_many : move_one)(call, &verb, err);
        move_options_fini(&options);
        return r;
}

static const struct command_option move_options[] = {
        {"--plan", NULL, "say what would be done, and do nothing", false},
        {"--shutdown", NULL, "a running VM may be shut down (guest agent or ACPI)", false},
        {"--stop", NULL, "a running VM may be stopped hard", false},
        {"--timeout", "DURATION", "how long --shutdown waits for the guest; 5m by default", false},
        {"--start", NULL, "start it there, even if it was off", false},
        {"--no-start", NULL, "leave it off there, even if it ran", false},
        {"--as", "NAME", "its name there", false},
        {"--pool", "POOL", "the pool for its disks there; by default the one of the same name", false},
        {"--format", "FORMAT",
         "keep: images are carried as they are; qcow2 or raw: those of another format are made anew", false},
        {"--bridge", "OLD=NEW", "put interfaces of bridge or network OLD on NEW; may be repeated", true},
        {"--rate", "RATE", "send no faster, such as 40Mbit or 5M", false},
        {"--path", "PATH", "auto, direct, reverse or relay", false},
        {"--verify", "HOW", "sums, or read-back to read the copy from its disk again", false},
        {"--purge-source", NULL, "remove the disks at the source at the end, instead of keeping them until purged",
         false},
        {0},
};

const struct command move_commands[] = {
        {.noun = "vm",
         .verb = "move",
         .objects = "VM... SITE/HOST",
         .objects_min = 2,
         .objects_max = COMMAND_OBJECTS_MAX,
         .summary = "Move VMs to another host; the two need not share anything",
         .description =
                 "The VM must be off, or be allowed to be stopped (--shutdown or --stop). Its disks are copied "
                 "straight from host to host, or through the controller where "
                 "the two cannot reach each other; the copy is verified; the VM is defined there, started if it ran, "
                 "and only then given up here. Until that moment "
                 "any failure, and `drover job cancel`, leave everything as it was. MAC addresses and UUID are kept. "
                 "A VM can be a pattern of * ? [...] on SITE/HOST/NAME or an ending of it, such as 'lyon/kvm1/*'. "
                 "Several "
                 "VMs are planned together and move in waves, as hosts and lines have room: those that can be moved "
                 "are, "
                 "the others are reported, and the exit code is 3; --plan shows which. Cancelling and retrying that "
                 "job "
                 "is for all of them.",
         .options = move_options,
         .run = move,
         .job = true,
         .completes = "vm host"},
        {0},
};
