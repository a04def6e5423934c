// SPDX-License-Identifier: LGPL-2.1-or-later
/* drover vm start, shutdown, stop, reboot, suspend, resume, autostart: one job for each VM named. */
#include "cli/several.h"
#include "cli/verb.h"

static int act_on(struct invocation *call, const char *vm, Drover__PowerAction action, json_t *rows,
                  struct error *err) {
        VERB(vm_power, VM_POWER, vm_power, VmPower)
        verb.vm = (char *) vm;
        verb.action = action;
        if (option_duration(call, "--timeout", &verb.timeout_seconds, err) < 0)
                return -1;
        return follow_request_into(&request, call, rows, err);
}

static int act_on_nth(size_t i, struct invocation *call, json_t *rows, void *data, struct error *err) {
        return act_on(call, call->objects[i], *(const Drover__PowerAction *) data, rows, err);
}

static int act(struct invocation *call, Drover__PowerAction action, struct error *err) {
        if (call->n_objects == 1)
                return act_on(call, call->objects[0], action, NULL, err);
        return several_run(&(struct several){"VMs", call->n_objects, act_on_nth, &action}, call, err);
}

#define ACTION(name, ACTION_NAME)                                                                                      \
        static int name(struct invocation *call, struct error *err) {                                                  \
                return act(call, DROVER__POWER_ACTION__POWER_##ACTION_NAME, err);                                      \
        }
ACTION(start, START)
ACTION(shut_down, SHUTDOWN)
ACTION(stop, STOP)
ACTION(reboot, REBOOT)
ACTION(suspend, SUSPEND)
ACTION(resume, RESUME)

static int autostart(struct invocation *call, struct error *err) {
        return act(call,
                   option_given(call, "--disable") ? DROVER__POWER_ACTION__POWER_AUTOSTART_OFF
                                                   : DROVER__POWER_ACTION__POWER_AUTOSTART_ON,
                   err);
}

static const struct command_option patience[] = {
        {"--timeout", "DURATION", "how long to wait for the guest; 5m by default", false}, {0}};
static const struct command_option disable[] = {{"--disable", NULL, "do not start it with its host any more", false},
                                                {0}};

#define POWER(word, function, text, opts)                                                                              \
        {                                                                                                              \
                .noun = "vm", .verb = word, .objects = "VM...", .objects_min = 1, .objects_max = COMMAND_OBJECTS_MAX,  \
                .summary = text, .options = opts, .run = function, .job = true, .completes = "vm"                      \
        }

const struct command power_commands[] = {
        POWER("start", start, "Start it", NULL),
        POWER("shutdown", shut_down, "Ask the guest to shut down, and wait until it has", patience),
        POWER("stop", stop, "Stop it hard, as if the plug were pulled", NULL),
        POWER("reboot", reboot, "Ask the guest to reboot", NULL),
        POWER("suspend", suspend, "Pause it, in memory", NULL),
        POWER("resume", resume, "Let it go on after suspend", NULL),
        POWER("autostart", autostart, "Start it with its host", disable),
        {0},
};
