// SPDX-License-Identifier: LGPL-2.1-or-later
/* drover vm move: plan it, show the plan, or do it and follow. */
#include "cli/verb.h"
#include "common/name.h"
#include "common/units.h"

#include <stdio.h>
#include <string.h>

static int take_bridges(const struct invocation *call, Drover__VmMove *verb, Drover__NameMap *maps,
                        Drover__NameMap **pointers, struct error *err) {
        const char *text;
        for (unsigned i = 0; (text = option_nth(call, "--bridge", i)); i++) {
                const char *equals = strchr(text, '=');
                if (!equals || equals == text || !equals[1])
                        return error_set(err, ERROR_USAGE, "--bridge %s: it is written OLD=NEW", text);
                drover__name_map__init(&maps[i]);
                maps[i].from = strndup(text, (size_t) (equals - text));
                maps[i].to = memory_string(equals + 1);
                pointers[i] = &maps[i];
                verb->n_bridges = i + 1;
        }
        verb->bridges = pointers;
        return 0;
}

static int take_word(const struct invocation *call, const char *option, const char *const *words, int *ret,
                     struct error *err) {
        const char *text = option_value(call, option);
        if (!text)
                return 0;
        for (int i = 0; words[i]; i++)
                if (strcmp(text, words[i]) == 0) {
                        *ret = i;
                        return 0;
                }
        return error_set(err, ERROR_USAGE, "%s %s: no such choice", option, text);
}

static int both(const struct invocation *call, const char *one, const char *other, struct error *err) {
        if (option_given(call, one) && option_given(call, other))
                return error_set(err, ERROR_USAGE, "%s and %s exclude each other", one, other);
        return 0;
}

static int take_options(const struct invocation *call, Drover__VmMove *verb, struct error *err) {
        static const char *const paths[] = {"auto", "direct", "reverse", "relay", NULL};
        static const char *const verifies[] = {"sums", "read-back", NULL};
        int path = 0, verify = 0;
        const char *rate = option_value(call, "--rate");
        if (both(call, "--shutdown", "--stop", err) < 0 || both(call, "--start", "--no-start", err) < 0 ||
            take_word(call, "--path", paths, &path, err) < 0 ||
            take_word(call, "--verify", verifies, &verify, err) < 0 ||
            option_duration(call, "--timeout", &verb->stop_timeout_seconds, err) < 0)
                return -1;
        if (rate && units_parse_rate(rate, &verb->rate_bytes_per_second, err) < 0)
                return error_prefix(err, "--rate");
        verb->path = (Drover__TransferPath) path;
        verb->read_back = verify == 1;
        verb->new_name = verb_text(call, "--as");
        if (verb->new_name[0] && name_check_vm(verb->new_name, err) < 0)
                return error_prefix(err, "--as");
        verb->pool = verb_text(call, "--pool");
        verb->format = verb_text(call, "--format");
        verb->purge_source = option_given(call, "--purge-source");
        verb->plan_only = option_given(call, "--plan");
        verb->stop = option_given(call, "--stop")       ? DROVER__STOP_MODE__STOP_HARD
                     : option_given(call, "--shutdown") ? DROVER__STOP_MODE__STOP_SHUTDOWN
                                                        : DROVER__STOP_MODE__STOP_MODE_NONE;
        verb->start = option_given(call, "--start")      ? DROVER__VM_MOVE__START__START_YES
                      : option_given(call, "--no-start") ? DROVER__VM_MOVE__START__START_NO
                                                         : DROVER__VM_MOVE__START__START_AS_BEFORE;
        return 0;
}

static void print_plan(const Drover__MovePlan *plan) {
        char size[UNITS_TEXT_MAX], all[UNITS_TEXT_MAX], down[UNITS_TEXT_MAX];
        printf("move %s from %s to %s", plan->vm_name, plan->source_name, plan->target_name);
        if (strcmp(plan->vm_name, plan->new_name) != 0)
                printf(" as %s", plan->new_name);
        printf("\n\n");
        for (size_t i = 0; i < plan->n_steps; i++)
                printf("  %2zu  %-8s %-16s %s\n", i + 1, plan->steps[i]->name, plan->steps[i]->host,
                       plan->steps[i]->text);
        printf("\nto copy %s, about %s", units_format_size(plan->bytes_to_copy, size),
               units_format_duration(plan->estimated_seconds, all));
        if (plan->estimated_downtime_seconds)
                printf(", of which it stands still for %s",
                       units_format_duration(plan->estimated_downtime_seconds, down));
        printf("\n");
        for (size_t i = 0; i < plan->n_warnings; i++)
                printf("warning: %s\n", plan->warnings[i]);
}

static int refuse(const Drover__MovePlan *plan, struct error *err) {
        error_set(err, ERROR_REFUSED, "%s cannot be moved to %s, for %zu reason%s", plan->vm_name, plan->target_name,
                  plan->n_refusals, plan->n_refusals == 1 ? "" : "s");
        for (size_t i = 0; i < plan->n_refusals; i++)
                error_hint(err, "%s%s%s", plan->refusals[i]->message, plan->refusals[i]->hint[0] ? ": " : "",
                           plan->refusals[i]->hint);
        return -1;
}

struct planning {
        struct invocation *call;
        bool refused;
        struct error why;
};

static int on_plan(const Drover__OperatorReply *reply, void *data, struct error *err) {
        struct planning *planning = data;
        if (reply->value_case != DROVER__OPERATOR_REPLY__VALUE_PLAN)
                return error_set(err, ERROR_PROTOCOL, "the controller's answer holds no plan");
        planning->refused = reply->plan->n_refusals > 0;
        if (planning->call->format == OUTPUT_TABLE || planning->call->format == OUTPUT_WIDE)
                print_plan(reply->plan);
        else
                output_show(record_plan(reply->plan), planning->call->format, "vm");
        if (planning->refused)
                refuse(reply->plan, &planning->why);
        return 1;
}

static int plan(struct invocation *call, Drover__OperatorRequest *request, struct error *err) {
        struct planning planning = {.call = call, .why = ERROR_INIT};
        if (client_ask_once(request, on_plan, &planning, err) < 0)
                return -1;
        if (!planning.refused)
                return 0;
        *err = planning.why;
        return -1;
}

static int move(struct invocation *call, struct error *err) {
        Drover__NameMap maps[COMMAND_OBJECTS_MAX], *pointers[COMMAND_OBJECTS_MAX];
        VERB(vm_move, VM_MOVE, vm_move, VmMove)
        verb.vm = (char *) call->objects[0];
        verb.host = (char *) call->objects[1];
        int r = take_options(call, &verb, err);
        if (r == 0)
                r = take_bridges(call, &verb, maps, pointers, err);
        if (r == 0)
                r = verb.plan_only ? plan(call, &request, err) : follow_request(&request, call, err);
        for (size_t i = 0; i < verb.n_bridges; i++) {
                free(maps[i].from);
                free(maps[i].to);
        }
        return r;
}

static const struct command_option options[] = {
        {"--plan", NULL, "say what would be done, and do nothing", false},
        {"--shutdown", NULL, "a running VM may be shut down (guest agent or ACPI)", false},
        {"--stop", NULL, "a running VM may be stopped hard", false},
        {"--timeout", "DURATION", "how long --shutdown waits for the guest; 5m by default", false},
        {"--start", NULL, "start it there, even if it was off", false},
        {"--no-start", NULL, "leave it off there, even if it ran", false},
        {"--as", "NAME", "its name there", false},
        {"--pool", "POOL", "the pool for its disks there; by default the one of the same name", false},
        {"--format", "FORMAT", "keep: images are carried as they are; qcow2 or raw make sure of it", false},
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
         .objects = "VM SITE/HOST",
         .objects_min = 2,
         .objects_max = 2,
         .summary = "Move a VM to another host, which shares nothing with this one",
         .description =
                 "The VM must be off, or be allowed to be stopped (--shutdown or --stop). Its disks are copied "
                 "straight from host to host, or through the controller where "
                 "the two cannot reach each other; the copy is verified; the VM is defined there, started if it ran, "
                 "and only then given up here. Until that moment "
                 "any failure, and `drover job cancel`, leave everything as it was. MAC addresses and UUID are kept.",
         .options = options,
         .run = move,
         .job = true,
         .completes = "vm"},
        {0},
};
