// SPDX-License-Identifier: LGPL-2.1-or-later
/* The table of all commands, in the order in which help shows them, and the two that belong to no noun of the fleet. */
#include "cli/command.h"

#include <stdio.h>

static int login(struct invocation *call, struct error *err) {
        char user[64], role[16], authority[65];
        if (client_login(call->objects[0], option_given(call, "--replace"), user, role, authority, err) < 0)
                return -1;
        output_line("  Controller verified    sha256:%s", authority);
        output_line("  Logged in as %s (%s); credentials are in %s", user, role, client_directory());
        return 0;
}

static int completion(struct invocation *call, struct error *err) {
        return help_completion(call->objects[0], err);
}

static const struct command_option replace[] = {
        {"--replace", NULL, "in place of the credentials that are there", false}, {0}};

static const struct command account_commands[] = {
        {.noun = "login",
         .objects = "TOKEN",
         .objects_min = 1,
         .objects_max = 1,
         .summary = "Turn an invitation into credentials on this machine",
         .description = "The controller's authority is checked against the token before anything secret is sent.",
         .options = replace,
         .run = login},
        {.noun = "completion",
         .objects = "SHELL",
         .objects_min = 1,
         .objects_max = 1,
         .summary = "Print the completion script for bash or zsh",
         .run = completion},
        {0},
};

extern const struct command status_commands[], site_commands[], host_commands[], vm_commands[], power_commands[],
        move_commands[], clone_commands[], undo_commands[], job_commands[], user_commands[], audit_commands[];

const struct command *const command_tables[] = {
        status_commands, site_commands, host_commands, vm_commands,    power_commands,   move_commands, clone_commands,
        job_commands,    undo_commands, user_commands, audit_commands, account_commands, NULL};
