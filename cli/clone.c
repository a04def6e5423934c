// SPDX-License-Identifier: LGPL-2.1-or-later
/* drover vm clone: a second VM out of one, and drover job undo: a move taken back. */
#include "cli/move_options.h"
#include "cli/plan.h"
#include "cli/verb.h"
#include "common/name.h"
#include "common/units.h"

#include <string.h>

// "nantes/kvm1/erp-test": the host, and the clone's name behind the last slash.
static int split_target(const char *text, char **ret_host, char **ret_name, struct error *err) {
        const char *slash = strrchr(text, '/');
        if (!slash || slash == text || !slash[1]) {
                error_set(err, ERROR_USAGE, "%s: where it will be and how it will be called are written SITE/HOST/NAME",
                          text);
                error_hint(err, "drover vm clone --help");
                return -1;
        }
        if (name_check_vm(slash + 1, err) < 0)
                return error_prefix(err, "%s", text);
        *ret_host = strndup(text, (size_t) (slash - text));
        *ret_name = memory_string(slash + 1);
        return 0;
}

static int clone_vm(struct invocation *call, struct error *err) {
        struct move_options options = {0};
        Drover__VmMove move = DROVER__VM_MOVE__INIT;
        VERB(vm_clone, VM_CLONE, vm_clone, VmClone)
        char *host = NULL, *name = NULL;
        int r = move_options_take(call, &options, &move, err);
        if (r == 0)
                r = split_target(call->objects[1], &host, &name, err);
        if (r == 0) {
                move.vm = (char *) call->objects[0];
                move.host = host;
                move.new_name = name;
                verb.move = &move;
                verb.linked = option_given(call, "--linked");
                verb.reset_identity = option_given(call, "--reset-identity");
                r = move.plan_only ? plan_show(call, &request, err) : follow_request(&request, call, err);
        }
        free(host);
        free(name);
        move_options_fini(&options);
        return r;
}

static int undo(struct invocation *call, struct error *err) {
        VERB(job_undo, JOB_UNDO, job_undo, JobUndo)
        const char *rate = option_value(call, "--rate");
        verb.id = (char *) call->objects[0];
        verb.plan_only = option_given(call, "--plan");
        if (move_options_stop(call, &verb.stop, &verb.stop_timeout_seconds, err) < 0)
                return -1;
        if (rate && units_parse_rate(rate, &verb.rate_bytes_per_second, err) < 0)
                return error_prefix(err, "--rate");
        return verb.plan_only ? plan_show(call, &request, err) : follow_request(&request, call, err);
}

static const struct command_option clone_options[] = {
        {"--plan", NULL, "say what would be done, and do nothing", false},
        {"--linked", NULL, "lay it over the original's images, on the same host, instead of copying them", false},
        {"--reset-identity", NULL,
         "have the guest forget its machine-id, SSH host keys and network names, and take the clone's name", false},
        {"--shutdown", NULL, "a running original may be shut down meanwhile (guest agent or ACPI)", false},
        {"--stop", NULL, "a running original may be stopped hard meanwhile", false},
        {"--timeout", "DURATION", "how long --shutdown waits for the guest; 5m by default", false},
        {"--start", NULL, "start the clone", false},
        {"--no-start", NULL, "leave the clone off, as is the default", false},
        {"--pool", "POOL", "the pool for its disks; by default the one of the same name", false},
        {"--format", "FORMAT",
         "keep: images are copied as they are; qcow2 or raw: those of another format are made anew", false},
        {"--bridge", "OLD=NEW", "put interfaces of bridge or network OLD on NEW; may be repeated", true},
        {"--rate", "RATE", "send no faster, such as 40Mbit or 5M", false},
        {"--path", "PATH", "auto, direct, reverse or relay", false},
        {"--verify", "HOW", "sums, or read-back to read the copy from its disk again", false},
        {0},
};
static const struct command_option undo_options[] = {
        {"--plan", NULL, "say what would be done, and do nothing", false},
        {"--shutdown", NULL, "a running VM may be shut down to be moved back (guest agent or ACPI)", false},
        {"--stop", NULL, "a running VM may be stopped hard to be moved back", false},
        {"--timeout", "DURATION", "how long --shutdown waits for the guest; 5m by default", false},
        {"--rate", "RATE", "send no faster, such as 40Mbit or 5M", false},
        {0},
};

const struct command clone_commands[] = {
        {.noun = "vm",
         .verb = "clone",
         .objects = "VM SITE/HOST/NAME",
         .objects_min = 2,
         .objects_max = 2,
         .summary = "Make a second VM out of one, on the same host or another",
         .description =
                 "The clone has a UUID, MAC addresses (02:00:00:...), disks and serial numbers of its own; it is off "
                 "unless --start is given. On one host its images share what they can with the original's where the "
                 "file system can do that, and are copied otherwise. The original must be off; a running one may be "
                 "stopped for as long as the copy takes (--shutdown or --stop), and is started again. One that is off "
                 "can be cloned many times at once. A VM over whose images --linked clones lie may not run any more.",
         .options = clone_options,
         .run = clone_vm,
         .job = true,
         .completes = "vm host"},
        {0},
};

const struct command undo_commands[] = {
        {.noun = "job",
         .verb = "undo",
         .objects = "ID",
         .objects_min = 1,
         .objects_max = 1,
         .summary = "Take back a move that is done",
         .description =
                 "As long as the VM has not run since, and what it left behind at its first host has not been purged, "
                 "that is put back and nothing is copied. Otherwise the VM is moved back to its first host, name and "
                 "pool, and only what was written meanwhile is sent; a running one needs --shutdown or --stop.",
         .options = undo_options,
         .run = undo,
         .job = true,
         .completes = "job"},
        {0},
};
